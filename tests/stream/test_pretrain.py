"""Pretraining on tiny images drawn here: the loss against a slow one, the same weights however often it is stopped."""

import itertools
import json
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from narrowcast.core.errors import ConfigError, UsageError
from narrowcast.core.frames import IGNORE
from narrowcast.core.training import CHECKPOINT, TrainConfig, TrainReport
from narrowcast.data.stills import ComposeConfig, Still, scan
from narrowcast.data.tags import no_tags
from narrowcast.models.student import build_student, load_student
from narrowcast.stream.labelling import label_path
from narrowcast.stream.pretrain import (
    PretrainConfig,
    collect,
    jitter_colours,
    pretrain,
    pretrain_loss,
    sampled,
    score_stills,
)

CLASSES = ("background", "red", "green")
CONFIG = PretrainConfig(num_workers=0, held_out=0.25)
COMPOSE = ComposeConfig(size=32, max_pasted=1, min_height=0.3)
TRAINING = TrainConfig(
    steps=6, batch_size=2, learning_rate=1e-3, warmup_steps=1, checkpoint_every=2, report_every=1, average=0.5
)
STUDENT = {"architecture": "jitnet", "num_classes": 3, "width": 0.25}


def draw_stills(folder: Path, num: int = 8) -> list[Still]:
    """Rectangles of red or green on grey, with their labels."""
    rng = np.random.default_rng(0)
    pairs = []
    for number in range(num):
        class_ix = 1 + number % 2
        labels = np.zeros((40, 48), np.uint8)
        y, x = rng.integers(2, 16, 2)
        labels[y : y + 20, x : x + 20] = class_ix
        image = rng.integers(80, 120, (40, 48, 3)).astype(np.uint8)
        image[labels == class_ix] = (20, 20, 230) if class_ix == 1 else (20, 230, 20)  # BGR
        paths = folder / f"{number}.png", folder / f"{number}-labels.png"
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(paths[0]), image)
        cv2.imwrite(str(paths[1]), labels)
        pairs.append((f"{number}", *paths))
    return scan(pairs, no_tags(CLASSES))


def run(
    stills: list[Still],
    folder: Path,
    *,
    config: PretrainConfig = CONFIG,
    training: TrainConfig = TRAINING,
    stop_after: int | None = None,
) -> list[tuple[int, float]]:
    torch.manual_seed(0)
    net = build_student(STUDENT)
    torch.manual_seed(stop_after or 99)  # what the caller did to the generator must not matter
    reports = pretrain(net, stills, classes=CLASSES, config=config, compose=COMPOSE, training=training, folder=folder)
    return [(report.done, report.loss) for report in itertools.islice(reports, stop_after)]


@pytest.fixture
def stills(tmp_path: Path) -> list[Still]:
    return draw_stills(tmp_path / "stills")


def slow_loss(logits: Tensor, labels: Tensor, foreground_weight: float) -> float:
    """The formula pixel by pixel: weighted mean cross-entropy, plus the mean of 1 − 2|∩|/(|p| + |t|) over classes."""
    entropy, weights = 0.0, 0.0
    overlap, sizes = dict.fromkeys(range(logits.shape[1]), 0.0), dict.fromkeys(range(logits.shape[1]), 0.0)
    present = set()
    for image, row, column in np.ndindex(*labels.shape):
        label = int(labels[image, row, column])
        if label == IGNORE:
            continue
        scores = logits[image, :, row, column].double()
        probabilities = (scores - scores.max()).exp()
        probabilities = probabilities / probabilities.sum()
        weight = foreground_weight if label else 1.0
        entropy -= weight * float(probabilities[label].log())
        weights += weight
        present |= {label} - {0}
        for class_ix, probability in enumerate(probabilities.tolist()):
            overlap[class_ix] += probability * (label == class_ix)
            sizes[class_ix] += probability + (label == class_ix)
    dice = [1 - 2 * overlap[class_ix] / max(sizes[class_ix], 1) for class_ix in present]
    return entropy / max(weights, 1) + (sum(dice) / len(dice) if dice else 0.0)


@pytest.mark.parametrize(
    "values",
    [[0, 1, 2, IGNORE], [0, 1], [0], [IGNORE], [0, IGNORE], [2]],
    ids=["all", "one class", "empty", "unknown", "empty or unknown", "full"],
)
def test_the_loss_is_that_of_a_loop_over_pixels(values: list[int], rng: np.random.Generator) -> None:
    labels = torch.from_numpy(rng.choice(values, (2, 5, 6)))
    logits = torch.randn(2, 3, 5, 6) * 3
    fast = pretrain_loss(logits, labels, foreground_weight=2.5)
    assert fast.item() == pytest.approx(slow_loss(logits, labels, 2.5), rel=1e-4, abs=1e-6)


