"""The command line."""

from trimwave.cli.app import main

__all__ = ["main"]
