"""The README's picture: accuracy against cost of every method in `results/evaluation.json`."""

import json
import statistics
from pathlib import Path

from matplotlib.figure import Figure

HERE = Path(__file__).parent
CLIPS, SCORE = ("vtest", "one-by-one"), "miou_pooled_with_teacher_labels"
OUT = HERE.parent / "docs" / "images" / "accuracy-cost.svg"
FAMILIES = {
    "default": "#0072B2",
    "look-ahead": "#E69F00",
    "learning": "#56B4E9",
    "thesis": "#D55E00",
    "flow-dis": "#009E73",
    "flow-dis-fast": "#8BC34A",
    "flow-dis-ahead": "#00695C",
    "hold": "#888888",
    "frozen": "#CC79A7",
}
NAMES = {
    "default": "narrowcast",
    "look-ahead": "narrowcast, looking ahead (recorded video)",
    "learning": "narrowcast, always learning",
    "thesis": "Algorithm 1 as printed",
    "flow-dis": "optical flow",
    "flow-dis-fast": 'optical flow, OpenCV\'s "fast"',
    "flow-dis-ahead": "optical flow, looking ahead",
    "hold": "last label held",
}


def main() -> None:
    """Draw a panel for each of two clips and one for all streams together, and write the picture."""
    result = json.loads((HERE / "results" / "evaluation.json").read_text(encoding="utf-8"))
    panels = {clip: points([row for row in result["rows"] if row["source"] == clip]) for clip in CLIPS}
    panels[f"{result['streams']} streams"] = {
        name: (row["speedup"], row["miou"])
        for name, row in result["methods"].items()
        if row["streams"] == result["streams"]
    }
    figure = Figure(figsize=(4.2 * len(panels), 3.6), layout="constrained")
    for ix, (title, found) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), ix)
        draw(axes, found)
        axes.set_title(title, fontsize=10)
        if ix == 1:
            axes.set_ylabel("mean IoU of outputs, %")
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT, metadata={"Date": None})
    print(f"wrote {OUT.relative_to(HERE.parent)}")


def points(rows: list[dict]) -> dict[str, tuple[float, float]]:
    """Speedup and accuracy of each method: means over its seeds."""
    found = {}
    for name in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == name]
        found[name] = tuple(statistics.fmean(row[key] for row in own) for key in ("speedup", SCORE))
    return found


def draw(axes, found: dict[str, tuple[float, float]]) -> None:
    """One point a method, labelled with its setting; those of a family joined."""
    families: dict[str, list[tuple[float, float]]] = {}
    for name, (speedup, score) in found.items():
        base, _, setting = name.partition("[")
        family, _, number = base.rpartition("-") if "-" in base else (base, "", "")
        families.setdefault(family, []).append((100 / speedup, 100 * score))
        shown = f"{number}, stride to {setting.rpartition('=')[2].rstrip(']')}" if setting else number
        axes.annotate(shown, families[family][-1], xytext=(4, 4), textcoords="offset points", fontsize=7)
    for family, at in families.items():
        x, y = zip(*sorted(at), strict=True)
        axes.plot(x, y, "o-", color=FAMILIES[family], label=NAMES.get(family, family), markersize=5, linewidth=1)
    axes.set_xscale("log")
    axes.set_xticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    axes.minorticks_off()
    axes.set_xlabel("time, % of the teacher on every frame")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="lower right")


if __name__ == "__main__":
    main()
