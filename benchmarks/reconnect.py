"""A camera that goes away every ten seconds: how soon frames come again, and whether anything wrong was learned.

`camera.py` serves a clip over HTTP on this machine and cuts every connection. A live run watches it. A return is
recovered when the first frame behind the gap has been labelled. What a frame shows is found by its picture among the
clip's, so that each can be scored against the labels that the teacher gave to it before. The teacher answers with
those labels, after the time that a real call takes (asleep, not computing: the camera needs the other core).
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any, final

import cv2
import numpy as np
import record
import torch
from jaxtyping import UInt8

from narrowcast.core.config import to_dict
from narrowcast.core.errors import NarrowcastError, SourceError
from narrowcast.core.frames import Frame
from narrowcast.core.runs import RunFolder
from narrowcast.core.runtime import describe
from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.models.classes import SelectedTeacher, parse_classes
from narrowcast.models.mask_folder import MaskFolderTeacher
from narrowcast.models.pretrained import student_called
from narrowcast.models.teacher import Teacher, TeacherLabels
from narrowcast.stream.distill import DEFAULT_LIVE
from narrowcast.stream.event_log import EVENTS
from narrowcast.stream.live import LiveConfig
from narrowcast.stream.live_run import run_live
from narrowcast.stream.run import RunConfig
from narrowcast.stream.targets import resize_labels
from narrowcast.video.patience import LIVE
from narrowcast.video.source import FrameSource, open_source

THUMB_WH, CLASSES = (128, 96), "person,car+bus=auto"
WINDOW_S = 3.0  # before a cut and after a return
BAR_S, BAR_POINTS = 2.0, 1.0


def main() -> int:
    parser = record.parser(__doc__)
    parser.add_argument("--source", type=Path, help="a clip; vtest of the data folder unless given")
    parser.add_argument(
        "--labels", type=Path, help="folder of the teacher's labels of its frames, as stream eval keeps"
    )
    parser.add_argument("--size", default="384x288")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--up", type=float, default=10.0)
    parser.add_argument("--down", type=float, default=2.0)
    parser.add_argument("--delay", type=float, default=0.35, help="seconds that the teacher takes")
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    if arguments.quick:
        arguments.seconds, arguments.up, arguments.down = 14.0, 4.0, 1.0
    clip = arguments.source or record.data() / "clips" / "vtest.avi"
    if arguments.labels is None:
        raise SourceError("--labels: name the folder of the teacher's labels, such as one of stream eval --cache")
    result = run(clip, arguments, device)
    for name, value in result.items():
        print(f"{name:>28}  {value}")
    record.write(arguments.out, "reconnect", result, device=device)
    is_good = result["slowest_recovery_s"] <= BAR_S and result["after_minus_before_points"] >= -BAR_POINTS
    return 0 if is_good or arguments.quick else 1


@final
class ByPicture:
    """A teacher that finds a frame by its picture and answers with the labels that are kept of it."""

    def __init__(self, clip: Path, kept: Teacher, *, delay_s: float) -> None:
        self.classes, self._kept, self._delay_s = kept.classes, kept, delay_s
        with open_source(clip) as source:
            self._thumbs = np.stack([_thumb(frame.image_rgb) for frame in source])

    def frame_of(self, image_rgb: UInt8[np.ndarray, "h w 3"]) -> int:
        """The clip's frame that looks most like it."""
        return int(np.abs(self._thumbs - _thumb(image_rgb)).sum(1, dtype=np.int64).argmin())

    def __call__(self, image_rgb: UInt8[np.ndarray, "h w 3"], *, frame_index: int | None = None) -> TeacherLabels:
        time.sleep(self._delay_s)
        return self._kept(image_rgb, frame_index=self.frame_of(image_rgb))


def _thumb(image_rgb: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, THUMB_WH, interpolation=cv2.INTER_AREA).ravel().astype(np.int16)


