"""A fleet and an index by one worker and by two, on Ray and in plain processes: what two bring, and what Ray costs.

Every ratio is within one run, engines warm before a clock starts. The teacher's labels were made before and are only
read (benchmarks/fleet.py charges for them): what is measured is the work of the workers. Plain processes share nothing:
each has half of the cameras, or of the photos, and a pool of its own. Needs as many cores as workers.
"""

import tarfile
import tempfile
import time
from argparse import Namespace
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import record

import fleet as fleet_benchmark
from narrowcast.fleet.cameras import read_fleet
from narrowcast.fleet.engines import processes
from narrowcast.fleet.indexing import reading_on_ray
from narrowcast.fleet.on_ray import on_ray
from narrowcast.fleet.ray_session import connected
from narrowcast.fleet.run import OneProcess, run_fleet
from narrowcast.mine.indexing import index
from narrowcast.mine.pool import Pool
from narrowcast.models.backbones import Backbone, load_backbone

ROWS = ("1 process", "2 processes", "1 worker of Ray", "2 workers of Ray")
TICK_S = 0.1


def main() -> int:
    """Measure both, and write the result."""
    options = record.parser(__doc__, threads=1)
    options.add_argument("--cameras", type=int, default=8)
    options.add_argument("--frames", type=int, default=24, help="of each camera")
    options.add_argument("--photos", type=int, default=240)
    options.add_argument("--cache", type=Path, default=record.REPOSITORY / "build" / "benchmark-labels")
    options.add_argument("--parts", default="fleet,index", help="the other stays as it is")
    arguments = options.parse_args()
    device = record.prepare(arguments)
    if arguments.quick:
        arguments.cameras, arguments.frames, arguments.photos = 2, 4, 16
    result = record.read(arguments.out, "scaling")
    result.pop("environment", None)
    result["setup"] = {name: getattr(arguments, name) for name in ("cameras", "frames", "photos")}
    with tempfile.TemporaryDirectory() as folder:
        if "fleet" in arguments.parts:
            result["fleet"] = with_ratios(fleets(Path(folder), arguments))
            record.write(arguments.out, "scaling", result, device=device)
        if "index" in arguments.parts:
            result["index"] = with_ratios(indexes(Path(folder), arguments.photos))
    record.write(arguments.out, "scaling", result, device=device)
    for part in ("fleet", "index"):
        rows = [[name, row["wall_s"], row["beside_1_process"]] for name, row in result.get(part, {}).items()]
        print(record.table([part, "s", "of one process's time"], rows))
    return 0


