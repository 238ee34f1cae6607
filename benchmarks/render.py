"""Write the tables of `results/*.json` into the pages that quote them, from `<!-- table:NAME -->` to `<!-- /table -->`.

`--check` writes nothing and exits 1 where a page is behind its results; a test of the default suite calls it.
"""

import json
import re
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import render_fleet
import render_recurring
import render_streams

HERE = Path(__file__).resolve().parent
PAGES = (
    "README.md",
    "docs/benchmarks.md",
    "docs/hydra.md",
    "docs/model-card.md",
    "docs/bgsplit.md",
    "docs/mine-results.md",
    "docs/fleet.md",
    "docs/scale.md",
    "docs/loop.md",
    "docs/labelling.md",
    "docs/evaluate.md",
    "docs/live.md",
    "docs/stream.md",
    "docs/negative-results.md",
)
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
    """The table called `name`: KIND:FILE#SOURCE, or KIND alone where the file has its name."""
    kind, _, file = name.partition(":")
    file, _, source = file.partition("#")
    path = HERE / "results" / f"{file or kind}.json"
    if not path.exists():
        return "*Not measured yet.*"
    result = json.loads(path.read_text(encoding="utf-8"))
    if source:
        result["rows"] = [row for row in result["rows"] if row["source"] == source]
    kinds = {
        "stream": stream,
        "evaluation": evaluation,
        "evaluation-short": evaluation_short,
        "ablation": ablation,
        "jitnet": jitnet,
        "ratios": ratios,
        "davis": davis,
        "mining": mining,
        "label-page": label_page,
        "mining-speed": mining_speed,
        "partition": partition,
        "learning": learning,
        "choices": choices,
        "choices-k": choices_k,
        "overlap": overlap,
        "bgsplit": bgsplit,
        **render_fleet.KINDS,
        **render_streams.KINDS,
        **render_recurring.KINDS,
        "bgsplit-f1": bgsplit_f1,
    }
    return kinds[kind](result)


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def bgsplit(result: dict[str, Any]) -> str:
    """A line a method; of each level its mean AP, and what it is better than two others by, in pairs."""
    levels = list(result["levels"].values())
    head = ["method"]
    for found in levels:
        draws = max(row["draws"] for row in found["methods"].values())
        head += [f"{found['background']:.1%} background: mAP ({draws} draws)", "less probe", "less logit-adjusted"]
    rows = []
    for name in by_mean(levels, "map"):
        row = [name]
        for found in levels:
            own = found["methods"].get(name)
            gaps = [gap(own, one) for one in ("probe", "logit-adjusted")]
            row += ["–" if own is None else f"{own['map']:.3f}", *gaps]
        rows.append(row)
    return table(head, rows)


def bgsplit_f1(result: dict[str, Any]) -> str:
    """F1 of the arg max and at the threshold chosen on training images, of each level."""
    levels = list(result["levels"].values())
    head = ["method"]
    for found in levels:
        head += [f"{found['background']:.1%} background: F1 of the arg max", "at a training threshold"]
    rows = []
    for name in by_mean(levels, "map"):
        own = [found["methods"].get(name) for found in levels]
        rows.append(
            [name, *("–" if row is None else f"{row[key]:.3f}" for row in own for key in ("f1", "f1_threshold"))]
        )
    return table(head, rows)


def by_mean(levels: list[dict[str, Any]], key: str) -> list[str]:
    """Methods, the best over all levels first."""
    names = dict.fromkeys(name for found in levels for name in found["methods"])
    own = {name: [found["methods"][name][key] for found in levels if name in found["methods"]] for name in names}
    return sorted(names, key=lambda name: -mean(own[name]))


def gap(row: dict[str, Any] | None, other: str) -> str:
    return "–" if row is None or other not in row["less"] else "{:+.3f} ± {:.3f}".format(*row["less"][other])


def stream(result: dict[str, Any]) -> str:
    """Every method with its three scores and its cost."""
    head = ["method", "mIoU of predictions", "without teacher frames", "of outputs", "per class"]
    head += ["teacher on", "updates", "speedup", "in multiply-adds", "student ms", "update ms"]
    rows = []
    for name, runs in by_method(result).items():
        found = runs[0]["iou_per_class"]
        classes = {
            key: mean(run["iou_per_class"][key] for run in runs) for key, value in found.items() if value is not None
        }
        scores = [
            spread(run[f"miou_pooled{kind}"] for run in runs) for kind in ("", "_without_teacher_frames", "_of_outputs")
        ]
        scores.append(", ".join(f"{key} {percent(value)}" for key, value in classes.items()))
        costs = [
            percent(mean(run["teacher_fraction"] for run in runs)) + "%",
            f"{mean(run['updates'] for run in runs):.0f}",
        ]
        costs += [times(mean(run[key] for run in runs)) for key in ("speedup", "speedup_macs")]
        costs += [number(mean(run[key] for run in runs)) for key in ("student_ms_p50", "update_ms_p50")]
        rows.append([f"{name} ({len(runs)} seeds)" if len(runs) > 1 else name, *scores, *costs])
    return table(head, rows)


