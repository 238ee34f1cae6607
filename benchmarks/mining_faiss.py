"""Would an SQ8 index of FAISS rank a pool faster than the exact product in half precision? In turns, in one run.

What a strategy needs is not the top alone: the margin and the lower half come from the scores of all photos. FAISS is
timed for the top 1,000 and, with k = all, for every score; its index has to be built and kept beside the features.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import record

from narrowcast.core.errors import DependencyError
from narrowcast.mine.linear import LinearModel
from narrowcast.mine.strategies import top

DIM, TOP, TURNS = 1280, 1000, 9


def main() -> int:
    parser = record.parser(__doc__, threads=1)
    parser.add_argument("--photos", type=int, default=200_000)
    arguments = parser.parse_args()
    device = record.prepare(arguments)
    num = 2_000 if arguments.quick else arguments.photos
    try:
        import faiss
    except ImportError:
        raise DependencyError("this benchmark needs faiss: pip install faiss-cpu") from None
    faiss.omp_set_num_threads(arguments.threads)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((num, DIM), dtype=np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    model = LinearModel(rng.standard_normal(DIM, dtype=np.float32), 0.0)
    started = time.perf_counter()
    index = faiss.IndexScalarQuantizer(DIM, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    index.train(features[:20_000])
    index.add(features)
    build_s = time.perf_counter() - started
    half, everything = features.astype(np.float16), np.ones(num, bool)
    calls = {
        "exact, all scores and top": lambda: top(model.scores(half), everything, TOP),
        "faiss SQ8, top": lambda: index.search(model.weights[None], TOP),
        "faiss SQ8, all scores": lambda: index.search(model.weights[None], num),
    }
    turns = 1 if arguments.quick else TURNS
    medians = in_turns(calls, turns if num <= 200_000 else 5)
    exact, found = top(model.scores(half), everything, TOP), index.search(model.weights[None], TOP)[1][0]
    result = {
        "photos": num,
        "build_s": round(build_s, 2),
        "ms": {name: round(1e3 * seconds, 2) for name, seconds in medians.items()},
        "top_in_common": round(float(np.isin(found, exact).mean()), 4),
        "bytes_per_value": 1.0,
    }
    name = "mining-faiss" + (f"-{arguments.threads}-threads" if arguments.threads > 1 else "")
    record.write(arguments.out, name, result, device=device)
    print(record.table(["", "ms"], list(result["ms"].items())))
    return 0


def in_turns(calls: dict[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """Median seconds of each call, A B C A B C …; the first turn warms up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if turn:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(found) for name, found in times.items()}


if __name__ == "__main__":
    record.main(main)
