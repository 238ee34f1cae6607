"""Photos upright and whole, or a reason."""

import io

import numpy as np
import pytest
from PIL import Image

from narrowcast.core.errors import SourceError
from narrowcast.mine.decode import content_id, decode


def encoded(kind: str = "JPEG", size_wh: tuple[int, int] = (64, 48), **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size_wh, (200, 30, 30)).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_formats(kind: str) -> None:
    photo = decode(encoded(kind))
    assert photo.image_rgb.shape == (48, 64, 3)
    assert np.abs(photo.image_rgb.astype(int) - (200, 30, 30)).max() < 8


def test_a_camera_that_was_turned_is_turned_back() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = decode(encoded(exif=exif))
    assert photo.size_wh == (48, 64)
    assert photo.image_rgb.shape == (64, 48, 3)


def test_far_too_large_jpegs_are_decoded_smaller_but_not_too_small() -> None:
    photo = decode(encoded(size_wh=(1600, 1200)), least_hw=(224, 224))
    assert photo.size_wh == (1600, 1200)
    assert photo.image_rgb.shape == (300, 400, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"words" * 99, "not an image", id="words"),
        pytest.param(encoded(size_wh=(400, 400))[:900], "truncated", id="cut off"),
    ],
)
def test_what_cannot_be_decoded_says_why(content: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        decode(content, least_hw=(8, 8))


def test_the_identity_is_that_of_the_bytes() -> None:
    assert content_id(b"a") == content_id(b"a") != content_id(b"b")
