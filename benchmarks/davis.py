"""How well networks find the objects of ten DAVIS 2016 sequences, without having seen any of their frames.

A sequence's mask is the union of the VOC classes that its object is made of; J is over all frames but the first and the
last, as in the benchmark. Times are of whole calls: 8-bit image in, labels at the image's size out.
"""

import statistics
import tarfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, final

import cv2
import numpy as np
import record
import torch

from narrowcast.core.errors import ConfigError, SourceError, UsageError
from narrowcast.metrics.davis import region_similarity, sequence_score
from narrowcast.models.classes import SelectedTeacher, parse_classes
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.pretrained import STUDENT, load_shipped
from narrowcast.models.teacher import Teacher, TeacherLabels
from narrowcast.stream.learner import Learner, LearnerConfig, shrink
from narrowcast.stream.targets import resize_labels

OBJECTS = {
    "blackswan": "bird",
    "breakdance": "person",
    "car-roundabout": "car",
    "cows": "cow",
    "dog": "dog",
    "drift-straight": "car",
    "horsejump-high": "horse+person",
    "libby": "dog",
    "paragliding-launch": "person",
    "scooter-black": "motorbike+person",
}
LONGEST_SIDE = 640  # of the student
BARS = {"embedded": 0.48, "student": 0.25}  # mean J that they must reach
QUICK_FRAMES = 3


@final
class StudentAlone:
    """The shipped student, asked like a teacher."""

    def __init__(self, *, device: torch.device) -> None:
        net, self.classes = load_shipped(STUDENT)
        self._learner = Learner(net, LearnerConfig(), device=device)

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        height, width = image_rgb.shape[:2]
        factor = LONGEST_SIDE / max(height, width)
        labels = self._learner.predict(shrink(image_rgb, (round(width * factor), round(height * factor))))
        return TeacherLabels(resize_labels(labels, (width, height)))


@dataclass(slots=True)
class Score:
    """One network: J of each sequence, and what a frame takes."""

    sequences: dict[str, dict[str, float]] = field(default_factory=dict)
    times_ms: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "mean_j": round(statistics.fmean(entry["j"] for entry in self.sequences.values()), 4),
            "median_ms": round(statistics.median(self.times_ms), 2),
            "sequences": self.sequences,
        }


def main() -> int:
    parser = record.parser(__doc__)
    parser.add_argument("--archive", type=Path, help="default: davis2016.tar in the data folder")
    parser.add_argument("--networks", default="embedded,embedded-tta,student,deeplab-voc,deeplab-voc-half")
    parser.add_argument("--sequences", default=",".join(OBJECTS))
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    scores = run(arguments, device)
    result = {
        "protocol": "mean over sequences of mean J; union of classes; all frames but the first and the last",
        "quick": arguments.quick,
        "classes": {name: OBJECTS[name] for name in arguments.sequences.split(",")},
        "networks": {name: score.to_json() | {"bar": BARS.get(name)} for name, score in scores.items()},
    }
    print(show(result["networks"]))
    record.write(arguments.out, "davis2016", result, device=device)
    return 0 if arguments.quick or all(net["mean_j"] >= (net["bar"] or 0) for net in result["networks"].values()) else 1


def run(arguments: Namespace, device: torch.device) -> dict[str, Score]:
    """Score every network on every sequence, the networks in turns."""
    networks = {name: load(name, device, arguments.threads) for name in arguments.networks.split(",")}
    scores = {name: Score() for name in networks}
    with tarfile.open(arguments.archive or record.data() / "davis2016.tar") as archive:
        members = {PurePosixPath(member.name): member for member in archive if member.isfile()}

        def image(path: PurePosixPath, mode: int) -> np.ndarray:
            file = archive.extractfile(members[path])
            decoded = None if file is None else cv2.imdecode(np.frombuffer(file.read(), np.uint8), mode)
            if decoded is None:
                raise SourceError(f"{path}: cannot be decoded")
            return decoded

        for sequence in arguments.sequences.split(","):
            pairs = list(_pairs(members, sequence))
            pairs = pairs[:QUICK_FRAMES] if arguments.quick else pairs
            for name, network in networks.items():
                chosen = select(network, sequence)
                _score(scores[name], sequence, chosen, pairs, image)
    return scores


def load(name: str, device: torch.device, num_threads: int) -> Teacher:
    """`student`, a teacher's name, or a card of `recipes/teachers`."""
    if name == "student":
        return StudentAlone(device=device)
    spec = record.card(name) if name.startswith("deeplab-voc") else name
    return load_teacher(spec, device=device, num_threads=num_threads)


def select(network: Teacher, sequence: str) -> Teacher:
    """`network` with the sequence's object as its only class."""
    if sequence not in OBJECTS:
        raise UsageError(f"--sequences {sequence}: expected some of {', '.join(OBJECTS)}")
    return SelectedTeacher(network, parse_classes(f"{OBJECTS[sequence]}=object", network.classes))


def _pairs(members: dict[PurePosixPath, Any], sequence: str) -> Iterator[tuple[PurePosixPath, PurePosixPath]]:
    """Paths of image and mask of each frame of `sequence`, in order."""
    for path in sorted(members):
        if path.parts[-3:-1] == ("JPEGImages", sequence):
            yield path, path.parents[2] / "Annotations" / sequence / f"{path.stem}.png"


def _score(
    score: Score,
    sequence: str,
    network: Teacher,
    pairs: list[tuple[PurePosixPath, PurePosixPath]],
    image: Callable[[PurePosixPath, int], np.ndarray],
) -> None:
    if len(pairs) < 3:
        raise ConfigError(f"{sequence}: {len(pairs)} frames in the archive; expected at least 3")
    values = []
    for image_path, mask_path in pairs[1:-1]:
        image_rgb = cv2.cvtColor(image(image_path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        started = time.perf_counter()
        labels = network(image_rgb).labels
        score.times_ms.append((time.perf_counter() - started) * 1e3)
        values.append(region_similarity(labels == 1, image(mask_path, cv2.IMREAD_GRAYSCALE) > 0))
    found = sequence_score(values)
    score.sequences[sequence] = {"j": round(found.mean, 4), "recall": round(found.recall, 4), "frames": len(values)}


def show(networks: dict[str, Any]) -> str:
    """The table: a row for each network, a column for each sequence."""
    sequences = list(next(iter(networks.values()))["sequences"])
    rows = [
        [name, net["mean_j"], net["bar"], net["median_ms"], *(net["sequences"][one]["j"] for one in sequences)]
        for name, net in networks.items()
    ]
    return record.table(["", "mean J", "bar", "ms", *sequences], rows)


if __name__ == "__main__":
    record.main(main)