def evaluation(result: dict[str, Any], *, is_short: bool = False) -> str:
    """Every method over all streams: accuracy, cost, both against flow (short: one kind), and accuracy by data set."""
    groups = list(dict.fromkeys(result["groups"].values()))
    rivals = {
        "flow-dis": "less flow at equal cost (streams below)",
        "flow-dis-fast": "less OpenCV's fast flow",
        "flow-dis-ahead": "less flow that looks ahead",
    }
    rivals = dict(list(rivals.items())[:1]) if is_short else rivals
    compared = [row["less_at_equal_cost"] for row in result["methods"].values()]
    rivals = {key: text for key, text in rivals.items() if any(row.get(key) is not None for row in compared)}
    head = ["method", f"mIoU, {result['streams']} streams", "speedup", *rivals.values(), *groups]
    rows = []
    for name, row in result["methods"].items():
        apart = "" if row["streams"] == result["streams"] else f" ({row['streams']} of them)"
        by_group = [percent(row["groups"][group]) if group in row["groups"] else "–" for group in groups]
        against = ["–" if name.startswith("flow-dis") else _against(row, rival) for rival in rivals]
        rows.append([name, percent(row["miou"]) + apart, times(row["speedup"]), *against, *by_group])
    return table(head, rows)


def evaluation_short(result: dict[str, Any]) -> str:
    """`evaluation` for the README: of each family the middle, whose cost is that of `default-0.8`."""
    ends = ("thesis-0.7", "thesis-0.9", "-4", "-16", "-32", "-64")
    kept = {name: row for name, row in result["methods"].items() if not name.endswith(ends)}
    return evaluation(result | {"methods": kept}, is_short=True)


def ablation(result: dict[str, Any]) -> str:
    """One thing changed at a time; cost in multiply-adds, since other work may have shared the core."""
    rows = []
    for run in result["rows"]:
        name = run["method"].partition("-")[2].partition("[")
        score = percent(run["miou_pooled_with_teacher_labels"])
        costs = [percent(run["teacher_fraction"]) + "%", str(run["updates"]), times(run["speedup_macs"])]
        rows.append([f"{name[0]} {name[2].rstrip(']')}".strip(), score, *costs])
    return table(["changed", "mIoU", "teacher frames", "updates", "speedup in multiply-adds"], sorted(rows))


def _against(row: dict[str, Any], rival: str) -> str:
    gap = row["less_at_equal_cost"][rival]
    return "–" if gap is None else f"{100 * gap:+.1f} ({row['streams_below_at_equal_cost'][rival]})"


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


def partition(result: dict[str, Any]) -> str:
    """The error of each method; sizes in the first two columns."""
    rows = [
        [str(row["classes"]), str(row["branches"]), row["method"], f"{row['error']:.0f}", f"{row['seconds']:.3f}"]
        for row in result["rows"]
    ]
    return table(["classes", "branches", "method", "squared error", "seconds"], rows)


def learning(result: dict[str, Any]) -> str:
    """Each method's scores over its seeds."""
    rows = []
    for name, runs in by_method(result).items():
        hits = [run["gate_hit"] for run in runs if run["gate_hit"] is not None]
        scores = [spread(run[key] for run in runs) for key in ("top1", "top5")]
        macs = f"{runs[0]['macs_executed'] / 1e6:.1f} M"
        rows.append([name, str(len(runs)), *scores, spread(hits) if hits else "–", macs])
    return table(["method", "seeds", "top-1 %", "top-5 %", "gate right %", "multiply-adds"], rows)


