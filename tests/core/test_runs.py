"""A run's folder is held by one process, goes on only with the same settings, and loses no whole line."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from narrowcast.core.errors import StorageError, UsageError
from narrowcast.core.runs import REPORTS, RUN, SUMMARY, RunFolder, read_reports

ASKED = {"config": {"source": "a.mp4", "size_wh": (64, 32), "seed": 0}, "commit": None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "city"


def test_a_run_says_what_was_asked(path: Path) -> None:
    with RunFolder.open(path, ASKED, resume=False) as folder:
        folder.write_summary({"frames": 3})
    assert json.loads((path / RUN).read_text())["config"]["source"] == "a.mp4"
    assert json.loads((path / SUMMARY).read_text()) == {"frames": 3}


def test_reports_come_back_in_order(path: Path) -> None:
    with RunFolder.open(path, ASKED, resume=False) as folder:
        for frame in range(5):
            folder.append({"frame": frame, "accuracy": None})
        folder.flush()
        assert [report["frame"] for report in folder.reports()] == list(range(5))
    assert [report["frame"] for report in read_reports(path)] == list(range(5))


def test_a_folder_without_reports_has_none(tmp_path: Path) -> None:
    assert list(read_reports(tmp_path)) == []


def test_a_cut_off_line_is_left_out_and_overwritten(path: Path) -> None:
    with RunFolder.open(path, ASKED, resume=False) as folder:
        for frame in range(5):
            folder.append({"frame": frame})
    with (path / REPORTS).open("ab") as reports:
        reports.write(b'{"frame":5,"accu')
    assert len(list(read_reports(path))) == 5
    with RunFolder.open(path, ASKED, resume=True) as folder:
        folder.keep_reports(before_frame=100)
        folder.append({"frame": 5})
    assert [report["frame"] for report in read_reports(path)] == list(range(6))


@pytest.mark.parametrize("before_frame", [0, 1, 3, 5, 9])
def test_reports_after_the_checkpoint_are_dropped(path: Path, before_frame: int) -> None:
    with RunFolder.open(path, ASKED, resume=False) as folder:
        for frame in range(5):
            folder.append({"frame": frame})
        folder.keep_reports(before_frame=before_frame)
    assert [report["frame"] for report in read_reports(path)] == list(range(min(5, before_frame)))


def begin(path: Path) -> None:
    """A run that came as far as its first frame."""
    with RunFolder.open(path, ASKED, resume=False) as folder:
        folder.append({"frame": 0})


def test_a_run_is_not_overwritten(path: Path) -> None:
    begin(path)
    with pytest.raises(UsageError, match="city: holds a run already; use --resume"):
        RunFolder.open(path, ASKED, resume=False)


def test_a_run_goes_on_with_the_same_settings_only(path: Path) -> None:
    begin(path)
    RunFolder.open(path, ASKED, resume=True).close()
    other = {"config": {**ASKED["config"], "seed": 1}}
    with pytest.raises(UsageError, match="started with seed = 0, not 1; resume with the same settings"):
        RunFolder.open(path, other, resume=True)


def test_of_nested_settings_the_one_that_differs_is_named(path: Path) -> None:
    """All settings of the algorithm were printed, twice, for the reader to compare."""
    now = {"distill": {"schedule": {"accuracy": 0.8, "min_stride": 8}}}
    with RunFolder.open(path, {"config": now}, resume=False) as folder:
        folder.append({"frame": 0})
    other = {"distill": {"schedule": {"accuracy": 0.7, "min_stride": 8}}}
    with pytest.raises(UsageError, match=r"started with distill.schedule.accuracy = 0.8, not 0.7; resume"):
        RunFolder.open(path, {"config": other}, resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_failed_before_its_first_frame_is_begun_anew(path: Path, resume: bool) -> None:
    """A mistake in the teacher's name left a folder that refused the mended command."""
    RunFolder.open(path, ASKED, resume=False).close()
    RunFolder.open(path, {"config": {"source": "b.mp4"}}, resume=resume).close()
    assert json.loads((path / RUN).read_text())["config"] == {"source": "b.mp4"}


