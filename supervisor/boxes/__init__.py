"""Container tasks: attempts run in workers, the sweep in the supervisor."""
