"""The README's picture: accuracy against cost of every method in `results/evaluation.json`, and of other segmenters.

Those of `results/peers.json` label every frame alone: crosses where their weights are at hand; of the others only the
cost is known, a mark on the axis.
"""

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
OURS, NUMBERED = ("default", "look-ahead"), ("thesis", "flow-dis", "hold")
NAMES = {
    "default": "narrowcast, asked for 0.8 and 0.9",
    "look-ahead": "the same, looking ahead (recorded video)",
    "learning": "narrowcast, always learning",
    "thesis": "Algorithm 1 as printed",
    "flow-dis": "optical flow",
    "flow-dis-fast": 'optical flow, OpenCV\'s "fast"',
    "flow-dis-ahead": "optical flow, looking ahead",
    "hold": "last label held",
}
PEERS = {
    "deeplab-voc": "DeepLab, 8-bit",
    "deeplab-voc-half": "half as wide",
    "embedded": "embedded",
    "lraspp_mobilenet_v3_large": "LR-ASPP",
    "deeplabv3_mobilenet_v3_large": "DeepLabV3-MobileNetV3",
    "yolo11n-seg": "YOLO11n-seg",
    "yolo26n-seg": "YOLO26n-seg",
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
    beside = HERE / "results" / "peers.json"
    peers = json.loads(beside.read_text(encoding="utf-8"))["peers"] if beside.exists() else {}
    figure = Figure(figsize=(4.2 * len(panels), 5.0), layout="constrained")
    legend = {}
    for ix, (title, found) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, len(panels), ix)
        draw(axes, found)
        draw_peers(axes, peers, title)
        for line in axes.get_lines():
            legend.setdefault(line.get_label(), line)
        axes.set_title(title, fontsize=10)
        if ix == 1:
            axes.set_ylabel("mean IoU of outputs, %")
    named = {label: line for label, line in legend.items() if not str(label).startswith("_")}
    figure.legend(named.values(), named.keys(), fontsize=7, ncols=5, loc="outside lower center")
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
    """One point a method, those of a family joined; some have their setting beside them."""
    families: dict[str, list[tuple[float, float]]] = {}
    for name, (speedup, score) in found.items():
        base, _, setting = name.partition("[")
        family, _, number = base.rpartition("-") if "-" in base else (base, "", "")
        families.setdefault(family, []).append((100 / speedup, 100 * score))
        shown = f"{number}, stride to {setting.rpartition('=')[2].rstrip(']')}" if setting else number
        if family in NUMBERED:
            axes.annotate(shown, families[family][-1], xytext=(3, -10), textcoords="offset points", fontsize=7)
    for family, at in families.items():
        x, y = zip(*sorted(at), strict=True)
        look = {"markersize": 7, "linewidth": 2.5, "zorder": 3} if family in OURS else {"markersize": 3, "linewidth": 1}
        axes.plot(x, y, "o-", color=FAMILIES[family], label=NAMES.get(family, family), **look)
    axes.set_xscale("log")
    axes.set_xticks([2, 5, 10, 20, 50], ["2", "5", "10", "20", "50"])
    axes.minorticks_off()
    axes.set_xlabel("time, % of the teacher on every frame")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)


def draw_peers(axes, peers: dict[str, dict], title: str) -> None:
    """Segmenters alone on every frame: a cross each, or a mark on the axis where only the cost is known."""
    is_first = {"x": True, "|": True}
    for name, shown in PEERS.items():
        if name not in peers:
            continue
        cost, scores = 100 * peers[name]["share_of_teacher"], peers[name]["accuracy"]
        score = None if scores is None else scores["streams"].get(title, scores["miou"])
        marker, height = ("|", 2.0) if score is None else ("x", 100 * score)
        label = {"x": "another segmenter alone", "|": "the same, cost only"}[marker] if is_first[marker] else None
        is_first[marker] = False
        axes.plot([cost], [height], marker, color="black", markersize=6 if score is not None else 10, label=label)
        turn = {"rotation": 60, "ha": "left"} if score is None else {}
        axes.annotate(shown, (cost, height), xytext=(3, 4), textcoords="offset points", fontsize=5.5, **turn)


if __name__ == "__main__":
    main()