def choices(result: dict[str, Any]) -> str:
    """Each method's scores over its seeds, beside those of `cluster` with the same seeds, in the script's order."""
    base = {run["seed"]: run["top1"] for run in by_method(result)["cluster"]}
    rows = []
    for name, runs in by_method(result).items():
        is_tail = name.startswith(("tail", "upcycled"))
        paired = [run["top1"] - base[run["seed"]] for run in runs if run["seed"] in base and not is_tail]
        hits = [run["gate_hit"] for run in runs if run["gate_hit"] is not None]
        seconds = [run["cpu_seconds"] for run in runs if run["cpu_seconds"] is not None]
        rows.append(
            [
                name,
                str(len(runs)),
                spread(run["top1"] for run in runs),
                "" if name == "cluster" or not paired else signed(paired),
                spread(hits) if hits else "–",
                f"{runs[0]['macs_executed'] / 1e6:.2f} M",
                f"{runs[0]['params'] / 1e6:.2f} M",
                f"{statistics.median(seconds):.0f}" if seconds else "–",
            ]
        )
    head = ["method", "seeds", "top-1 %", "paired", "gate right %", "multiply-adds", "parameters", "CPU s"]
    return table(head, rows)


def choices_k(result: dict[str, Any]) -> str:
    """Top-1 by the number of branches and of those that run, of nets that learned with one of them."""
    rows = []
    for name, runs in by_method(result).items():
        if not name.startswith("cluster"):
            continue
        cells = [spread(run["by_chosen"][num]["top1"] for run in runs) for num in ("1", "2", "4")]
        numbers = re.findall(r"-([nk])(\d+)", name)
        net = {"n": "20", "k": "4"} | dict(numbers)
        rows.append([net["n"], net["k"], str(len(runs)), *cells])
    return table(["branches", "learned with", "seeds", "1 runs", "2 run", "4 run"], rows)


def signed(differences: Iterable[float]) -> str:
    """Mean ± standard error in points, with its sign."""
    values = [100 * value for value in differences]
    error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):+.1f}{error}".replace("-", "−")


def label_page(result: dict[str, Any]) -> str:
    """Each bar of the labelling page, what was measured, and whether that is met."""
    words = {
        "ack_ms_p95": ("key to acknowledged, on disk; 95th percentile", "ms"),
        "next_ready_ms_p95": ("next sheet, prepared; 95th percentile", "ms"),
        "next_unready_ms_p95": ("next sheet, asked for before it is prepared; 95th percentile", "ms"),
        "first_page_s": ("first page after the start", "s"),
        "memory_gb": ("memory of the server", "GB"),
    }
    rows = [
        [what, f"{row['measured']:,} {unit}", f"{row['bar']:,} {unit}", "yes" if row["is_met"] else "**no**"]
        for name, (what, unit) in words.items()
        for row in [result["bars"][name]]
    ]
    return table(["", "measured", "bar", "met"], rows)


def mining(result: dict[str, Any]) -> str:
    """Every strategy at some numbers of labels, with its paired difference to the one that others are compared with."""
    head = ["strategy", "seeds", "labels", "AP", "paired", "found", "paired"]
    rows = []
    for row in result["rows"]:
        if row["labels"] in (0, 20, 50, 100, 300):
            cells = [row["strategy"], str(row["runs"] // len(result["pool"]["categories"])), str(row["labels"])]
            for measure in ("ap", "found"):
                value, error = row[f"{measure}_paired"]
                is_base = row["strategy"] == result.get("against", "default")
                cells += [f"{row[measure]:.3f}", "" if is_base else f"{value:+.3f} ± {error:.3f}".replace("-", "−")]
            rows.append(cells)
    return table(head, rows)


def mining_speed(result: dict[str, Any]) -> str:
    rows = [
        [name, f"{bar['measured']:.3g}", f"{bar['bar']:g}", "yes" if bar["is_met"] else "**no**"]
        for name, bar in result["bars"].items()
    ]
    return table(["", "measured", "bar", "met"], rows)


def overlap(result: dict[str, Any]) -> str:
    head = ["teacher", "teacher ms", "predictions", "predictions ms", "in turn ms", "together ms", "together / in turn"]
    return table(head, [[str(value) for value in row.values()] for row in result["rows"]])


def by_method(result: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The runs of each method: one, or one a seed."""
    methods: dict[str, list[dict[str, Any]]] = {}
    rows = result["rows"]
    for row in rows.values() if isinstance(rows, dict) else rows:
        methods.setdefault(row["method"], []).append(row)
    return methods


def mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def spread(values: Iterable[float]) -> str:
    """The mean in percent, with its standard error where there are several runs."""
    known = [100 * value for value in values]
    if len(known) < 2:
        return f"{known[0]:.1f}"
    return f"{statistics.fmean(known):.1f} ± {statistics.stdev(known) / len(known) ** 0.5:.1f}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def times(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ×"


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
