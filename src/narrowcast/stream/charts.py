"""The curves of a run over video time, after figure 2.4: accuracy, stride, updates, and where the time goes."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from narrowcast.core.page import INK, SERIES, Plot, plot
from narrowcast.stream.windows import STAGES, Curves, Spread, Window

_STUDENT, _TEACHER, _LEARNING = SERIES[:3]
_STAGE_COLORS = {"student": _STUDENT, "teacher": _TEACHER, "learning": _LEARNING}


def curves_plot(curves: Curves, *, threshold: float | None) -> Plot:
    """Accuracy, stride and updates over video time, one below the other.

    Args:
        threshold: the accuracy that the run was asked for, drawn as a line.
    """

    def draw(figure: Figure) -> None:
        accuracy, stride, updates = figure.subplots(3, 1, sharex=True, height_ratios=(2.2, 1, 1))
        _draw_accuracy(accuracy, curves, threshold)
        _draw_stride(stride, curves)
        updates.bar(_middles(curves), [window.updates for window in curves.windows], **_bar(curves, SERIES[3]))
        updates.set(ylabel="updates", ylim=(0, None))
        updates.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        _time_axis(updates, curves)
        figure.align_ylabels()

    return plot(draw, height_in=5.2, caption=_curves_caption(curves, threshold), alt=_curves_alt(curves))


def cost_plot(curves: Curves) -> Plot:
    """Milliseconds a frame over video time, stacked by what they went to."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        below = [0.0] * len(curves.windows)
        for stage in STAGES:
            heights = [window.ms_per_frame[stage] for window in curves.windows]
            axes.bar(_middles(curves), heights, bottom=below, label=stage, **_bar(curves, _STAGE_COLORS[stage]))
            below = [low + height for low, height in zip(below, heights, strict=True)]
        axes.set(ylabel="ms per frame", ylim=(0, None))
        _time_axis(axes, curves)
        _legend(axes)

    caption = (
        f"Milliseconds per frame in each window of {_width(curves)}: the student on every frame; the teacher and "
        "learning where the teacher ran, spread over all frames of the window. Without decoding, drawing and writing."
    )
    total_ms = sum(curves.totals.stage_ms.values()) or 1.0
    shares = ", ".join(f"{stage} {curves.totals.stage_ms[stage] / total_ms:.0%}" for stage in STAGES)
    return plot(
        draw, height_in=2.5, caption=caption, alt=f"Stacked bars of the time a frame took. Over the run: {shares}."
    )


