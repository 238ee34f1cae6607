"""`narrowcast fleet`, as typed."""

import json
from pathlib import Path

import pytest

from narrowcast.cli import _fleet
from narrowcast.core.errors import UsageError
from narrowcast.fleet.state import CameraState, FleetReport, write_state


def request(**how):
    given = {"num_workers": 0, "num_teachers": 1, "address": None, "resume": False}
    return _fleet.FleetRequest(cameras=Path("cameras.toml"), out=Path("out"), **given | how)


@pytest.mark.parametrize("how", [{"num_teachers": 2}, {"address": "auto"}, {"num_workers": -1}], ids=str)
def test_what_has_no_effect_is_refused(how: dict) -> None:
    with pytest.raises(UsageError):
        request(**how)


def test_the_state_of_a_fleet_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gate = CameraState(name="gate", status="running", frames=120, accuracy=0.812, stride=16, calls=9, refused=2)
    door = CameraState(name="door", status="failed", message="rtsp://door: unreachable")
    write_state(tmp_path, FleetReport(1000.0, (gate, door)))
    _fleet.status(tmp_path, as_json=False)
    told = capsys.readouterr().out
    assert "gate: running, 120 frames, accuracy 0.81, stride 16, 9 teacher calls (2 refused)" in told
    assert "door: failed" in told
    assert "unreachable" in told
    assert "the fleet does not run" in told
    _fleet.status(tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out)["cameras"][0]["accuracy"] == 0.812
