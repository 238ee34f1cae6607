"""What `compare`, `train` and `aux` show: tables, precision-recall curves, pictures, as one HTML page."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from narrowcast.bgsplit.auxiliary import AuxiliaryLabels, most_confident
from narrowcast.bgsplit.compare import Difference, RunResult, paired
from narrowcast.bgsplit.evaluate import Evaluation
from narrowcast.core.page import (
    INK,
    SERIES,
    Gallery,
    KeyFigure,
    Page,
    Plot,
    Section,
    Table,
    Text,
    picture,
    plot,
    render,
)
from narrowcast.data.image_table import ImageTable


def compare_page(results: Sequence[RunResult], *, title: str, note: str) -> str:
    """The report of a comparison: means, paired differences, AP of each category, curves."""
    methods = list(dict.fromkeys(result.method for result in results))
    best = max(methods, key=lambda method: _mean(results, method, "map"))
    sections = [
        Section("Methods", [_means(results, methods)]),
        Section("Paired differences in AP", [_differences(results, methods)]),
        Section("Average precision of each category", [_per_category(results, methods)]),
        Section("Precision and recall", [_curves(results, methods)]),
    ]
    figures = [
        KeyFigure("best mAP", f"{_mean(results, best, 'map'):.3f}", best),
        KeyFigure("background", f"{np.mean([one.background for one in results]):.2%}", "of the training images"),
        KeyFigure("runs", str(len(results)), f"{len({(one.draw, one.seed) for one in results})} draws and seeds"),
    ]
    return render(Page(title=title, subtitle=note, key_figures=figures, sections=sections))


def _mean(results: Sequence[RunResult], method: str, key: str) -> float:
    return float(np.mean([getattr(one, key) for one in results if one.method == method]))


def _means(results: Sequence[RunResult], methods: Sequence[str]) -> Table:
    rows = []
    for method in methods:
        num = sum(one.method == method for one in results)
        numbers = [f"{_mean(results, method, key):.3f}" for key in ("map", "f1", "f1_threshold")]
        rows.append([method, *numbers, f"{_mean(results, method, 'seconds'):.0f}", str(num)])
    return Table(
        header=["method", "mAP", "F1, arg max", "F1, threshold", "seconds", "runs"],
        rows=rows,
        align="lrrrrr",
        caption="Means over categories, draws and seeds. The threshold of a category is chosen on training images.",
    )


def _differences(results: Sequence[RunResult], methods: Sequence[str]) -> Table:
    found = [[_shown(paired(results, method, other)) for other in methods] for method in methods]
    rows = [
        [method, *("" if ix == jx else text for jx, text in enumerate(row))]
        for ix, (method, row) in enumerate(zip(methods, found, strict=True))
    ]
    return Table(
        header=["row less column", *methods],
        rows=rows,
        align="l" + "r" * len(methods),
        caption="Mean difference ± standard error over categories of draws, the same images for both.",
    )


def _shown(difference: Difference) -> str:
    if not difference.num:
        return "–"
    error = "" if math.isnan(difference.error) else f" ± {difference.error:.3f}"
    return f"{difference.mean:+.3f}{error}"


def _per_category(results: Sequence[RunResult], methods: Sequence[str]) -> Table:
    categories = list(dict.fromkeys((one.draw, name) for one in results for name in one.ap_per_category))
    rows = []
    for draw, name in categories:
        row = [f"{name} (draw {draw})"]
        for method in methods:
            aps = [
                one.ap_per_category[name]
                for one in results
                if one.method == method and one.draw == draw and name in one.ap_per_category
            ]
            row.append(f"{np.mean(aps):.3f}" if aps else "–")
        rows.append(row)
    return Table(header=["category", *methods], rows=rows, align="l" + "r" * len(methods))


def _curves(results: Sequence[RunResult], methods: Sequence[str]) -> Plot:
    grid = np.linspace(0, 1, 51)
    shown = sorted(methods, key=lambda method: -_mean(results, method, "map"))[: len(SERIES)]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for method, color in zip(shown, SERIES, strict=False):
            axes.plot(grid, _mean_curve(results, method, grid), color=color, label=method)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(frameon=False, labelcolor=INK)

    caption = f"Mean over categories, draws and seeds; the {len(shown)} methods with the best mAP."
    return plot(draw, height_in=3.2, caption=caption, alt="Precision over recall of the best methods")


def _mean_curve(results: Sequence[RunResult], method: str, grid: np.ndarray) -> np.ndarray:
    """The mean of interpolated precision: the best at that recall or beyond."""
    curves = []
    for one in results:
        if one.method != method:
            continue
        for category in one.evaluation["categories"]:
            points = np.array(category["curve"]).reshape(-1, 2)
            curves.append([points[points[:, 0] >= recall - 1e-9, 1].max(initial=0.0) for recall in grid])
    return np.mean(curves, axis=0) if curves else np.zeros_like(grid)


def evaluation_page(evaluation: Evaluation, *, title: str, note: str) -> str:
    """The report of one classifier."""
    rows = [
        [
            one.category,
            f"{one.positives} of {one.known}",
            f"{one.ap:.3f}",
            f"{one.f1:.3f}",
            f"{one.precision:.3f}",
            f"{one.recall:.3f}",
            f"{math.exp(min(one.threshold, 0.0)):.4f}",
            f"{one.f1_threshold:.3f}",
        ]
        for one in evaluation.categories
    ]
    header = ["category", "images", "AP", "F1", "precision", "recall", "threshold", "F1 at it"]
    figures = [
        KeyFigure("mAP", f"{evaluation.map:.3f}", f"{len(evaluation.categories)} categories"),
        KeyFigure("mean F1", f"{evaluation.f1:.3f}", "of the arg max; of several labels at 50%"),
        KeyFigure("mean F1 at threshold", f"{evaluation.f1_threshold:.3f}", "chosen on training images"),
    ]
    blocks = [Table(header=header, rows=rows, align="lrrrrrrr"), _category_curves(evaluation)]
    sections = [Section("Categories", blocks)]
    return render(Page(title=title, subtitle=note, key_figures=figures, sections=sections))


def _category_curves(evaluation: Evaluation) -> Plot:
    shown = sorted(evaluation.categories, key=lambda one: -one.ap)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for one, color in zip(shown, SERIES, strict=False):
            if one.curve:
                recall, precision = zip(*one.curve, strict=True)
                axes.step(recall, precision, where="pre", color=color, label=one.category)
        axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(frameon=False, labelcolor=INK)

    caption = f"The {min(len(shown), len(SERIES))} categories with the best AP."
    return plot(draw, height_in=3.2, caption=caption, alt="Precision over recall of categories")


def auxiliary_page(auxiliary: AuxiliaryLabels, table: ImageTable, *, seed: int = 0) -> str:
    """Figure 5.4: the five images that random auxiliary categories are surest of; and how even the split is.

    Raises:
        UsageError: no category has five images.
    """
    sections = []
    for label, rows in most_confident(auxiliary, num_categories=8, num_images=5, seed=seed):
        pictures = [
            picture(
                table.paths[row],
                caption=f"{table.classes[table.labels[row]]}, {auxiliary.confidence[row]:.2f}",
                alt=f"Image that was given the auxiliary category {auxiliary.name(label)}",
                max_width=192,
            )
            for row in rows
        ]
        sections.append(Section(auxiliary.name(label), [Gallery(pictures)]))
    counts = np.sort(np.bincount(auxiliary.labels, minlength=auxiliary.num))[::-1]
    text = f"The ten largest categories hold {', '.join(map(str, counts[:10]))} of {len(auxiliary.labels)} images."
    sections.append(Section("How even the categories are", [Text([text])]))
    figures = [
        KeyFigure("largest category", f"{auxiliary.largest_share:.1%}", "of the images; 4.5% in figure 5.3"),
        KeyFigure("categories", str(auxiliary.num_used), f"of {auxiliary.num} have an image"),
    ]
    subtitle = f"{auxiliary.source}; the images that random categories are surest of"
    return render(Page(title="Auxiliary labels", subtitle=subtitle, key_figures=figures, sections=sections))
