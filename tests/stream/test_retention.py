"""What is kept of a long stream, while it is being written."""

import threading
from pathlib import Path

import numpy as np

from fakes import CLASSES, shapes
from narrowcast.core.lines import drop_lines
from narrowcast.core.runs import RunFolder
from narrowcast.stream.outputs import make_outputs
from narrowcast.stream.retention import Retention
from narrowcast.stream.stream_report import StreamReport

FRAMES, LABELS = shapes(40)
FPS = 25


def report(index: int) -> StreamReport:
    labels = LABELS[index]
    nothing = {"accuracy": None, "accuracy_after": None, "loss": None, "teacher_labels": None}
    timings = {"student": 1.0}
    return StreamReport(index, index / FPS, labels, labels, stride=8, updates=0, timings_ms=timings, **nothing)


def test_the_newest_is_kept_of_reports_labels_and_video(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run", {"config": {}}, resume=False) as folder:
        outputs = make_outputs(["overlay", "png", "rle"], folder.path, CLASSES, fps=FRAMES[1].time_s ** -1)
        retention, dropped = Retention(folder, outputs, keep_s=10.5 / FPS), []
        with outputs:
            for frame in FRAMES:
                outputs.write(frame, report(frame.index))
                folder.append(report(frame.index).to_json())
                if frame.index % 5 == 4:
                    outputs.checkpoint()
                    dropped.append(retention.apply(float(frame.time_s)))
        kept = [line["frame"] for line in folder.reports()]
    assert [first for first in dropped if first is not None] == [14, 29]
    assert kept == list(range(29, 40))
    assert sorted(int(path.stem) for path in (folder.path / "labels").glob("*.png")) == kept
    parts = sorted(path.name for path in (folder.path / "parts").glob("part-*.mp4"))
    assert parts == ["part-00000025.mp4", "part-00000030.mp4", "part-00000035.mp4"]


def test_without_the_option_everything_is_kept(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run", {"config": {}}, resume=False) as folder:
        folder.append(report(0).to_json())
        outputs = make_outputs([], folder.path, CLASSES, fps=FRAMES[1].time_s ** -1)
        assert Retention(folder, outputs, keep_s=0).apply(1e9) is None


def test_no_line_is_lost_where_one_thread_adds_and_another_drops(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run", {"config": {}}, resume=False) as folder:
        is_done = threading.Event()

        def add() -> None:
            for index in range(300):
                folder.append({"frame": index})
            is_done.set()

        thread = threading.Thread(target=add)
        thread.start()
        first = 0
        while not is_done.is_set():
            newest = max((line["frame"] for line in folder.reports()), default=0)
            first = max(first, newest // 2)
            folder.drop_reports(before_frame=first)
        thread.join()
        frames = [line["frame"] for line in folder.reports()]
    np.testing.assert_array_equal(frames, np.arange(first, 300))


def test_a_file_that_is_not_there_stays_so(tmp_path: Path) -> None:
    drop_lines(tmp_path / "labels.jsonl", before_frame=3, lock=threading.Lock())
    assert not (tmp_path / "labels.jsonl").exists()
