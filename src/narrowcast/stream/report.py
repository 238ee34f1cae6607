"""A run folder as a page to read: report.html, with the curves of figure 2.4, the numbers and some frames."""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from narrowcast.core import page
from narrowcast.core.amounts import clock, duration, milliseconds, percent, times
from narrowcast.core.errors import SourceError
from narrowcast.core.files import write_text
from narrowcast.core.page import Bar, Block, KeyFigure, Notice, Section, Table
from narrowcast.stream.charts import cost_plot, curves_plot, has_own_scores
from narrowcast.stream.recall_log import recall_blocks
from narrowcast.stream.windows import STAGES, Curves, Spread, Window, number_of, read_curves
from narrowcast.video.palette import palette

log = logging.getLogger(__name__)

_MAX_PICTURES = 16
_SAMPLE = re.compile(r"frame-(\d+)\.jpg")
# Reports are passed around: what opens a camera is left out of addresses.
_SECRETS = re.compile(r"(?<=://)[^/\s@]+@|(?<=[?&])((?:token|key|auth|pass\w*|secret|sig\w*)=)[^&\s]+", re.IGNORECASE)

_HOW_TO_READ = (
    "Accuracy is agreement with the teacher: the mean intersection over union (IoU) of the classes in sight, without "
    "the background. 100% means the teacher's labels pixel for pixel, the teacher's mistakes included.",
    "Every frame is predicted before it may be learned from, and it is that prediction which is scored. Only what is "
    "called “after updates” or “put out” knows the teacher's answer.",
    "The teacher is asked more often where predictions are bad, so teacher frames show the harder moments. With "
    "--score-every, scored frames come at regular steps, and asking the teacher for them is not part of the cost; "
    "without it the teacher frames are the ones scored.",
    "Pooled accuracy counts pixels over all scored frames and weighs large objects more; the mean of frames counts "
    "each frame alike, and a frame that is rightly empty as 100%.",
    "Predictions are the student's where it is heard; elsewhere they are the teacher's last labels, moved with the "
    "picture by optical flow.",
    "The stride is the number of frames from one teacher call to the next. By default the teacher is asked when the "
    "picture has changed; else the stride doubles where predictions were good enough and halves where they were not.",
    "The speedup is what the teacher on every frame would have taken (its median time × frames) over what the run "
    "took, decoding, drawing and writing included, scoring not.",
)


@dataclass(frozen=True, slots=True)
class _Run:
    """What a run folder holds."""

    name: str
    record: dict[str, Any]
    summary: dict[str, Any]
    curves: Curves
    samples: dict[int, Path]
    folder: Path

    def setting(self, name: str) -> Any:
        """The setting of that name, wherever it is nested; None without one."""
        values = dict(_flat(self.record.get("config")))
        return next((value for key, value in values.items() if key.rsplit(".", 1)[-1] == name), None)

    def number(self, name: str) -> float | None:
        """That number of the summary; None where it is not there."""
        return number_of(self.summary.get(name))


def write_report(folder: Path) -> Path:
    """The path of the run folder's report.html, written anew from what else is in the folder.

    A run that was killed has no summary.json and may end in half a line; the report then shows what there is.

    Raises:
        SourceError: `folder` has no run.json, or one of its files is damaged.
        StorageError: the page cannot be written.
    """
    run = _read_run(folder)
    path = folder / "report.html"
    write_text(path, page.render(_page(run)))
    return path


def _read_run(folder: Path) -> _Run:
    record = _read_json(folder / "run.json")
    if record is None:
        raise SourceError(f"{folder}: not the folder of a run: it has no run.json")
    samples = _samples(folder / "samples")
    curves = read_curves(folder / "reports.jsonl", pick=samples)
    name = folder.resolve().name
    return _Run(name, record, _read_json(folder / "summary.json") or {}, curves, samples, folder)


