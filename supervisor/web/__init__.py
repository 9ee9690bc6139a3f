"""The web process: a client of the supervisor that serves HTTP. It runs no user code and writes nothing itself."""
