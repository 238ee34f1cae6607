"""Do students that are put aside and recalled help a stream whose places come back? At equal settings, in pairs.

Drawn streams whose scenes come back, and two cameras in turns (a switch of inputs). Each is run by `learning` and by
the default, plain; with jumps of the picture seen alone (the teacher is asked at once, nothing is recalled: what that
is worth by itself); with recall, from an empty zoo; with recall that takes what is alike untried ("alike": a second
way); and with the zoo that a run over other pieces of the same cameras left ("zoo": two cameras only). Cost
is counted (short_streams.py), with what it takes to see which place it is. The second half, whose places were mostly
seen before, is scored apart.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
from short_streams import Count, Short, drawn, in_turns, parts_ms, piece

from narrowcast.core.files import write_json
from narrowcast.core.runtime import seed_everything
from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.models.backbones import load_backbone
from narrowcast.models.pretrained import student_called
from narrowcast.models.student import load_student
from narrowcast.stream.distill import METHODS, DistillConfig, Distiller
from narrowcast.stream.learner import Learner, LearnerConfig
from narrowcast.stream.recall import Recall, RecallConfig
from narrowcast.stream.student_zoo import STUDENT, StudentZoo
from narrowcast.video.drift import DriftConfig

ARMS, RUNS, SEEDS = ("plain", "jumps", "recall", "alike", "zoo"), ("learning", "default"), (0, 1, 2)
SIZE_WH, CAMERAS = (256, 144), "vtest, one-by-one"
CPU = torch.device("cpu")


def main() -> int:
    options = record.parser(__doc__, threads=1)
    options.add_argument("--cache", type=Path, default=record.REPOSITORY / "build" / "benchmark-labels")
    options.add_argument("--work", type=Path, default=record.REPOSITORY / "build" / "recurring")
    options.add_argument("--arms", default=",".join(ARMS))
    arguments = options.parse_args()
    device = record.prepare(arguments)
    rows = record.read(arguments.work, "recurring").get("rows", [])
    seeds = SEEDS[:1] if arguments.quick else SEEDS
    for seed in seeds:
        for short in streams(arguments.cache, seed, is_quick=arguments.quick):
            for method in RUNS:
                for arm in arguments.arms.split(","):
                    key = (short.name, seed, method, arm)
                    if (arm == "zoo" and short.name != CAMERAS) or (arm == "alike" and method == "default"):
                        continue
                    if any((row["stream"], row["seed"], row["method"], row["arm"]) == key for row in rows):
                        continue
                    row = dict(zip(("stream", "seed", "method", "arm"), key, strict=True))
                    rows.append(row | run(short, arguments.cache, *key[1:]))
                    write_json(arguments.work / "recurring.json", {"rows": rows})
                    row = rows[-1]
                    shown = {name: row[name] for name in ("miou", "miou_second_half", "teacher_fraction", "speedup")}
                    print(*key, {name: round(value, 3) for name, value in shown.items()}, row["recall"], flush=True)
    alone = record.read(arguments.work, "alone").get("rows", [])
    for seed in seeds[len({row["seed"] for row in alone}) :]:
        alone += students_alone(arguments.cache, seed, is_quick=arguments.quick)
        write_json(arguments.work / "alone.json", {"rows": alone})
        print(*alone[-2:], sep="\n", flush=True)
    each_ms = look_ms()
    rows = [with_looks(row, each_ms) for row in rows]
    result = {"setup": {"parts_ms": parts_ms(), "look_ms": each_ms, "size_wh": SIZE_WH}, "rows": rows}
    record.write(arguments.out, "recurring", result | {"means": means(rows), "alone": alone}, device=device)
    head = ["stream", "method", "arm", "mIoU", "less jumps", "second half", "less jumps", "teacher", "speedup"]
    keys = ("miou", "miou_less", "miou_second_half", "miou_second_half_less", "teacher_fraction", "speedup")
    print(record.table(head, [[*name.split("/"), *(one[key] for key in keys)] for name, one in means(rows).items()]))
    return 0


def streams(labels: Path, seed: int, *, is_quick: bool) -> Iterator[Short]:
    """Three kinds: two scenes in turns, more of them at random, two cameras in turns."""
    frames = 40 if is_quick else 360
    two = DriftConfig(frames=frames, size_wh=SIZE_WH, scenes=2, cut_every=60, returns=1.0, seed=50 + seed)
    yield drawn("two scenes", two)
    yield drawn("five scenes", replace(two, scenes=5, cut_every=40, returns=0.6, seed=60 + seed))
    each, length = (20, 10) if is_quick else (180, 60)
    yield two_cameras(labels, seed, each, length)


def two_cameras(labels: Path, seed: int, each: int, length: int, *, further: int = 0) -> Short:
    """Two cameras in turns, so many frames further on."""
    pieces = [
        piece("vtest", labels, 100 + 130 * seed + further, each),
        piece("one-by-one", labels, 300 + 300 * seed + further, each),
    ]
    return in_turns(CAMERAS, pieces, length)


def run(short: Short, cache: Path, seed: int, method: str, arm: str) -> dict[str, Any]:
    """One run, from a student that knows nothing of the stream, and but in "zoo" from an empty zoo."""
    config = replace(METHODS[method], seed=seed, sees_cuts=arm != "plain")
    count = Count(short)
    second = SegmentationScore(short.classes)
    cuts = [ix for ix in range(1, len(short.places)) if short.places[ix] != short.places[ix - 1]]
    with tempfile.TemporaryDirectory() as folder:
        if arm == "zoo":
            each = len(short.images) // 2
            other = two_cameras(cache, seed, each, len(short.images) // 6, further=each)
            distiller = distiller_of(other, config, recall_of(other, folder, "other"))
            for frame in other.frames():
                distiller.step(frame)
            assert distiller.recall is not None
            distiller.recall.leave(distiller.learner, distiller.worth)
        recall = recall_of(short, folder, "run") if arm in ("recall", "alike", "zoo") else None
        if recall is not None and arm == "alike":
            recall.is_better = lambda _present, _recalled: True
        distiller = distiller_of(short, config, recall)
        visits = []
        for frame in short.frames():
            report = distiller.step(frame)
            count.add(report)
            if frame.index >= len(short.images) // 2:
                truth = short.labels[frame.index]
                second.add(truth if report.teacher_ran else report.prediction, truth)
            if report.visit is not None:
                visits.append([frame.index, report.visit.place, report.visit.alike, report.visit.is_recalled])
        looks = 0 if recall is None else recall.num_looks
    summary = None if recall is None else recall.summary() | {"looks": looks}
    return count.row() | {"miou_second_half": second.pooled, "recall": summary, "visits": visits, "cuts": cuts}


def students_alone(cache: Path, seed: int, *, is_quick: bool) -> list[dict[str, Any]]:
    """What students are worth without a teacher, as `stream apply` uses them, on later frames of each camera.

    After a run of `learning` with recall over two cameras in turns: the student that shipped, the last one, and the one
    that the camera's place has in the zoo.
    """
    each, length = (20, 10) if is_quick else (180, 60)
    short, found = two_cameras(cache, seed, each, length), []
    with tempfile.TemporaryDirectory() as folder:
        recall = recall_of(short, folder, "run")
        distiller = distiller_of(short, replace(METHODS["learning"], seed=seed), recall)
        names: dict[int, list[str]] = {0: [], 1: []}
        for frame in short.frames():
            visit = distiller.step(frame).visit
            if visit is not None:
                names[short.places[frame.index]].append(visit.place)
        recall.leave(distiller.learner, distiller.worth)
        later = two_cameras(cache, seed, length, length, further=each)
        for place, camera in enumerate(CAMERAS.split(", ")):
            name = max(names[place], key=names[place].count)
            students = {
                "pretrained": student_called("pretrained", short.class_map),
                "last": distiller.learner.net,
                "of this place": load_student(Path(folder) / name / STUDENT)[0],
            }
            row: dict[str, Any] = {"camera": camera, "seed": seed}
            for kind, net in students.items():
                learner, score = Learner(net, LearnerConfig(), device=CPU), SegmentationScore(short.classes)
                for ix, image_rgb in enumerate(later.images):
                    if later.places[ix] == place:
                        score.add(learner.predict(image_rgb), later.labels[ix])
                row[kind] = score.pooled
            found.append(row)
    return found


def distiller_of(short: Short, config: DistillConfig, recall: Recall | None) -> Distiller:
    """With the student that ships."""
    seed_everything(config.seed)
    size_wh = (short.images[0].shape[1], short.images[0].shape[0])
    net = student_called("pretrained", short.class_map)
    return Distiller(net, short, config, size_wh=size_wh, device=CPU, recall=recall)


def recall_of(short: Short, folder: str, name: str) -> Recall:
    """With what is in the folder."""
    return Recall(RecallConfig(folder=folder), StudentZoo(Path(folder), backbone), short.classes, name=name)


@cache
def backbone() -> Any:
    return load_backbone(num_threads=1)


def with_looks(row: dict[str, Any], each_ms: float) -> dict[str, Any]:
    """A row whose cost has what it took to see which place it was."""
    looks_s = 0.0 if row["recall"] is None else row["recall"]["looks"] * each_ms / 1e3
    cost_s = row["cost_s"] + looks_s
    return row | {"cost_s": cost_s, "speedup": row["speedup"] * row["cost_s"] / cost_s}


def look_ms() -> float:
    """What it takes to see which place it is: the backbone on one frame."""
    zoo, image, times = StudentZoo(Path(), backbone), np.zeros((SIZE_WH[1], SIZE_WH[0], 3), np.uint8), []
    for _ in range(24):
        started = time.perf_counter()
        zoo.signature([image])
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times[1:])


def means(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """By stream, method and arm: means over seeds, and in pairs what is gained over jumps alone."""
    found = {}
    for row in rows:
        name = f"{row['stream']}/{row['method']}/{row['arm']}"
        if name in found:
            continue
        own = _same(rows, row["stream"], row["method"], row["arm"])
        jumps = _same(rows, row["stream"], row["method"], "jumps")
        one: dict[str, Any] = {"seeds": len(own)}
        for key in ("miou", "miou_second_half", "teacher_fraction", "speedup", "updates", "heard"):
            one[key] = statistics.fmean(each[key] for each in own.values())
            gains = [own[seed][key] - jumps[seed][key] for seed in own if seed in jumps]
            one[f"{key}_less"] = statistics.fmean(gains) if gains else None
            one[f"{key}_less_error"] = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else None
        found[name] = one
    return found


def _same(rows: Sequence[dict[str, Any]], stream: str, method: str, arm: str) -> dict[int, dict[str, Any]]:
    return {r["seed"]: r for r in rows if (r["stream"], r["method"], r["arm"]) == (stream, method, arm)}


if __name__ == "__main__":
    record.main(main)
