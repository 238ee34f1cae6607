"""The drawings of an evaluation: accuracy against cost, and accuracy and updates over time (figure 2.4)."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, PercentFormatter

from narrowcast.core.page import INK, SERIES, Plot, plot
from narrowcast.stream.windows import Curves

FAMILIES = {"default": 0, "look": 0, "thesis": 1, "flow": 2, "hold": 2}  # by colour of SERIES; all others have the last


@dataclass(frozen=True, slots=True)
class Point:
    """One method: the mean over streams, and the streams themselves.

    Attributes:
        cost: of what the teacher on every frame costs.
        miou: the score.
        streams: (cost, miou) of each stream.
    """

    name: str
    cost: float
    miou: float
    streams: Sequence[tuple[float, float]]


def color_of(method: str) -> str:
    """The colour of a method's family."""
    return SERIES[FAMILIES.get(method.split("-")[0].split(":")[0].split("[")[0], 3)]


def cost_plot(points: Sequence[Point], *, caption: str) -> Plot:
    """Accuracy against cost, one point a method: up and to the left is better."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for point in points:
            color = color_of(point.name)
            if len(point.streams) > 1:
                axes.plot(*zip(*point.streams, strict=True), "o", color=color, markersize=2.5, alpha=0.35)
            axes.plot(point.cost, point.miou, "o", color=color, markersize=6)
            axes.annotate(
                point.name, (point.cost, point.miou), xytext=(6, 3), textcoords="offset points", annotation_clip=False
            )
        _frontier(axes, points)
        axes.set_xscale("log")
        axes.set(xlabel="cost: share of the teacher on every frame (log)", ylabel="mean IoU")
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.margins(x=0.16, y=0.1)

    shown = "; ".join(f"{point.name}: {point.miou:.1%} at {point.cost:.3f}" for point in points)
    return plot(draw, height_in=4.2, caption=caption, alt=f"Mean IoU and cost of each method. {shown}.")


def _frontier(axes: Axes, points: Sequence[Point]) -> None:
    """A line through the methods that no other beats in both."""
    best, kept = -1.0, []
    for point in sorted(points, key=lambda point: (point.cost, -point.miou)):
        if point.miou > best:
            best = point.miou
            kept.append((point.cost, point.miou))
    axes.plot(*zip(*kept, strict=True), color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)


def time_plot(curves: Sequence[tuple[str, Curves]], *, caption: str) -> Plot:
    """Mean IoU in each window of time, and updates below; as many methods as there are colours are drawn."""
    drawn = list(zip(curves[: len(SERIES)], SERIES, strict=False))

    def draw(figure: Figure) -> None:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1))
        for (name, found), color in drawn:
            windows = [window for window in found.windows if window.miou is not None]
            times_s = [window.start_s + found.width_s / 2 for window in windows]
            medians = [window.miou.median for window in windows if window.miou is not None]
            top.plot(times_s, medians, color=color, marker="o", markersize=2.6, linewidth=1.3, label=name)
            if found.totals.updates:
                starts_s = [window.start_s for window in found.windows]
                edges_s = [*starts_s, starts_s[-1] + found.width_s]
                bottom.stairs([window.updates for window in found.windows], edges_s, color=color, linewidth=1.3)
        top.set(ylabel="mean IoU", ylim=(0, 1.02))
        top.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        top.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.2, handlelength=1.4)
        bottom.set(ylabel="updates", ylim=(0, None), xlabel="video time (s)")
        figure.align_ylabels()

    named = ", ".join(name for (name, _), _ in drawn)
    return plot(draw, height_in=3.8, caption=caption, alt=f"Mean IoU over time of {named}, and their updates.")
