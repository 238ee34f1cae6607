"""The command line: each command parses, calls one library function and renders what comes back."""

from narrowcast.cli.app import main as main
