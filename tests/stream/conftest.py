"""Fixtures of the tests of runs."""

from dataclasses import replace
from pathlib import Path

import pytest

from narrowcast.stream import run as run_module
from stream_runs import (
    CONFIG,
    run,
)


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without report.html, which takes most of the time of a short run and has tests of its own."""
    monkeypatch.setattr(run_module, "write_report", lambda path: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run from the first frame to the last, with video and run lengths."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    run(path, config=replace(CONFIG, outputs=("overlay", "rle")))
    return path
