"""The loop on two clips: hard frames, labelled, make a student better, or not; beside random frames.

The first half of a clip is streamed with a weak teacher. A better one, held back, answers in a person's place.
Students are compared on frames of the second half, which nothing has learned; both only infer. `recipes/loop.sh` does
the same, a command a step. Random frames of the same stretch, as many, are the control of each way of picking.

"Judged" frames are learned from proposals (`fleet.proposals`) that a person would call right or wrong with one key:
here those are right whose mean IoU with the better teacher's labels is at least `LEAST`. Beside them the same frames
with what the stream's own teacher proposed, unjudged. "Teacher" rows teach the head of the embedded teacher the labels
of the better one, on the frames that the reasons picked in turns.
"""

import shutil
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import record
import torch

from narrowcast.core.config import to_dict
from narrowcast.core.files import write_json
from narrowcast.core.runs import RunFolder
from narrowcast.fleet import picking, proposals, retraining
from narrowcast.fleet.picking import Picked, Ranked
from narrowcast.fleet.proposals import Drawn, Verdict
from narrowcast.fleet.retraining import RetrainConfig
from narrowcast.fleet.teacher_head import compare_teachers, retrain_head
from narrowcast.models.classes import SelectedTeacher, parse_classes
from narrowcast.models.embedded import EmbeddedTeacher
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.pretrained import student_called
from narrowcast.models.taxonomy import VOC
from narrowcast.stream.apply import load_adapted
from narrowcast.stream.distill import LEARNING
from narrowcast.stream.run import RunConfig, run_stream
from narrowcast.video.source import open_source

CLASSES, NUM_ASIDE, APART = "person,car+bus=auto", 40, 8
SHEET_COLUMNS, TILE = 6, (192, 144)
SEEDS, DRAWS = 3, 5
HEAD_LABELS = 8
LEAST = 0.7  # set after a look at the proposals of the first halves: the best on vtest has 0.80, the median 0.71
Way = Callable[[Ranked, int], list[Picked]]
WAYS: dict[str, Way] = {
    "reasons in turns": lambda found, num: picking.in_turns(found, num=num, apart=APART),
    "spread over time": lambda found, num: spread(found, num),
    "effort alone": lambda found, num: picking.in_turns({"effort": found["effort"]}, num=num, apart=APART),
    "dispute alone": lambda found, num: picking.in_turns({"dispute": found["dispute"]}, num=num, apart=APART),
}


@dataclass(frozen=True, slots=True)
class Stretch:
    """A clip in two halves.

    Attributes:
        every: frames between those of the second half that are set aside.
        asked: how many labels are asked for.
        judged: of how many frames at most the proposals are judged.
    """

    name: str
    file: str
    size_wh: tuple[int, int]
    half: int
    every: int
    asked: tuple[int, ...]
    judged: tuple[int, ...]


STRETCHES = (
    Stretch("vtest", "vtest.avi", (384, 288), 400, 10, (8, 24), (24,)),
    Stretch("one-by-one", "one-by-one-person-detection.mp4", (384, 216), 700, 17, (8,), (24,)),
)


def main() -> int:
    """Run the loop for each clip, number of labels, way of picking and seed; write the result."""
    options = record.parser(__doc__, threads=1)
    options.add_argument("--cache", type=Path, default=record.REPOSITORY / "build" / "benchmark-labels")
    options.add_argument("--work", type=Path, help="keep what is made here, and take what is there already")
    arguments = options.parse_args()
    device = record.prepare(arguments)
    clips, passes = {}, 1 if arguments.quick else RetrainConfig().passes
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        for stretch in STRETCHES[:1] if arguments.quick else STRETCHES:
            clips[stretch.name] = Loop(stretch, work / stretch.name, arguments.cache, device, passes).measure(
                half=60 if arguments.quick else stretch.half
            )
    setup = {"teacher": "embedded", "person": "kept labels of deeplab-voc-tta", "classes": CLASSES}
    result = {"setup": setup | {"retrain": to_dict(RetrainConfig(passes=passes))}, "clips": clips}
    record.write(arguments.out, "loop", result, device=device)
    head = ["clip", "labels", "frames", "runs", "mIoU", "before"]
    lines = [
        [name, row["labels"], row["frames"], row["runs"], row["mean"], clip["before"]]
        for name, clip in clips.items()
        for row in clip["summary"]
    ]
    print(record.table(head, lines))
    return 0


