"""Photos read and seen by a pool of actors on Ray Data, in order, for `mine.indexing.index`.

Ray Data streams: places go out as the actors have room, features come back as they are taken; only the list of places
grows with the number of photos.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

import numpy as np
import pyarrow as pa

from narrowcast.core.runtime import pick_device
from narrowcast.fleet.ray_session import connected
from narrowcast.mine.indexing import BATCH_SIZE, Photo, Read, read_photo
from narrowcast.mine.sources import Place
from narrowcast.models.backbones import load_backbone


class Seer:
    """An actor's backbone: places to rows and features."""

    def __init__(self, spec: str, device: str) -> None:
        import torch

        torch.set_num_threads(1)  # an actor has a core
        self._backbone = load_backbone(spec, device=pick_device(device))

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A batch of places, columns as of `Place`, to JSON rows and features (zeros where there are none)."""
        places = [Place(*json.loads(text)) for text in batch["place"].tolist()]
        photos = [read_photo(place, self._backbone) for place in places]
        features = np.zeros((len(photos), self._backbone.dim), np.float32)
        there = [ix for ix, photo in enumerate(photos) if photo.prepared is not None]
        if there:
            features[there] = self._backbone([photo.prepared for photo in photos if photo.prepared is not None])
        rows = np.array([json.dumps(photo.row) for photo in photos], object)
        return {"row": rows, "features": features}


@contextmanager
def reading_on_ray(
    spec: str, *, num_workers: int, address: str | None = None, device: str = "auto", num_gpus: float = 0.0
) -> Iterator[Read]:
    """What `index` takes as `read`, while the block runs: `num_workers` actors, each with the backbone `spec`.

    Raises:
        DependencyError: Ray is not installed.
        UsageError: there is no Ray at `address`.
    """
    with connected(address, num_cpus=num_workers + 1) as ray:  # one for Ray Data's own tasks
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        logging.getLogger("ray.data").setLevel(logging.ERROR)

        def read(places: Iterable[Place]) -> Iterator[Photo]:
            blocks = [
                pa.table({"place": [json.dumps(astuple(place)) for place in block]})
                for block in _blocks(places, BATCH_SIZE)
            ]
            if not blocks:
                return
            seen = ray.data.from_arrow(blocks).map_batches(
                Seer,
                fn_constructor_args=(spec, device),
                batch_size=BATCH_SIZE,
                batch_format="numpy",
                compute=ray.data.ActorPoolStrategy(size=min(num_workers, len(blocks))),
                num_cpus=1,
                num_gpus=num_gpus or None,
            )
            for batch in seen.iter_batches(batch_size=None, batch_format="numpy"):
                assert isinstance(batch, dict)  # as `batch_format` asks
                yield from _photos(batch)

        yield read


def _photos(batch: dict[str, Any]) -> Iterator[Photo]:
    for text, features in zip(batch["row"], batch["features"], strict=True):
        row = json.loads(text)
        is_there = row["status"] == "ok"
        yield Photo(row, features=np.array(features, np.float32) if is_there else None)


def _blocks(places: Iterable[Place], size: int) -> Iterator[list[Place]]:
    block: list[Place] = []
    for place in places:
        block.append(place)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block
