"""The tasks that have not ended, as the supervisor holds them in memory."""
