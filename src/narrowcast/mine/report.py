"""A simulation as a page: the curves of figures 4.3 to 4.9, tables with paired differences."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from narrowcast.core import page
from narrowcast.core.files import write_text
from narrowcast.core.page import SERIES, KeyFigure, Plot, Section, Table, Text
from narrowcast.mine.simulate import Curve
from narrowcast.mine.summary import Mean, means, paired, strategies_of

REPORT = "report.html"
NAMES = {
    "ap": "average precision on held-out photos",
    "found": "share of the pool's positives found",
    "best_f1": "F1 at the best threshold",
    "f1": "F1 at the model's own threshold",
}
AT = (20, 50, 100, 200, 300)
STYLES = ("-", "--", ":", "-.")

_HOW_TO_READ = (
    "A run begins with a few positives of one category and asks for labels in batches; a truth answers. Average "
    "precision and F1 are of the model on photos that were held out and never searched; what was found is counted in "
    "the searched part, without the positives that the run began with.",
    "Means over categories and seeds. Their standard errors are mostly how much categories differ; every strategy ran "
    "on the same categories from the same positives, so the differences in the tables are of pairs, and their errors "
    "(over categories) tell gains from noise.",
)


def write_report(folder: Path, curves: Sequence[Curve], *, subtitle: str, against: str | None = None) -> None:
    """`report.html` in `folder`.

    Args:
        against: the strategy that others are compared with; None is the first.
    """
    names = strategies_of(curves)
    base = against if against in names else names[0]
    last = max(curve.labels[-1] for curve in curves)
    figures = [
        KeyFigure(name, f"{means(curves, name, 'ap', last).value:.3f}", f"average precision at {last} labels")
        for name in names[:4]
    ]
    sections = [Section(NAMES[measure], [_plot(curves, measure), *_tables(curves, measure, base)]) for measure in NAMES]
    shown = page.Page(
        title="Mining, simulated",
        subtitle=subtitle,
        key_figures=figures,
        sections=[*sections, Section("How to read this", [Text(_HOW_TO_READ)])],
    )
    write_text(folder / REPORT, page.render(shown))


def _plot(curves: Sequence[Curve], measure: str) -> Plot:
    names = strategies_of(curves)
    labels = sorted({num for curve in curves for num in curve.labels})

    def draw(figure: Figure) -> None:
        axes: Axes = figure.subplots()
        for ix, name in enumerate(names):
            found = [means(curves, name, measure, num) for num in labels]
            color, style = SERIES[ix % len(SERIES)], STYLES[ix // len(SERIES) % len(STYLES)]
            axes.plot(labels, [mean.value for mean in found], color=color, linestyle=style, linewidth=1.5, label=name)
        axes.set(xlabel="labels", ylim=(0, 1), xlim=(0, labels[-1]))
        figure.legend(loc="outside lower center", ncols=4, frameon=False)

    last = labels[-1]
    told = ", ".join(f"{name} {means(curves, name, measure, last).value:.3f}" for name in names)
    return page.plot(
        draw,
        height_in=4.0,
        caption=f"Mean {NAMES[measure]} against labels a category.",
        alt=f"Curves of {NAMES[measure]}; at {last} labels: {told}.",
    )


def _tables(curves: Sequence[Curve], measure: str, base: str) -> list[Table]:
    last = max(curve.labels[-1] for curve in curves)
    columns = [num for num in AT if num <= last] or [last]
    rows, differences = [], []
    for name in strategies_of(curves):
        rows.append([name, *(f"{means(curves, name, measure, num).value:.3f}" for num in columns)])
        if name != base:
            found = [paired(curves, name, base, measure, num) for num in columns]
            differences.append([name, *(signed(mean) for mean in found)])
    header = ["strategy", *(f"{num} labels" for num in columns)]
    align = "l" + "r" * len(columns)
    tables = [Table(header=header, rows=rows, align=align, caption=f"Mean {NAMES[measure]}")]
    if differences:
        caption = f"Paired difference to {base} ± its standard error over categories"
        tables.append(Table(header=header, rows=differences, align=align, caption=caption))
    return tables


def signed(mean: Mean) -> str:
    """A difference with its error.

    >>> signed(Mean(0.0213, 0.0071, 20))
    '+0.021 ± 0.007'
    """
    return f"{mean.value:+.3f} ± {mean.error:.3f}".replace("-", "−")
