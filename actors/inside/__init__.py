"""The functions that a task calls while it runs, in a worker process."""
