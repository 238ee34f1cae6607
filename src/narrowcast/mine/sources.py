"""Where photos are: folders, lists, tables of paths and tar shards, as one stream of places."""

import csv
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from narrowcast.core.errors import SourceError

IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jfif"])
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MEMBER = "::"  # between an archive and a name in it: shard-000.tar::birds/17.jpg


@dataclass(frozen=True, slots=True)
class Place:
    """Where one photo's bytes are.

    Attributes:
        path: absolute; of a member of an archive: archive::member.
        size_bytes, mtime_ns: of the file, or the member's size and the archive's time; unchanged, it is not read anew.
        offset: of the bytes in an archive that is not compressed, so that one photo can be read alone; -1 elsewhere.
    """

    path: str
    size_bytes: int
    mtime_ns: int
    offset: int = -1

    def read(self) -> bytes:
        """The bytes.

        Raises:
            OSError, tarfile.TarError: they are not there any more.
        """
        archive, is_member, member = self.path.partition(MEMBER)
        if not is_member:
            return Path(self.path).read_bytes()
        if self.offset < 0:
            with tarfile.open(archive) as tar:
                content = tar.extractfile(member)
                return b"" if content is None else content.read()
        with Path(archive).open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size_bytes)


def find_places(sources: list[Path]) -> Iterator[Place]:
    """Every photo that the sources name, in a fixed order, each once.

    Args:
        sources: folders (searched through), images, .txt lists, .csv or .parquet tables with a column `path` (or their
            first column), and tar archives. Relative paths in a list or table begin at its folder.

    Raises:
        SourceError: a source does not exist, cannot be read or names no photo.
    """
    seen: set[str] = set()
    for source in sources:
        num = 0
        for place in _places(source):
            num += 1
            if place.path not in seen:
                seen.add(place.path)
                yield place
        if not num:
            raise SourceError(
                f"{source}: no image in it; expected files that end in {', '.join(sorted(IMAGE_SUFFIXES))}"
            )


def _places(source: Path) -> Iterator[Place]:
    try:
        if source.is_dir():
            yield from _folder(source)
        elif not source.exists():
            raise SourceError(f"{source}: no such file or folder")
        elif source.name.lower().endswith(TAR_SUFFIXES):
            yield from _archive(source)
        elif source.suffix.lower() in (".txt", ".lst", ".csv", ".parquet"):
            for path in _listed(source):
                yield _file(path, source)
        elif source.suffix.lower() in IMAGE_SUFFIXES:
            yield _file(source, source)
        else:
            raise SourceError(f"{source}: neither a folder, an image, a .txt, .csv or .parquet list nor a tar archive")
    except OSError as error:
        raise SourceError(f"{error.filename or source}: cannot be read: {error.strerror or error}") from error


def _folder(folder: Path) -> Iterator[Place]:
    """Depth first, names in order; hidden files and folders are passed over."""
    entries = sorted((entry for entry in os.scandir(folder.absolute()) if entry.name[0] != "."), key=lambda e: e.name)
    for entry in entries:
        if entry.is_dir():
            yield from _folder(Path(entry.path))
        elif os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:
            found = entry.stat()
            yield Place(entry.path, found.st_size, found.st_mtime_ns)
        elif entry.name.lower().endswith(TAR_SUFFIXES):
            yield from _archive(Path(entry.path))


def _file(path: Path, source: Path) -> Place:
    """A listed file; one that is missing is still listed, and recorded as undecodable when it is read."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return Place(str(path.absolute()), 0, 0)
    return Place(str(path.absolute()), found.st_size, found.st_mtime_ns)


def _archive(path: Path) -> Iterator[Place]:
    mtime_ns = path.stat().st_mtime_ns
    try:
        is_plain = path.suffix.lower() == ".tar"
        with tarfile.open(path, "r:" if is_plain else "r:*") as tar:  # offsets hold where nothing is compressed
            for member in tar:
                if member.isfile() and os.path.splitext(member.name)[1].lower() in IMAGE_SUFFIXES:
                    offset = member.offset_data if is_plain else -1
                    yield Place(f"{path.absolute()}{MEMBER}{member.name}", member.size, mtime_ns, offset)
    except tarfile.TarError as error:
        raise SourceError(f"{path}: not a tar archive that can be read: {error}") from error


def _listed(source: Path) -> Iterator[Path]:
    start = source.absolute().parent
    for name in read_paths(source):
        yield start / Path(name).expanduser()


def read_paths(source: Path) -> list[str]:
    """The paths that a .txt list, or the column `path` (else the first column) of a .csv or .parquet table, names.

    Raises:
        SourceError: it is not such a file.
    """
    try:
        if source.suffix.lower() == ".parquet":
            import pyarrow.parquet

            table = pyarrow.parquet.read_table(source)
            name = "path" if "path" in table.column_names else table.column_names[0]
            return [str(value) for value in table.column(name).to_pylist()]
        text = source.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, ValueError, IndexError) as error:
        raise SourceError(f"{source}: not a list of paths: {error}") from error
    if source.suffix.lower() != ".csv":
        return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if rows and "path" in rows[0]:
        column = rows[0].index("path")
        return [row[column] for row in rows[1:] if len(row) > column]
    return [row[0] for row in rows]
