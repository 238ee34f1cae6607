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
    write_text(folder / "report.html", render(page(summary, reports, partition)))


def page(summary: Mapping[str, Any], reports: Sequence[Mapping[str, Any]], partition: Partition | None) -> Page:
    """The report as blocks."""
    figures = [
        KeyFigure("top-1", percent(summary["top1"]), f"of {summary['num_scored']:,} images"),
        KeyFigure("top-5", percent(summary["top5"])),
        KeyFigure("executed", f"{summary['macs_executed'] / 1e6:,.1f} M", "multiply-adds an image"),
        KeyFigure("parameters", f"{summary['params'] / 1e6:,.2f} M"),
        KeyFigure("training", duration(summary["seconds"]), f"on {summary['num_trained']:,} images"),
    ]
    if summary["gate_hit"] is not None:
        figures.append(KeyFigure("gate", percent(summary["gate_hit"]), "ran the branch of the image's class"))
    sections = [Section("Loss", [_loss(reports)])] if reports else []
    if summary["usage"]:
        sections.append(Section("Branches", [_usage(summary["usage"])]))
    if partition is not None:
        sections.append(Section("Classes that share a branch", [groups_table(partition)], is_folded=True))
    return Page(title=f"{summary['arch']}", subtitle="narrowcast hydra train", key_figures=figures, sections=sections)


def groups_table(partition: Partition) -> Table:
    """One row a branch."""
    rows = [[str(number), ", ".join(names)] for number, names in enumerate(partition.groups())]
    return Table(header=["branch", "classes"], rows=rows, align="rl", caption=f"made by: {partition.method}")


def _loss(reports: Sequence[Mapping[str, Any]]) -> Block:
    steps, losses = [line["step"] for line in reports], [line["loss"] for line in reports]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot(steps, losses, color=SERIES[0], linewidth=1.2)
        axes.set_xlabel("step")
        axes.set_ylabel("loss")

    alt = f"The loss falls from {losses[0]:.2f} to {losses[-1]:.2f} over {steps[-1]:,} steps"
    return plot(draw, height_in=2.4, caption="Mean training loss since the last report.", alt=alt)


def _usage(usage: Sequence[float]) -> Block:
    bars = [Bar(f"branch {number}", share, percent(share)) for number, share in enumerate(usage)]
    return Bars(bars=bars, caption="Share of the scored images for which a branch ran.")
