"""Does a student recalled from the zoo begin better than one that starts over? The same places, earlier and later.

Each stream is cut in half. A student adapts to the earlier half and is left in a zoo with those of all other streams;
on the later half one starts over, one is recalled by the first frame, and one is the most alike of *another* place
(what a wrong recall would cost). Students learn on from there, as streams do. Predictions are scored on every frame of
the later half against the teacher's labels (CamVid: people's), first its beginning, then all of it. Draws differ in the
seed and in the frame that the later half begins with.
"""

import statistics
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch

from narrowcast.core.files import write_json
from narrowcast.core.frames import Frame
from narrowcast.core.runtime import seed_everything
from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.models.backbones import load_backbone
from narrowcast.models.classes import ClassMap, SelectedTeacher, parse_classes
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.pretrained import student_called
from narrowcast.models.student import save_student
from narrowcast.models.teacher import Teacher
from narrowcast.stream.clips import Clip, ShiftedTeacher
from narrowcast.stream.data_sets import open_clips
from narrowcast.stream.distill import DistillConfig, Distiller, score_labels
from narrowcast.stream.student_zoo import LEAST_ALIKE, Noticing, Recalled, StudentZoo

CLASSES, DRAWS = "person,car+bus=auto", 5
STARTS = ("anew", "recalled", "of another place")


@dataclass(frozen=True, slots=True)
class Place:
    """A stream in two halves.

    Attributes:
        half: the first frame of the later one; each draw begins `step` frames further.
        later: frames of the later one that are streamed.
        beginning: of these, the first that are scored apart.
    """

    clip: Clip
    teacher: Teacher
    class_map: ClassMap
    size_wh: tuple[int, int]
    half: int
    step: int
    later: int
    beginning: int

    def frames(self, first: int, num: int) -> Iterator[Frame]:
        """`num` frames from `first` on, counted from 0."""
        with self.clip.open(phase=first, max_frames=first + num) as source:
            yield from source

    def teacher_from(self, first: int) -> Teacher:
        """The teacher of these frames."""
        return ShiftedTeacher(SelectedTeacher(self.teacher, self.class_map), first)


def main() -> int:
    """Stream every half with every start, and write the result; goes on with what is there."""
    options = record.parser(__doc__, threads=1)
    options.add_argument("--cache", type=Path, default=record.REPOSITORY / "build" / "benchmark-labels")
    options.add_argument("--work", type=Path, help="keep what is made here, and take what is there already")
    arguments = options.parse_args()
    device = record.prepare(arguments)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        kept = record.read(work, "recall").get("rows", [])
        found = places(arguments.cache, work, device, is_quick=arguments.quick)
        for draw in range(1 if arguments.quick else DRAWS):
            zoo = StudentZoo(work / f"zoo-{draw}", lambda: load_backbone(device=device))
            for place in found:
                if not (zoo.folder / place.clip.name / "entry.json").exists():
                    adapt(place, zoo, draw, device)
            for place in found:
                for start in STARTS:
                    key = (place.clip.name, draw, start)
                    row = next((r for r in kept if (r["stream"], r["draw"], r["start"]) == key), None)
                    rows.append(row or again(place, zoo, draw, start, device))
                    write_json(work / "recall.json", {"rows": rows})
    result = {"setup": setup(found), "rows": rows, "streams": by_stream(rows)}
    record.write(arguments.out, "recall", result, device=device)
    head = ["stream", "start", "beginning", "all", "teacher calls", "updates", "alike"]
    keys = ["miou_beginning", "miou", "teacher_calls", "updates", "alike"]
    lines = [
        [name, start, *(row[key] for key in keys)]
        for name, starts in result["streams"].items()
        for start, row in starts.items()
    ]
    print(record.table(head, lines))
    return 0


def places(cache: Path, work: Path, device: torch.device, *, is_quick: bool) -> list[Place]:
    """Two fixed cameras, and two drives."""
    found = []
    clips = record.data() / "clips"
    for name, file, size_wh, half in (
        ("vtest", "vtest.avi", (384, 288), 400),
        ("one-by-one", "one-by-one-person-detection.mp4", (384, 216), 700),
    ):
        teacher = load_teacher(str(cache / name), device=device, num_threads=1)
        class_map = parse_classes(CLASSES, teacher.classes)
        found.append(Place(Clip(name, str(clips / file)), teacher, class_map, size_wh, half, 60, 150, 30))
    if not (work / "camvid").exists():
        with tarfile.open(record.data() / "camvid.tar") as archive:
            archive.extractall(work, filter="data")
    for clip in open_clips([f"camvid:{work / 'camvid'}"]):
        assert clip.truth is not None
        half, step = (85, 10) if clip.name == "Seq05VD" else (62, 5)
        class_map = parse_classes("all", clip.truth.classes)
        found.append(Place(clip, clip.truth, class_map, (384, 288), half, step, 40, 10))
    if is_quick:
        return [Place(place.clip, place.teacher, place.class_map, place.size_wh, 20, 1, 12, 4) for place in found]
    return found


