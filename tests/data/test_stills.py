"""Composed samples: the same by number, labels exact where objects are pasted, cut-outs only ever pasted."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from narrowcast.core.errors import ConfigError, SourceError
from narrowcast.core.frames import IGNORE
from narrowcast.data.stills import MIN_OBJECT_PX, ComposeConfig, ComposedStills, Still, scan, split
from narrowcast.data.tags import TagRule, Tags, no_tags

CLASSES = ("background", "red", "green", "blue")
COLORS = {0: (90, 90, 90), 1: (250, 10, 10), 2: (10, 250, 10), 3: (10, 10, 250)}
CONFIG = ComposeConfig(size=64, max_pasted=2)
Draw = Callable[..., Still]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """A still with one rectangle of a class (0: none) in its colour; a cut-out is unknown around it."""
    count = 0

    def make(class_ix: int, *, is_cut_out: bool = False, box: tuple[int, int, int, int] = (20, 10, 60, 50)) -> Still:
        nonlocal count
        count += 1
        labels = np.full((72, 96), IGNORE if is_cut_out else 0, np.uint8)
        image = np.full((72, 96, 3), (0, 0, 0) if is_cut_out else COLORS[0], np.uint8)
        x0, y0, x1, y1 = box
        labels[y0:y1, x0:x1] = class_ix
        image[y0:y1, x0:x1] = COLORS[class_ix]
        name = f"{count:03}.png"
        paths = tmp_path / name, tmp_path / f"labels-{name}"
        cv2.imwrite(str(paths[0]), image[..., ::-1])
        cv2.imwrite(str(paths[1]), labels)
        return scan([(name, *paths)], no_tags(CLASSES))[0]

    return make


def compose(stills: list[Still], config: ComposeConfig = CONFIG, *, num: int = 20, seed: int = 0) -> ComposedStills:
    return ComposedStills(stills, config, num_samples=num, seed=seed)


def test_scan_finds_what_is_in_each_image(draw: Draw) -> None:
    assert (draw(2).present, draw(2).has_background) == ((2,), True)
    assert (draw(0).present, draw(0).has_background) == ((), True)
    assert (draw(1, is_cut_out=True).present, draw(1, is_cut_out=True).has_background) == ((1,), False)


def test_a_patch_too_small_is_not_counted_as_present(draw: Draw) -> None:
    side = int(MIN_OBJECT_PX**0.5)
    assert draw(1, box=(0, 0, side, side)).present == ()
    assert draw(1, box=(0, 0, side + 1, side + 1)).present == (1,)


def test_images_without_labels_are_left_out(tmp_path: Path, draw: Draw) -> None:
    still = draw(1)
    (tmp_path / "damaged.png").write_bytes(b"not a PNG")
    pairs = [("a", still.image, still.labels), ("b", still.image, tmp_path / "none.png")]
    pairs.append(("c", still.image, tmp_path / "damaged.png"))
    assert len(scan(pairs, no_tags(CLASSES))) == 1


def test_the_table_corrects_labels_and_what_is_present(draw: Draw) -> None:
    still = draw(1)
    tags = Tags((TagRule(match=("globe*",), absent=("red",)), TagRule(match=("*",), unsure=("red",))), (), CLASSES)
    absent, unsure = scan([("globe.png", still.image, still.labels), ("x.png", still.image, still.labels)], tags)
    assert absent.present == unsure.present == ()
    assert set(np.unique(absent.read()[1])) == {0}
    assert set(np.unique(unsure.read()[1])) == {0, IGNORE}


def test_pixels_are_rgb(draw: Draw) -> None:
    image, labels = draw(3).read()
    assert image[30, 30].tolist() == list(COLORS[3])
    assert labels[30, 30] == 3


def test_a_file_that_went_away_is_named(draw: Draw) -> None:
    still = draw(1)
    still.image.unlink()
    with pytest.raises(SourceError, match=r"001.png: .*cannot be decoded"):
        still.read()


def test_a_sample_depends_on_seed_and_number_alone(draw: Draw) -> None:
    stills = [draw(1), draw(2), draw(0), draw(3, is_cut_out=True)]
    forwards, backwards = compose(stills), compose(stills, num=1000)
    samples = [forwards[number] for number in range(10)]
    for number in reversed(range(10)):
        image, labels = backwards[number]
        assert np.array_equal(image, samples[number][0])
        assert np.array_equal(labels, samples[number][1])
    assert not np.array_equal(compose(stills, seed=1)[0][0], samples[0][0])
    assert not np.array_equal(samples[1][0], samples[0][0])


def test_samples_have_the_size_that_was_asked_for(draw: Draw) -> None:
    image, labels = compose([draw(1)], dataclasses.replace(CONFIG, size=96))[0]
    assert (image.shape, image.dtype) == ((3, 96, 96), np.uint8)
    assert (labels.shape, labels.dtype) == ((96, 96), np.uint8)


def test_labels_lie_exactly_on_their_pixels(draw: Draw) -> None:
    """Each class has a colour of its own: two pixels inside of a label's edge no other colour may be seen."""
    stills = [draw(0), draw(1), draw(2), draw(3, is_cut_out=True)]
    dataset = compose(stills, num=60)
    seen: Counter[int] = Counter()
    for number in range(60):
        image, labels = dataset[number]
        for class_ix, color in COLORS.items():
            mask = (labels == class_ix).astype(np.uint8)
            inside = cv2.erode(mask, np.ones((7, 7), np.uint8), borderValue=0).astype(bool)
            seen[class_ix] += int(inside.sum())
            wrong = np.abs(image.transpose(1, 2, 0)[inside].astype(int) - color).max(-1, initial=0) > 60
            assert not wrong.any(), (number, class_ix)
    assert all(seen[class_ix] > 100 for class_ix in COLORS)


