"""A picture that jumps is seen, and what only moves, brightens or flickers is not."""

import numpy as np
import pytest

from narrowcast.stream.cuts import APART, Cuts
from narrowcast.video.drift import DriftConfig, drifting


def alarms(images: list[np.ndarray], cuts: Cuts | None = None) -> list[int]:
    cuts = cuts or Cuts()
    return [ix for ix, image in enumerate(images) if cuts.follow(image)]


def places(seed: int, num: int = 3) -> list[np.ndarray]:
    """Pictures of places that have nothing in common."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (num, 6, 8, 3), dtype=np.uint8)
    return [np.kron(one, np.ones((12, 12, 1), np.uint8)) for one in coarse]


def test_drawn_streams_are_cut_where_their_scenes_change() -> None:
    config = DriftConfig(frames=60, size_wh=(96, 64), cut_every=15, scenes=3, speed=0.5, seed=4)
    images, scenes = zip(*[(frame.image_rgb, scene) for frame, _, scene in drifting(config)], strict=True)
    true = [ix for ix in range(1, 60) if scenes[ix] != scenes[ix - 1]]
    assert len(true) >= 2
    assert alarms(list(images)) == true


@pytest.mark.parametrize("gain", [0.5, 1.4])
def test_light_that_changes_everywhere_is_no_cut(gain: float) -> None:
    (image,) = places(0, 1)
    lit = np.clip(image * gain, 0, 255).astype(np.uint8)
    assert alarms([image, lit, image]) == []


def test_black_is_a_cut_and_noise_on_black_is_none() -> None:
    rng = np.random.default_rng(0)
    black = [rng.integers(0, 12, (72, 96, 3), dtype=np.uint8) for _ in range(8)]
    (image,) = places(1, 1)
    assert alarms(black) == []
    assert alarms([image, *black, image]) == [1, 9]


def test_lights_that_flash_do_not_cost_a_call_each() -> None:
    one, other = places(2, 2)
    assert len(alarms([one, other] * 20)) <= 40 / (APART + 1)


def test_where_every_frame_jumps_none_is_a_cut() -> None:
    jumpy = [np.roll(image, ix * 17, 1) for ix, image in enumerate(places(3, 1) * 40)]
    assert len(alarms(jumpy)) <= 4


@pytest.mark.parametrize("at", [0, 3, 9])
def test_it_goes_on_exactly(at: int) -> None:
    images = [image for image in places(5, 4) for _ in range(7)]
    first, second = Cuts(), Cuts()
    before = alarms(images[:at], first)
    second.load(first.tensors())
    assert before + [at + ix for ix in alarms(images[at:], second)] == alarms(images) == [7, 14, 21]


def test_frames_of_other_sizes_are_compared() -> None:
    (image,) = places(6, 1)
    assert alarms([image, np.kron(image, np.ones((2, 2, 1), np.uint8))]) == []
