"""Drifting streams as folders that `stream eval frames:FOLDER` and `--teacher FOLDER/labels` read."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2

from narrowcast.core.errors import StorageError
from narrowcast.core.files import write_bytes, write_json, write_text
from narrowcast.models.mask_folder import CLASSES_FILE
from narrowcast.video.drift import DriftConfig, drifting
from narrowcast.video.labels import write_label_png

JPEG_QUALITY = 95


def generate(folder: Path, config: DriftConfig, photos: Sequence[Path] = ()) -> Iterator[int]:
    """Write the stream; yields the number of frames written so far.

    The folder gets `images/` (JPEG), `labels/` (PNG, with `classes.txt`), `scenes.txt` (the number of the scene of each
    frame, one a line) and last `stream.json` (the settings).

    Raises:
        StorageError: there is something in `folder` already, or it cannot be written.
        SourceError: a photo cannot be read.
    """
    if folder.exists() and any(folder.iterdir()):
        raise StorageError(f"{folder}: is not empty; name a new folder")
    images, labels = folder / "images", folder / "labels"
    scenes = []
    for frame, truth, scene in drifting(config, photos):
        name = f"{frame.index:08d}"
        encoded = cv2.imencode(
            ".jpg", cv2.cvtColor(frame.image_rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        )[1]
        write_bytes(images / f"{name}.jpg", encoded.tobytes())
        write_label_png(labels / f"{name}.png", truth)
        scenes.append(scene)
        yield frame.index + 1
    write_text(labels / CLASSES_FILE, "\n".join(config.class_names) + "\n")
    write_text(folder / "scenes.txt", "\n".join(map(str, scenes)) + "\n")
    write_json(folder / "stream.json", asdict(config) | {"photos": len(photos)})
