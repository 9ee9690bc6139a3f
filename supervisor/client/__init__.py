"""The client: the code that runs in programs that use the runtime."""