@pytest.mark.parametrize(("name", "text"), [(RUN, "{"), (REPORTS, "nonsense\n"), (REPORTS, "[]\n")])
def test_damaged_files_are_one_error(path: Path, name: str, text: str) -> None:
    begin(path)
    (path / name).write_text(text)
    with (
        pytest.raises(StorageError, match=f"{name}: damaged, so the run cannot go on; choose another --out"),
        RunFolder.open(path, ASKED, resume=True) as folder,
    ):
        folder.keep_reports(before_frame=1)


@pytest.mark.parametrize(
    ("text", "is_finished"),
    [
        pytest.param(None, False, id="no summary"),
        pytest.param("{", False, id="damaged"),
        pytest.param("[]", False, id="not a summary"),
        pytest.param('{"status": "interrupted", "frames": 9}', False, id="interrupted"),
        pytest.param('{"status": "finished", "frames": 5}', False, id="of an earlier end"),
        pytest.param('{"status": "finished", "frames": 9}', True, id="finished"),
    ],
)
def test_whether_a_run_is_finished_stands_in_its_summary(path: Path, text: str | None, is_finished: bool) -> None:
    with RunFolder.open(path, ASKED, resume=False) as folder:
        if text is not None:
            (path / SUMMARY).write_text(text)
        assert folder.is_finished(num_frames=9) == is_finished


def test_a_folder_with_other_things_is_left_alone(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "holiday.jpg").touch()
    with pytest.raises(UsageError, match="is not empty and holds no run"):
        RunFolder.open(path, ASKED, resume=False)
    assert not (path / RUN).exists()


def test_what_a_killed_start_left_behind_does_not_matter(path: Path) -> None:
    path.mkdir(parents=True)
    (path / ".lock").touch()
    (path / f".{RUN}.123.tmp").touch()
    RunFolder.open(path, ASKED, resume=True).close()
    assert (path / RUN).exists()


def test_two_processes_do_not_write_one_run(path: Path) -> None:
    code = """
import sys
from pathlib import Path
from narrowcast.core.errors import UsageError
from narrowcast.core.runs import RunFolder
try:
    RunFolder.open(Path(sys.argv[1]), {"config": {}}, resume=True)
except UsageError as error:
    print(error)
"""
    with RunFolder.open(path, ASKED, resume=False):
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "another process is writing this run" in done.stdout
    RunFolder.open(path, ASKED, resume=True).close()


def test_a_failed_start_lets_go_of_the_folder(path: Path) -> None:
    begin(path)
    for _ in range(2):
        with pytest.raises(UsageError, match="holds a run already"):
            RunFolder.open(path, ASKED, resume=False)


def test_a_full_disk_ends_the_run_and_keeps_the_whole_lines(path: Path) -> None:
    """A disk took a part of a line without an error, and the next line was glued to it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RunFolder.open(path, ASKED, resume=False) as folder:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with pytest.raises(StorageError, match=rf"{REPORTS}: cannot be written: File too large"):
                for frame in range(100):
                    folder.append({"frame": frame})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    frames = [report["frame"] for report in read_reports(path)]
    assert frames == list(range(len(frames)))
    assert 60 < len(frames) < 100


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/run: cannot be written: Not a directory"):
        RunFolder.open(tmp_path / "file" / "run", ASKED, resume=False)


def test_numbers_that_json_does_not_know_are_refused(path: Path) -> None:
    with RunFolder.open(path, ASKED, resume=False) as folder, pytest.raises(ValueError):
        folder.append({"accuracy": float("nan")})


def test_what_a_kill_left_half_written_is_swept_away(path: Path) -> None:
    """A run that was killed fifty times had kept fifty halves of checkpoints."""
    leftovers = [path / ".checkpoint.safetensors.12.tmp", path / "parts" / ".part-1.mp4.9.tmp"]
    with RunFolder.open(path, ASKED, resume=False) as folder:
        folder.append({"frame": 0})
    (path / "parts").mkdir()
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    with RunFolder.open(path, ASKED, resume=True):
        assert not any(leftover.exists() for leftover in leftovers)
