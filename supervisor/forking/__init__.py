"""The fork server, and the supervisor's connection to it."""
