from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from narrowcast.core.errors import SourceError
from narrowcast.video.images import natural_key, read_image


def test_natural_order_counts_and_never_fails_on_mixed_names() -> None:
    names = ["a10", "a9", "b", "10", "9", "a", "a09", "é٣"]
    ordered = [path.name for path in sorted(map(Path, names), key=natural_key)]
    assert ordered.index("9") < ordered.index("10")
    assert ordered.index("a9") < ordered.index("a10")


def test_every_kind_of_image_becomes_rgb(tmp_path: Path) -> None:
    grey = np.array([[0, 128], [255, 64]], np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(np.dstack([grey, grey, grey, grey])).save(tmp_path / "alpha.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "indexed.png")
    for name in ("grey", "deep", "alpha", "indexed"):
        image_rgb = read_image(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(image_rgb, np.dstack([grey] * 3))
        assert image_rgb.flags.writeable


def test_a_photo_is_turned_as_its_exif_tag_asks(tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 10))
    exif = image.getexif()
    exif[0x0112] = 6  # held upright
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (20, 10, 3)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a\.png: no such image"):
        read_image(tmp_path / "a.png")