def run(clip: Path, arguments: Namespace, device: torch.device) -> dict[str, Any]:
    """One run of so many seconds, and what it shows."""
    kept = MaskFolderTeacher(arguments.labels)
    class_map = parse_classes(CLASSES, kept.classes)
    teacher = SelectedTeacher(ByPicture(clip, kept, delay_s=arguments.delay), class_map)
    truth = SelectedTeacher(ByPicture(clip, kept, delay_s=0.0), class_map)
    width, _, height = arguments.size.partition("x")
    command = [sys.executable, str(record.HERE / "camera.py"), str(clip)]
    command += ["--up", str(arguments.up), "--down", str(arguments.down)]
    camera = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert camera.stdout is not None
    try:
        address = f"http://127.0.0.1:{json.loads(camera.stdout.readline())['port']}/camera.ts"
        config = RunConfig(
            source=address,
            teacher="labels",
            size_wh=(int(width), int(height)),
            outputs=(),
            live=LiveConfig(when_late="drop-oldest"),
            distill=DEFAULT_LIVE,
        )
        with tempfile.TemporaryDirectory() as temporary:
            until_s, seen = time.time() + arguments.seconds, []
            about = {"config": to_dict(config), "classes": list(teacher.classes), "environment": describe(device)}
            with (
                open_source(address, patience=LIVE) as source,
                RunFolder.open(Path(temporary) / "run", about, resume=False) as folder,
            ):
                images = _Remembered(source)
                for report in run_live(
                    source,
                    student_called("pretrained", class_map),
                    teacher,
                    config=config,
                    folder=folder,
                    device=device,
                    should_stop=lambda: time.time() > until_s,
                ):
                    seen.append((time.time(), report.prediction, images.take(report.frame)))
            path = Path(temporary) / "run" / EVENTS
            gaps = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            summary = json.loads((Path(temporary) / "run" / "summary.json").read_text(encoding="utf-8"))
    finally:
        camera.kill()
        rest, _ = camera.communicate()
    events = [json.loads(line) for line in rest.splitlines()]
    return judge(seen, [gap["unix_s"] for gap in gaps], events, truth) | {
        "seconds": arguments.seconds,
        "up_s": arguments.up,
        "down_s": arguments.down,
        "teacher_delay_s": arguments.delay,
        "frames": summary["frames"],
        "dropped_frames": summary["dropped_frames"],
        "latency_ms_p99": summary["latency_ms_p99"],
    }


@final
class _Remembered:
    """The last pictures that a source gave: what a report is about."""

    def __init__(self, source: FrameSource) -> None:
        self._last: dict[int, np.ndarray] = {}
        source._frames = self._through(source._frames)

    def _through(self, frames: Generator[Frame, None, None]) -> Generator[Frame, None, None]:
        with closing(frames):
            for frame in frames:
                self._last[frame.index] = frame.image_rgb
                yield frame

    def take(self, index: int) -> np.ndarray:
        """The picture of a frame; those before it are forgotten."""
        for old in [known for known in self._last if known < index]:
            del self._last[old]
        return cv2.resize(self._last[index], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def judge(seen: list[Any], gaps_s: list[float], events: list[dict[str, Any]], truth: Teacher) -> dict[str, Any]:
    """Recoveries, and accuracy around the cuts that the run saw the end of."""
    ups = [event["unix_s"] for event in events if event["event"] == "up"]
    downs = [event["unix_s"] for event in events if event["event"] == "down"]
    ups = [up_s for up_s in ups if up_s < seen[-1][0] - WINDOW_S]
    recoveries_s = []
    for up_s in ups:
        after = [gap_s for gap_s in gaps_s if gap_s >= up_s]
        if not after:
            raise NarrowcastError(f"the return at {up_s} was never seen")
        recoveries_s.append(after[0] - up_s)
    returns_s = [up_s + recovery_s for up_s, recovery_s in zip(ups, recoveries_s, strict=True)]
    before = _score(seen, [(down_s - WINDOW_S, down_s) for down_s in downs[: len(ups)]], truth)
    after = _score(seen, [(return_s + 1, return_s + 1 + WINDOW_S) for return_s in returns_s], truth)
    at_once = _score(seen, [(return_s, return_s + 1) for return_s in returns_s], truth)
    return {
        "cuts": len(ups),
        "gaps_seen": len(gaps_s),
        "median_recovery_s": round(statistics.median(recoveries_s), 3),
        "slowest_recovery_s": round(max(recoveries_s), 3),
        "miou_before_cuts": before,
        "miou_first_second_after": at_once,
        "miou_after": after,
        "after_minus_before_points": round(100 * (after - before), 2),
    }


def _score(seen: list[Any], windows_s: list[tuple[float, float]], truth: Teacher) -> float:
    """Pooled mean IoU of the predictions in these windows."""
    score = SegmentationScore(truth.classes)
    for at_s, prediction, image in seen:
        if any(begin_s <= at_s < end_s for begin_s, end_s in windows_s):
            labels = truth(image).labels
            score.add(prediction, resize_labels(labels, (prediction.shape[1], prediction.shape[0])))
    assert score.pooled is not None
    return round(score.pooled, 4)


if __name__ == "__main__":
    record.main(main)
