"""What the monitor page costs a stream: student, latency and throughput without it, with it, and with viewers.

The same generated stream with a student that learns (640×360, a cheap teacher), in turns: without a page, with one that
nobody sees, with one and with three viewers. A viewer asks as the page does: the state once a second, a picture 0.2 s
after the last one came; all viewers are one process beside the stream's, as browsers are. Live at the stream's own rate
for latency, and one frame after another for throughput. What counts is each turn's ratio to its run without a page, in
the median over turns. Ends with exit code 1 where the student loses 5% or more with one viewer.
"""

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hue_teacher
import record
import torch

from narrowcast.core.config import to_dict
from narrowcast.core.files import read_object
from narrowcast.core.runs import SUMMARY, RunFolder
from narrowcast.core.runtime import describe, seed_everything
from narrowcast.models.callable_teacher import CallableTeacher
from narrowcast.models.classes import parse_classes
from narrowcast.models.pretrained import student_called
from narrowcast.stream.distill import LEARNING
from narrowcast.stream.live import LiveConfig
from narrowcast.stream.live_run import run_live
from narrowcast.stream.run import RunConfig, run_stream
from narrowcast.video.source import open_source
from narrowcast.web.access import Access
from narrowcast.web.monitor import Monitor
from narrowcast.web.monitor_app import monitor_app
from narrowcast.web.serving import serving

SIZE_WH = (640, 360)
STATE_S, PICTURE_S = 1.0, 0.2  # as web/static/monitor.js
VIEWERS = (None, 0, 1, 3)  # None: no page
BAR = 1.05
MEASURED = {  # cpu_ms: of the whole process, page included, a frame
    "live": ("student_ms_p50", "latency_ms_p50", "latency_ms_p99", "cpu_ms"),
    "waits": ("student_ms_p50", "frame_ms", "cpu_ms"),
}


def main() -> int:
    parser = record.parser(__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--frames", type=int, default=200, help="of each run; 25 a second where it is live")
    parser.add_argument("--watch", nargs=2, metavar=("URL", "VIEWERS"), help="be the viewers (this script's own use)")
    arguments = parser.parse_args()
    if arguments.watch:
        return watch(arguments.watch[0], int(arguments.watch[1]))
    device = record.prepare(arguments)
    if arguments.quick:
        arguments.turns, arguments.frames = 1, 12
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        clip = record.synthetic_clip(Path(temporary) / "clip.mp4", num_frames=arguments.frames, size_wh=SIZE_WH)
        for turn in range(arguments.turns):
            for how in MEASURED:
                for viewers in VIEWERS if turn % 2 == 0 else VIEWERS[::-1]:
                    runs.append(run(clip, how, viewers, device, arguments) | {"turn": turn})
                    print({name: value for name, value in runs[-1].items() if name != "asked"}, file=sys.stderr)
    result = {"frames": arguments.frames, "turns": arguments.turns, "size_wh": list(SIZE_WH), "bar": BAR,
              "quick": arguments.quick, "ratios": ratios(runs), "runs": runs}  # fmt: skip
    print(record.table(["", *(f"{how}: {name}" for how, names in MEASURED.items() for name in names)],
                       [[viewers, *values.values()] for viewers, values in result["ratios"].items()]))  # fmt: skip
    record.write(arguments.out, "monitor", result, device=device)
    students = [result["ratios"]["1 viewer"][f"{how}.student_ms_p50"] for how in MEASURED]
    return 0 if arguments.quick or max(students) < BAR else 1


def run(clip: Path, how: str, viewers: int | None, device: torch.device, arguments: Namespace) -> dict[str, Any]:
    """One run: its times, and what the viewers got."""
    teacher = CallableTeacher(hue_teacher.label, classes=hue_teacher.CLASSES, name="hue_teacher:label")
    config = RunConfig(
        source=clip.name,
        teacher="hue_teacher:label",
        size_wh=SIZE_WH,
        outputs=(),
        distill=LEARNING,
        live=LiveConfig(is_paced=True, when_late="drop-oldest") if how == "live" else None,
    )
    seed_everything(0)
    student = student_called("pretrained", parse_classes("all", teacher.classes))
    about = {"config": to_dict(config), "classes": list(teacher.classes), "environment": describe(device)}
    begin = run_live if how == "live" else run_stream
    with (
        tempfile.TemporaryDirectory() as temporary,
        open_source(clip) as source,
        RunFolder.open(Path(temporary) / "run", about, resume=False) as folder,
        watched(viewers, teacher.classes) as (monitors, asked),
    ):
        started, cpu_s = time.perf_counter(), time.process_time()
        for _ in begin(source, student, teacher, config=config, folder=folder, device=device, watchers=monitors):
            pass
        took_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_s
        summary = read_object(Path(temporary) / "run" / SUMMARY)
    assert summary is not None
    found = summary | {"frame_ms": 1e3 * took_s / summary["frames"], "cpu_ms": 1e3 * cpu_s / summary["frames"]}
    values = {name: found[name] for name in MEASURED[how]}
    drawn = sum(monitor.num_drawn for monitor in monitors)
    return {"how": how, "viewers": viewers, **values, "pictures_drawn": drawn, "asked": asked}


@contextmanager
def watched(viewers: int | None, classes: tuple[str, ...]) -> Iterator[tuple[list[Monitor], dict[str, int]]]:
    """The page, and a process of viewers who look at it, while the block runs."""
    asked: dict[str, int] = {}
    if viewers is None:
        yield [], asked
        return
    access, monitor = Access(), Monitor(source="clip", classes=classes)
    with serving(monitor_app(monitor, access), access) as address:
        if not viewers:
            yield [monitor], asked
            return
        command = [sys.executable, __file__, "--watch", address.url, str(viewers)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it is ready
            try:
                yield [monitor], asked
            finally:
                answer, _ = process.communicate("")  # the end of its input
                asked.update(json.loads(answer))


def watch(url: str, viewers: int) -> int:
    """Look at the page until the input ends; then tell what came."""
    is_over, counts, lock = threading.Event(), {"states": 0, "pictures": 0}, threading.Lock()
    parts = urlsplit(url)

    def look(path: str, what: str, pause_s: float) -> None:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        while not is_over.is_set():
            try:
                connection.request("GET", path)
                reply = connection.getresponse()
                reply.read()
            except OSError:
                return
            with lock:
                counts[what] += reply.status == 200
            is_over.wait(pause_s)

    loops = [("/state?since=0&event=0", "states", STATE_S), ("/picture?view=labels", "pictures", PICTURE_S)]
    threads = [threading.Thread(target=look, args=loop, daemon=True) for loop in loops for _ in range(viewers)]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    is_over.set()
    for thread in threads:
        thread.join(2)
    print(json.dumps(counts))
    return 0


def ratios(runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of every time to that without a page in the same turn: medians over turns."""
    found: dict[str, dict[str, float]] = {}
    for viewers in VIEWERS[1:]:
        name = {0: "page alone", 1: "1 viewer"}.get(viewers or 0, f"{viewers} viewers")
        found[name] = {}
        for how, measured in MEASURED.items():
            own = [one for one in runs if (one["how"], one["viewers"]) == (how, viewers)]
            base = {one["turn"]: one for one in runs if (one["how"], one["viewers"]) == (how, None)}
            for what in measured:
                found[name][f"{how}.{what}"] = statistics.median(one[what] / base[one["turn"]][what] for one in own)
    return found


if __name__ == "__main__":
    record.main(main)