def _read_json(path: Path) -> dict[str, Any] | None:
    """What `path` holds; None where there is no such file."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise SourceError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SourceError(f"{path}: expected a JSON object")
    return value


def _samples(folder: Path) -> dict[int, Path]:
    """Pictures by frame, in order: all of them, or as many spread over the run as a page can carry."""
    found = {int(match[1]): path for path in folder.glob("*.jpg") if (match := _SAMPLE.fullmatch(path.name))}
    frames = sorted(found)
    num = min(len(frames), _MAX_PICTURES)
    return {frame: found[frame] for frame in (frames[ix * (len(frames) - 1) // max(1, num - 1)] for ix in range(num))}


def _page(run: _Run) -> page.Page:
    curves = run.curves
    sections = [
        ("Over time", [curves_plot(curves, threshold=number_of(run.setting("accuracy")))] if curves.windows else []),
        ("Where the time went", _cost_blocks(run)),
        ("Accuracy", _accuracy_blocks(run)),
        ("Places", recall_blocks(run.folder)),
        ("Sample frames", _sample_blocks(run)),
        ("How to read this", [page.Text(_HOW_TO_READ)]),
    ]
    folded = [
        ("The numbers behind the curves", [_windows_table(curves)] if curves.windows else []),
        ("Settings and machine", _record_blocks(run.record)),
        ("All of summary.json", _table_of(run.summary)),
    ]
    return page.Page(
        title=f"Stream run {run.name}",
        subtitle=_subtitle(run),
        notices=[Notice(text) for text in _notices(run)],
        key_figures=_key_figures(run),
        sections=[Section(title, blocks) for title, blocks in sections if blocks]
        + [Section(title, blocks, is_folded=True) for title, blocks in folded if blocks],
        footer=f"Written by narrowcast {_flat_get(run.record, 'environment.versions.narrowcast', '')}".strip(),
    )


def _subtitle(run: _Run) -> str:
    parts = [("", run.setting("source")), ("teacher ", run.setting("teacher")), ("classes ", run.setting("classes"))]
    return " · ".join(f"{word}{_shown(value)}" for word, value in parts if isinstance(value, str))


def _notices(run: _Run) -> Iterator[str]:
    summary, curves = run.summary, run.curves
    if not summary:
        yield "The run has not ended, or was killed: there is no summary yet. The numbers are counted from its reports."
    if not curves.totals.frames:
        yield "No frame was reported."
    if summary.get("status") == "interrupted":
        yield "The run was interrupted. All numbers are of the frames until then; --resume goes on from there."
    if summary.get("stopped_early"):
        yield f"The run stopped early: {_shown(summary['stopped_early'])}"
    if summary.get("source_truncated"):
        yield "The source broke off before its end; what came until then was processed."
    damaged = summary.get("source_damaged") or summary.get("damaged_packets")
    if damaged:
        count = number_of(damaged)
        yield f"Damaged parts of the source were left out{f': {count:,.0f} packets' if count else ''}."
    if curves.damaged_lines:
        yield f"Lines of reports.jsonl that could not be read and are not counted: {curves.damaged_lines:,}."


def _key_figures(run: _Run) -> list[KeyFigure]:
    totals = run.curves.totals
    frames = run.number("frames") or totals.frames
    asked = run.number("teacher_frames") or totals.teacher_frames
    fraction = run.number("teacher_fraction") or (asked / frames if frames else None)
    macs = run.number("speedup_macs")
    in_macs = f"; {times(macs)} in multiply-adds" if macs else ""
    start_s, end_s = run.curves.span_s()
    duration_s, total_s = run.number("duration_s") or end_s - start_s, run.number("total_s")
    return [
        _accuracy_figure(run),
        KeyFigure("Teacher asked on", percent(fraction), f"{asked:,.0f} of {frames:,.0f} frames"),
        KeyFigure("Speedup", times(run.number("speedup")), "over the teacher on every frame" + in_macs),
        KeyFigure(
            "Frames",
            f"{frames:,.0f}",
            f"{duration(duration_s)} of video" + (f", processed in {duration(total_s)}" if total_s else ""),
        ),
    ]


def _heard(run: _Run) -> str:
    """On how many frames the student spoke."""
    heard, frames = run.number("student_frames"), run.number("frames")
    if heard is None or not frames or heard == frames:
        return "the student's own"
    return (
        f"the student was heard on {heard:,.0f} of {frames:,.0f} frames" if heard else "by flow: no student was heard"
    )


def _accuracy_figure(run: _Run) -> KeyFigure:
    """The accuracy of the predictions; from the reports where nothing was scored."""
    pooled, scored = run.number("miou_pooled"), run.number("scored_frames")
    if pooled is not None:
        on = f"on {scored:,.0f} scored frames" if scored else "on scored frames"
        return KeyFigure("Accuracy (mean IoU)", percent(pooled), f"predictions, {on}; {_heard(run)}")
    mean, num = run.curves.totals.mean_accuracy(), run.curves.totals.teacher_frames
    return KeyFigure(
        "Accuracy (mean IoU)", percent(mean), f"mean of the teacher frames ({num:,}); none was scored apart"
    )


def _cost_blocks(run: _Run) -> list[Block]:
    totals = run.curves.totals
    if not totals.frames:
        return []
    rows = [_stage_row(run, stage, totals.stage_calls[stage], totals.stage_ms[stage]) for stage in STAGES]
    rows += [_stage_row(run, "update", totals.updates, None)]
    table = Table(
        header=("", "times", "median ms", "p99 ms", "sum", "ms per frame"),
        rows=[row for row in rows if row[1] != "0"],
        align="lrrrrr",
        caption="p99: ninety-nine in a hundred took no longer. One update is a part of learning.",
    )
    whole = Table(
        header=("", "time", "per frame"),
        rows=[
            _whole_row("this run, all in all", run.number("total_s"), totals.frames),
            _whole_row("the teacher on every frame", run.number("teacher_every_frame_s"), totals.frames),
        ],
        align="lrr",
    )
    return [cost_plot(run.curves), table] + ([whole] if run.number("total_s") else [])


def _stage_row(run: _Run, stage: str, calls: int, sum_ms: float | None) -> Sequence[str]:
    median_ms, p99_ms = run.number(f"{stage}_ms_p50"), run.number(f"{stage}_ms_p99")
    each_ms = None if sum_ms is None else sum_ms / run.curves.totals.frames
    sum_shown = "" if sum_ms is None else duration(sum_ms / 1e3)
    return (
        _STAGE_NAMES[stage],
        f"{calls:,}",
        milliseconds(median_ms),
        milliseconds(p99_ms),
        sum_shown,
        milliseconds(each_ms) if sum_shown else "",
    )


_STAGE_NAMES = {
    "student": "prediction",
    "teacher": "teacher",
    "learning": "learning",
    "update": "one update",
}


def _whole_row(name: str, total_s: float | None, frames: int) -> Sequence[str]:
    return (name, duration(total_s), f"{milliseconds(None if total_s is None else total_s / frames * 1e3)} ms")


def _accuracy_blocks(run: _Run) -> list[Block]:
    names = {
        "miou_pooled": "predictions, pooled",
        "miou_per_frame": "predictions, mean of frames",
        "miou_pooled_without_teacher_frames": "predictions, pooled, without teacher frames",
        "miou_pooled_of_outputs": "what was put out (the teacher's labels where it ran), pooled",
    }
    rows = [(text, percent(run.number(name))) for name, text in names.items() if run.number(name) is not None]
    blocks: list[Block] = []
    if rows:
        where = "at regular steps" if has_own_scores(run.curves) else "those on which the teacher ran"
        scored = run.number("scored_frames") or run.curves.totals.scored_frames
        caption = f"Mean IoU against the teacher on {scored:,.0f} scored frames: {where}."
        blocks += [Table(header=("", "mean IoU"), rows=rows, align="lr", caption=caption)]
    per_class = run.summary.get("iou_per_class")
    if isinstance(per_class, dict) and per_class:
        blocks += [_class_bars(per_class, _colors(run.record))]
    return blocks


def _class_bars(per_class: Mapping[str, Any], colors: Mapping[str, str]) -> page.Bars:
    bars = [
        Bar(name, number_of(iou) or 0.0, percent(number_of(iou)), colors.get(name, ""))
        for name, iou in per_class.items()
        if name != "background"
    ]
    bars.sort(key=lambda bar: -bar.share)
    return page.Bars(bars=bars, caption="IoU of each class, pooled over scored frames; – where it was never in sight.")


def _colors(record: Mapping[str, Any]) -> dict[str, str]:
    """The colour of each class on the pictures; not the background's, which is not drawn."""
    classes = record.get("classes")
    if not isinstance(classes, list) or len(classes) > 256:
        return {}
    shown = zip(classes, palette(len(classes)).tolist(), strict=True)
    return {str(name): "#{:02x}{:02x}{:02x}".format(*color) for name, color in list(shown)[1:]}


