"""Processes as the Linux kernel shows them; used in every process."""