def adapt(place: Place, zoo: StudentZoo, draw: int, device: torch.device) -> None:
    """Stream the earlier half, and leave the student in the zoo, as a camera of a fleet does."""
    seed_everything(draw)
    noticing = Noticing(place.teacher_from(0))
    student = student_called("pretrained", place.class_map)
    distiller = Distiller(student, noticing, DistillConfig(seed=draw), size_wh=place.size_wh, device=device)
    for frame in place.frames(0, place.half):
        distiller.step(frame)
    path = zoo.folder / "student.safetensors"
    save_student(path, student, place.class_map.classes, meta={})
    signature = zoo.signature(noticing.images)
    zoo.add(place.clip.name, path, signature, place.class_map.classes, {}, accuracy=None)


def again(place: Place, zoo: StudentZoo, draw: int, start: str, device: torch.device) -> dict[str, Any]:
    """Stream the later half with one start."""
    first = place.half + draw * place.step
    seed_everything(draw)
    chosen = recalled(place, zoo, first, start)
    spec = "pretrained" if chosen is None else str(chosen.path)
    teacher = place.teacher_from(first)
    config = DistillConfig(seed=draw)
    student = student_called(spec, place.class_map)
    distiller = Distiller(student, teacher, config, size_wh=place.size_wh, device=device)
    beginning, whole = (SegmentationScore(place.class_map.classes) for _ in range(2))
    calls = updates = frames = 0
    for frame in place.frames(first, place.later):
        report = distiller.step(frame)
        labels = score_labels(report, teacher(frame.image_rgb, frame_index=frame.index).labels)
        for score in (beginning, whole)[frames >= place.beginning :]:
            score.add(report.prediction, labels)
        calls, updates, frames = calls + report.teacher_ran, updates + report.updates, frames + 1
    return {
        "stream": place.clip.name,
        "draw": draw,
        "start": start,
        "student": "pretrained" if chosen is None else chosen.entry.name,
        "alike": None if chosen is None else chosen.alike,
        "frames": frames,
        "miou_beginning": beginning.pooled,
        "miou": whole.pooled,
        "teacher_calls": calls,
        "updates": updates,
    }


def recalled(place: Place, zoo: StudentZoo, first: int, start: str) -> Recalled | None:
    """What the later half begins with; None: nothing of the zoo."""
    if start == "anew":
        return None
    signature = zoo.signature([frame.image_rgb for frame in place.frames(first, 1)])
    if start == "recalled":
        return zoo.recall(signature, place.class_map.classes, {})
    others = [
        Recalled(entry, path, float(signature @ np.array(entry.signature, np.float32)))
        for entry, path in zoo.entries()
        if entry.name != place.clip.name and entry.fits(place.class_map.classes, {})
    ]
    return max(others, key=lambda one: one.alike)


def by_stream(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Means over draws, and how much better each start is than beginning anew, in pairs."""
    found: dict[str, dict[str, Any]] = {}
    keys = ("miou_beginning", "miou", "teacher_calls", "updates")
    for name in dict.fromkeys(row["stream"] for row in rows):
        found[name] = {}
        for start in STARTS:
            own, anew = (
                sorted((r for r in rows if (r["stream"], r["start"]) == (name, one)), key=lambda r: r["draw"])
                for one in (start, "anew")
            )
            pairs = list(zip(own, anew, strict=True))
            paired = {f"{key}_less_anew": _less(pairs, key) for key in keys}
            means = {key: _mean([row[key] for row in own if row["draw"] in scored(rows, name, key)]) for key in keys}
            alike = [row["alike"] for row in own if row["alike"] is not None]
            found[name][start] = {
                **means,
                **paired,
                "draws": len(own),
                "draws_scored_at_the_beginning": len(scored(rows, name, "miou_beginning")),
                "students": [row["student"] for row in own],
                "alike": statistics.fmean(alike) if alike else None,
            }
    return found


def scored(rows: list[dict[str, Any]], name: str, key: str) -> set[int]:
    """Draws in which every start has this score: where nothing is there and nothing is seen there is none."""
    own = [row for row in rows if row["stream"] == name]
    return {row["draw"] for row in own} - {row["draw"] for row in own if row[key] is None}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _less(pairs: list[tuple[dict[str, Any], dict[str, Any]]], key: str) -> list[float] | None:
    """The mean difference of pairs, and its standard error."""
    values = [own[key] - anew[key] for own, anew in pairs if None not in (own[key], anew[key])]
    if not values:
        return None
    return [statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0]


def setup(found: list[Place]) -> dict[str, Any]:
    """What was run."""
    names = ("size_wh", "half", "step", "later", "beginning")
    streams = {place.clip.name: {name: getattr(place, name) for name in names} for place in found}
    return {"draws": DRAWS, "least_alike": LEAST_ALIKE, "classes": CLASSES, "streams": streams}


if __name__ == "__main__":
    record.main(main)
