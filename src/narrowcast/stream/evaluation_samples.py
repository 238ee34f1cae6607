"""A few frames of each stream with what the teacher and every method said of them, as pictures side by side."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from narrowcast.core.files import write_bytes
from narrowcast.stream.bench import Bench
from narrowcast.stream.job import SAMPLES, sample_frames
from narrowcast.stream.learner import shrink
from narrowcast.stream.targets import resize_labels
from narrowcast.video.images import read_image
from narrowcast.video.labels import read_label_png, write_label_png
from narrowcast.video.overlay import draw_caption, overlay

TILE_WIDTH, COLUMNS = 400, 3


def keep_samples(bench: Bench, out: Path) -> None:
    """Keep the sample frames of a stream, and the teacher's labels of them, below `out`/samples."""
    folder = out / SAMPLES / bench.clip.name
    wanted = {index for index in sample_frames(bench.num_frames) if not (folder / f"{index:08}.png").exists()}
    if not wanted:
        return
    labels = bench.scorer(0)
    with bench.clip.open(max_frames=max(wanted) + 1) as frames:
        for frame in frames:
            if frame.index in wanted:
                image_rgb = shrink(frame.image_rgb, bench.size_wh)
                encoded, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR))
                assert encoded
                write_bytes(folder / f"{frame.index:08}.jpg", jpeg.tobytes())
                said = labels(frame.image_rgb, frame_index=frame.index).labels
                write_label_png(folder / f"{frame.index:08}.png", resize_labels(said, bench.size_wh))


def compose(out: Path, clip: str, index: int, runs: Sequence[tuple[str, Path]]) -> Path | None:
    """A picture of frame `index`: the teacher, then each run that has an output of it; None where no run has.

    Args:
        runs: names to be written on the tiles, and job folders.
    """
    frame = out / SAMPLES / clip / f"{index:08}.jpg"
    outputs = [(name, folder / SAMPLES / f"{index:08}.png") for name, folder in runs]
    outputs = [(name, path) for name, path in outputs if path.exists()]
    if not frame.exists() or not outputs:
        return None
    image_rgb = read_image(frame)
    tiles = [_tile(image_rgb, read_label_png(frame.with_suffix(".png")), "teacher")]
    tiles += [_tile(image_rgb, read_label_png(path), name) for name, path in outputs]
    encoded, jpeg = cv2.imencode(".jpg", cv2.cvtColor(_grid(tiles), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert encoded
    path = frame.with_name(f"{index:08}-methods.jpg")
    write_bytes(path, jpeg.tobytes())
    return path


def _tile(
    image_rgb: UInt8[np.ndarray, "h w 3"], labels: UInt8[np.ndarray, "h2 w2"], name: str
) -> UInt8[np.ndarray, "H W 3"]:
    height, width = image_rgb.shape[:2]
    size_wh = (TILE_WIDTH, max(1, round(height * TILE_WIDTH / width)))
    return draw_caption(overlay(cv2.resize(image_rgb, size_wh), labels), name)


def _grid(tiles: list[UInt8[np.ndarray, "h w 3"]]) -> UInt8[np.ndarray, "H W 3"]:
    """Tiles of one size in rows; the last row is filled up with grey."""
    columns = min(COLUMNS, len(tiles))
    blank = np.full_like(tiles[0], 230)
    tiles = tiles + [blank] * (-len(tiles) % columns)
    return np.vstack([np.hstack(tiles[ix : ix + columns]) for ix in range(0, len(tiles), columns)])
