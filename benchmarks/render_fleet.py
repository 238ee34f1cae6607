"""Tables of fleets, shards, lost workers, the zoo and the loop, for render.py."""

from collections import Counter
from statistics import fmean, stdev
from typing import Any

FLEET = {
    "alone": "one after another, one process",
    "split": "by as many processes, without Ray",
    "plain": "fleet",
    "budget": "fleet within a budget",
    "killed": "fleet, actors killed",
    "node": "fleet on two nodes, one killed",
}
STARTS = {"anew": "pretrained", "recalled": "recalled", "of another place": "another place's"}


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rows])


def fleet(result: dict[str, Any]) -> str:
    """What each row took and came to."""
    head = ["", "CPU s", "wall s", "Ray's start, CPU s", "teacher calls", "updates", "mean IoU", "frames"]
    rows = []
    for key, row in result["rows"].items():
        start = f"{row['start_cpu_s']:.1f}" if "start_cpu_s" in row else "–"
        counts = [f"{row[name]:,}" for name in ("teacher_calls", "updates")]
        times = [f"{row['cpu_s']:.1f}", f"{row['wall_s']:.1f}", start]
        rows.append([FLEET[key], *times, *counts, f"{row['miou_mean']:.3f}", f"{row['frames']:,}"])
    return table(head, rows)


def fleet_ratios(result: dict[str, Any]) -> str:
    """The bars, and what else is told of the rows."""
    setup, rows, ratios = result["setup"], result["rows"], result["ratios"]
    bars = {
        "cost_ratio": "cost of the fleet over one after another, CPU",
        "miou_points_below": "points of mean IoU below",
    }
    lines = [
        [bars.get(name, name), f"{bar['measured']:.2f}", f"{bar['bar']:g}", "yes" if bar["is_met"] else "**no**"]
        for name, bar in result["bars"].items()
    ]
    lines.append(["the same with Ray's start", f"{ratios['cost_ratio_with_start']:.2f}", "", ""])
    if (split := ratios.get("cost_ratio_of_split")) is not None:
        lines.append(["of as many processes without Ray over one after another, CPU", f"{split:.2f}", "", ""])
    lines.append(["time of the fleet over one after another", f"{ratios['wall_ratio']:.2f}", "", ""])
    budget, killed = rows["budget"], rows["killed"]
    lines.append(
        [f"budget of {setup['calls_per_s']:g} a second: frames refused", f"{budget['frames_refused']:,}", "", ""]
    )
    lines.append(["fairness of the calls (Jain's index)", f"{budget['fairness_of_calls']:.2f}", "", ""])
    halves = [budget[f"calls_of_the_{name}_half"] for name in ("needier", "other")]
    halves_text = " / ".join("–" if value is None else f"{value:.1f}" for value in halves)
    lines.append(["calls of the half of cameras that needed more / of the others", halves_text, "", ""])
    alone = sum(number for size, number in budget["batches"].items() if size == "1")
    met = sum(budget["batches"].values())
    lines.append(["batches of one request", f"{alone} of {met}", "", ""])
    kinds = Counter(kind.removesuffix("Actor") for kind in killed["kills"])
    kills = ", ".join(f"{number} {'worker' if kind == 'Host' else 'teacher'}s" for kind, number in kinds.items())
    lines.append([f"killed, one every {setup['kill_every_s']:g} s", kills, "", ""])
    lines.append(["cost with kills over without", f"{killed['cpu_s'] / rows['plain']['cpu_s']:.2f}", "", ""])
    if node := rows.get("node"):
        after = "–" if node["moved_after_s"] is None else f"{node['moved_after_s']:.0f} s"
        lines.append([f"node killed: until its {node['moved']} unfinished cameras were given to others", after, "", ""])
    return table(["", "measured", "bar", "met"], lines)


def scale(result: dict[str, Any]) -> str:
    """The ranking by every engine."""
    rows = []
    for name, row in result["ranking"].items():
        beside = row.get("beside_2_processes")
        if name == "1 worker of Ray":
            beside = row["wall_s"] / result["ranking"]["1 process"]["wall_s"]
        times = [f"{row['wall_s']:.3f}", f"{row['beside_this_process']:.2f}", "" if beside is None else f"{beside:.2f}"]
        rows.append([name, *times, "yes" if row["is_the_same"] else "**no**"])
    return table(["", "s", "over this process", "over as many processes", "same top, bit for bit"], rows)


def share(result: dict[str, Any]) -> str:
    """One node's share of a hundred million photos."""
    row, setup = result["a node's share of 100 million"], result["setup"]
    lines = [
        ["nodes", str(row["nodes"])],
        ["photos of each", f"{row['photos'] / 1e6:.2f} million"],
        ["their features", f"{row['features_gb']:.0f} GB"],
        ["rows a core scans, from the page cache", f"{row['photos_per_s_and_core'] / 1e6:.1f} million a second"],
        ["so one core takes", f"{row['seconds_on_one_core']:.1f} s"],
        ["or the disk, at 2 GB a second", f"{row['features_gb'] / 2:.0f} s"],
        [f"each task sends home {setup['top']:,} places and scores", f"{row['bytes_sent_home'] / 1e3:.0f} kB"],
    ]
    return table(["", ""], lines)