def _sample_blocks(run: _Run) -> list[Block]:
    pictures = []
    for frame, path in run.samples.items():
        caption = _sample_caption(frame, run.curves.picked.get(frame, {}))
        try:
            alt = f"Frame {frame}: the prediction on the left, the teacher's on the right."
            pictures.append(page.picture(path, caption=caption, alt=alt))
        except SourceError as error:
            log.warning("left out of the report: %s", error)
    if not pictures:
        return []
    text = page.Text(
        ["Left: the prediction, before anything of the frame was learned. Right: the teacher, on the same frame."]
    )
    legend = page.Legend(list(_colors(run.record).items()))
    return [text, legend, page.Gallery(pictures)]


def _sample_caption(frame: int, report: Mapping[str, Any]) -> str:
    parts = [f"Frame {frame:,}"]
    time_s, before, after = (number_of(report.get(name)) for name in ("time_s", "accuracy", "accuracy_after"))
    if time_s is not None:
        parts += [clock(time_s)]
    if before is not None:
        parts += [f"accuracy {percent(before)}"]
    if after is not None and report.get("updates"):
        parts += [f"{percent(after)} after {report['updates']} updates"]
    return ", ".join(parts)


def _windows_table(curves: Curves) -> Table:
    header = ("video time", "frames", "teacher frames", "accuracy", "worst", "scored", "worst", "stride", "updates")
    return Table(
        header=(*header, *(f"{stage} ms" for stage in STAGES)),
        rows=[_window_row(window) for window in curves.windows],
        align="l" + "r" * 11,
        caption="Accuracy and scores are medians of the window; milliseconds are spread over all its frames.",
    )


