"""What a method of an evaluation starts from, and what it is once it has started."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from narrowcast.core.frames import Frame
from narrowcast.models.classes import ClassMap
from narrowcast.models.teacher import Teacher
from narrowcast.stream.stream_report import StreamReport


@dataclass(frozen=True, slots=True)
class Setting:
    """What a method starts from.

    Attributes:
        teacher: asked, and paid for.
        labels: the teacher's labels of every frame, kept on disk; only for methods that are allowed to look ahead.
        open_frames: opens the same frames once more, for the same methods.
    """

    teacher: Teacher
    labels: Teacher
    class_map: ClassMap
    size_wh: tuple[int, int]
    device: torch.device
    seed: int
    open_frames: Callable[[], AbstractContextManager[Iterable[Frame]]]


@dataclass(slots=True)
class Started:
    """A method at the beginning of a stream.

    Attributes:
        run: frames in, reports out.
        net: the network that predicts, whose multiply-adds count on every frame; None without one.
        upfront_s: seconds that were spent before the first frame; they are part of the cost.
        upfront_frames: frames that the teacher had to label before the first one.
        upfront_updates: gradient steps before the first frame.
    """

    run: Callable[[Iterable[Frame]], Iterator[StreamReport]]
    net: nn.Module | None = None
    upfront_s: float = 0.0
    upfront_frames: int = 0
    upfront_updates: int = 0
