"""Peers: other task runners in their own processes, each behind the same two calls."""
