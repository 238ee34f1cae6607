"""Positives that are not in the pool: their bytes are kept beside it, their features are made when they are needed."""

import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.core.files import write_bytes
from narrowcast.mine.decode import content_id, decode
from narrowcast.mine.features import FeatureStore, normalised
from narrowcast.mine.pool import Pool
from narrowcast.models.backbones import Backbone

EXAMPLES = "examples"


def keep_example(pool: Pool, path: Path) -> str:
    """Keep the photo at `path` beside the pool; its identity.

    Raises:
        SourceError: it cannot be read or is no photo.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
    return keep_content(pool, content, name=str(path))


def keep_content(pool: Pool, content: bytes, *, name: str) -> str:
    """Keep a photo's bytes beside the pool; its identity.

    Raises:
        SourceError: they are no photo.
    """
    try:
        decode(content, least_hw=(8, 8))
    except SourceError as error:
        raise SourceError(f"{name}: not a photo that can start a category: {error}") from error
    item = content_id(content)
    kept = pool.path / EXAMPLES / item
    if not kept.exists():
        write_bytes(kept, content)
    return item


def example_features(
    pool: Pool, store: FeatureStore, items: Sequence[str], *, load: Callable[[], Backbone]
) -> Float32[np.ndarray, "n dim"]:
    """The normalised features of kept examples; `load` is called where some were not made yet.

    Raises:
        UsageError: the backbone gives other features than the pool's.
        SourceError: an example is not there any more.
    """
    paths = {item: store.folder / EXAMPLES / f"{item}.npy" for item in items}
    missing = [item for item, path in paths.items() if not path.exists()]
    if missing:
        backbone = load()
        _check(backbone, store)
        for item in missing:
            try:
                photo = decode((pool.path / EXAMPLES / item).read_bytes(), least_hw=backbone.size_hw)
            except OSError as error:
                raise SourceError(f"{pool.path / EXAMPLES / item}: cannot be read: {error.strerror}") from error
            _write(paths[item], backbone([photo.image_rgb])[0])
    return _read(paths.values(), store)


def text_features(store: FeatureStore, text: str, *, load: Callable[[], Backbone]) -> Float32[np.ndarray, "1 dim"]:
    """The normalised feature of a text query.

    Raises:
        UsageError: the backbone has no text.
    """
    name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    path = store.folder / EXAMPLES / f"text-{name}.npy"
    if not path.exists():
        backbone: Any = load()
        _check(backbone, store)
        if getattr(backbone, "text", None) is None:
            raise UsageError(f"--text: the backbone '{store.note.backbone}' knows no words; begin with --positives")
        _write(path, np.asarray(backbone.text(text), np.float32).reshape(-1))
    return _read([path], store)


def _check(backbone: Backbone, store: FeatureStore) -> None:
    if backbone.key != store.note.key:
        raise UsageError(
            f"{store.folder}: its features are of '{store.note.key}', but the backbone is '{backbone.key}' now;"
            " index again, or name positives that are in the pool"
        )


def _write(path: Path, feature: Float32[np.ndarray, " dim"]) -> None:
    content = io.BytesIO()
    np.save(content, normalised(feature[None])[0])
    write_bytes(path, content.getvalue())


def _read(paths: Any, store: FeatureStore) -> Float32[np.ndarray, "n dim"]:
    rows = [np.load(path, allow_pickle=False) for path in paths]
    return np.stack(rows).astype(np.float32) if rows else np.zeros((0, store.note.dim), np.float32)
