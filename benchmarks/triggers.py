"""When to ask the teacher, of a student that predicts every frame anyway: strides, change, features, entropy, a bandit.

`learning` with the teacher asked (1) at fixed strides, (2) at strides that double and halve, (3) when the picture has
changed (`stream.staleness`), (4) when the student's encoder sees other things than where the teacher looked last, (5)
when the student is unsure; (3) to (5) say which share of the labelled pixels may be wrong, learn from the teacher how
much of that is, and sum it up (`stream.staleness` does the same). (6) A bandit chooses stride and updates (discounted
UCB on accuracy less price). What is compared is mIoU less that of fixed strides at equal cost, which is counted.
"""

import math
import statistics
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
import torch.nn.functional as F
from short_streams import Count, Short, drawn, less_at_equal_cost, parts_ms, piece

from narrowcast.core.files import write_json
from narrowcast.core.runtime import seed_everything
from narrowcast.models.pretrained import student_called
from narrowcast.stream.distill import LEARNING, DistillConfig, Distiller, with_accuracy
from narrowcast.stream.learner import Learner
from narrowcast.stream.schedule import StrideSchedule
from narrowcast.stream.staleness import LEAST_AREA, LEAST_ERROR, MEMORY, SHARE
from narrowcast.video.drift import DriftConfig

STRIDES, ACCURACIES, PRICES = (4, 8, 16, 32), (0.8,), (0.5,)
BASE = replace(LEARNING, sees_cuts=False)  # a jump is a trigger of its own: recurring.py
OTHER_FEATURES = 0.2  # cosine distance of two cells that do not show the same
CPU = torch.device("cpu")


def main() -> int:
    options = record.parser(__doc__, threads=1)
    options.add_argument("--cache", type=Path, default=record.REPOSITORY / "build" / "benchmark-labels")
    options.add_argument("--work", type=Path, default=record.REPOSITORY / "build" / "triggers")
    options.add_argument("--only", default="", help="streams, separated by commas")
    options.add_argument("--methods", default="", help="those whose names begin with one of these")
    arguments = options.parse_args()
    device = record.prepare(arguments)
    rows = record.read(arguments.work, "triggers").get("rows", [])
    for short in streams(arguments):
        for name, make in methods().items():
            if not name.startswith(tuple(arguments.methods.split(","))):
                continue
            if any((row["stream"], row["method"]) == (short.name, name) for row in rows):
                continue
            rows.append({"stream": short.name, "method": name} | run(short, make))
            write_json(arguments.work / "triggers.json", {"rows": rows})
            print(short.name, name, {key: round(value, 3) for key, value in run_shown(rows[-1]).items()}, flush=True)
    result = {"setup": {"parts_ms": parts_ms(), "other_features": OTHER_FEATURES}, "rows": rows} | summed_up(rows)
    record.write(arguments.out, "triggers", result, device=device)
    return 0


def run_shown(row: dict[str, Any]) -> dict[str, float]:
    return {key: row[key] for key in ("miou", "teacher_fraction", "speedup")}


def streams(arguments: Namespace) -> Iterator[Short]:
    """Two drawn ones, and a piece of each clip."""
    size_wh, frames, cut_frames = (256, 144), *((24, 24) if arguments.quick else (160, 240))
    made: dict[str, Callable[[str], Short]] = {
        "cuts": lambda name: drawn(
            name, DriftConfig(frames=cut_frames, size_wh=size_wh, seed=31, cut_every=60, scenes=3, returns=0.8)
        ),
        "vtest": lambda _: piece("vtest", arguments.cache, 300, frames),
        "one-by-one": lambda _: piece("one-by-one", arguments.cache, 700, frames),
        "fast": lambda name: drawn(name, DriftConfig(frames=frames, size_wh=size_wh, seed=32, cut_every=0, speed=0.6)),
    }
    for name, make in made.items():
        if not arguments.only or name in arguments.only.split(","):
            yield make(name)


def methods() -> dict[str, Callable[[Short], "Run"]]:
    """By name; what makes a run of a stream."""
    found: dict[str, Callable[[Short], Run]] = {}
    for stride in STRIDES:
        found[f"fixed-{stride}"] = lambda short, stride=stride: Run(short, _fixed(stride, 8))
    for accuracy in ACCURACIES:
        found[f"doubling-{accuracy}"] = lambda short, a=accuracy: Run(short, with_accuracy(BASE, a))
    for accuracy in ACCURACIES:
        for name, signal in (
            ("staleness", None),
            ("features", FeatureDistance),
            ("features-moved", MovedFeatureDistance),
            ("entropy", Entropy),
        ):
            found[f"{name}-{accuracy}"] = lambda short, a=accuracy, s=signal: Run(short, _on_change(a), signal=s)
    for price in PRICES:
        found[f"bandit-{price}"] = lambda short, price=price: Run(short, _fixed(8, 8), bandit=Bandit(price))
    return found