def _window_row(window: Window) -> Sequence[str]:
    counts = (f"{window.frames:,}", f"{window.teacher_frames:,}")
    scores = (*_spread_cells(window.accuracy), *_spread_cells(window.miou))
    costs = (milliseconds(window.ms_per_frame[stage]) for stage in STAGES)
    return (clock(window.start_s), *counts, *scores, f"{window.stride.median:g}", f"{window.updates:,}", *costs)


def _spread_cells(spread: Spread | None) -> tuple[str, str]:
    return (percent(spread.median), percent(spread.lowest)) if spread else ("–", "–")


def _record_blocks(record: Mapping[str, Any]) -> list[Block]:
    return _table_of({key: value for key, value in record.items() if value not in (None, {}, [])})


def _table_of(values: Mapping[str, Any]) -> list[Block]:
    rows = [(key, _shown(value)) for key, value in _flat(values)]
    return [Table(header=("name", "value"), rows=rows)] if rows else []


def _flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested settings with dotted names."""
    for key, value in values.items() if isinstance(values, Mapping) else ():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _flat_get(values: Any, name: str, default: str) -> str:
    return str(dict(_flat(values)).get(name) or default)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, str):
        return _SECRETS.sub(lambda match: f"{match[1] or ''}…" + ("" if match[1] else "@"), value)
    return json.dumps(value, ensure_ascii=False)
