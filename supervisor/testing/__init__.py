"""Hooks for tests inside the processes. They are off in production."""
