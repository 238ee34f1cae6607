"""Small runs into a folder, for the tests of runs: frames and labels that are known, a teacher that knows them."""

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from fakes import CLASSES, LookupTeacher, shapes, source_of
from narrowcast.core.config import to_dict
from narrowcast.core.runs import RunFolder, read_reports
from narrowcast.models.jitnet import JITNet
from narrowcast.models.teacher import Teacher
from narrowcast.stream.distill import LEARNING
from narrowcast.stream.learner import Learner, LearnerConfig, Sample
from narrowcast.stream.run import RunConfig, next_frame, run_stream
from narrowcast.stream.schedule import StrideSchedule
from narrowcast.stream.stream_report import StreamReport
from narrowcast.stream.targets import component_boxes, pixel_weights

CPU = torch.device("cpu")
NUM = 21
BRISK = replace(
    LEARNING,
    schedule=StrideSchedule(min_stride=3, max_stride=6, max_updates=2),
    replay=3,
    learner=LearnerConfig(learning_rate=3e-3),
)
CONFIG = RunConfig(
    source="memory", teacher="lookup", distill=BRISK, outputs=(), checkpoint_every=5, score_every=2, seed=3
)
CONTRACT = {
    "frames",
    "teacher_frames",
    "updates",
    "miou_pooled",
    "miou_per_frame",
    "miou_pooled_without_teacher_frames",
    "iou_per_class",
    "student_ms_p50",
    "student_ms_p99",
    "update_ms_p50",
    "teacher_ms_p50",
    "total_s",
    "teacher_every_frame_s",
    "speedup",
    "speedup_macs",
}


class CountedTeacher(LookupTeacher):
    """Says what a call costs, as a teacher with a card does."""

    card = SimpleNamespace(macs=3e6)


FRAMES, LABELS = shapes(NUM)
IMAGES = [frame.image_rgb for frame in FRAMES]


@cache
def warm_student() -> JITNet:
    """A student that has seen the scene a little: what it says is neither nothing nor right."""
    torch.manual_seed(0)
    learner = Learner(JITNet(len(CLASSES), width=0.25), LearnerConfig(learning_rate=5e-3), device=CPU)
    for ix in np.random.default_rng(0).integers(0, NUM, 60):
        weights = pixel_weights(LABELS[ix], component_boxes(LABELS[ix]))
        learner.attempt(Sample(IMAGES[ix], LABELS[ix], weights)).step()
    assert isinstance(learner.net, JITNet)
    return learner.net


def student() -> JITNet:
    return copy.deepcopy(warm_student())


def running(
    folder: RunFolder,
    *,
    config: RunConfig = CONFIG,
    images: Sequence[np.ndarray] = IMAGES,
    teacher: Teacher | None = None,
    **how: Any,
) -> Iterator[StreamReport]:
    return run_stream(
        source_of(images, start_index=next_frame(folder.path)),
        student(),
        teacher or CountedTeacher(LABELS),
        config=config,
        folder=folder,
        device=CPU,
        **how,
    )


def run(path: Path, *, config: RunConfig = CONFIG, resume: bool = False, **how: Any) -> list[StreamReport]:
    with RunFolder.open(path, {"config": to_dict(config)}, resume=resume) as folder:
        return list(running(folder, config=config, **how))


def lines(path: Path) -> list[dict[str, Any]]:
    """The reports without what differs from run to run."""
    return [report | {"timings_ms": sorted(report["timings_ms"])} for report in read_reports(path)]


def summary(path: Path) -> dict[str, Any]:
    return json.loads((path / "summary.json").read_text())


def scores(path: Path) -> dict[str, Any]:
    """The summary without times."""
    return {name: value for name, value in summary(path).items() if not ("_ms" in name or name.endswith(("_s", "up")))}
