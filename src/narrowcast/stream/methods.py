"""The methods of an evaluation by name: what a user types becomes a generator of stream reports.

`NAME[-NUMBER][:STUDENT][[section.key=value,...]]`, as in `default-0.8`, `hold-8`, `flow-dis-16`, `frozen`,
`thesis-0.8:mobilenetv2`, `default-0.8[schedule.max_updates=4]`, `segmenter:lraspp-mnv3`.
"""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol, final

import numpy as np
import torch

from narrowcast.core.config import from_dict, read_recipe, to_dict
from narrowcast.core.errors import ConfigError, UsageError, did_you_mean
from narrowcast.core.frames import IGNORE, Frame
from narrowcast.models.classes import SelectedTeacher
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.pretrained import student_called, varied
from narrowcast.models.student import AnyStudent
from narrowcast.models.teacher import Teacher
from narrowcast.stream import baselines
from narrowcast.stream.distill import METHODS, DistillConfig, distill, with_accuracy
from narrowcast.stream.first_frame import EVERY as FIRST_FRAME_EVERY
from narrowcast.stream.first_frame import FirstFrame
from narrowcast.stream.one_shot import INTERVAL, OneShot
from narrowcast.stream.optical_flow import Dis, Raft
from narrowcast.stream.oracle import EVERY, Oracle
from narrowcast.stream.setting import Setting, Started
from narrowcast.stream.stream_report import StreamReport, predicted
from narrowcast.stream.targets import resize_labels

PROPAGATIONS = ("hold", "flow-dis", "flow-dis-fast", "flow-dis-ahead", "flow-raft")
_NAME = re.compile(r"(?P<base>[^:\[\]]+)(?::(?P<student>[^\[\]]+))?(?:\[(?P<settings>[^\]]*)\])?")


class Method(Protocol):
    """One way to label a stream."""

    @property
    def is_seeded(self) -> bool:
        """Whether another seed gives another result."""
        ...

    def start(self, setting: Setting) -> Started:
        """Load and build what the method needs; nothing of it is kept between streams."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Distilled:
    """Online distillation (`stream.distill`)."""

    config: DistillConfig
    student: str = "pretrained"
    options: tuple[tuple[str, Any], ...] = ()  # of the network, other than it has
    is_seeded: bool = True

    def start(self, setting: Setting) -> Started:
        net = student_called(self.student, setting.class_map)
        net = varied(net, dict(self.options)) if self.options else net
        config = replace(self.config, seed=setting.seed)

        def run(frames: Iterable[Frame]) -> Iterator[StreamReport]:
            where = {"size_wh": setting.size_wh, "device": setting.device}
            return distill(frames, net, setting.teacher, config=config, **where)

        return Started(run, net)


@final
@dataclass(frozen=True, slots=True)
class Propagated:
    """The teacher's labels every so many frames, held or moved in between (section 2.4.4)."""

    name: str
    every: int
    is_seeded: bool = False

    def start(self, setting: Setting) -> Started:
        fixed: dict[str, Any] = {"every": self.every, "size_wh": setting.size_wh}
        if self.name == "hold":
            return Started(lambda frames: baselines.hold(frames, setting.teacher, **fixed))
        dis = Dis("fast") if self.name == "flow-dis-fast" else Dis()
        flow = Raft(setting.device) if self.name == "flow-raft" else dis
        fixed |= {"optical_flow": flow, "looks_ahead": self.name == "flow-dis-ahead"}
        return Started(lambda frames: baselines.flow(frames, setting.teacher, **fixed))


@final
@dataclass(frozen=True, slots=True)
class Frozen:
    """A student that does not learn."""

    student: str = "pretrained"
    is_seeded: bool = False

    def start(self, setting: Setting) -> Started:
        net = student_called(self.student, setting.class_map)
        return Started(lambda frames: _frozen(frames, net, setting), net)


def _frozen(frames: Iterable[Frame], net: AnyStudent, setting: Setting) -> Iterator[StreamReport]:
    return baselines.frozen(frames, net, size_wh=setting.size_wh, device=setting.device)


@final
@dataclass(frozen=True, slots=True)
class Segmenter:
    """Any segmenter that `--teacher` could name, alone on every frame."""

    spec: str
    is_seeded: bool = False

    def start(self, setting: Setting) -> Started:
        expert = load_teacher(self.spec, device=setting.device, num_threads=torch.get_num_threads())
        segmenter = SelectedTeacher(expert, setting.class_map)
        return Started(lambda frames: _segmented(frames, segmenter, setting.size_wh))


def _segmented(frames: Iterable[Frame], segmenter: Teacher, size_wh: tuple[int, int]) -> Iterator[StreamReport]:
    for frame in frames:
        started = time.perf_counter()
        labels = segmenter(frame.image_rgb, frame_index=frame.index).labels
        prediction = resize_labels(np.where(labels == IGNORE, np.uint8(0), labels), size_wh)
        student_ms = (time.perf_counter() - started) * 1e3
        yield predicted(
            frame,
            prediction,
            stride=baselines.NEVER,
            timings_ms={"student": student_ms},
        )


