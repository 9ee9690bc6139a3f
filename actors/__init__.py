"""Tasks and the functions that they call while they run. Nothing here knows of processes or disks."""
