"""Schedules: when tasks run again and again, or once at a time."""
