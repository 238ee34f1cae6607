"""32 cameras that share 2 teachers on 2 cores: cost beside one after another, accuracy, fairness; what dies.

Cameras are pieces of real clips at different offsets, shrunk to the student's size before. The teacher's labels are
those that benchmarks/evaluation.py made and kept; for each answer a core is kept busy as long as the teacher took.
Costs are seconds of processors, of all processes together, so that another program beside does not count. Ray's start
(processes that import torch) is counted apart: a fleet runs for days. "Split" is as many plain processes as the fleet
has workers, each with its share of the cameras, and no Ray: what it costs that cores work side by side. `--rows node`
is a Ray of two nodes on this machine, each with room for a worker and a teacher; one node is killed with all that is on
it, and does not come back.
"""

import itertools
import json
import multiprocessing
import os
import random
import signal
import statistics
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import kept_teacher
import psutil
import record

from narrowcast.core.errors import SourceError
from narrowcast.core.runs import read_reports
from narrowcast.fleet.budget import fairness, weight_of
from narrowcast.fleet.cameras import Fleet, read_fleet
from narrowcast.fleet.on_ray import RayWorkers, on_ray
from narrowcast.fleet.ray_session import STORE_BYTES, draw_token
from narrowcast.fleet.run import OneProcess, run_fleet
from narrowcast.fleet.state import CAMERAS, EVENTS, FleetReport
from narrowcast.models.mask_folder import CLASSES_FILE
from narrowcast.video.source import open_source

CLIPS = {"vtest": ("vtest.avi", (384, 288)), "one-by-one": ("one-by-one-person-detection.mp4", (384, 216))}
CLASSES = "person,car+bus=auto"
BUDGET_SHARE = 0.6  # of what all cameras want at the smallest stride
BARS = {"cost_ratio": 1.1, "miou_points_below": 1.0}


def main() -> int:
    """Run every row and write the result; 1 where a bar is missed."""
    options = record.parser(__doc__, threads=1)
    options.add_argument("--cameras", type=int, default=32)
    options.add_argument("--frames", type=int, default=24, help="of each camera")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--teachers", type=int, default=2)
    options.add_argument("--kill-every", type=float, default=20.0, help="seconds")
    options.add_argument("--rows", default="alone,split,plain,budget,killed", help="which; the others stay as they are")
    options.add_argument("--cache", type=Path, default=record.REPOSITORY / "build" / "benchmark-labels")
    arguments = options.parse_args()
    device = record.prepare(arguments)
    if arguments.quick:
        arguments.cameras, arguments.frames, arguments.kill_every = 4, 12, 15.0
    with tempfile.TemporaryDirectory() as folder:
        bench = prepare(Path(folder), arguments)
        runs: dict[str, Callable[[], dict[str, Any]]] = {
            "alone": lambda: one_after_another(bench),
            "split": lambda: split(bench),
            "plain": lambda: fleet(bench, "plain"),
            "budget": lambda: fleet(bench, "budget", calls_per_s=bench.budget),
            "killed": lambda: fleet(bench, "killed", kill_every_s=arguments.kill_every),
            "node": lambda: lost_node(bench),
        }
        earlier = record.read(arguments.out, "fleet")
        rows = earlier.get("rows", {}) if earlier.get("setup") == bench.setup else {}
        for row in arguments.rows.split(","):
            rows[row] = runs[row]()
            is_whole = rows.keys() >= {"alone", "plain", "budget", "killed"}
            rows = {name: rows[name] for name in runs if name in rows}
            result = {"setup": bench.setup, "rows": rows} | (verdict(rows) if is_whole else {})
            record.write(arguments.out, "fleet", result, device=device)
    if "bars" not in result:
        return 0
    print(show(result))
    return 0 if arguments.quick or all(bar["is_met"] for bar in result["bars"].values()) else 1


# -------------------------------------------------------------------------------------------------------- the cameras


@dataclass(frozen=True, slots=True)
class Bench:
    """The cameras of all rows, as a file with a section for each."""

    folder: Path
    text: str
    names: tuple[str, ...]
    num_workers: int
    num_teachers: int
    budget: float
    setup: dict[str, Any]

    def write(self, row: str, *, calls_per_s: float = 0.0) -> Path:
        """The file of one row."""
        path = self.folder / f"{row}.toml"
        path.write_text(self.text.replace("CALLS", str(calls_per_s)), encoding="utf-8")
        return path


