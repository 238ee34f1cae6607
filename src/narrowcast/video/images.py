"""Folders and lists of still images as a source with a rate of its own."""

import glob
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from narrowcast.core.errors import SourceError
from narrowcast.video.reader import Picture

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"})


def natural_key(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    """A sort key under which frame 10 comes after frame 9.

    >>> sorted(map(Path, ["f10.png", "f9.png", "F1.png"]), key=natural_key)[0].name
    'F1.png'
    """
    pieces = re.split(r"([0-9]+)", str(path).casefold())
    return [(0, int(piece)) if piece.isdecimal() else (1, piece) for piece in pieces], str(path)


def list_folder(folder: Path) -> list[Path]:
    """The images directly in a folder, in natural order; hidden files are passed over.

    Raises:
        SourceError: there are none, or the folder cannot be listed.
    """
    try:
        paths = [path for path in folder.iterdir() if _is_image(path)]
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed: {error.strerror}") from error
    if not paths:
        raise SourceError(f"{folder}: a folder without images (looked for {', '.join(sorted(SUFFIXES))})")
    return sorted(paths, key=natural_key)


def list_glob(pattern: str) -> list[Path]:
    """The images that match a pattern such as `frames/*.jpg`, in natural order.

    Raises:
        SourceError: nothing matches.
    """
    paths = [Path(name) for name in glob.glob(pattern, recursive=True) if _is_image(Path(name))]
    if not paths:
        raise SourceError(f"{pattern}: no image matches this pattern")
    return sorted(paths, key=natural_key)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """The image in RGB, turned as its EXIF tag asks; 16 bits become 8, and transparency is dropped.

    Raises:
        SourceError: missing, cut off or not an image; the message names the file.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):
                grey = (np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.array(upright.convert("RGB"))
    except FileNotFoundError as error:
        raise SourceError(f"{path}: no such image") from error
    except UnidentifiedImageError as error:
        raise SourceError(f"{path}: not an image that can be read") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SourceError(f"{path}: the image cannot be decoded: {error}") from error


@final
class ImageReader:
    """The pictures of a list of images, `1 / fps` seconds apart (the attributes are those of `Reader`)."""

    def __init__(self, paths: list[Path], *, name: str, fps: Fraction) -> None:
        self.name = name
        self.fps: Fraction | None = fps
        self.num_frames: int | None = len(paths)
        self.is_live = False
        self.damaged = 0
        self.truncated: str | None = None
        self._paths = paths
        self._period_s = 1 / fps
        height, width = read_image(paths[0]).shape[:2]
        self.size_wh = (width, height)

    def pictures(self) -> Iterator[Picture]:
        """One pass; each image is read when it is loaded."""
        for position, path in enumerate(self._paths):
            yield Picture(position * self._period_s, partial(read_image, path))

    def stop(self) -> None:
        """Images are not waited for."""

    def close(self) -> None:
        """Nothing is held open."""
