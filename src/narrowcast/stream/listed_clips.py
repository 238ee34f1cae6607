"""Streams listed in a TOML file, each with classes of its own: `list:streams.toml`.

[[stream]]
source = "${NARROWCAST_DATA}/clips/vtest.avi"   # a relative path begins at this file
name = "station"                                # that results carry; by default the file's
classes = "person,car+bus=auto"                 # by default what --classes says
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from narrowcast.core.config import from_dict
from narrowcast.core.errors import ConfigError, SourceError
from narrowcast.models.card import read_toml, weights_path
from narrowcast.stream.clips import Clip, plain_clips


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedStream:
    """One entry of a list of streams."""

    source: str
    name: str | None = None
    classes: str | None = None


def listed_clips(path: Path) -> list[Clip]:
    """The streams of the list at `path`, in its order.

    Raises:
        ConfigError: not such a list.
        SourceError: a file of the list is not there.
    """
    raw = read_toml(path, what="list of streams")
    tables = raw.get("stream")
    if set(raw) != {"stream"} or not isinstance(tables, list) or not tables:
        raise ConfigError(f"{path}: a list of streams holds [[stream]] tables and nothing else")
    entries = [from_dict(ListedStream, table, where=f"{path}: stream {ix}") for ix, table in enumerate(tables, start=1)]
    for ix, entry in enumerate(entries, start=1):
        if entry.name is not None and not re.fullmatch(r"[\w.+-]+", entry.name):
            raise ConfigError(
                f"{path}: stream {ix}: name = {entry.name!r}: letters, digits, '.', '+', '-' and '_' only"
            )
    specs = [_spec(entry.source, path) for entry in entries]
    return [
        replace(clip, name=entry.name or clip.name, classes=entry.classes)
        for clip, entry in zip(plain_clips(specs), entries, strict=True)
    ]


def _spec(source: str, path: Path) -> str:
    if "://" in source:
        return source
    found = weights_path(source, path)
    if not found.exists() and not set("*?[") & set(source):
        raise SourceError(f"{path}: {found}: no such file or folder")
    return str(found)
