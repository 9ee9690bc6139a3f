"""What clients ask of the supervisor, in the supervisor."""
