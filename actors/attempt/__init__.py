"""One try at a task: the actor that performs it in a worker process."""
