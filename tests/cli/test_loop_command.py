"""`narrowcast loop`, as typed."""

from pathlib import Path

import pytest

from narrowcast.cli import _loop
from narrowcast.core.errors import UsageError


def test_numbers_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--num and --apart"):
        _loop.pick(tmp_path, tmp_path / "out", num=0, apart=1, as_json=False)
    with pytest.raises(UsageError, match="--first"):
        _loop.aside("x", tmp_path / "out", first=-1, every=1, num=1)
