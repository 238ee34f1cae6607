"""What labels by people say of an evaluation's methods, as tables of its page: mean IoU; J and F as in table 2.5."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from narrowcast.core.amounts import percent
from narrowcast.core.page import Block, Table
from narrowcast.stream.truth import mean_over_objects

Row = Mapping[str, Any]
MEASURES = ("j", "f")


def truth_tables(rows: Sequence[Row]) -> list[Block]:
    """Both tables, of the streams that have such labels; nothing where none has."""
    judged = [row for row in rows if row.get("truth")]
    if not judged:
        return []
    methods = list(dict.fromkeys(row["method"] for row in judged))
    blocks: list[Block] = [_iou_table(judged, methods)]
    objects = {method: objects_of(judged, method) for method in methods}
    if any(objects.values()):
        blocks.append(_object_table(objects))
    return blocks


def objects_of(rows: Iterable[Row], method: str) -> list[Mapping[str, Mapping[str, float]]]:
    """J and F of every object of every sequence, seed and phase; each counts alike, as in DAVIS-2017."""
    own = [row["truth"].get("objects") or {} for row in rows if row["method"] == method and row.get("truth")]
    return [scores for objects in own for scores in objects.values()]


def _iou_table(rows: Sequence[Row], methods: Sequence[str]) -> Table:
    """A line for each stream: the teacher, then the methods where they put out its labels on its frames."""
    lines = []
    for clip in dict.fromkeys(row["source"] for row in rows):
        own = [row for row in rows if row["source"] == clip]
        cells = [_mean(row["truth"]["miou_pooled_with_teacher_labels"] for row in own if row["method"] == method)
                 for method in methods]  # fmt: skip
        lines.append([clip, *map(percent, [_mean(row["truth"]["miou_pooled_of_teacher"] for row in own), *cells])])
    caption = "Mean IoU against labels by people, on the frames that have them. Methods put out the teacher's labels "
    caption += "on the frames on which they asked for them."
    return Table(header=("", "teacher", *methods), rows=lines, align="lr" + "r" * len(methods), caption=caption)


def _object_table(objects: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]]) -> Table:
    """Table 2.5: J and F with recall and decay, over all objects."""
    lines = []
    for method, every in objects.items():
        if every:
            means = mean_over_objects(every)
            parts = [means[measure][part] for measure in MEASURES for part in ("mean", "recall", "decay")]
            both = statistics.fmean(means[measure]["mean"] for measure in MEASURES)
            lines.append([method, *(f"{value:.3f}" for value in (both, *parts)), f"{len(every)}"])
    header = ("", "J&F", "J mean", "J recall", "J decay", "F mean", "F recall", "F decay", "objects")
    caption = "DAVIS's measures of what is put out: means over objects, without the first and the last frame of each "
    caption += "sequence. J: overlap of regions; F: of their boundaries; decay: what is lost from the first quarter to "
    caption += "the last."
    return Table(header=header, rows=lines, align="l" + "r" * 8, caption=caption)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
