"""The messages between processes, and their encoding."""
