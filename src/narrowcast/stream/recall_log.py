"""What a run says of the places that it was at, in its log of events and on its page; what it leaves in the zoo."""

import json
from dataclasses import asdict
from pathlib import Path

from narrowcast.core.amounts import clock
from narrowcast.core.frames import Frame
from narrowcast.core.page import Block, Table
from narrowcast.stream.distill import Distiller
from narrowcast.stream.event_log import EVENTS, EventLog
from narrowcast.stream.recall import Visit

MAX_ROWS = 200  # of the table on a page; a switch of cameras has a visit every few seconds


def tell_of_visit(events: EventLog, frame: Frame, visit: Visit | None) -> None:
    """Log that a place began, if one did."""
    if visit is not None:
        events.add(frame, "place", **asdict(visit))


def leave_students(distiller: Distiller) -> None:
    """Put the students of a run that has ended into its zoo, where it has one.

    Raises:
        StorageError: the zoo cannot be written.
    """
    if distiller.recall is not None:
        distiller.recall.leave(distiller.learner, distiller.worth)


def recall_blocks(folder: Path) -> list[Block]:
    """The places of a run in its folder, in order; nothing where it recalls none."""
    visits = []
    path = folder / EVENTS
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            event = json.loads(line)
        except ValueError:  # a kill cut it off
            continue
        if event.get("event") == "place":
            visits.append(event)
    if not visits:
        return []
    rows = [
        (
            clock(one["time_s"]),
            f"{one['frame']:,}",
            one["place"],
            _number(one["alike"]),
            _what(one["is_known"], one["is_recalled"]),
            _number(one["loss"]),
            _number(one["loss_of_recalled"]),
        )
        for one in visits[-MAX_ROWS:]
    ]
    left_out = len(visits) - len(rows)
    return [
        Table(
            header=("video time", "frame", "place", "alike", "student", "its loss", "the recalled one's"),
            rows=rows,
            align="lrlrlrr",
            caption="Where a teacher frame did not look like the place before. The present student and the one that"
            " was put aside are tried on that frame; the one with the lower loss goes on."
            + (f" The first {left_out:,} are left out." if left_out else ""),
        )
    ]


def _what(is_known: bool, is_recalled: bool) -> str:
    return "recalled" if is_recalled else "the present one was better" if is_known else "none of this place yet"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