def _fixed(stride: int, updates: int) -> DistillConfig:
    return replace(BASE, schedule=StrideSchedule(min_stride=stride, max_stride=stride, max_updates=updates))


def _on_change(accuracy: float) -> DistillConfig:
    return replace(BASE, schedule=StrideSchedule(accuracy=accuracy, min_stride=4), asks="changed")


class Run:
    """A stream with a trigger; its counts."""

    def __init__(
        self,
        short: Short,
        config: DistillConfig,
        *,
        signal: "Callable[[Learner], Unsure] | None" = None,
        bandit: "Bandit | None" = None,
    ) -> None:
        seed_everything(0)
        size_wh = (short.images[0].shape[1], short.images[0].shape[0])
        net = student_called("pretrained", short.class_map)
        self.short, self.bandit = short, bandit
        self.distiller = Distiller(net, short, config, size_wh=size_wh, device=CPU)
        if signal is not None:
            self.distiller.staleness = signal(self.distiller.learner)  # type: ignore[assignment]

    def play(self) -> dict[str, float]:
        distiller, count = self.distiller, Count(self.short)
        for frame in self.short.frames():
            report = distiller.step(frame)
            count.add(report)
            if self.bandit is not None and report.teacher_ran:
                stride, updates = self.bandit.next(report.accuracy or 0.0, report.updates)
                distiller.stride = stride
                schedule = replace(distiller.config.schedule, max_updates=updates)
                distiller.config = replace(distiller.config, schedule=schedule)
        return count.row() | {"arms": dict(self.bandit.chosen) if self.bandit else {}}


def run(short: Short, make: Callable[[Short], Run]) -> dict[str, float]:
    return make(short).play()


# ------------------------------------------------------------------------------------------------- what a student says


class Unsure:
    """As `Staleness`, with another signal: the share of labelled pixels that may be wrong."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.error = self.total = 0.0
        self._share, self._changed = 1.0, 0.0

    def follow(self, image_rgb: np.ndarray, labels: np.ndarray | None, origin_xy: np.ndarray) -> None:
        if labels is None:
            self.seen(image_rgb)
            return
        new = self.new(image_rgb, labels, origin_xy)
        things = np.count_nonzero(labels) / labels.size
        self._changed = new / (new + things + LEAST_AREA) if new > LEAST_AREA else 0.0
        self.error = self._share * self._changed
        self.total += self.error

    def asked(self) -> tuple[None, float]:
        self.total = 0.0
        return None, self._changed

    def restart(self, asked: tuple[None, float], error: float | None) -> None:
        if error is not None:
            low, high = SHARE
            share = min(high, error / max(asked[1], LEAST_ERROR))
            self._share = max(low, MEMORY * self._share + (1 - MEMORY) * share)
        self.error = self._changed = 0.0
        self.taught()

    def forget(self) -> None:
        self.error = self.total = self._changed = 0.0

    def seen(self, image_rgb: np.ndarray) -> None:
        self._image = image_rgb

    def new(self, image_rgb: np.ndarray, labels: np.ndarray, origin_xy: np.ndarray) -> float:
        raise NotImplementedError

    def taught(self) -> None:
        """The frame that was seen last is the teacher's."""

    def input(self, image_rgb: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image_rgb).permute(2, 0, 1)[None].float() / 255


