"""`report.html` of a training: the loss, the scores, which branches ran, which classes share one."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from narrowcast.core.amounts import duration, percent
from narrowcast.core.files import write_text
from narrowcast.core.page import SERIES, Bar, Bars, Block, KeyFigure, Page, Section, Table, plot, render
from narrowcast.hydra.partition import Partition


def write_report(folder: Path, reports: Sequence[Mapping[str, Any]], partition: Partition | None) -> None:
    """Write `report.html` beside the `summary.json` and `run.json` that are in `folder`."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    write_page(folder / "report.html", summary, reports, partition)


def write_page(
    path: Path, summary: Mapping[str, Any], reports: Sequence[Mapping[str, Any]], partition: Partition | None
) -> None:
    """Write the page of a training, or without `reports` that of an evaluation."""
    write_text(path, render(page(summary, reports, partition)))


def page(summary: Mapping[str, Any], reports: Sequence[Mapping[str, Any]], partition: Partition | None) -> Page:
    """The report as blocks."""
    sections = [Section("Loss", [_loss(reports, is_gated=bool(summary["usage"]))])] if reports else []
    if summary["by_chosen"]:
        sections.append(Section("More or fewer branches", [_by_chosen(summary)]))
    if partition is not None and summary["usage"]:
        sections.append(Section("Branches", [branches_table(summary, partition)]))
    elif summary["usage"]:
        sections.append(Section("Branches", [_usage(summary["usage"])]))
    sections.append(Section("Classes, the hardest first", [_classes(summary)], is_folded=True))
    about = f"{len(summary['classes'])} classes, {summary['size']} × {summary['size']} pixels"
    return Page(title=summary["arch"], subtitle=about, key_figures=_key_figures(summary), sections=sections)


def branches_table(summary: Mapping[str, Any], partition: Partition) -> Table:
    """One row a branch: how often it ran, how its classes fared, and which they are."""
    rows = []
    for number, names in enumerate(partition.groups()):
        own = [summary["classes"][name] for name in names]
        shares = [percent(_mean(own, key)) for key in ("gate_hit", "top1") if own and own[0][key] is not None]
        rows.append([str(number), percent(summary["usage"][number]), *shares, ", ".join(names)])
    is_gated = summary["gate_hit"] is not None
    return Table(
        header=["branch", "ran for", *(["ran for its own"] if is_gated else []), "top-1 of its own", "classes"],
        rows=rows,
        align="lrrrl" if is_gated else "lrrl",
        caption=f"Shares of the scored images; its own are those of its classes ({partition.method} partition).",
    )


def _key_figures(summary: Mapping[str, Any]) -> list[KeyFigure]:
    chosen, usage = summary["mean_chosen"], summary["usage"]
    executed = f"multiply-adds an image, {chosen:.3g} of {len(usage)} branches" if usage else "multiply-adds an image"
    figures = [
        KeyFigure("top-1", percent(summary["top1"]), f"of {summary['num_scored']:,} images"),
        KeyFigure("top-5", percent(summary["top5"])),
        KeyFigure("executed", f"{summary['macs_executed'] / 1e6:,.1f} M", executed),
        KeyFigure("parameters", f"{summary['params'] / 1e6:,.2f} M"),
    ]
    if "seconds" in summary:
        figures.append(KeyFigure("training", duration(summary["seconds"]), f"on {summary['num_trained']:,} images"))
    if summary["gate_hit"] is not None:
        figures.append(KeyFigure("gate", percent(summary["gate_hit"]), "ran the branch of the image's class"))
    return figures


def _by_chosen(summary: Mapping[str, Any]) -> Table:
    rows = [
        [str(num), percent(row["top1"]), percent(row["top5"]), f"{row['macs_executed'] / 1e6:,.1f} M"]
        for num, row in summary["by_chosen"].items()
    ]
    return Table(
        header=["branches an image", "top-1", "top-5", "multiply-adds"],
        rows=rows,
        align="lrrr",
        caption=f"The same network, which learned with {summary['num_chosen']}: narrowcast hydra eval --num-chosen.",
    )


def _classes(summary: Mapping[str, Any]) -> Table:
    found = sorted(summary["classes"].items(), key=lambda item: (item[1]["top1"], item[0]))
    is_gated = summary["gate_hit"] is not None
    rows = [
        [name, str(row["num"]), percent(row["top1"]), *([percent(row["gate_hit"])] if is_gated else [])]
        for name, row in found
    ]
    header = ["class", "images", "top-1", *(["its branch ran"] if is_gated else [])]
    return Table(header=header, rows=rows, align="lrrr")


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> float:
    """Over the images of some classes."""
    return sum(row["num"] * row[key] for row in rows) / max(1, sum(row["num"] for row in rows))


def _loss(reports: Sequence[Mapping[str, Any]], *, is_gated: bool) -> Block:
    steps, losses = [line["step"] for line in reports], [line["loss"] for line in reports]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(steps, losses, color=SERIES[0], linewidth=1.2)
        axes.set_xlabel("step")
        axes.set_ylabel("loss")

    alt = f"The loss falls from {losses[0]:.2f} to {losses[-1]:.2f} over {steps[-1]:,} steps"
    caption = f"Mean training loss since the last report{', the gate’s included' if is_gated else ''}."
    return plot(draw, height_in=2.4, caption=caption, alt=alt)


def _usage(usage: Sequence[float]) -> Block:
    bars = [Bar(f"branch {number}", share, percent(share)) for number, share in enumerate(usage)]
    return Bars(bars=bars, caption="Share of the scored images for which a branch ran.")
