"""Write the tables of `results/*.json` into the pages that quote them, from `<!-- table:NAME -->` to `<!-- /table -->`.

`--check` writes nothing and exits 1 where a page is behind its results; a test of the default suite calls it.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGES = ("README.md", "docs/benchmarks.md", "docs/model-card.md")
MARK = re.compile(r"(<!-- table:(\S+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def main() -> int:
    """Bring every page up to date, or say which is not."""
    is_check, behind = "--check" in sys.argv, []
    for name in PAGES:
        page = HERE.parent / name
        before = page.read_text(encoding="utf-8")
        after = MARK.sub(lambda mark: f"{mark[1]}{render(mark[2])}\n{mark[3]}", before)
        if before != after:
            behind.append(name)
            if not is_check:
                page.write_text(after, encoding="utf-8")
    print(("behind: " if is_check else "written: ") + (", ".join(behind) or "nothing"))
    return 1 if is_check and behind else 0


def render(name: str) -> str:
    """The table called `name`: the part before a colon is the kind, the rest the file of results."""
    kind, _, file = name.partition(":")
    result = json.loads((HERE / "results" / f"{file or kind}.json").read_text(encoding="utf-8"))
    return {"stream": stream, "short": short, "jitnet": jitnet, "ratios": ratios, "davis": davis}[kind](result)


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def stream(result: dict[str, Any]) -> str:
    """Every method with its three scores and its cost."""
    head = ["method", "mIoU of predictions", "without teacher frames", "of outputs", "per class"]
    head += ["teacher on", "updates", "speedup", "in multiply-adds", "student ms", "update ms"]
    rows = []
    for name, row in result["rows"].items():
        found = {key: value for key, value in row["iou_per_class"].items() if value is not None}
        scores = [percent(row[f"miou_pooled{kind}"]) for kind in ("", "_without_teacher_frames", "_of_outputs")]
        scores.append(", ".join(f"{key} {percent(value)}" for key, value in found.items()))
        costs = [percent(row["teacher_fraction"]) + "%", str(row["updates"])]
        costs += [times(row["speedup"]), times(row["speedup_macs"])]
        costs += [number(row["student_ms_p50"]), number(row["update_ms_p50"])]
        rows.append([name, *scores, *costs])
    return table(head, rows)


def short(result: dict[str, Any]) -> str:
    """The same in four columns, for the README."""
    rows = [
        [name, percent(row["miou_pooled"]), percent(row["teacher_fraction"]) + "%", times(row["speedup"])]
        for name, row in result["rows"].items()
    ]
    return table(["method", "mIoU", "teacher on", "speedup"], rows)


def jitnet(result: dict[str, Any]) -> str:
    rows = [[row["name"], row["dtype"], f"{row['median_ms']:.1f}"] for row in result["rows"]]
    return table(["", "precision", "median ms"], rows)


def ratios(result: dict[str, Any]) -> str:
    rows = [
        [row["name"], f"{row['value']:.2f}", row["bar"] or "", {True: "yes", False: "**no**", None: ""}[row["is_met"]]]
        for row in result["ratios"]
    ]
    return table(["ratio", "measured", "bar", "met"], rows)


def davis(result: dict[str, Any]) -> str:
    networks = result["networks"]
    sequences = list(next(iter(networks.values()))["sequences"])
    rows = []
    for name, net in networks.items():
        each = (f"{net['sequences'][one]['j']:.2f}" for one in sequences)
        rows.append([name, f"**{net['mean_j']:.3f}**", f"{net['median_ms']:.0f}", *each])
    return table(["", "mean J", "ms", *sequences], rows)


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def times(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ×"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
