"""One version of a pool's features: fp16 rows, normalised, in shards that are whole or absent."""

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float, Float16, Float32

from narrowcast.core.config import from_dict
from narrowcast.core.errors import ConfigError, StorageError, UsageError
from narrowcast.core.files import write_bytes, write_json
from narrowcast.mine.stored import Pause, RowFile, StoredRows, go_on
from narrowcast.models.preprocess import Preprocessing

FEATURES, VERSION, WEIGHTS = "features", "version.json", "backbone.safetensors"
FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionNote:
    """What a version of the features is.

    Attributes:
        name: its folder.
        key: the backbone's; another key is another version.
        backbone: as `load_backbone` takes it; "" where the features come from elsewhere. Behind a + is the file of
            weights that were trained further; in version.json without its folder, which may be moved.
        preprocessing: the backbone's, where it is known.
        parent: the version that a feature update started from.
    """

    name: str
    key: str
    dim: int
    backbone: str = ""
    preprocessing: Preprocessing | None = None
    parent: str = ""
    format: int = FORMAT


@final
class FeatureStore:
    """The shards of one version, `features/NAME/00000.npy` and on: shard k has the rows of the pool's k-th shard."""

    def __init__(self, folder: Path, note: VersionNote) -> None:
        self.folder, self.note = folder, note

    @classmethod
    def create(cls, pool: Path, note: VersionNote) -> "FeatureStore":
        """A version without shards; its note is on disk when this returns."""
        store = cls(pool / FEATURES / note.name, note)
        write_json(store.folder / VERSION, asdict(note))
        return store

    @classmethod
    def open(cls, pool: Path, name: str) -> "FeatureStore":
        """The version called `name`.

        Raises:
            UsageError: there is none, or it is of a later format.
        """
        path = pool / FEATURES / name / VERSION
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values.get("format", 0) > FORMAT:
                raise UsageError(f"{path}: features of format {values['format']}; this narrowcast reads up to {FORMAT}")
            note = from_dict(VersionNote, values, where=str(path))
        except FileNotFoundError:
            known = ", ".join(version_names(pool)) or "none yet"
            raise UsageError(f"{pool}: has no features called '{name}'; there are: {known}") from None
        except (OSError, ValueError, ConfigError) as error:
            raise StorageError(f"{path}: damaged: {error}") from error
        if note.backbone.endswith(f"+{WEIGHTS}"):
            note = replace(note, backbone=f"{note.backbone.removesuffix(WEIGHTS)}{path.parent.absolute() / WEIGHTS}")
        return cls(path.parent, note)

    def shard_path(self, shard: int) -> Path:
        return self.folder / f"{shard:05}.npy"

    def has_shard(self, shard: int) -> bool:
        return self.shard_path(shard).exists()

    def write_shard(self, shard: int, features: Float[np.ndarray, "n dim"]) -> None:
        """Write a shard, normalised, whole or not at all.

        Raises:
            StorageError: the folder cannot be written or the disk is full.
        """
        content = io.BytesIO()  # numpy's own writing hides what is wrong with a full disk
        np.save(content, normalised(features).astype(np.float16))
        write_bytes(self.shard_path(shard), content.getvalue())

    def read(self, num_shards: int) -> Float16[np.ndarray, "rows dim"]:
        """All rows of the first `num_shards` shards in one array, 2 bytes a value and never twice in memory.

        Raises:
            UsageError: shards are missing, since other features were indexed last.
            StorageError: a shard is damaged.
        """
        self._check_whole(num_shards)
        num_rows = [self._rows_of(shard) for shard in range(num_shards)]
        rows = np.empty((sum(num_rows), self.note.dim), np.float16)
        start = 0
        for shard, num in enumerate(num_rows):
            self._read_into(shard, rows[start : start + num])
            start += num
        return rows

    def stored(self, num_shards: int, *, pause: Pause = go_on) -> StoredRows:
        """The same rows, left where they are.

        Args:
            pause: called between two shards of a pass.

        Raises:
            UsageError, StorageError: as `read`, but for what only reading the rows would show.
        """
        self._check_whole(num_shards)
        files = []
        for shard in range(num_shards):
            with self._open(shard) as (file, num):
                files.append(RowFile(self.shard_path(shard), file.tell(), num))
        return StoredRows(files, self.note.dim, pause=pause)

    def _check_whole(self, num_shards: int) -> None:
        missing = [shard for shard in range(num_shards) if not self.has_shard(shard)]
        if missing:
            raise UsageError(
                f"{self.folder}: lacks the features of {len(missing)} of {num_shards} shards; run mine index with"
                f" --backbone {self.note.backbone} again, without sources"
            )

    def _rows_of(self, shard: int) -> int:
        with self._open(shard) as (_, num):
            return num

    def _read_into(self, shard: int, rows: Float16[np.ndarray, "n dim"]) -> None:
        """Straight to where they belong: mapped, their pages would count twice until the last shard is read."""
        with self._open(shard) as (file, _):
            if rows.nbytes and file.readinto(rows.view(np.uint8).data) != rows.nbytes:
                raise ValueError("cut off")

    @contextmanager
    def _open(self, shard: int) -> Iterator[tuple[io.BufferedReader, int]]:
        """The file of a shard behind its header, and how many rows it has."""
        path = self.shard_path(shard)
        try:
            with path.open("rb") as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, is_fortran, dtype = read(file)
                if dtype != np.float16 or len(shape) != 2 or shape[1] != self.note.dim or is_fortran:
                    raise StorageError(f"{path}: holds {dtype} {shape}; expected float16 (n, {self.note.dim})")
                yield file, shape[0]
        except (OSError, ValueError, EOFError) as error:
            raise StorageError(f"{path}: damaged; remove it and index again ({error})") from error


def normalised(features: Float[np.ndarray, "n dim"]) -> Float32[np.ndarray, "n dim"]:
    """Rows of length 1; a row of zeros stays one."""
    rows = features.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def version_names(pool: Path) -> list[str]:
    """The versions that are in `pool`."""
    folder = pool / FEATURES
    return sorted(path.parent.name for path in folder.glob(f"*/{VERSION}")) if folder.is_dir() else []


def version_name(key: str) -> str:
    """A folder's name for the features of a backbone with that key."""
    return re.sub(r"[^\w.@=-]+", "-", key).strip("-.")[:120]
