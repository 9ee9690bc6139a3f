"""Processes, the tree, time, the client and the command line. Knows tasks and what is on disk."""