def test_labels_are_sampled_where_the_coarse_logits_stand() -> None:
    labels = torch.arange(7 * 9, dtype=torch.uint8).view(1, 7, 9)
    coarse = sampled(labels, torch.zeros(1, 3, 4, 3))
    assert coarse.tolist() == [[[0, 4, 8], [18, 22, 26], [36, 40, 44], [54, 58, 62]]]
    assert torch.equal(sampled(labels, torch.zeros(1, 3, 7, 9)), labels)


def test_unknown_pixels_have_no_gradient() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    labels = torch.ones(1, 4, 4, dtype=torch.long)
    labels[0, :2] = IGNORE
    pretrain_loss(logits, labels, foreground_weight=2.0).backward()
    assert logits.grad is not None
    assert not logits.grad[:, :, :2].any()
    assert logits.grad[:, :, 2:].any()


def test_a_right_answer_costs_nothing() -> None:
    labels = torch.randint(0, 3, (1, 8, 8))
    logits = torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2) * 40.0
    assert pretrain_loss(logits, labels, foreground_weight=2.0).item() == pytest.approx(0, abs=1e-5)


def test_colours_are_jittered_image_by_image_and_stay_in_range() -> None:
    images = torch.full((4, 3, 8, 8), 0.5)
    jittered = jitter_colours(images, rng=torch.Generator().manual_seed(1))
    assert jittered.min() >= 0
    assert jittered.max() <= 1
    means = jittered.mean((1, 2, 3))
    assert len(set(means.tolist())) == 4
    assert torch.equal(images, torch.full((4, 3, 8, 8), 0.5))


def test_colours_depend_on_the_generator_alone() -> None:
    images = torch.rand(2, 3, 8, 8)
    first = jitter_colours(images, rng=torch.Generator().manual_seed(1))
    torch.manual_seed(77)
    assert torch.equal(jitter_colours(images, rng=torch.Generator().manual_seed(1)), first)
    assert not torch.equal(jitter_colours(images, rng=torch.Generator().manual_seed(2)), first)


@pytest.mark.parametrize("stop_after", [1, 2, 3, 5])
def test_a_resumed_pretraining_is_the_uninterrupted_one_to_the_bit(
    stills: list[Still], tmp_path: Path, stop_after: int
) -> None:
    """Colours were drawn from the global generator, which a checkpoint does not hold."""
    expected = run(stills, tmp_path / "whole")
    before = run(stills, tmp_path / "cut", stop_after=stop_after)
    after = run(stills, tmp_path / "cut")
    assert before[: after[0][0] - 1] + after == expected
    for name in ("student.safetensors", "pretrain.json", CHECKPOINT):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)  # Python 3.12's, of forked workers
def test_workers_change_nothing_but_the_speed(stills: list[Still], tmp_path: Path) -> None:
    training = replace(TRAINING, steps=2)
    alone = run(stills, tmp_path / "alone", training=training)
    assert run(stills, tmp_path / "two", training=training, config=replace(CONFIG, num_workers=2)) == alone


def test_the_result_is_a_student_with_a_score(stills: list[Still], tmp_path: Path) -> None:
    run(stills, tmp_path / "run")
    net, classes, meta = load_student(tmp_path / "run" / "student.safetensors")
    assert classes == CLASSES
    assert meta["pretrained_steps"] == TRAINING.steps
    assert net(torch.zeros(1, 3, 32, 32)).shape == (1, 3, 32, 32)
    note = json.loads((tmp_path / "run" / "pretrain.json").read_text())
    assert note["held_out"]["images"] > 0
    assert note["held_out"]["iou_per_class"].keys() == {"red", "green"}
    assert note["training"]["steps"] == TRAINING.steps


def test_a_finished_pretraining_is_not_done_again(stills: list[Still], tmp_path: Path) -> None:
    run(stills, tmp_path / "run")
    before = (tmp_path / "run" / "student.safetensors").read_bytes()
    assert run(stills, tmp_path / "run") == []
    assert (tmp_path / "run" / "student.safetensors").read_bytes() == before