class FeatureDistance(Unsure):
    """Cells of the encoder's map that show other things than where the teacher looked."""

    is_moved = False

    def features(self, image_rgb: np.ndarray) -> torch.Tensor:
        caught: list[torch.Tensor] = []
        net = self.learner.net
        handle = net.encoder2.register_forward_hook(lambda _module, _input, output: caught.append(output))
        with torch.inference_mode():
            net.coarse_logits(self.input(image_rgb))  # type: ignore[operator]
        handle.remove()
        return F.normalize(caught[0][0], dim=0)

    def new(self, image_rgb: np.ndarray, labels: np.ndarray, origin_xy: np.ndarray) -> float:
        self.seen(image_rgb)
        before, now = self._before, self.features(image_rgb)
        if self.is_moved:
            height, width = labels.shape
            rows, columns = now.shape[1:]
            ys = ((np.arange(rows) + 0.5) * height / rows).astype(int)
            xs = ((np.arange(columns) + 0.5) * width / columns).astype(int)
            at = torch.from_numpy(origin_xy[ys][:, xs])
            grid = torch.stack([2 * at[..., 0] / width - 1, 2 * at[..., 1] / height - 1], -1)
            before = F.grid_sample(before[None], grid[None], padding_mode="border", align_corners=False)[0]
            before = F.normalize(before, dim=0)
        return float((1 - (before * now).sum(0) > OTHER_FEATURES).float().mean())

    def taught(self) -> None:
        self._before = self.features(self._image)


class MovedFeatureDistance(FeatureDistance):
    """The same, with the cells of before moved by flow."""

    is_moved = True


class Entropy(Unsure):
    """The student's entropy, more than where it has just been taught; in bits a pixel, at most 1."""

    def entropy(self, image_rgb: np.ndarray) -> float:
        with torch.inference_mode():
            coarse = self.learner.net.coarse_logits(self.input(image_rgb)).float()  # type: ignore[operator]
        log = F.log_softmax(coarse * self.learner.config.own_share, 1)
        return float(-(log.exp() * log).sum(1).mean()) / math.log(coarse.shape[1])

    def new(self, image_rgb: np.ndarray, labels: np.ndarray, origin_xy: np.ndarray) -> float:
        self.seen(image_rgb)
        return max(0.0, self.entropy(image_rgb) - self._before)

    def taught(self) -> None:
        self._before = self.entropy(self._image)


# ------------------------------------------------------------------------------------------------------------ a bandit


class Bandit:
    """Discounted UCB over (stride, updates); reward: accuracy as it was on average since, less `price` × cost.

    Cost is a frame's, in teacher calls. Errors grow from nothing to what the teacher finds at the end: half of it.
    """

    ARMS = ((4, 8), (8, 2), (8, 8), (16, 2), (16, 8), (32, 8))
    DISCOUNT, WIDTH = 0.95, 0.1

    def __init__(self, price: float) -> None:
        self.price, self.chosen = price, dict.fromkeys(map(str, self.ARMS), 0)
        self._sums, self._counts = np.zeros(len(self.ARMS)), np.zeros(len(self.ARMS))
        self._arm: int | None = None

    def next(self, accuracy: float, updates: int) -> tuple[int, int]:
        parts = parts_ms()
        if self._arm is not None:
            stride = self.ARMS[self._arm][0]
            cost = (parts["teacher"] + updates * parts["update"]) / stride / parts["teacher"]
            self._sums *= self.DISCOUNT
            self._counts *= self.DISCOUNT
            self._sums[self._arm] += (1 + accuracy) / 2 - self.price * cost
            self._counts[self._arm] += 1
        if (untried := np.flatnonzero(self._counts < 1e-3)).size:
            self._arm = int(untried[0])
        else:
            spread = self.WIDTH * np.sqrt(2 * math.log(max(math.e, self._counts.sum())) / self._counts)
            self._arm = int(np.argmax(self._sums / self._counts + spread))
        self.chosen[str(self.ARMS[self._arm])] += 1
        return self.ARMS[self._arm]


# -------------------------------------------------------------------------------------------------------- what it says


def summed_up(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each kind of trigger the points above fixed strides at equal cost: by stream, and in the mean."""
    found: dict[str, dict[str, Any]] = {}
    names = dict.fromkeys(row["stream"] for row in rows)
    kinds = dict.fromkeys(row["method"].rpartition("-")[0] for row in rows if not row["method"].startswith("fixed"))
    for kind in kinds:
        by_stream = {}
        for stream in names:
            own = [row for row in rows if row["stream"] == stream]
            points = [row for row in own if row["method"] in {f"fixed-{stride}" for stride in STRIDES}]
            gaps = [less_at_equal_cost(r, points) for r in own if r["method"].rpartition("-")[0] == kind]
            if points and gaps:
                by_stream[stream] = statistics.fmean(gaps)
        found[kind] = {"by_stream": by_stream, "mean": statistics.fmean(by_stream.values()) if by_stream else None}
        print(
            kind, {name: round(100 * gap, 1) for name, gap in found[kind].items() if name == "mean" and gap}, by_stream
        )
    return {"kinds": found}


if __name__ == "__main__":
    record.main(main)
