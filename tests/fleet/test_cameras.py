"""What a fleet's file may say."""

from pathlib import Path

import pytest

from narrowcast.core.errors import ConfigError
from narrowcast.fleet.cameras import changed_for_all, read_fleet

PLAIN = '[fleet]\nteacher = "embedded"\n[camera.gate]\nsource = "gate.mp4"\n'


def read(tmp_path: Path, text: str):
    (tmp_path / "cameras.toml").write_text(text, encoding="utf-8")
    return read_fleet(tmp_path / "cameras.toml")


def test_a_file_is_a_fleet(tmp_path: Path) -> None:
    fleet = read(
        tmp_path,
        PLAIN + 'size = "384x288"\naccuracy = 0.7\nplace = "yard"\n'
        '[camera.door]\nsource = "rtsp://door"\nclasses = "dog"\n[schedule]\nmax_stride = 16\n',
    )
    gate, door = fleet.cameras
    assert (gate.name, gate.size_wh, gate.keys, gate.is_live) == ("gate", (384, 288), {"place": "yard"}, False)
    assert door.is_live
    run = fleet.run_config(gate, student="zoo/yard/student.safetensors")
    assert (run.distill.schedule.accuracy, run.distill.schedule.max_stride) == (0.7, 16)
    assert (run.student, run.teacher, run.classes) == ("zoo/yard/student.safetensors", "embedded", "all")
    assert fleet.run_config(door).classes == "dog"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(PLAIN + "sourec = 1\n", "unknown key 'sourec'", id="an unknown key"),
        pytest.param(
            PLAIN.replace("camera.gate", "camera.'../x'"), "is a folder's", id="a name that leaves the folder"
        ),
        pytest.param(PLAIN + 'size = "big"\n', "WIDTHxHEIGHT", id="a size"),
        pytest.param(PLAIN + "accuracy = 1.5\n", "between 0 and 1", id="an accuracy"),
        pytest.param(PLAIN + "[cameras]\n", "did you mean 'camera'", id="an unknown section"),
        pytest.param('[camera.gate]\nsource = "x"\n', "missing key 'teacher'", id="no teacher"),
        pytest.param(PLAIN + "[schedule]\naccuracy = 0.8\n", "each camera has its own", id="a setting of no effect"),
        pytest.param(PLAIN.replace("[camera", "calls_per_s = -1\n[camera"), "not be negative", id="a budget"),
        pytest.param("[fleet", "not a recipe", id="no TOML"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


def test_cameras_and_the_budget_can_change(tmp_path: Path) -> None:
    before = read(tmp_path, PLAIN)
    more = PLAIN.replace("[camera", "calls_per_s = 3\n[camera") + '[camera.door]\nsource = "door.mp4"\n'
    assert changed_for_all(before, read(tmp_path, more)) is None
    assert changed_for_all(before, read(tmp_path, PLAIN.replace("embedded", "maskrcnn"))) == "teacher"
    assert changed_for_all(before, read(tmp_path, PLAIN + "[schedule]\nmax_stride = 12\n")) is not None
