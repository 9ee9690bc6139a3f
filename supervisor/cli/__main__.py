"""`python -m understudy.supervisor.cli`: the command line of a checkout that is not installed."""

from .main import main

main()