def test_other_settings_or_images_in_the_same_folder_are_refused(stills: list[Still], tmp_path: Path) -> None:
    run(stills, tmp_path / "run", stop_after=1)
    with pytest.raises(UsageError, match=r"run: holds a training with .* = .*, not "):
        run(stills, tmp_path / "run", training=replace(TRAINING, learning_rate=0.5))
    with pytest.raises(UsageError, match=r"images = \d+, not \d+"):
        run(stills[:-1], tmp_path / "run")


def test_a_folder_of_before_a_setting_existed_goes_on(stills: list[Still], tmp_path: Path) -> None:
    run(stills, tmp_path / "run", stop_after=1)
    note = json.loads((tmp_path / "run" / "pretrain.json").read_text())
    del note["training"]["optimizer"], note["training"]["accumulate"]
    (tmp_path / "run" / "pretrain.json").write_text(json.dumps(note))
    assert run(stills, tmp_path / "run")


def test_without_images_held_out_there_is_no_score(stills: list[Still], tmp_path: Path) -> None:
    run(stills, tmp_path / "run", config=replace(CONFIG, held_out=0.0), training=replace(TRAINING, steps=1))
    assert json.loads((tmp_path / "run" / "pretrain.json").read_text())["held_out"] == {}


def test_the_score_is_that_of_the_labels(stills: list[Still]) -> None:
    class ByColour(torch.nn.Module):
        """Red and green by their own channels: right on every pixel but those at edges."""

        def __init__(self) -> None:
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def forward(self, images: Tensor) -> Tensor:
            red, green, blue = images.unbind(1)
            return torch.stack([torch.full_like(red, 0.55), red - blue, green - blue], dim=1)

    scores = score_stills(ByColour(), stills, classes=CLASSES, size=48)
    assert scores["images"] == len(stills)
    assert scores["miou_pooled"] > 0.99
    assert min(scores["iou_per_class"].values()) > 0.99


def test_collect_pairs_images_with_their_labels(stills: list[Still], tmp_path: Path) -> None:
    folder, cache = tmp_path / "stills", tmp_path / "labels"
    kept = label_path(cache, folder, Path("0.png"))
    kept.parent.mkdir(parents=True)
    kept.write_bytes(stills[0].labels.read_bytes())
    found = collect([(folder, Path("0.png")), (folder, Path("1.png"))], cache, no_tags(CLASSES))
    assert [(still.image, still.labels, still.present) for still in found] == [(folder / "0.png", kept, (1,))]


@pytest.mark.parametrize("change", [{"foreground_weight": 0.0}, {"held_out": 1.0}, {"num_workers": -1}, {"seed": -1}])
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"\[pretrain\] "):
        replace(CONFIG, **change)


def test_learning_beats_the_start(stills: list[Still], tmp_path: Path) -> None:
    training = replace(TRAINING, steps=120, batch_size=6, learning_rate=1e-2, report_every=20, checkpoint_every=120)
    losses = [loss for _, loss in run(stills, tmp_path / "run", training=training)]
    assert losses[-1] < 0.6 * losses[0]


def test_a_killed_pretraining_goes_on_to_the_same_weights(stills: list[Still], tmp_path: Path) -> None:
    """kill -9 after the third step, in a process of its own; the second process ends as an uninterrupted one does."""
    code = textwrap.dedent(
        f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import torch
        torch.set_num_threads(1)
        import test_pretrain as t
        stills = t.draw_stills(Path({str(tmp_path / "stills")!r}))
        torch.manual_seed(0)
        net = t.build_student(t.STUDENT)
        for report in t.pretrain(net, stills, classes=t.CLASSES, config=t.CONFIG, compose=t.COMPOSE,
                                 training=t.TRAINING, folder=Path({str(tmp_path / "cut")!r})):
            if len(sys.argv) > 1 and report.done == int(sys.argv[1]):
                os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    expected = run(stills, tmp_path / "whole")
    assert len(expected) == TRAINING.steps
    assert subprocess.run([sys.executable, "-c", code, "3"]).returncode == -signal.SIGKILL
    assert not (tmp_path / "cut" / "student.safetensors").exists()
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    for name in ("student.safetensors", CHECKPOINT):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_reports_are_the_trainers(stills: list[Still], tmp_path: Path) -> None:
    net = build_student(STUDENT)
    first = next(
        pretrain(net, stills, classes=CLASSES, config=CONFIG, compose=COMPOSE, training=TRAINING, folder=tmp_path)
    )
    assert isinstance(first, TrainReport)
    assert (first.done, first.total) == (1, TRAINING.steps)
