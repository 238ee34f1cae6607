"""The embedded teacher's head, taught a few frames: it knows them better, its other classes and layers stay."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from narrowcast.core import checkpoint
from narrowcast.core.errors import UsageError, WeightsError
from narrowcast.fleet.retraining import RetrainConfig
from narrowcast.fleet.teacher_head import Grouped, compare_teachers, retrain_head
from narrowcast.models.classes import ClassMap, parse_classes
from narrowcast.models.embedded import EmbeddedTeacher, shipped_weights
from narrowcast.models.lite_segmenter import LiteSegmenter
from narrowcast.models.load_teacher import load_teacher
from narrowcast.models.taxonomy import VOC
from narrowcast.video.labels import write_label_png

CPU = torch.device("cpu")
MAP = parse_classes("person,car+bus=auto", VOC)


def test_grouped_logits_add_up_the_teachers_probabilities() -> None:
    torch.manual_seed(0)
    net = LiteSegmenter(len(VOC)).eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        own, grouped = net.coarse_logits(images).softmax(1), Grouped(net, MAP, VOC).coarse_logits(images).softmax(1)
    auto = own[:, VOC.index("car")] + own[:, VOC.index("bus")]
    person = own[:, VOC.index("person")]
    torch.testing.assert_close(grouped, torch.stack([1 - person - auto, person, auto], 1))


@pytest.fixture
def images(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Four frames of a stripe that is called a bus here."""
    for ix in range(4):
        image = rng.integers(0, 60, (32, 64, 3), dtype=np.uint8)
        labels = np.zeros((32, 64), np.uint8)
        image[:, 16 * ix : 16 * ix + 16], labels[:, 16 * ix : 16 * ix + 16] = (200, 40, 40), 2
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "frames" / f"{ix:08}.png")
        write_label_png(tmp_path / "labels" / f"{ix:08}.png", labels)
    (tmp_path / "labels" / "classes.txt").write_text("\n".join(MAP.classes) + "\n", encoding="utf-8")
    return tmp_path


def taught(images: Path, class_map: ClassMap = MAP, weights: Path | None = None) -> list[float]:
    config = RetrainConfig(passes=6, learning_rate=0.01)
    frames, labels, out = images / "frames", images / "labels", images / "new.safetensors"
    how = {"config": config, "device": CPU, "max_side": 64}
    return [report.loss for report in retrain_head(weights, frames, labels, out, class_map, **how)]


def test_a_taught_teacher_wins_and_only_its_head_has_changed(images: Path) -> None:
    losses = taught(images)
    assert losses[-1] < losses[0]
    new = load_teacher(str(images / "new.safetensors"), device=CPU, num_threads=1)
    assert isinstance(new, EmbeddedTeacher)
    both = [EmbeddedTeacher(device=CPU, max_side=64, weights=path) for path in (None, images / "new.safetensors")]
    found = compare_teachers(*both, images / "frames", images / "labels", MAP)
    assert found.frames == 4
    assert found.new > found.old
    with shipped_weights() as path:
        before, _ = checkpoint.load(path)
    after, _ = checkpoint.load(images / "new.safetensors")
    changed = {name for name in before if not torch.equal(before[name].half(), after[name].half())}
    assert {name.partition(".")[0] for name in changed} == {"classify8", "classify4"}


def test_what_does_not_fit_is_said(images: Path) -> None:
    with pytest.raises(UsageError, match="other classes than those that are learned: background, person"):
        taught(images, parse_classes("person", VOC))
    with pytest.raises(WeightsError):
        taught(images, weights=images / "nothing.safetensors")