class Loop:
    """All runs on one clip; what is there already in the folder `work` stays."""

    def __init__(self, stretch: Stretch, work: Path, cache: Path, device: torch.device, passes: int) -> None:
        self.stretch, self.work, self.device, self.passes = stretch, work, device, passes
        self.clip = str(record.data() / "clips" / stretch.file)
        self.person = load_teacher(str(cache / stretch.name), device=device, num_threads=1)
        self.class_map = parse_classes(CLASSES, self.person.classes)
        work.mkdir(parents=True, exist_ok=True)

    def measure(self, *, half: int) -> dict[str, Any]:
        """Stream, pick, label, retrain and compare."""
        run = self.stream(half)
        aside = self.work / "aside"
        if not aside.exists():
            picking.set_aside(self.clip, aside, first=half, every=self.stretch.every, num=NUM_ASIDE)
            retraining.label_frames(aside / "frames", aside / "labels", self.person, self.class_map)
        found = picking.candidates(run)
        rows = record.read(self.work, "rows").get("rows", [])
        chosen: dict[str, list[dict[str, Any]]] = {}
        for num in self.stretch.asked:
            sets = {name: way(found, num) for name, way in WAYS.items()}
            for name, picked in sets.items():
                chosen[f"{num} labels, {name}"] = [asdict(one) for one in picked]
                for seed in range(SEEDS if len(picked) == num else 0):  # fewer labels would be another question
                    self.add(rows, run, num, name, seed, {one.frame for one in picked})
            for draw in range(DRAWS):
                drawn = np.random.default_rng(draw).choice(half, num, replace=False)
                self.add(rows, run, num, "random", draw, {int(frame) for frame in drawn})
            self.sheet(sets["reasons in turns"], num)
        teacher = self.teacher({one.frame for one in WAYS["reasons in turns"](found, HEAD_LABELS)})
        judged = [self.judged(rows, run, picking.in_turns(found, num=num, apart=1)) for num in self.stretch.judged]
        candidates = {reason: len(own) for reason, own in found.items()}
        return {
            "half": half,
            "frames_aside": rows[0]["frames_aside"],
            "before": rows[0]["old"],
            "candidates": candidates,
            "picked": chosen,
            "judged": [one for several in judged for one in several],
            "teacher": teacher,
            "rows": rows,
            "summary": summary(rows),
        }

    def stream(self, half: int) -> Path:
        """The first half, streamed with the teacher that ships inside."""
        folder = self.work / "run"
        if (folder / "summary.json").exists():
            return folder
        expert = load_teacher("embedded", device=self.device, num_threads=1)
        class_map = parse_classes(CLASSES, expert.classes)
        config = RunConfig(
            source=self.clip,
            teacher="embedded",
            classes=CLASSES,
            size_wh=self.stretch.size_wh,
            outputs=("lessons",),
            distill=LEARNING,
        )
        about = {"config": to_dict(config), "classes": list(class_map.classes)}
        student = student_called("pretrained", class_map)
        with open_source(self.clip, max_frames=half) as source, RunFolder.open(folder, about, resume=False) as opened:
            teacher = SelectedTeacher(expert, class_map)
            for _ in run_stream(source, student, teacher, config=config, folder=opened, device=self.device):
                pass
        return folder

    def add(self, rows: list[dict[str, Any]], run: Path, num: int, name: str, seed: int, frames: set[int]) -> None:
        """Retrain on these frames, and compare on those set aside; a row that is there already stays."""
        key = {"labels": num, "frames": name, "seed": seed}
        if any(all(row[part] == value for part, value in key.items()) for row in rows):
            return
        folder = self.labelled(frames)
        own = self.work / f"{num}-{name}-{seed}".replace(" ", "-")
        (own / "frames").mkdir(parents=True, exist_ok=True)
        for frame in frames:
            (own / "frames" / f"{frame:08}.png").symlink_to((folder / "frames" / f"{frame:08}.png").absolute())
        self.learn(rows, run, key, own / "frames", folder / "labels")

    def learn(self, rows: list[dict[str, Any]], run: Path, key: dict[str, Any], frames: Path, labels: Path) -> None:
        """Retrain on those of the frames that have labels, and compare on those set aside."""
        new, aside = self.work / "new.safetensors", self.work / "aside"
        config = RetrainConfig(seed=key["seed"], passes=self.passes)
        how = {"size_wh": self.stretch.size_wh, "device": self.device}
        for _ in retraining.retrain(load_adapted(run), frames, labels, new, config=config, **how):
            pass
        found = retraining.compare(load_adapted(run), load_adapted(new), aside / "frames", aside / "labels", **how)
        rows.append(key | {"old": found.old, "new": found.new, "frames_aside": found.frames})
        write_json(self.work / "rows.json", {"rows": rows})

    def judged(self, rows: list[dict[str, Any]], run: Path, picked: list[Picked]) -> list[dict[str, Any]]:
        """Learn proposals that a rule calls right, and those of the stream's teacher unjudged; what judging came to."""
        out, told = self.work / f"judged-{len(picked)}", []
        if not out.exists():
            picking.write_frames(self.clip, out, {one.frame for one in picked})
            proposals.write_proposals(run, out, {one.frame for one in picked})
        frames = out / "frames"
        rated = list(proposals.rated(proposals.drawn_for(frames), frames, self.person, self.class_map))
        rules: dict[str, Callable[[Drawn, float], bool]] = {"unjudged": lambda one, iou: one.who == "teacher"}
        rules["judged"] = lambda one, iou: iou >= LEAST
        for name, is_right in rules.items():
            verdicts = {one.photo: Verdict(is_right(one, iou), ix) for ix, (one, iou) in enumerate(rated)}
            labels = out / f"labels {name}"
            shutil.rmtree(labels, ignore_errors=True)
            found = proposals.label_judged(proposals.drawn_for(frames), verdicts, labels)
            told.append({"name": name, "picked": len(picked)} | asdict(found))
            for seed in range(SEEDS):
                key = {"labels": found.frames, "frames": f"{name} ({len(picked)} picked)", "seed": seed}
                if not any(all(row[part] == value for part, value in key.items()) for row in rows):
                    self.learn(rows, run, key, frames, labels)
        return told

    def teacher(self, frames: set[int]) -> list[dict[str, Any]]:
        """The embedded teacher's head, taught these frames, on those set aside; a row that is there already stays."""
        folder, aside, new = self.labelled(frames), self.work / "aside", self.work / "teacher.safetensors"
        rows, own = record.read(self.work, "teacher").get("rows", []), self.work / "teacher-frames"
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        for frame in frames:
            (own / f"{frame:08}.png").symlink_to((folder / "frames" / f"{frame:08}.png").absolute())
        class_map = parse_classes(CLASSES, VOC)
        for seed in range(len(rows), SEEDS):
            config, labels = RetrainConfig(seed=seed, passes=self.passes), folder / "labels"
            for _ in retrain_head(None, own, labels, new, class_map, config=config, device=self.device):
                pass
            both = (EmbeddedTeacher(device=self.device, weights=weights) for weights in (None, new))
            found = compare_teachers(*both, aside / "frames", aside / "labels", class_map)
            rows.append({"labels": len(frames), "seed": seed, "old": found.old, "new": found.new})
            write_json(self.work / "teacher.json", {"rows": rows})
        return rows

    def labelled(self, frames: set[int]) -> Path:
        """A folder in which, with others, these frames and their labels are."""
        folder = self.work / "labelled"
        missing = {frame for frame in frames if not (folder / "frames" / f"{frame:08}.png").exists()}
        if missing:
            picking.write_frames(self.clip, folder, missing)
            retraining.label_frames(folder / "frames", folder / "labels", self.person, self.class_map)
        return folder

    def sheet(self, picked: list[Picked], num: int) -> None:
        """A contact sheet of picked frames, in the work folder: pictures of the data stay out of the repository."""
        tiles, folder = [], self.labelled({one.frame for one in picked})
        for one in picked:
            tile = cv2.resize(cv2.imread(str(folder / "frames" / f"{one.frame:08}.png")), TILE)
            cv2.putText(tile, f"{one.frame} {one.reason}", (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
            tiles.append(tile)
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % SHEET_COLUMNS)
        rows = [np.hstack(tiles[ix : ix + SHEET_COLUMNS]) for ix in range(0, len(tiles), SHEET_COLUMNS)]
        cv2.imwrite(str(self.work / f"contact-sheet-{num}.png"), np.vstack(rows))


def spread(found: Ranked, num: int) -> list[Picked]:
    """From each of `num` equal parts of the time the best, where it has any; what is missing then as `in_turns`."""
    every = list(picking.by_turns(found))
    if not every:
        return []
    first, last = min(one.frame for one in every), max(one.frame for one in every)
    length = (last - first + 1) / num
    best: dict[int, Picked] = {}
    for one in every:
        best.setdefault(int((one.frame - first) / length), one)
    chosen = list(best.values())
    for candidate in every:
        if len(chosen) >= num:
            break
        if all(abs(candidate.frame - other.frame) >= APART for other in chosen):
            chosen.append(candidate)
    return sorted(chosen, key=lambda one: one.frame)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each way's mean over seeds, with its standard error; random frames' over draws."""
    found: dict[tuple[int, str], list[float]] = {}
    for row in rows:
        found.setdefault((row["labels"], row["frames"]), []).append(row["new"])
    return [
        {
            "labels": num,
            "frames": name,
            "runs": len(values),
            "mean": statistics.fmean(values),
            "error": statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None,
            "each": values,
        }
        for (num, name), values in found.items()
    ]


if __name__ == "__main__":
    record.main(main)
