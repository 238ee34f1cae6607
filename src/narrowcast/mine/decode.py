"""Bytes to pixels, or the reason why not."""

import hashlib
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from narrowcast.core.errors import SourceError


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded image and the size that its file states, after turning it upright."""

    image_rgb: UInt8[np.ndarray, "h w 3"]
    size_wh: tuple[int, int]


def content_id(content: bytes) -> str:
    """The identity of a photo: 128 bits of its bytes' BLAKE2b in hex. Labels are kept under it."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def decode(content: bytes, *, least_hw: tuple[int, int] | None = None) -> Photo:
    """RGB pixels, turned as the camera says; a JPEG far larger than `least_hw` is decoded at a half, quarter or eighth.

    Raises:
        SourceError: the reason why it cannot be decoded; a file that was cut off is refused, not filled with grey.
    """
    if not content:
        raise SourceError("the file is empty or missing")
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            if least_hw is not None:  # Pillow takes the smallest scale that is not below this
                scale = max(least_hw[0] / height, least_hw[1] / width)
                image.draft("RGB", (round(width * scale), round(height * scale)))
            turned = ImageOps.exif_transpose(image)
            is_turned = (turned.width > turned.height) != (width > height) and width != height
            pixels = np.array(turned.convert("RGB"))
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if "cannot identify" in reason:
            reason = "not an image of a known format"
        raise SourceError(reason) from error
    return Photo(pixels, (height, width) if is_turned else (width, height))