def parse_methods(text: str) -> dict[str, Method]:
    """The methods that `text` names, separated by commas outside of brackets, by the names that results carry.

    Raises:
        UsageError, ConfigError: an unknown method, a number that is missing or out of range, an unknown setting.
    """
    names = [name.strip() for name in re.split(r",(?![^\[]*\])", text) if name.strip()]
    if not names:
        raise UsageError(f"--methods '{text}': names no method; try default-0.8,flow-dis-8,hold-8,frozen")
    if twice := [name for ix, name in enumerate(names) if name in names[:ix]]:
        raise UsageError(f"--methods: '{twice[0]}' is named twice")
    return {name: parse_method(name) for name in names}


def parse_method(name: str) -> Method:
    """One method; see `parse_methods`."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise UsageError(f"--methods {name}: expected NAME-NUMBER, as in default-0.8 or hold-8")
    base, student, settings = match["base"], match["student"], match["settings"]
    kind, number = _split_number(base)
    if settings is not None and kind not in METHODS:
        raise UsageError(f"--methods {name}: only {' and '.join(METHODS)} take settings in brackets")
    if kind in METHODS:
        return _distilled(name, kind, number, student, settings)
    if base == "frozen":
        return Frozen(student or "pretrained")
    if kind == "oracle":
        return Oracle(_count(name, number) if number else EVERY, student=student or "pretrained")
    if kind in ("osvos-a", "osvos-b"):
        interval = _count(name, number) if number else INTERVAL
        return OneShot("a" if kind == "osvos-a" else "b", interval, student=student or "pretrained")
    if kind in ("davis-a", "davis-b", "davis-c"):
        return _first_frame(name, kind, number, student)
    if base == "segmenter" and student:
        return Segmenter(student)
    if kind in PROPAGATIONS and student is None:
        return Propagated(kind, _count(name, number))
    known = (
        [f"{one}-0.8" for one in METHODS]
        + [f"{one}-8" for one in PROPAGATIONS]
        + ["frozen", "oracle", "osvos-a", "davis-a", "davis-b:TEACHER", "davis-c", "segmenter:TEACHER"]
    )
    raise UsageError(f"--methods {name}: expected {', '.join(known)}{did_you_mean(name, known)}")


def _split_number(base: str) -> tuple[str, str]:
    """The name without its number, and the number as text.

    >>> _split_number("flow-dis-8"), _split_number("frozen")
    (('flow-dis', '8'), ('frozen', ''))
    """
    found = re.fullmatch(r"(.*?)-([0-9.]+)", base)
    return (found[1], found[2]) if found else (base, "")


def _distilled(name: str, kind: str, number: str, student: str | None, settings: str | None) -> Distilled:
    config, options = METHODS[kind], {}
    if settings:
        sections = read_recipe(None, settings.split(","), known=["distill", "student", *_parts(config)])
        options = sections.pop("student", {})
        config = overlaid(config, sections)
    if number:
        try:
            config = with_accuracy(config, float(number))
        except ValueError:
            raise UsageError(f"--methods {name}: '{number}' is not an accuracy such as 0.8") from None
    return Distilled(config, student or "pretrained", tuple(options.items()))


def _first_frame(name: str, kind: str, number: str, named: str | None) -> FirstFrame:
    """A configuration of section 2.4.8: A and C take a student after the colon, B whom it mimics."""
    if kind == "davis-a" and number:
        raise UsageError(f"--methods {name}: learns the first frame only; a number has no effect, remove it")
    every = _count(name, number) if number else FIRST_FRAME_EVERY
    if kind == "davis-b":
        if named is None:
            raise UsageError(f"--methods {name}: needs whom to mimic, as in davis-b:FOLDER or davis-b:TEACHER")
        return FirstFrame("b", every, mimicked=named)
    return FirstFrame("a" if kind == "davis-a" else "c", every, student=named or "pretrained")


def overlaid(config: DistillConfig, sections: dict[str, dict[str, Any]]) -> DistillConfig:
    """`config` with the sections of a recipe laid over it.

    Raises:
        ConfigError: an unknown setting, or a value of another type or out of its range.
    """
    values: dict[str, Any] = to_dict(config) | sections.get("distill", {})
    for name in _parts(config):
        if name in sections.get("distill", {}):
            raise ConfigError(f"[distill.{name}]: write it as [{name}]")
        part = getattr(config, name)
        values[name] = from_dict(type(part), to_dict(part) | sections.get(name, {}), where=f"[{name}]")
    return from_dict(type(config), values, where="[distill]")


def _parts(config: DistillConfig) -> list[str]:
    """The settings that are sections of their own."""
    return [field.name for field in fields(config) if is_dataclass(getattr(config, field.name))]


def _count(name: str, number: str) -> int:
    if not number.isdigit() or int(number) < 1:
        raise UsageError(f"--methods {name}: needs frames from one teacher call to the next, as in {name}-8")
    return int(number)
