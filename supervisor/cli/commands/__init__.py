"""The commands, a file for each noun that users type."""
