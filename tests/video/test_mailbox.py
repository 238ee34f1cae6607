"""Frames that come faster than they are taken: what is dropped, what is counted, what a gap leaves."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from fakes import plain_frames
from narrowcast.core.errors import SourceError, UsageError
from narrowcast.core.frames import Frame
from narrowcast.video.mailbox import Mailbox, WhenLate
from narrowcast.video.pace import paced

FRAMES = plain_frames(8, size_wh=(32, 32))


def gated(frames: list[Frame], gate: threading.Event, *, before_gate: int) -> Iterator[Frame]:
    """All but the first few only when somebody opens the gate."""
    yield from frames[:before_gate]
    gate.wait(5)
    yield from frames[before_gate:]


def taken_late(when_late: WhenLate, frames: list[Frame] = FRAMES) -> tuple[list[Frame], int]:
    """The frames that come through where all come at once and nobody takes one before the last has come."""
    with Mailbox(iter(frames), when_late=when_late, room=2) as arrivals:
        if when_late != "wait":
            arrivals._thread.join()
        return [arrival.frame for arrival in arrivals], arrivals.num_dropped


@pytest.mark.parametrize(
    ("when_late", "kept"),
    [
        pytest.param("wait", [0, 1, 2, 3, 4, 5, 6, 7], id="the source waits and nothing is lost"),
        pytest.param("drop-oldest", [6, 7], id="the newest are kept"),
        pytest.param("drop-newest", [0, 1], id="the first to come are kept"),
    ],
)
def test_a_full_room(when_late: WhenLate, kept: list[int]) -> None:
    frames, dropped = taken_late(when_late)
    assert [frame.index for frame in frames] == kept
    assert dropped == len(FRAMES) - len(kept)


def test_a_gap_is_told_by_the_frame_behind_a_dropped_one() -> None:
    frames = [replace(frame, is_after_gap=frame.index == 3) for frame in FRAMES]
    assert [frame.is_after_gap for frame in taken_late("drop-oldest", frames)[0]] == [True, False]
    assert [frame.is_after_gap for frame in taken_late("wait", frames)[0]].index(True) == 3


def test_a_gap_in_dropped_newest_frames_is_told_by_the_next_that_has_room() -> None:
    frames, gate = [replace(frame, is_after_gap=frame.index == 3) for frame in FRAMES], threading.Event()
    with Mailbox(gated(frames, gate, before_gate=5), when_late="drop-newest", room=2) as arrivals:
        while arrivals.num_dropped < 3:
            time.sleep(0.001)
        taken = [next(arrivals).frame for _ in range(2)]
        gate.set()
        taken += [arrival.frame for arrival in arrivals]
    assert [(frame.index, frame.is_after_gap) for frame in taken[:3]] == [(0, False), (1, False), (5, True)]


def test_an_error_comes_after_the_frames_before_it() -> None:
    def broken() -> Iterator[Frame]:
        yield FRAMES[0]
        raise SourceError("gone")

    with Mailbox(broken(), when_late="wait") as arrivals:
        assert next(arrivals).frame.index == 0
        with pytest.raises(SourceError, match="gone"):
            next(arrivals)


def test_a_wish_to_stop_ends_the_waiting() -> None:
    gate = threading.Event()
    with Mailbox(gated(FRAMES, gate, before_gate=0), when_late="wait", should_stop=lambda: True) as arrivals:
        assert list(arrivals) == []
        gate.set()


def test_a_room_without_room_is_refused() -> None:
    with pytest.raises(UsageError, match="room is 0"):
        Mailbox(FRAMES, when_late="wait", room=0)


def test_a_recorded_video_plays_at_its_own_rate() -> None:
    began_s, seen_s = time.monotonic(), []
    for frame in paced(FRAMES[:5], stopping=threading.Event()):
        seen_s.append(time.monotonic() - began_s)
        assert seen_s[-1] >= float(frame.time_s)
    assert len(seen_s) == 5


def test_a_late_frame_does_not_move_those_after_it() -> None:
    began_s = time.monotonic()
    slow = [replace(frame, time_s=frame.time_s * 5) for frame in FRAMES[:5]]
    for frame in paced(slow, stopping=threading.Event()):
        if frame.index == 0:
            time.sleep(0.5)  # two and a half frames
    assert time.monotonic() - began_s < 0.8 + 0.5


def test_the_playing_can_be_stopped() -> None:
    stopping = threading.Event()
    frames = paced([FRAMES[0], replace(FRAMES[1], time_s=FRAMES[1].time_s + 100)], stopping=stopping)
    next(frames)
    stopping.set()
    assert list(frames) == []
