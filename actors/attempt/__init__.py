"""The actor that runs one attempt at a task, in a worker process."""
