"""Tables of small experiments on streams, for render.py."""

import statistics
from typing import Any

ARMS = {
    "plain": "plain",
    "jumps": "jumps seen",
    "recall": "recall",
    "alike": "recall, untried",
    "zoo": "recall, with a zoo",
}
KINDS_OF_TRIGGER = {
    "doubling": "strides that double and halve",
    "staleness": "change in the picture (`staleness`)",
    "features": "distance of the encoder's features",
    "features-moved": "the same, features moved by flow",
    "entropy": "the student's entropy",
    "bandit": "a bandit over stride and updates",
}


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def recurring(result: dict[str, Any]) -> str:
    """Each stream's arms, and what they are better than seeing jumps alone, in pairs."""
    rows = []
    for name, row in result["means"].items():
        stream, method, arm = name.split("/")
        cells = [stream, method, ARMS[arm], f"{100 * row['miou']:.1f}", _paired(row, "miou", arm)]
        cells += [f"{100 * row['miou_second_half']:.1f}", _paired(row, "miou_second_half", arm)]
        rows.append([*cells, f"{row['teacher_fraction']:.1%}", f"{row['speedup']:.2f}"])
    head = ["stream", "method", "", "mIoU", "less jumps seen", "second half", "less jumps seen", "teacher", "speedup"]
    return table(head, rows)


def alone(result: dict[str, Any]) -> str:
    """Students without a teacher on later frames of each camera; means over seeds."""
    kinds, rows = ("pretrained", "last", "of this place"), []
    for camera in dict.fromkeys(row["camera"] for row in result["alone"]):
        own = [row for row in result["alone"] if row["camera"] == camera]
        means = [f"{100 * statistics.fmean(row[kind] for row in own):.1f}" for kind in kinds]
        gains = [row["of this place"] - row["last"] for row in own]
        error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
        rows.append([camera, *means, f"{_signed(100 * statistics.fmean(gains))} ± {100 * error:.1f}"])
    return table(["camera", "pretrained", "the last student", "its place's", "paired"], rows)


def triggers(result: dict[str, Any]) -> str:
    """Points above fixed strides at equal cost: by stream and in the mean."""
    names = list(dict.fromkeys(row["stream"] for row in result["rows"]))
    rows = []
    for kind, found in result["kinds"].items():
        gaps = [found["by_stream"].get(name) for name in names] + [found["mean"]]
        rows.append([KINDS_OF_TRIGGER[kind], *("–" if gap is None else _signed(100 * gap) for gap in gaps)])
    return table(["points at equal cost", *names, "mean"], rows)


def _paired(row: dict[str, Any], key: str, arm: str) -> str:
    less, error = row[f"{key}_less"], row[f"{key}_less_error"]
    if arm == "jumps" or less is None:
        return ""
    return _signed(100 * less) + ("" if error is None else f" ± {100 * error:.1f}")


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


KINDS = {"recurring": recurring, "alone": alone, "triggers": triggers}
