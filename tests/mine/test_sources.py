"""Every way to name photos leads to the same places."""

import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from narrowcast.core.errors import SourceError
from narrowcast.mine.sources import find_places


def names(*sources: Path) -> list[str]:
    return [Path(place.path.rpartition("::")[2]).name for place in find_places(list(sources))]


def archive(photos: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for photo in sorted(photos.rglob("*.png"))[:5]:
            tar.add(photo, arcname=photo.name)
    return path


def test_folders_are_searched_in_order_and_hidden_files_are_not(photos: Path) -> None:
    (photos / ".hidden.png").write_bytes(b"x")
    (photos / "notes.txt").write_text("x")
    found = names(photos)
    assert len(found) == 40
    assert found[:2] == ["000.png", "002.png"]
    assert found == names(photos, photos / "0")  # each photo once


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".parquet"])
def test_lists_begin_at_their_folder(photos: Path, suffix: str) -> None:
    paths = ["0/000.png", "1/001.png", str(photos / "0" / "002.png")]
    path = photos / f"list{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"id": [1, 2, 3], "path": paths}), path)
    else:
        head = ["# a comment"] if suffix == ".txt" else ["id,path"]
        path.write_text("\n".join(head + [p if suffix == ".txt" else f"7,{p}" for p in paths]))
    assert [place.path for place in find_places([path])] == [str(photos / p) for p in paths]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_members_of_archives_can_be_read_alone(photos: Path, tmp_path: Path, suffix: str) -> None:
    path = archive(photos, tmp_path / f"shard{suffix}")
    places = list(find_places([path]))
    assert next(place.path for place in places) == f"{path}::000.png"
    assert [place.read() for place in places] == [p.read_bytes() for p in sorted(photos.rglob("*.png"))[:5]]
    assert all((place.offset >= 0) == (suffix == ".tar") for place in places)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("missing", "no such file or folder", id="missing"),
        pytest.param("empty", "no image in it", id="empty folder"),
        pytest.param("bad.tar", "not a tar archive", id="not a tar"),
        pytest.param("bad.parquet", "not a list of paths", id="not a table"),
        pytest.param("words.doc", "neither a folder", id="another file"),
    ],
)
def test_what_holds_no_photos_is_said(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    for file in ("bad.tar", "bad.parquet", "words.doc"):
        (tmp_path / file).write_bytes(b"words" * 300)
    with pytest.raises(SourceError, match=message):
        list(find_places([tmp_path / name]))
