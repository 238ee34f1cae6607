"""Figures in the pages are those of the committed results."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def test_the_tables_of_the_pages_are_those_of_the_results() -> None:
    """Run `python benchmarks/render.py` after a benchmark."""
    done = subprocess.run(
        [sys.executable, "benchmarks/render.py", "--check"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