def test_a_pasted_object_is_labelled_where_it_is_seen_and_nowhere_else(draw: Draw) -> None:
    """Only an empty base and a red cut-out: red pixels and labels agree but for the blurred edge."""
    dataset = compose([draw(0), draw(1, is_cut_out=True)], num=40)
    agreeing, objects = [], 0
    for number in range(40):
        image, labels = dataset[number]
        assert set(np.unique(labels)) <= {0, 1}
        red = image[0].astype(int) > (COLORS[0][0] + COLORS[1][0]) / 2
        agreeing.append(np.mean(red == (labels == 1)))
        objects += bool((labels == 1).any())
    assert objects > 10
    assert min(agreeing) > 0.95
    assert np.mean(agreeing) > 0.99


def test_cut_outs_are_never_a_base(draw: Draw) -> None:
    """Their unknown surroundings would show: without pasting, no sample of 50 has a pixel of the cut-out."""
    config = dataclasses.replace(CONFIG, max_pasted=0)
    dataset = compose([draw(1), draw(3, is_cut_out=True)], config, num=50)
    for number in range(50):
        image, labels = dataset[number]
        assert not (labels == 3).any()
        assert not (labels == IGNORE).any()
        assert image.min() > 0  # a cut-out is black around its object


def test_the_surroundings_of_a_cut_out_are_not_pasted(draw: Draw) -> None:
    dataset = compose([draw(0), draw(3, is_cut_out=True)], num=50)
    assert all(IGNORE not in dataset[number][1] for number in range(50))


def test_only_cut_outs_are_refused(draw: Draw) -> None:
    with pytest.raises(SourceError, match="no image with a background"):
        compose([draw(1, is_cut_out=True)])


def test_only_empty_images_give_empty_labels(draw: Draw) -> None:
    assert not any(compose([draw(0)])[number][1].any() for number in range(5))


def test_rare_classes_are_drawn_more_often_than_their_share(draw: Draw) -> None:
    """9 red images and 1 green: 1/√n each makes green 1 in 4 draws. 400 draws: 100 ± 35 is four standard errors."""
    stills = [draw(1) for _ in range(9)] + [draw(2)]
    config = dataclasses.replace(CONFIG, max_pasted=0, min_zoom=1.0, max_zoom=1.0)
    dataset = compose(stills, config, num=400)
    labels = [dataset[number][1] for number in range(400)]
    green = sum((sample == 2).any() for sample in labels)
    shown = sum(sample.any() for sample in labels)
    assert 65 <= green * 400 / shown <= 135


def test_a_share_is_held_out_and_never_a_cut_out(draw: Draw) -> None:
    stills = [draw(1) for _ in range(40)] + [draw(2, is_cut_out=True) for _ in range(10)]
    train, held_out = split(stills, held_out=0.3, seed=0)
    assert 0 < len(held_out) < 40
    assert all(still.has_background for still in held_out)
    assert sorted(id(still) for still in train + held_out) == sorted(map(id, stills))
    assert split(stills, held_out=0.3, seed=0)[1] == held_out
    assert split(stills, held_out=0.0, seed=0)[1] == []


@pytest.mark.parametrize(
    "change",
    [{"size": 100}, {"size": 0}, {"min_height": 0.0}, {"min_zoom": 2.0}, {"max_pasted": -1}, {"empty_share": 1.5}],
    ids=lambda change: next(iter(change)),
)
def test_settings_out_of_range_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"\[compose\]"):
        dataclasses.replace(CONFIG, **change)
