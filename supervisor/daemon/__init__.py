"""The supervisor process: boot, serve, stop."""