def _draw_accuracy(axes: Axes, curves: Curves, threshold: float | None) -> None:
    if threshold is not None:
        axes.axhline(threshold, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="asked for")
    if has_own_scores(curves):  # two bands would hide each other: scored frames are the fairer sample
        _draw_spread(axes, curves, _miou, color=_LEARNING, marker="s", label="scored frames", has_band=True)
    is_alone = not has_own_scores(curves)
    _draw_spread(axes, curves, _accuracy, color=_STUDENT, marker="o", label="teacher frames", has_band=is_alone)
    axes.set(ylabel="mean IoU", ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _legend(axes)


def _accuracy(window: Window) -> Spread | None:
    return window.accuracy


def _miou(window: Window) -> Spread | None:
    return window.miou


def _draw_spread(
    axes: Axes,
    curves: Curves,
    choose: Callable[[Window], Spread | None],
    *,
    color: str,
    marker: str,
    label: str,
    has_band: bool,
) -> None:
    """A line through the medians, with a band down to the lowest; broken where the video has no frames."""
    style: dict[str, Any] = {"color": color, "marker": marker, "markersize": 2.6, "linewidth": 1.3}
    for windows in _unbroken(curves):
        chosen = [(window.start_s + curves.width_s / 2, choose(window)) for window in windows]
        points = [(time_s, spread) for time_s, spread in chosen if spread]
        times_s, medians = [time_s for time_s, _ in points], [spread.median for _, spread in points]
        axes.plot(times_s, medians, label=label, **style)
        label = "_again"  # matplotlib's sign for: not in the legend
        if has_band:
            lowest = [spread.lowest for _, spread in points]
            axes.fill_between(times_s, lowest, medians, color=color, alpha=0.2, linewidth=0)


def _draw_stride(axes: Axes, curves: Curves) -> None:
    for windows in _unbroken(curves):
        edges_s = [window.start_s for window in windows] + [windows[-1].start_s + curves.width_s]
        medians = [max(1, window.stride.median) for window in windows]
        lowest = [max(1, window.stride.lowest) for window in windows]
        # steps, not lines: a stride between two windows' strides never was
        axes.stairs(medians, edges_s, color=_TEACHER, linewidth=1.4, baseline=None)
        axes.stairs(medians, edges_s, color=_TEACHER, alpha=0.2, fill=True, linewidth=0, baseline=lowest)
    powers = _stride_powers(curves)
    axes.set_yscale("log", base=2)
    axes.set(ylabel="stride\n(frames)", ylim=(2 ** powers[0] / 1.4, 2 ** powers[-1] * 1.4))
    axes.set_yticks([2**power for power in powers[:: math.ceil(len(powers) / 5)]])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()


def _stride_powers(curves: Curves) -> range:
    """The powers of two around all strides: at least two octaves, so that a constant stride looks constant."""
    lowest = min(max(1, window.stride.lowest) for window in curves.windows)
    highest = max(max(1, window.stride.median) for window in curves.windows)
    last = math.ceil(math.log2(highest))
    return range(max(0, min(int(math.log2(lowest)), last - 2)), last + 1)


def has_own_scores(curves: Curves) -> bool:
    """Whether frames were scored on which the teacher did not run, so that their scores say something new."""
    return curves.totals.scored_without_teacher > 0


def _unbroken(curves: Curves) -> list[list[Window]]:
    """Windows in stretches that follow each other; a live source that was away leaves a gap between two."""
    stretches: list[list[Window]] = []
    for window in curves.windows:
        if stretches and window.start_s - stretches[-1][-1].start_s < 1.5 * curves.width_s:
            stretches[-1].append(window)
        else:
            stretches.append([window])
    return stretches


def _middles(curves: Curves) -> list[float]:
    return [window.start_s + curves.width_s / 2 for window in curves.windows]


def _bar(curves: Curves, color: str) -> dict[str, Any]:
    return {"width": 0.9 * curves.width_s, "color": color, "linewidth": 0.0}


def _legend(axes: Axes) -> None:
    # above the plot: nothing to cover there
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2, handlelength=1.4)


def _time_axis(axes: Axes, curves: Curves) -> None:
    start_s, end_s = curves.span_s()
    unit, divisor = next((unit, each) for unit, each, limit in _TIME_UNITS if end_s <= limit)
    axes.set(xlim=(start_s, end_s), xlabel=f"video time ({unit})")
    steps = MaxNLocator(8, steps=[1, 2, 3, 5, 6, 10]).tick_values(start_s / divisor, end_s / divisor)
    axes.set_xticks([step * divisor for step in steps if start_s <= step * divisor <= end_s])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / divisor:g}"))


_TIME_UNITS: Sequence[tuple[str, float, float]] = (
    ("s", 1, 180),
    ("min", 60, 3 * 3600),
    ("h", 3600, 72 * 3600),
    ("days", 86400, math.inf),
)


def _width(curves: Curves) -> str:
    width_s = curves.width_s
    unit, divisor = ("h", 3600) if width_s >= 3600 else ("min", 60) if width_s >= 120 else ("s", 1)
    return f"{width_s / divisor:g} {unit}"


def _curves_caption(curves: Curves, threshold: float | None) -> str:
    lines = [
        f"One point is a window of {_width(curves)}: the median of its frames; a band reaches down to the lowest. "
        "Top: the student's accuracy against the teacher, before it learned from the frame."
    ]
    if has_own_scores(curves):
        lines += ["Scored frames come at regular steps (with the band), teacher frames where the schedule put them."]
    if threshold is not None:
        lines += [f"Dashed: the accuracy asked for, {threshold:.0%}."]
    lines += ["Middle: frames from one teacher call to the next. Bottom: gradient steps in each window."]
    return " ".join(lines)


def _curves_alt(curves: Curves) -> str:
    totals, mean = curves.totals, curves.totals.mean_accuracy()
    strides = [window.stride.median for window in curves.windows]
    accuracy = "no accuracy" if mean is None else f"mean accuracy on teacher frames {mean:.0%}"
    return (
        f"Three plots over video time: {accuracy}; stride between {min(strides):g} and "
        f"{max(strides):g} frames; {totals.updates} updates in all. The numbers are in the table below."
    )
