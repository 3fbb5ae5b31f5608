"""The command line: parses and shows, computes nothing. Heavy imports happen inside the commands."""

from snellen.cli.app import main as main

__all__ = ["main"]