def prepare(folder: Path, arguments: Namespace) -> Bench:
    """Frames and labels on disk, and the teacher's environment."""
    rows = record.read(record.RESULTS, "evaluation")["rows"]
    teacher_ms = next(row["teacher_ms_p50"] for row in rows if (row["source"], row["method"]) == ("vtest", "hold-8"))
    num = -(-arguments.cameras // len(CLIPS))
    text = (
        f'[fleet]\nteacher = "kept_teacher:label"\nclasses = "{CLASSES}"\ncalls_per_s = CALLS\ncheckpoint_every = 8\n'
    )
    names = []
    for clip, (file, size_wh) in CLIPS.items():
        labels = arguments.cache / clip
        if not (labels / CLASSES_FILE).exists():
            raise SourceError(f"{labels}: no labels; make them with python benchmarks/evaluation.py")
        available = len(list(labels.glob("*.png")))
        firsts = [ix * (available - arguments.frames) // max(1, num - 1) for ix in range(num)]
        wanted = {first + ix for first in firsts for ix in range(arguments.frames)}
        cut(record.data() / "clips" / file, labels, folder / clip, folder / "kept", size_wh, wanted)
        for ix, first in enumerate(firsts):
            name = f"{clip}-{ix:02}"
            link(folder / clip, folder / "cameras" / name, first, arguments.frames)
            names.append(name)
            where = folder / "cameras" / name
            text += (
                f'[camera.{name}]\nsource = "{where / "frames"}"\nscore_every = 1\nscore_with = "{where / "labels"}"\n'
            )
    busy_s = getattr(arguments, "teacher_busy_s", 0.01 if arguments.quick else teacher_ms / 1e3)
    kept = {"folder": str(folder / "kept"), "busy_s": busy_s}
    (folder / "kept.json").write_text(json.dumps(kept), encoding="utf-8")
    os.environ["NARROWCAST_KEPT"] = str(folder / "kept.json")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(record.HERE), os.environ.get("PYTHONPATH", "")])
    os.environ["OMP_NUM_THREADS"] = "1"  # of the actors
    wants_per_s = len(names) * 25 / 8
    setup = {
        "cameras": len(names),
        "frames": arguments.frames,
        "workers": arguments.workers,
        "teachers": arguments.teachers,
        "teacher_busy_ms": kept["busy_s"] * 1e3,
        "calls_per_s": BUDGET_SHARE * wants_per_s,
        "kill_every_s": arguments.kill_every,
        "classes": CLASSES,
    }
    return Bench(folder, text, tuple(names), arguments.workers, arguments.teachers, BUDGET_SHARE * wants_per_s, setup)


