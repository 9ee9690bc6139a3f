"""The store's file: its names, header and pages, and the errors and free space of its disk."""
