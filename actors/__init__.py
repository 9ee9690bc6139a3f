"""What a task is and what it can do while it runs. Knows nothing of processes or disks."""
