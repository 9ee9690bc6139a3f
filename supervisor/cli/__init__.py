"""The command line: `understudy …`. One module per command; `main` puts them together."""