def with_ratios(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every time over that of one plain process; those of Ray also over as many plain processes."""
    for name, row in rows.items():
        row["beside_1_process"] = row["wall_s"] / rows["1 process"]["wall_s"]
        if "Ray" in name:
            same = rows["1 process" if name.startswith("1") else "2 processes"]
            row["beside_processes"] = row["wall_s"] / same["wall_s"]
    return rows


# --------------------------------------------------------------------------------------------------------------- fleet


def fleets(folder: Path, arguments: Namespace) -> dict[str, dict[str, Any]]:
    """The same cameras by each."""
    values = {"workers": 2, "teachers": 1, "kill_every": 0.0, "teacher_busy_s": 0.0}
    bench = fleet_benchmark.prepare(folder, Namespace(**vars(arguments) | values))
    found = {}
    for name in ROWS:
        num = int(name[0])
        run = on_workers if "Ray" in name else in_processes
        wall_s = run(bench, folder / name.replace(" ", "-"), num)
        found[name] = {"wall_s": wall_s, "frames_per_s": arguments.cameras * arguments.frames / wall_s}
    return found


def on_workers(bench: fleet_benchmark.Bench, out: Path, num: int) -> float:
    """Seconds for all cameras on Ray, which everybody has joined and warmed up for."""
    path = bench.write(out.name)
    with on_ray(read_fleet(path), out, num_workers=num, num_teachers=1) as workers:
        warm = write_part(bench, out.with_suffix(".warm.toml"), bench.names[:num], max_frames=2)
        warm.write_text(warm.read_text(encoding="utf-8").replace("[camera.", "[camera.warm-"), encoding="utf-8")
        times = []
        for file in (warm, path):
            began = time.perf_counter()
            for _ in run_fleet(file, out, lambda _: workers, tick_s=TICK_S, resume=True):
                pass
            times.append(time.perf_counter() - began)
    return times[-1]


def in_processes(bench: fleet_benchmark.Bench, out: Path, num: int) -> float:
    """Seconds for all cameras, divided among processes that know nothing of each other."""
    with processes(num) as engine:
        times = []
        for kind, frames in (("warm", 2), ("all", 0)):
            parts = []
            for ix in range(num):
                path = out.with_name(f"{out.name}-{kind}-{ix}.toml")
                names = bench.names[ix::num][:1] if kind == "warm" else bench.names[ix::num]
                parts.append((str(write_part(bench, path, names, max_frames=frames)), str(path.with_suffix(""))))
            began = time.perf_counter()
            list(engine(run_part, parts))
            times.append(time.perf_counter() - began)
    return times[-1]


def run_part(part: tuple[str, str]) -> None:
    """The fleet of one process."""
    out = Path(part[1])
    for _ in run_fleet(Path(part[0]), out, lambda fleet: OneProcess(fleet, out), tick_s=TICK_S):
        pass


def write_part(bench: fleet_benchmark.Bench, path: Path, names: tuple[str, ...], *, max_frames: int) -> Path:
    """A file with some of the cameras."""
    head, *sections = bench.text.replace("CALLS", "0.0").split("[camera.")
    wanted = [section for section in sections if section.partition("]")[0] in names]
    text = head + "".join(f"[camera.{section}max_frames = {max_frames}\n" for section in wanted)
    path.write_text(text, encoding="utf-8")
    return path


# --------------------------------------------------------------------------------------------------------------- index


def indexes(folder: Path, num_photos: int) -> dict[str, dict[str, Any]]:
    """The same photos by each."""
    with tarfile.open(record.data() / "imagenet-sample.tar") as archive:
        members = [member for member in archive.getmembers() if member.isfile()][: num_photos + 2]
        archive.extractall(folder / "photos", members=members, filter="data")
    paths = sorted(str(path) for path in (folder / "photos").rglob("*") if path.is_file())
    warm, rest, found = paths[:2], paths[2:], {}
    for name in ROWS:
        num, where = int(name[0]), folder / f"pools-{name.replace(' ', '-')}"
        wall_s = indexed_on_ray(where, warm, rest, num) if "Ray" in name else indexed_apart(where, warm, rest, num)
        found[name] = {"wall_s": wall_s, "photos_per_s": len(rest) / wall_s}
    return found


def indexed_on_ray(where: Path, warm: list[str], rest: list[str], num: int) -> float:
    """Seconds, without those that Ray Data takes to start its actors: of two runs the difference, for all photos."""
    backbone, times = load_backbone(), []
    with connected(num_cpus=num + 1), reading_on_ray(backbone.name, num_workers=num) as read:
        few = rest[: len(rest) // 4]
        for kind, paths in (("warm", warm), ("few", few), ("all", rest)):
            listed = write_list(where.with_name(f"{where.name}-{kind}.txt"), paths)
            began = time.perf_counter()
            for _ in index(Pool.create(where.with_name(f"{where.name}-{kind}")), [listed], backbone, read=read):
                pass
            times.append(time.perf_counter() - began)
    return (times[2] - times[1]) * len(rest) / (len(rest) - len(few))


def indexed_apart(where: Path, warm: list[str], rest: list[str], num: int) -> float:
    """Seconds for all photos, divided among processes with pools of their own."""
    times = []
    with processes(num) if num > 1 else nullcontext(map) as engine:
        for kind, paths in (("warm", warm), ("all", rest)):
            parts = [
                (str(write_list(where.with_name(f"{where.name}-{kind}-{ix}.txt"), paths[ix::num])),)
                for ix in range(num)
            ]
            began = time.perf_counter()
            list(engine(index_part, parts))
            times.append(time.perf_counter() - began)
    return times[-1]


def index_part(part: tuple[str]) -> None:
    """The pool of one process."""
    listed = Path(part[0])
    for _ in index(Pool.create(listed.with_suffix("")), [listed], _backbone(), num_workers=1):
        pass


@cache
def _backbone() -> Backbone:
    return load_backbone()


def write_list(path: Path, paths: list[str]) -> Path:
    """A list of photos as `index` takes it."""
    path.write_text("\n".join(paths), encoding="utf-8")
    return path


if __name__ == "__main__":
    record.main(main)
