"""Tables of streams that `render.py` writes: streets judged by people, other segmenters, the monitor page."""

from typing import Any


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def street(result: dict[str, Any]) -> str:
    """The teacher, then a line a method: mean over the drives, and each drive."""
    drives = sorted(result["teacher"]["drives"])
    head = ["", "mean of the drives", *drives, "teacher frames", "speedup in multiply-adds"]
    own = result["teacher"]["drives"]
    mean = sum(own.values()) / len(own)
    rows = [["the teacher itself", percent(mean), *(percent(own[drive]) for drive in drives), "100%", "1.0 ×"]]
    for name, row in result["methods"].items():
        each = [_mean(one["miou_pooled_with_teacher_labels"] for one in result["rows"]
                      if (one["method"], one["source"]) == (name, drive)) for drive in drives]  # fmt: skip
        costs = [f"{row['teacher_fraction']:.1%}", f"{row['speedup_macs']:.1f} ×"]
        shown = [percent(row["miou"]), *map(percent, each), *costs]
        rows.append([name, *shown])
    return table(head, rows)


def peers(result: dict[str, Any]) -> str:
    """A line each: what it costs, and what is known of its accuracy."""
    head = ["alone on every frame", "ms", "share of the teacher's cost", "mean IoU over the streams", "what is timed"]
    rows = []
    for name, row in result["peers"].items():
        score = "–" if row["accuracy"] is None else percent(row["accuracy"]["miou"])
        rows.append([name, f"{row['median_ms']:.1f}", f"{row['share_of_teacher']:.1%}", score, row["what"]])
    return table(head, rows)


def monitor(result: dict[str, Any]) -> str:
    """Times beside those without a page."""
    names = {
        "live.student_ms_p50": "live: student",
        "live.latency_ms_p50": "median latency",
        "live.latency_ms_p99": "p99 latency",
        "live.cpu_ms": "processor time",
        "waits.student_ms_p50": "one after another: student",
        "waits.frame_ms": "time a frame",
        "waits.cpu_ms": "processor time",
    }
    rows = [
        [viewers, *(f"{100 * (row[name] - 1):+.1f}%" for name in names)] for viewers, row in result["ratios"].items()
    ]
    return table(["", *names.values()], rows)


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _mean(values: Any) -> float:
    every = list(values)
    return sum(every) / len(every)


def objects(result: dict[str, Any]) -> str:
    """Each method's J and F over sequences, of what is put out and of what it says before it sees a frame's mask."""
    head = ["method", "J", "F", "J alone", "F alone", "s a frame"]
    rows = [
        [name, *(f"{row[key]:.3f}" for key in ("j", "f", "j_alone", "f_alone")), f"{row['s_per_frame']:.3f}"]
        for name, row in result["methods"].items()
    ]
    return table(head, rows)


KINDS = {"street": street, "peers": peers, "monitor": monitor, "objects": objects}