def cut(video: Path, labels: Path, out: Path, kept: Path, size_wh: tuple[int, int], wanted: set[int]) -> None:
    """The wanted frames at the student's size as a PNG, its labels beside it, and again under the frame's key."""
    for path in (out / "frames", out / "labels", kept):
        path.mkdir(parents=True, exist_ok=True)
    (out / "labels" / CLASSES_FILE).write_text((labels / CLASSES_FILE).read_text(encoding="utf-8"), encoding="utf-8")
    with open_source(video) as source:
        for frame in source:
            if frame.index not in wanted:
                continue
            small = cv2.resize(frame.image_rgb, size_wh, interpolation=cv2.INTER_AREA)
            truth = cv2.imread(str(labels / f"{frame.index:08}.png"), cv2.IMREAD_UNCHANGED)
            truth = palette_indices(labels / f"{frame.index:08}.png") if truth is None or truth.ndim == 3 else truth
            truth = cv2.resize(truth, size_wh, interpolation=cv2.INTER_NEAREST)
            name = f"{frame.index:08}.png"
            cv2.imwrite(str(out / "frames" / name), small[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
            cv2.imwrite(str(out / "labels" / name), truth)
            target = kept / f"{kept_teacher.key_of(small)}.png"
            if not target.exists():
                target.symlink_to(out / "labels" / name)


def palette_indices(path: Path) -> Any:
    """The indices of a palette PNG, which OpenCV would turn into colours."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image)


def link(clip: Path, camera: Path, first: int, num: int) -> None:
    """A camera's frames and labels, numbered from 0."""
    for kind in ("frames", "labels"):
        (camera / kind).mkdir(parents=True)
        for ix in range(num):
            (camera / kind / f"{ix:08}.png").symlink_to(clip / kind / f"{first + ix:08}.png")
    (camera / "labels" / CLASSES_FILE).symlink_to(clip / "labels" / CLASSES_FILE)


# ----------------------------------------------------------------------------------------------------------- the rows


def one_after_another(bench: Bench) -> dict[str, Any]:
    """Each camera alone, in this process, to its end before the next."""
    out = bench.folder / "alone"
    return in_turn(bench.write("alone"), out, bench.names) | accuracy(out, bench) | counts(out, bench)


def split(bench: Bench) -> dict[str, Any]:
    """The cameras dealt to as many processes as there are workers; each has its own one after another."""
    path, out, num = bench.write("split"), bench.folder / "split", bench.num_workers
    with ProcessPoolExecutor(num, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = list(pool.map(in_turn, [path] * num, [out] * num, [bench.names[ix::num] for ix in range(num)]))
    cost = {"wall_s": max(part["wall_s"] for part in parts), "cpu_s": sum(part["cpu_s"] for part in parts)}
    return cost | accuracy(out, bench) | counts(out, bench)


def in_turn(path: Path, out: Path, names: Sequence[str]) -> dict[str, float]:
    """Run those cameras of a fleet in this process, one after another; what that takes, imports apart."""
    whole = read_fleet(path)
    began, cpu = time.perf_counter(), time.process_time()
    for camera in whole.cameras:
        if camera.name not in names:
            continue
        host = OneProcess(Fleet(whole.config, (camera,), whole.distill), out)
        while not all(state.has_ended for state in host.keep([[camera]], {})[0] or []):
            time.sleep(0.02)
    return {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}


def fleet(bench: Bench, row: str, *, calls_per_s: float = 0.0, kill_every_s: float | None = None) -> dict[str, Any]:
    """All cameras at once, on Ray."""
    out, path = bench.folder / row, bench.write(row, calls_per_s=calls_per_s)
    meter, began = CpuMeter(), time.perf_counter()
    with on_ray(read_fleet(path), out, num_workers=bench.num_workers, num_teachers=bench.num_teachers) as workers:
        start = {"start_wall_s": time.perf_counter() - began, "start_cpu_s": meter.total()}
        kinds = meter.by_kind()
        began = time.perf_counter()
        kill = Killer(workers, kill_every_s) if kill_every_s else None
        needs: dict[str, list[float]] = {}
        shares: dict[str, float] = {}
        for report in watched(run_fleet(path, out, lambda _: workers, tick_s=0.5), meter):
            divide(report, needs, shares)
            if kill is not None:
                kill.now_and_then()
        cost = {"wall_s": time.perf_counter() - began, "cpu_s": meter.total() - start["start_cpu_s"]}
        found = start | cost | accuracy(out, bench) | counts(out, bench)
        found["batches"] = batches(workers)
        found["cpu_s_of"] = {kind: seconds - kinds.get(kind, 0.0) for kind, seconds in meter.by_kind().items()}
    if calls_per_s:
        found |= fair(report, needs, shares)
    if kill is not None:
        events = [json.loads(line) for line in (out / EVENTS).read_text(encoding="utf-8").splitlines()]
        resumed = [event for event in events if event["kind"] == "camera resumed"]
        found |= {"kills": kill.kills, "resumed": len(resumed)}
    return found


def lost_node(bench: Bench) -> dict[str, Any]:
    """All cameras on a Ray of two nodes, of which one is killed when a third of the frames are done."""
    draw_token()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    out, path = bench.folder / "node", bench.write("node")
    room = {"num_cpus": (bench.num_workers + bench.num_teachers) // 2, "object_store_memory": STORE_BYTES}
    meter, killed_at = CpuMeter(), None
    cluster = Cluster(initialize_head=True, head_node_args=room | {"include_dashboard": False})
    try:
        second = cluster.add_node(**room)
        cluster.wait_for_nodes()
        opened = on_ray(
            read_fleet(path),
            out,
            num_workers=bench.num_workers,
            num_teachers=bench.num_teachers,
            address=cluster.address,
        )
        with opened as workers:
            start_cpu_s, began = meter.total(), time.perf_counter()
            for report in watched(run_fleet(path, out, lambda _: workers, tick_s=0.5), meter):
                done = sum(camera.frames for camera in report.cameras)
                if killed_at is None and done >= len(bench.names) * bench.setup["frames"] / 3:
                    cluster.remove_node(second, allow_graceful=False)
                    killed_at = time.time()
            cost = {"wall_s": time.perf_counter() - began, "cpu_s": meter.total() - start_cpu_s}
    finally:
        cluster.shutdown()
    events = [json.loads(line) for line in (out / EVENTS).read_text(encoding="utf-8").splitlines()]
    moved = [event["time"] for event in events if event["kind"] == "camera moved"]
    found = {"start_cpu_s": start_cpu_s} | cost | accuracy(out, bench) | counts(out, bench)
    assert killed_at is not None
    return found | {"moved": len(moved), "moved_after_s": max(moved) - killed_at if moved else None}


def watched(reports: Iterator[FleetReport], meter: "CpuMeter") -> Iterator[FleetReport]:
    """The reports, the meter read at each."""
    for report in reports:
        meter.total()
        yield report


def divide(report: FleetReport, needs: dict[str, list[float]], shares: dict[str, float]) -> None:
    """Take down each camera's need, and what it is entitled to until the next report."""
    for camera in report.cameras:
        if camera.status == "running":
            needs.setdefault(camera.name, []).append(weight_of(camera.need()))
        if camera.rate is not None and camera.status == "running":
            shares[camera.name] = max(shares.get(camera.name, 0.0), min(camera.rate, camera.wants_per_s or camera.rate))


def fair(report: FleetReport, needs: dict[str, list[float]], shares: dict[str, float]) -> dict[str, Any]:
    """How evenly the calls went, and whether they went where they were needed."""
    calls = {camera.name: float(camera.calls) for camera in report.cameras}
    refused = sum(camera.refused for camera in report.cameras)
    weights = [statistics.fmean(needs[name]) for name in calls]
    by_need = [calls[name] / weight for name, weight in zip(calls, weights, strict=True)]
    half = statistics.median(weights)
    more = [calls[name] for name, weight in zip(calls, weights, strict=True) if weight > half]
    less = [calls[name] for name, weight in zip(calls, weights, strict=True) if weight <= half]
    return {
        "frames_refused": refused,
        "fairness_of_calls": fairness(list(calls.values())),
        "fairness_of_calls_by_need": fairness(by_need),
        "least_calls": min(calls.values()),
        "most_calls": max(calls.values()),
        "calls_of_the_needier_half": statistics.fmean(more) if more else None,
        "calls_of_the_other_half": statistics.fmean(less) if less else None,
    }


def accuracy(out: Path, bench: Bench) -> dict[str, Any]:
    """Mean IoU of predictions on all frames, of each camera."""
    found = {}
    for name in bench.names:
        summary = json.loads((out / CAMERAS / name / "summary.json").read_text(encoding="utf-8"))
        found[name] = summary["miou_pooled"]
    return {"miou": found, "miou_mean": statistics.fmean(found.values())}


def counts(out: Path, bench: Bench) -> dict[str, Any]:
    """Frames that are there once, teacher calls and updates of all cameras."""
    frames = calls = updates = missing = 0
    for name in bench.names:
        reports = list(read_reports(out / CAMERAS / name))
        frames += len(reports)
        missing += [report["frame"] for report in reports] != list(range(bench.setup["frames"]))
        calls += sum(report["teacher_ran"] for report in reports)
        updates += sum(report["updates"] for report in reports)
    return {"frames": frames, "cameras_with_missing_frames": missing, "teacher_calls": calls, "updates": updates}


def batches(workers: RayWorkers) -> dict[str, int]:
    """How many requests the teachers answered at once."""
    import ray

    found: dict[str, int] = {}
    for one in ray.get([teacher.batches.remote() for teacher in workers.teachers]):
        for size, number in one.items():
            found[str(size)] = found.get(str(size), 0) + number
    return dict(sorted(found.items(), key=lambda pair: int(pair[0])))


class CpuMeter:
    """Seconds of processors of this process and all below it, of dead ones what was seen last."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}
        self._kinds: dict[int, str] = {}
        self._first = self._read()

    def total(self) -> float:
        """Since the meter was made."""
        return self._read() - self._first

    def by_kind(self) -> dict[str, float]:
        """Seconds of each kind of process, since they began; those of this one since it began."""
        self._read()
        found: dict[str, float] = {}
        for process, seconds in self._seen.items():
            kind = self._kinds[process]
            found[kind] = found.get(kind, 0.0) + seconds
        return found

    def _read(self) -> float:
        own = psutil.Process()
        for process in [own, *own.children(recursive=True)]:
            try:
                times = process.cpu_times()
                is_own = process.pid == own.pid
                kind = "this process" if is_own else Path(process.cmdline()[0].split()[0]).name
            except (psutil.NoSuchProcess, IndexError):
                continue
            if kind.startswith("python"):
                kind = next((Path(word).name for word in process.cmdline() if word.endswith(".py")), kind)
            self._seen[process.pid], self._kinds[process.pid] = times.user + times.system, kind
        return sum(self._seen.values())


class Killer:
    """Kills an actor now and then, a worker or a teacher in turn."""

    def __init__(self, workers: RayWorkers, every_s: float) -> None:
        self._workers, self._every_s, self._next = workers, every_s, time.monotonic() + every_s / 2
        self._rng = random.Random(0)
        self._turn: Iterator[str] = itertools.cycle(["HostActor", "TeacherActor"])
        self.kills: list[str] = []

    def now_and_then(self) -> None:
        """Kill one, where it is time."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._every_s
        kind = next(self._turn)
        processes = [
            process
            for process in psutil.Process().children(recursive=True)
            if f"ray::{kind}" in " ".join(name(process))
        ]
        if processes:
            os.kill(self._rng.choice(processes).pid, signal.SIGKILL)
            self.kills.append(kind)


def name(process: psutil.Process) -> list[str]:
    """The command line of a process that may be gone."""
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


# ------------------------------------------------------------------------------------------------------------- verdict


def verdict(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Ratios within this run, and the bars."""
    alone, together = rows["alone"], rows["plain"]
    below = {key: 100 * (alone["miou_mean"] - row["miou_mean"]) for key, row in rows.items() if row is not alone}
    measured = {
        "cost_ratio": together["cpu_s"] / alone["cpu_s"],
        "cost_ratio_with_start": (together["cpu_s"] + together["start_cpu_s"]) / alone["cpu_s"],
        "cost_ratio_of_split": rows["split"]["cpu_s"] / alone["cpu_s"] if "split" in rows else None,
        "wall_ratio": together["wall_s"] / alone["wall_s"],
        "miou_points_below": max(0.0, below["plain"]),
    }
    bars = {key: {"bar": bar, "measured": measured[key], "is_met": measured[key] <= bar} for key, bar in BARS.items()}
    for name, title in (("killed", "actors die"), ("node", "a node dies")):
        if name in rows:
            lost = rows[name]["cameras_with_missing_frames"]
            bars[f"cameras with lost frames when {title}"] = {"bar": 0, "measured": lost, "is_met": lost == 0}
    return {"ratios": measured, "points_below": below, "bars": bars}


def show(result: dict[str, Any]) -> str:
    """The rows as a table."""
    head = ["", "CPU s", "wall s", "teacher calls", "updates", "mean IoU", "frames"]
    keys: list[Callable[[dict[str, Any]], Any]] = [
        lambda row: row["cpu_s"],
        lambda row: row["wall_s"],
        lambda row: row["teacher_calls"],
        lambda row: row["updates"],
        lambda row: row["miou_mean"],
        lambda row: row["frames"],
    ]
    rows = [[name, *(key(row) for key in keys)] for name, row in result["rows"].items()]
    bars = [[name, *bar.values()] for name, bar in result["bars"].items()]
    return record.table(head, rows) + "\n\n" + record.table(["", "bar", "measured", "met"], bars)


if __name__ == "__main__":
    record.main(main)
