"""`python -m headrace.cli`, where the command is not installed."""

from headrace.cli import main

main()
