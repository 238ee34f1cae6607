"""Bursts of a whole pool: photos that were taken one after the other and show nearly the same; ours.

Only neighbours in the order of paths are compared, so that a million photos take seconds: photos of a burst lie beside
each other in a folder. Copies elsewhere are found by their bytes when they are indexed.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

from narrowcast.mine.strategies import NEAR_COPY

WINDOW = 3  # neighbours in the order of paths; ours: one photo of something else may lie in between


def bursts(
    features: Float[np.ndarray, "pool dim"], paths: Sequence[str], *, alike: float = NEAR_COPY
) -> list[Int64[np.ndarray, " n"]]:
    """The pool_ix of the photos of each burst, in the order of their paths; photos that stand alone are in none.

    Two photos of one folder are of one burst where their cosine is at least `alike` and at most two others lie between
    them, and so on from photo to photo.
    """
    order = np.array(sorted(range(len(paths)), key=paths.__getitem__), np.int64)
    folders = [paths[int(ix)].rpartition("/")[0] for ix in order]
    group = np.arange(len(order))
    for step in range(WINDOW, 0, -1):
        for place in _alike(features, order, step, alike):
            if folders[place] == folders[place + step]:
                group[place + 1 : place + step + 1] = -1  # joined with what comes before
    starts = np.flatnonzero(group >= 0)
    found = np.split(order, starts[1:]) if len(order) else []
    return [members for members in found if len(members) > 1]


def _alike(
    features: Float[np.ndarray, "pool dim"], order: Int64[np.ndarray, " pool"], step: int, alike: float
) -> Int64[np.ndarray, " n"]:
    """Places in `order` whose photo is like the one `step` further on."""
    found = []
    for start in range(0, max(0, len(order) - step), 4096):
        ahead = order[start + step : start + step + 4096]
        one, other = features[order[start : start + len(ahead)]], features[ahead]
        likeness = np.einsum("nd,nd->n", one.astype(np.float32), other.astype(np.float32))
        found.append(start + np.flatnonzero(likeness >= alike))
    return np.concatenate(found) if found else np.zeros(0, np.int64)
