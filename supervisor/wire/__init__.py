"""What travels between the processes, and how it is encoded."""
