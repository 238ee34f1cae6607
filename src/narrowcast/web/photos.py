"""The photos of a pool for browsers: thumbnails, kept once made, and full size; by identity only, never by path."""

import io
import re
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import final

from PIL import Image

from narrowcast.core.errors import NarrowcastError, SourceError
from narrowcast.core.files import write_bytes
from narrowcast.mine.catalogue import Catalogue
from narrowcast.mine.decode import decode
from narrowcast.mine.examples import EXAMPLES

CACHE, THUMBS = "cache", "thumbs"
THUMB = 320  # pixels of the longer side: sharp at 160 on a fine screen; about 15 kB
KEPT_IN_MEMORY = 1000  # thumbnails: 15 MB
MOST_PIXELS = 4096  # of the longer side of a photo that must be encoded anew
AS_IT_IS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
IDENTITY = re.compile(r"[0-9a-f]{32}")


class NoPhoto(NarrowcastError):
    """There is no photo with that identity, or its file is gone."""


@final
class Photos:
    """Thumbnails and photos of a pool and of the examples beside it. May be used by several threads."""

    def __init__(self, catalogue: Callable[[], Catalogue], folder: Path) -> None:
        self._catalogue, self._folder = catalogue, folder
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def thumb(self, item: str) -> bytes:
        """A JPEG of at most `THUMB` pixels.

        Raises:
            NoPhoto: there is none.
        """
        with self._lock:
            if item in self._kept:
                self._kept.move_to_end(item)
                return self._kept[item]
        content = self._thumb(_checked(item))
        with self._lock:
            self._kept[item] = content
            while len(self._kept) > KEPT_IN_MEMORY:
                self._kept.popitem(last=False)
        return content

    def full(self, item: str) -> tuple[bytes, str]:
        """The file's own bytes where browsers show them, else a JPEG; and its media type.

        Raises:
            NoPhoto: there is none.
        """
        content = self._read(_checked(item))
        try:
            with Image.open(io.BytesIO(content)) as image:
                if image.format in AS_IT_IS:
                    return content, AS_IT_IS[image.format]
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise NoPhoto(f"photo {item}: not an image any more: {error}") from error
        return _jpeg(item, content, MOST_PIXELS), "image/jpeg"

    def _thumb(self, item: str) -> bytes:
        path = self._folder / CACHE / THUMBS / item[:2] / f"{item}.jpg"
        try:
            return path.read_bytes()
        except OSError:
            content = _jpeg(item, self._read(item), THUMB)
        with suppress(NarrowcastError):  # a pool that cannot be written has no cache
            write_bytes(path, content)
        return content

    def _read(self, item: str) -> bytes:
        pool_ix = self._catalogue().ix_of(item)
        try:
            if pool_ix is None:
                return (self._folder / EXAMPLES / item).read_bytes()
            return self._catalogue().place(pool_ix).read()
        except (OSError, tarfile.TarError, KeyError) as error:
            raise NoPhoto(f"photo {item}: there is none, or its file is gone") from error


def _checked(item: str) -> str:
    if not IDENTITY.fullmatch(item):
        raise NoPhoto("no such photo")
    return item


def _jpeg(item: str, content: bytes, most_pixels: int) -> bytes:
    try:
        pixels = decode(content, least_hw=(most_pixels, most_pixels)).image_rgb
    except SourceError as error:
        raise NoPhoto(f"photo {item}: {error}") from error
    image = Image.fromarray(pixels)
    image.thumbnail((most_pixels, most_pixels), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.save(written, "JPEG", quality=82)
    return written.getvalue()