def scaling(result: dict[str, Any]) -> str:
    """Fleet and index by one and by two."""
    rows = []
    for part, unit in (("fleet", "frames_per_s"), ("index", "photos_per_s")):
        for name, row in result.get(part, {}).items():
            beside = f"{row['beside_processes']:.2f}" if "beside_processes" in row else ""
            rate = f"{row[unit]:.1f} {unit.partition('_')[0]}"
            rows.append([part, name, f"{row['wall_s']:.1f}", rate, f"{row['beside_1_process']:.2f}", beside])
    return table(["", "by", "s", "a second", "over 1 process", "over as many processes"], rows)


def elastic(result: dict[str, Any]) -> str:
    """Trainings whose workers were killed."""
    head = ["", "kills", "s", "last loss", "tensors that differ", "most they differ", "losses the same"]
    rows = []
    for name, row in result["rows"].items():
        numbers = [str(row["kills"]), f"{row['wall_s']:.1f}", f"{row['last_loss']:.6f}"]
        differ = [f"{row['tensors_that_differ']} of {row['num_tensors']}", f"{row['largest_difference']:.2g}"]
        rows.append([name, *numbers, *differ, "yes" if row["losses_are_the_same"] else "no"])
    return table(head, rows)


def recall(result: dict[str, Any]) -> str:
    """Each stream's starts, and what they are better than beginning with the pretrained student, in pairs."""
    head = ["stream", "start", "alike", "mIoU at the beginning", "paired", "mIoU of all", "paired"]
    head += ["teacher calls", "updates"]
    rows = []
    for name, starts in result["streams"].items():
        for start, row in starts.items():
            cells = [name, STARTS[start], "–" if row["alike"] is None else f"{row['alike']:.2f}"]
            for key in ("miou_beginning", "miou"):
                cells.append("–" if row[key] is None else f"{row[key]:.3f}")
                less = row[f"{key}_less_anew"]
                is_shown = start != "anew" and less is not None
                cells.append("{:+.3f} ± {:.3f}".format(*less).replace("-", "−") if is_shown else "")
            rows.append([*cells, f"{row['teacher_calls']:.1f}", f"{row['updates']:.1f}"])
    return table(head, rows)


def loop(result: dict[str, Any]) -> str:
    """Each way of picking: what the student comes to, over seeds or draws."""
    rows = []
    for name, clip in result["clips"].items():
        rows.append([name, "0", "(before)", "", f"{clip['before']:.3f}", ""])
        labelled = [row for row in clip["summary"] if "picked)" not in row["frames"]]
        for row in sorted(labelled, key=lambda one: (one["labels"], -one["mean"])):
            rows.append([name, str(row["labels"]), row["frames"], str(row["runs"]), *_means(row)])
    return table(["clip", "labels", "frames", "runs", "mIoU", "each"], rows)


def judged(result: dict[str, Any]) -> str:
    """What learning proposals comes to, judged and unjudged."""
    rows = []
    for name, clip in result["clips"].items():
        rows.append([name, "(before)", "", "", "", f"{clip['before']:.3f}", ""])
        for one in clip["judged"]:
            row = next(row for row in clip["summary"] if row["frames"] == f"{one['name']} ({one['picked']} picked)")
            asked = str(one["photos"]) if one["name"] == "judged" else "0"
            right = str(one["right"]) if one["name"] == "judged" else ""
            rows.append([name, one["name"], asked, right, str(one["frames"]), *_means(row)])
    return table(["clip", "proposals", "judgements", "right", "frames learned", "mIoU", "each"], rows)


def taught(result: dict[str, Any]) -> str:
    """The embedded teacher before and after its head was taught."""
    rows = []
    for name, clip in result["clips"].items():
        new = [row["new"] for row in clip.get("teacher", [])]
        if not new:
            continue
        row = {"mean": fmean(new), "error": stdev(new) / len(new) ** 0.5 if len(new) > 1 else None, "each": new}
        rows.append([name, str(clip["teacher"][0]["labels"]), f"{clip['teacher'][0]['old']:.3f}", *_means(row)])
    return table(["clip", "labels", "before", "after", "each"], rows)


def _means(row: dict[str, Any]) -> list[str]:
    error = "" if row["error"] is None else f" ± {row['error']:.3f}"
    return [f"{row['mean']:.3f}{error}", ", ".join(f"{value:.3f}" for value in row["each"])]


KINDS = {
    "fleet": fleet,
    "fleet-ratios": fleet_ratios,
    "scale": scale,
    "share": share,
    "scaling": scaling,
    "elastic": elastic,
    "recall": recall,
    "loop": loop,
    "judged": judged,
    "taught": taught,
}
