"""Ranking and indexing by one worker and by two: the same answer, how much sooner, and what Ray costs beside processes.

Every ratio is within one run. Engines are warm (processes are there and have imported torch) before a clock starts.
What one node's share of a hundred million photos takes is multiplied from that.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import record

from narrowcast.fleet.engines import Engine, in_turn, processes, ray_tasks
from narrowcast.fleet.indexing import reading_on_ray
from narrowcast.fleet.ranking import Best, rank
from narrowcast.fleet.ray_session import connected
from narrowcast.fleet.shards import ShardList, pool_shards
from narrowcast.mine.features import FeatureStore, VersionNote
from narrowcast.mine.indexing import index
from narrowcast.mine.linear import LinearModel
from narrowcast.mine.pool import Pool
from narrowcast.models.backbones import Backbone, load_backbone

DIM, SHARDS, TOP, REPEATS = 1280, 8, 1000, 3
WHOLE, NODES = 100_000_000, 16
OPENED: dict[str, Callable[[], AbstractContextManager[Engine]]] = {
    "this process": lambda: nullcontext(in_turn),
    "1 process": lambda: processes(1),
    "2 processes": lambda: processes(2),
    "1 worker of Ray": lambda: ray_tasks(1),
    "2 workers of Ray": lambda: ray_tasks(2),
}


def main() -> int:
    """Measure, write the result; 1 where an answer differs."""
    options = record.parser(__doc__, threads=1)
    options.add_argument("--rows", type=int, default=40_000, help="of a shard")
    options.add_argument("--images", type=Path, help="photos to index; without it that part is left out")
    options.add_argument("--photos", type=int, default=160)
    arguments = options.parse_args()
    device = record.prepare(arguments)
    if arguments.quick:
        arguments.rows, arguments.photos = 1000, 16
    result: dict[str, Any] = {"setup": {"shards": SHARDS, "rows": arguments.rows, "dim": DIM, "top": TOP}}
    with tempfile.TemporaryDirectory() as folder:
        result["ranking"] = ranking(Path(folder), arguments.rows)
        if arguments.images:
            result["indexing"] = indexing(Path(folder), arguments.images, arguments.photos)
    result["a node's share of 100 million"] = share(result["ranking"], arguments.rows)
    record.write(arguments.out, "scale", result, device=device)
    rows = [
        [name, row["wall_s"], row["beside_this_process"], row["is_the_same"]] for name, row in result["ranking"].items()
    ]
    print(record.table(["ranking", "s", "of this process's time", "same top, bit for bit"], rows))
    print(result.get("indexing"), result["a node's share of 100 million"])
    return 0 if all(row["is_the_same"] for row in result["ranking"].values()) else 1


def ranking(folder: Path, num_rows: int) -> dict[str, Any]:
    """The top of eight shards by every engine, in turns; the least time of each."""
    listed, model = drawn(folder, num_rows)
    found: dict[str, Any] = {}
    expected: Best | None = None
    for name, opened in OPENED.items():
        with opened() as engine:
            times = []
            for _ in range(REPEATS + 1):  # the first warms the engine, and the files
                began = time.perf_counter()
                *_, last = rank(listed, model, num=TOP, engine=engine)
                times.append(time.perf_counter() - began)
        expected = expected or last.best
        is_same = np.array_equal(expected.pool_ix, last.best.pool_ix) and np.array_equal(
            expected.scores.view(np.uint32), last.best.scores.view(np.uint32)
        )
        found[name] = {"wall_s": min(times[1:]), "first_s": times[0], "is_the_same": bool(is_same)}
    for row in found.values():
        row["beside_this_process"] = row["wall_s"] / found["this process"]["wall_s"]
    found["2 workers of Ray"]["beside_2_processes"] = (
        found["2 workers of Ray"]["wall_s"] / found["2 processes"]["wall_s"]
    )
    return found


def drawn(folder: Path, num_rows: int) -> tuple[ShardList, LinearModel]:
    """Eight shards of random rows, of which some are the same, so that there are ties; and a head."""
    rng = np.random.default_rng(0)
    pool = Pool.create(folder / "pool")
    store = FeatureStore.create(pool.path, VersionNote(name="random", key="random", dim=DIM))
    same = rng.standard_normal((50, DIM), dtype=np.float32)
    numbers = {"size_bytes": 1, "mtime_ns": 0, "offset": -1, "width": 8, "height": 8, "status": "ok", "reason": ""}
    for shard in range(SHARDS):
        rows = rng.standard_normal((num_rows, DIM), dtype=np.float32)
        rows[::40] = same[rng.integers(0, 50, len(rows[::40]))]
        store.write_shard(shard, rows)
        first = shard * num_rows
        pool.write_items(
            shard, [{"path": f"/{first + ix}", "item": f"{first + ix:032x}", **numbers} for ix in range(num_rows)]
        )
    pool.choose("random")
    return pool_shards(pool), LinearModel(5 * rng.standard_normal(DIM).astype(np.float32), -1.0)


def indexing(folder: Path, images: Path, num: int) -> dict[str, Any]:
    """Photos indexed by this process, one actor and two: twice, so that the difference has no start of Ray in it."""
    paths = sorted(path for path in images.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    backbone, found = load_backbone(), {}
    for name, workers in {"this process": 0, "1 actor": 1, "2 actors": 2}.items():
        times = []
        for times_as_many in (1, 3):
            listed = folder / f"photos-{workers}-{times_as_many}.txt"
            chosen = paths[: times_as_many * num]
            listed.write_text("\n".join(str(path.absolute()) for path in chosen), encoding="utf-8")
            times.append(indexed(folder / f"pool-{workers}-{times_as_many}", listed, backbone, workers))
        found[name] = {"photos_per_s": 2 * num / (times[1] - times[0]), "seconds": times}
    for row in found.values():
        row["beside_this_process"] = row["photos_per_s"] / found["this process"]["photos_per_s"]
    return found


def indexed(folder: Path, listed: Path, backbone: Backbone, workers: int) -> float:
    """Seconds that filling a pool takes, once Ray is there."""
    opened = reading_on_ray(backbone.name, num_workers=workers) if workers else nullcontext()
    with connected(num_cpus=workers + 1) if workers else nullcontext(), opened as read:
        began = time.perf_counter()
        for _ in index(Pool.create(folder), [listed], backbone, num_workers=1, read=read):
            pass
        return time.perf_counter() - began


def share(rows: dict[str, Any], num_rows: int) -> dict[str, Any]:
    """What 1/16 of a hundred million photos takes a core, from what a scan took here."""
    per_s = SHARDS * num_rows / rows["this process"]["wall_s"]
    own = WHOLE / NODES
    return {
        "nodes": NODES,
        "photos": own,
        "features_gb": own * DIM * 2 / 1e9,
        "photos_per_s_and_core": per_s,
        "seconds_on_one_core": own / per_s,
        "bytes_sent_home": TOP * 12,
    }


if __name__ == "__main__":
    record.main(main)
