"""An evaluation's folder as a page to read: report.html, with the table in the form of table 2.2."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narrowcast.core import page
from narrowcast.core.amounts import duration, milliseconds, percent, times
from narrowcast.core.errors import SourceError
from narrowcast.core.files import read_object, write_text
from narrowcast.core.page import Block, KeyFigure, Notice, Section, Table
from narrowcast.stream.evaluation_charts import Point, cost_plot, time_plot
from narrowcast.stream.evaluation_samples import compose
from narrowcast.stream.job import FAILURE, RUNS, SAMPLES, Job, read_row
from narrowcast.stream.recosting import MASK_RCNN, Cost, measured, recosted, student_time
from narrowcast.stream.truth_tables import truth_tables
from narrowcast.stream.windows import read_curves

Row = Mapping[str, Any]
OVERALL = "mean over streams"
SCORES = {
    "miou_pooled_with_teacher_labels": "every method puts out the teacher's labels where it asked for them",
    "miou_pooled_without_teacher_frames": "predictions on frames without the teacher only",
    "miou_pooled": "predictions on all frames, made before the teacher's labels were seen",
}
HOW_TO_READ = (
    "Accuracy is agreement with the teacher on every frame: the mean over classes, without the background, of the IoU "
    "of all pixels of a stream together. What the teacher gets wrong counts as right here.",
    "In a cell: mean IoU in percent (speedup over the teacher on every frame, share of frames on which the teacher had "
    "to run). Speedup counts decoding, prediction, the teacher's calls and all learning. Means are over seeds and "
    "start phases; ± is half of the distance from the lowest to the highest of them.",
    "Methods that put out the teacher's own labels on its frames gain by it. Compare methods by one score only: all "
    "with the teacher's labels where they have them, or all on the frames without the teacher.",
    "Gaps that are smaller than the spread over start phases are noise.",
)


@dataclass(frozen=True, slots=True)
class _Results:
    """The rows of an evaluation by stream and method, in the order in which they were asked for."""

    folder: Path
    rows: Sequence[Row]

    @property
    def clips(self) -> list[str]:
        return list(dict.fromkeys(row["source"] for row in self.rows))

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(row["method"] for row in self.rows))

    def of(self, clip: str, method: str) -> list[Row]:
        return [row for row in self.rows if (row["source"], row["method"]) == (clip, method)]

    def first(self, clip: str, method: str) -> Job | None:
        """The job with the lowest phase and seed."""
        found = min(self.of(clip, method), key=lambda row: (row["phase"], row["seed"]), default=None)
        return None if found is None else Job(clip, method, found["seed"], found["phase"])


def write_evaluation_report(folder: Path) -> Path:
    """The path of report.html in the folder of an evaluation, written anew from what else is in it.

    Raises:
        SourceError: no method has been run there yet.
        StorageError: the page cannot be written.
    """
    rows = [row for path in sorted(folder.glob(f"{RUNS}/*/*/")) if (row := read_row(path)) is not None]
    if not rows:
        raise SourceError(f"{folder}: not the folder of an evaluation, or nothing in it has ended yet")
    results, path = _Results(folder, rows), folder / "report.html"
    write_text(path, page.render(_page(results)))
    return path


def _page(results: _Results) -> page.Page:
    about = read_object(results.folder / "eval.json") or {}
    setup = about.get("setup", {})
    sections = [
        ("Accuracy, speedup, share of teacher frames", [_table(results, score) for score in list(SCORES)[:2]]),
        ("Accuracy against cost", _cost_blocks(results)),
        ("Against labels by people", truth_tables(results.rows)),
        ("Over time", [_time_plot(results, clip) for clip in results.clips]),
        ("Sample frames", _sample_blocks(results)),
        ("How to read this", [page.Text(HOW_TO_READ)]),
    ]
    folded = [
        ("Predictions on all frames", [_table(results, "miou_pooled")]),
        ("Classes, worst window, flicker", [_detail_table(results)]),
        ("Every run", [_run_table(results)]),
        ("Settings and machine", [_flat_table(about)] if about else []),
    ]
    return page.Page(
        title=f"Evaluation {results.folder.resolve().name}",
        subtitle=" · ".join(f"{name} {setup[name]}" for name in ("teacher", "classes") if name in setup),
        notices=_notices(results, setup),
        key_figures=_key_figures(results),
        sections=[Section(title, blocks) for title, blocks in sections if blocks]
        + [Section(title, blocks, is_folded=True) for title, blocks in folded if blocks],
        footer="Written by narrowcast stream eval",
    )


def _notices(results: _Results, setup: dict[str, Any]) -> list[Notice]:
    notices = []
    if setup.get("teacher") == "labels":
        notices.append(
            Notice("The teacher is files of labels, which only cost their reading: speedups as measured mean nothing.")
        )
    if any(row["teacher_is_replayed"] for row in results.rows):
        notices.append(
            Notice("Kept labels stood in for the teacher; its calls are charged at a median measured once per stream.")
        )
    if len({(row["source"], row["phase"]) for row in results.rows}) == len(results.clips):
        notices.append(Notice("One start phase for each stream: how much of a gap is noise cannot be told from this."))
    failures = [read_object(path) for path in sorted(results.folder.glob(f"{RUNS}/*/*/{FAILURE}"))]
    return notices + [Notice(f"No result: {found['error']}") for found in failures if found]


def _key_figures(results: _Results) -> list[KeyFigure]:
    frames = sum(max(row["frames"] for row in results.rows if row["source"] == clip) for clip in results.clips)
    best = max(results.methods, key=lambda method: _overall(results, method, next(iter(SCORES))) or 0)
    score = _overall(results, best, next(iter(SCORES)))
    return [
        KeyFigure("Streams", f"{len(results.clips)}", f"{frames:,} frames"),
        KeyFigure("Methods", f"{len(results.methods)}", f"{len(results.rows)} runs"),
        KeyFigure("Most accurate", best, f"mean IoU {percent(score)}, teacher's labels where it asked for them"),
    ]


def _overall(results: _Results, method: str, score: str) -> float | None:
    """The mean over streams; None unless the method was run on all of them."""
    each = [_mean(row[score] for row in results.of(clip, method)) for clip in results.clips]
    return None if None in each else _mean(each)


def _table(results: _Results, score: str) -> Table:
    methods = results.methods
    rows = [[clip, *(_cell(results.of(clip, method), score) for method in methods)] for clip in results.clips]
    if len(rows) > 1:
        rows.insert(0, [OVERALL, *(_overall_cell(results, method, score) for method in methods)])
    caption = f"Score: {SCORES[score]}. In a cell: mean IoU (speedup, share of teacher frames)."
    return Table(header=("", *methods), rows=rows, align="l" + "r" * len(methods), caption=caption)


def _cell(rows: Sequence[Row], score: str) -> str:
    values = [100 * row[score] for row in rows if row[score] is not None]
    if not values:
        return "–"
    spread = f" ± {(max(values) - min(values)) / 2:.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread} {_costs(rows)}"


def _overall_cell(results: _Results, method: str, score: str) -> str:
    value = _overall(results, method, score)
    return (
        "–" if value is None else f"{100 * value:.1f} {_costs(row for row in results.rows if row['method'] == method)}"
    )


def _costs(rows: Iterable[Row]) -> str:
    listed = list(rows)
    speedup, fraction = (_mean(row[name] for row in listed) for name in ("speedup", "teacher_fraction"))
    return f"({times(speedup)}, {percent(fraction)})"


def _cost_blocks(results: _Results) -> list[Block]:
    score = next(iter(SCORES))
    plots: list[Block] = [
        cost_plot(
            _points(results, lambda row, _: measured(row), score),
            caption="As measured. One point a method, the mean over streams; small points are the streams. Dashed: the "
            "methods that no other beats in both. Score: the teacher's labels where a method asked for them.",
        )
    ]
    times_ms = {clip: student_time(row for row in results.rows if row["source"] == clip) for clip in results.clips}
    if None not in times_ms.values():
        teacher_ms = {clip: MASK_RCNN * (value or 0.0) for clip, value in times_ms.items()}
        points = _points(results, lambda row, clip: recosted(row, teacher_ms=teacher_ms[clip]), score)
        plots.append(
            cost_plot(
                points,
                caption="Computed, not measured: the same runs if a call of the teacher took "
                f"{MASK_RCNN:g} inferences of the student, which is Mask R-CNN's relative cost in table 2.1 "
                "(multiply-adds). Here a call takes "
                + ", ".join(f"{_ratio(results, clip, times_ms[clip]):.0f} ({clip})" for clip in results.clips)
                + ".",
            )
        )
    return plots


def _ratio(results: _Results, clip: str, student_ms: float | None) -> float:
    teacher_ms = _mean(row["teacher_ms_p50"] for row in results.rows if row["source"] == clip)
    return (teacher_ms or 0.0) / (student_ms or 1.0)


def _points(results: _Results, cost: Callable[[Row, str], Cost], score: str) -> list[Point]:
    points = []
    for method in results.methods:
        streams = []
        for clip in results.clips:
            rows = [row for row in results.of(clip, method) if row[score] is not None]
            if rows:
                share = statistics.fmean(cost(row, clip).share for row in rows)
                streams.append((share, statistics.fmean(row[score] for row in rows)))
        if len(streams) == len(results.clips):
            means = [statistics.fmean(values) for values in zip(*streams, strict=True)]
            points.append(Point(method, means[0], means[1], streams))
    return points


def _time_plot(results: _Results, clip: str) -> page.Plot:
    jobs = [(method, results.first(clip, method)) for method in results.methods]
    found = [(name, job.folder(results.folder) / "reports.jsonl") for name, job in jobs if job is not None]
    curves = [(name, read_curves(path)) for name, path in found]
    curves.sort(key=lambda pair: -pair[1].totals.updates)  # the ones that learn first: figure 2.4 is about them
    width_s = curves[0][1].width_s
    caption = f"{clip}: median of the predictions' mean IoU and number of updates in windows of {width_s:g} s."
    return time_plot(curves, caption=caption)


def _sample_blocks(results: _Results) -> list[Block]:
    pictures = []
    for clip in results.clips:
        jobs = [(method, results.first(clip, method)) for method in results.methods]
        runs = [(method, job.folder(results.folder)) for method, job in jobs if job is not None]
        for frame in sorted((results.folder / SAMPLES / clip).glob("????????.jpg")):
            composed = compose(results.folder, clip, int(frame.stem), runs)
            if composed is not None:
                alt = f"Frame {int(frame.stem)} of {clip}: outputs of the teacher and of each method."
                pictures.append(page.picture(composed, caption=f"{clip}, frame {int(frame.stem):,}", alt=alt))
    return [page.Gallery(pictures)] if pictures else []


def _detail_table(results: _Results) -> Table:
    rows = []
    for row in results.rows:
        worst = row["worst_window"]
        classes = ", ".join(f"{name} {percent(iou)}" for name, iou in row["iou_per_class_with_teacher_labels"].items())
        worst_shown = "–" if worst is None else f"{percent(worst['miou'])} from {worst['start_s']:.0f} s"
        rows.append((*_names(row), classes, worst_shown, percent(row["flicker"]), percent(row["miou_per_frame"])))
    return Table(
        header=("stream", "method", "phase", "seed", "classes", "worst 30 s", "flicker", "mean of frames"),
        rows=rows,
        align="llrrlrrr",
        caption="Classes: with the teacher's labels. Flicker: object pixels at rest whose label changed.",
    )


def _run_table(results: _Results) -> Table:
    rows = [
        (
            *_names(row),
            *(percent(row[score]) for score in SCORES),
            f"{row['teacher_frames']:,}",
            f"{row['updates']:,}",
            duration(row["total_s"]),
            percent(row["teacher_share"]),
            percent(row["learning_share"]),
            times(row["speedup"]),
            times(row["speedup_macs"]),
            *(milliseconds(row[name]) for name in ("student_ms_p50", "update_ms_p50", "teacher_ms_p50")),
        )
        for row in results.rows
    ]
    header = ("stream", "method", "phase", "seed", "with teacher labels", "without teacher frames", "predictions")
    costs = ("teacher frames", "updates", "took", "teacher", "learning", "speedup", "in multiply-adds")
    return Table(header=(*header, *costs, "student ms", "update ms", "teacher ms"), rows=rows, align="ll" + "r" * 15)


def _names(row: Row) -> tuple[str, str, str, str]:
    return row["source"], row["method"], str(row["phase"]), str(row["seed"])


def _flat_table(value: Mapping[str, Any]) -> Table:
    return Table(header=("", ""), rows=[(name, str(found)) for name, found in _flat(value, "")], align="ll")


def _flat(value: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, inner


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
