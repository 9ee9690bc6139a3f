"""The command line `understudy`. `main` assembles the commands in `commands`."""
