"""The README's picture: accuracy against cost of every method in `results/stream-*.json`."""

import json
from pathlib import Path

from matplotlib.figure import Figure

HERE = Path(__file__).parent
OUT = HERE.parent / "docs" / "images" / "accuracy-cost.svg"
FAMILIES = {"default": "#0072B2", "thesis": "#D55E00", "flow": "#009E73", "hold": "#888888", "frozen": "#CC79A7"}
NAMES = {"default": "narrowcast", "thesis": "Algorithm 1 as printed", "flow": "optical flow", "hold": "last label held"}


def main() -> None:
    """Draw one panel a clip and write the picture."""
    files = sorted((HERE / "results").glob("stream-*.json"))
    figure = Figure(figsize=(4.6 * len(files), 3.6), layout="constrained")
    for ix, file in enumerate(files, start=1):
        axes = figure.add_subplot(1, len(files), ix)
        draw(axes, json.loads(file.read_text(encoding="utf-8"))["rows"])
        axes.set_title(file.stem.removeprefix("stream-"), fontsize=10)
        if ix == 1:
            axes.set_ylabel("mean IoU of predictions, %")
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT, metadata={"Date": None})
    print(f"wrote {OUT.relative_to(HERE.parent)}")


def draw(axes, rows: dict) -> None:
    """One point a method, labelled with its setting."""
    seen = set()
    for row in rows.values():
        family, _, setting = row["method"].partition("@")
        label = NAMES.get(family, family) if family not in seen else None
        seen.add(family)
        at = (100 / row["speedup"], 100 * row["miou_pooled"])
        axes.scatter(*at, color=FAMILIES[family], label=label, s=34, zorder=3)
        axes.annotate(setting if row["seed"] == 0 else "", at, xytext=(4, 4), textcoords="offset points", fontsize=7)
    axes.set_xscale("log")
    axes.set_xticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    axes.minorticks_off()
    axes.set_xlabel("time, % of the teacher on every frame")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="lower right")


if __name__ == "__main__":
    main()
