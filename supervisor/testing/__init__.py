"""What tests need inside the processes; it is off in production."""
