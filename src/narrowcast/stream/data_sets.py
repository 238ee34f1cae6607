"""Streams with labels by people, or with published predictions: `davis:FOLDER`, `davis2017:FOLDER`, `camvid:FOLDER`,
`cityscapes:FOLDER`, `lvs:FOLDER`, `frames:FOLDER`, and those of a list, `list:FILE`; each with `#NAME` for one of its
streams.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from narrowcast.core.errors import SourceError, UsageError, did_you_mean
from narrowcast.models.mask_folder import CLASSES_FILE, read_classes
from narrowcast.stream.clips import Clip, plain_clips
from narrowcast.stream.davis import davis2017_clips, davis_clips
from narrowcast.stream.listed_clips import listed_clips
from narrowcast.stream.lvs import lvs_clips
from narrowcast.stream.paired_labels import PairedLabels, one_of, pairs, same_values
from narrowcast.stream.street import camvid_clips, cityscapes_clips


def open_clips(specs: Sequence[str]) -> list[Clip]:
    """The streams that `specs` name: data sets give several, all else gives one.

    Raises:
        UsageError: two streams of one name, or a name that a data set does not have.
        SourceError: a folder is not laid out as its data set is.
    """
    plain = iter(plain_clips([spec for spec in specs if _kind(spec) is None]))
    clips = []
    for spec in specs:
        kind = _kind(spec)
        clips += [next(plain)] if kind is None else _chosen(spec, kind)
    names = [clip.name for clip in clips]
    if twice := [name for ix, name in enumerate(names) if name in names[:ix]]:
        raise UsageError(f"two streams are called '{twice[0]}'; evaluate them apart")
    return clips


def _kind(spec: str) -> str | None:
    kind, colon, _ = spec.partition(":")
    return kind if colon and kind in LAYOUTS and not Path(spec).exists() else None


def _chosen(spec: str, kind: str) -> list[Clip]:
    folder, _, name = spec.removeprefix(f"{kind}:").partition("#")
    if kind != "list" and not Path(folder).is_dir():
        raise SourceError(f"{spec}: no such folder: {folder}")
    clips = LAYOUTS[kind](Path(folder))
    chosen = [clip for clip in clips if name in ("", clip.name)]
    if not chosen:
        known = [clip.name for clip in clips]
        raise UsageError(f"{spec}: expected one of {', '.join(known[:8])}{did_you_mean(name, known)}")
    return chosen


def folder_clips(folder: Path) -> list[Clip]:
    """One stream: `images/` with `labels/` of the same names, as PNGs of class indices, and `labels/classes.txt`."""
    labels = one_of(folder / "labels")
    classes = read_classes(labels / CLASSES_FILE)
    paths = pairs(one_of(folder / "images"), labels)
    return [Clip(folder.name, str(folder / "images"), None, None, PairedLabels(paths, classes, same_values()))]


LAYOUTS: dict[str, Callable[[Path], list[Clip]]] = {
    "davis": davis_clips,
    "davis2017": davis2017_clips,
    "camvid": camvid_clips,
    "cityscapes": cityscapes_clips,
    "lvs": lvs_clips,
    "frames": folder_clips,
    "list": listed_clips,
}
