"""The store's file itself: its names, header, pages, and what the disk says."""
