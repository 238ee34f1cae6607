"""Streams that drift, with exact labels."""

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from narrowcast.core.errors import ConfigError, SourceError
from narrowcast.video.drift import DriftConfig, drifting

SMALL = DriftConfig(frames=40, size_wh=(96, 64), scenes=3, cut_every=6, returns=0.3, seed=2)


def test_the_same_seed_gives_the_same_stream() -> None:
    for (frame, labels, scene), (again, labels_again, scene_again) in zip(
        drifting(SMALL), drifting(SMALL), strict=True
    ):
        np.testing.assert_array_equal(frame.image_rgb, again.image_rgb)
        np.testing.assert_array_equal(labels, labels_again)
        assert scene == scene_again


def test_scenes_come_back_where_they_were_left_looking_alike() -> None:
    scenes = [scene for _, _, scene in drifting(SMALL)]
    shots = [scene for ix, scene in enumerate(scenes) if ix == 0 or scenes[ix - 1] != scene]
    assert len(shots) > len(set(shots)) == 3
    assert all(one != other for one, other in pairwise(shots))
    assert [scene for ix, scene in enumerate(shots) if scene not in shots[:ix]] == sorted(set(shots))


def test_without_cuts_there_is_one_scene() -> None:
    config = DriftConfig(frames=30, size_wh=(64, 48), cut_every=0)
    assert {scene for _, _, scene in drifting(config)} == {0}


def test_labels_are_exact(tmp_path: Path) -> None:
    """Grounds and textures are plain red or blue; where no shape is, only the ground's colour is to be seen."""
    for name, color in (("red", (0, 0, 220)), ("blue", (220, 0, 0))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((8, 8, 3), color, np.uint8))
    photos = [tmp_path / "red.png", tmp_path / "blue.png"]
    config = DriftConfig(frames=6, size_wh=(96, 64), cut_every=0, light=0.0, classes=3, seed=1)
    has_other_color, seen = False, set()
    for frame, labels, _ in drifting(config, photos):
        is_red = frame.image_rgb[..., 0] > frame.image_rgb[..., 2]
        ground = is_red[labels == 0]
        assert ground.all() or not ground.any()
        has_other_color |= bool((is_red[labels > 0] != ground[0]).any())
        seen |= set(np.unique(labels).tolist())
    assert has_other_color
    assert seen == {0, 1, 2, 3}


def test_light_drifts() -> None:
    config = DriftConfig(frames=500, size_wh=(48, 32), cut_every=0, light=0.6)
    means = [frame.image_rgb.mean() for frame, _, _ in drifting(config)]
    assert max(means) > 1.8 * min(means)


def test_photos_are_the_ground(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "green.png"), np.full((40, 60, 3), (0, 200, 0), np.uint8))
    config = DriftConfig(frames=1, size_wh=(64, 48), light=0.0)
    frame = next(drifting(config, [tmp_path / "green.png"]))[0]
    assert frame.image_rgb[..., 1].mean() > 10 * frame.image_rgb[..., 0].mean()
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    with pytest.raises(SourceError, match=r"bad\.jpg"):
        next(drifting(config, [tmp_path / "bad.jpg"]))


@pytest.mark.parametrize("wrong", [{"classes": 8}, {"returns": 1.5}, {"frames": 0}, {"size_wh": (8, 64)}], ids=str)
def test_numbers_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DriftConfig(**wrong)
