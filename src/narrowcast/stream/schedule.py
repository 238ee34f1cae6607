"""When to ask the teacher, and when to stop learning a frame: the decisions of Algorithm 1, as pure functions."""

from dataclasses import dataclass

from narrowcast.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class StrideSchedule:
    """The settings of Algorithm 1; the defaults are those of section 2.2.3.

    Attributes:
        accuracy: a_thresh, the mean IoU that is enough; the one knob.
        min_stride, max_stride: δ_min and δ_max, frames from one teacher call to the next.
        max_updates: u_max, gradient steps on one teacher frame.
    """

    accuracy: float = 0.8
    min_stride: int = 8
    max_stride: int = 64
    max_updates: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.accuracy < 1:
            raise ConfigError(f"accuracy = {self.accuracy}: must be between 0 and 1, without them (0.8 is usual)")
        if not 0 < self.min_stride <= self.max_stride:
            raise ConfigError(
                f"min_stride = {self.min_stride}, max_stride = {self.max_stride}: must be positive, in order"
            )
        if self.max_updates < 0:
            raise ConfigError(f"max_updates = {self.max_updates}: must not be negative")


def is_multiple(frame_index: int, *, stride: int) -> bool:
    """Line 3 as printed: t ≡ 0 (mod δ). After δ doubles the next multiple can be nearer than δ frames.

    >>> [t for t in range(40) if is_multiple(t, stride=16)]
    [0, 16, 32]
    """
    return frame_index % stride == 0


def has_elapsed(frame_index: int, *, last_teacher_frame: int | None, stride: int) -> bool:
    """Line 3 as meant: δ frames have passed since the last teacher frame (the first frame always asks)."""
    return last_teacher_frame is None or frame_index - last_teacher_frame >= stride


def has_changed(
    frame_index: int, *, last_teacher_frame: int | None, error: float, schedule: StrideSchedule, delay: float = 0.0
) -> bool:
    """Line 3 by what has happened: the labels' errors since the last teacher frame are worth a call. Ours.

    Where an error grows evenly with time, calls at a fixed sum of errors are the best that a number of calls can buy,
    for streams of any speed: twice the speed makes 1.4 times as many calls.

    Args:
        error: the sum, over the frames since, of one minus the accuracy that each is thought to have.
        schedule: enough is 1 - accuracy for `min_stride` frames; never before `min_stride`, always at `max_stride`.
        delay: frames that the answer takes; labels are as old on average if the wait is shorter by twice as much.

    >>> [has_changed(t, last_teacher_frame=0, error=0.25 * t, schedule=StrideSchedule(min_stride=4)) for t in (3, 4)]
    [False, True]
    """
    if last_teacher_frame is None:
        return True
    since, enough = frame_index - last_teacher_frame, (1 - schedule.accuracy) * schedule.min_stride
    least = max(1, schedule.min_stride - round(2 * delay))
    return since >= schedule.max_stride or (since >= least and error >= enough)


def wants_update(updates: int, *, accuracy: float, schedule: StrideSchedule) -> bool:
    """Line 9: another gradient step while the student is not good enough and the limit is not reached."""
    return updates < schedule.max_updates and accuracy < schedule.accuracy


def next_stride(stride: int, *, accuracy: float, schedule: StrideSchedule, is_enough: bool) -> int:
    """Lines 14 to 17: the stride doubles where the student is good, halves where it is not, within its bounds.

    Args:
        stride: δ, the current stride in frames.
        accuracy: a_curr of the frame just learned.
        schedule: threshold and bounds.
        is_enough: whether an accuracy equal to the threshold counts as good. As printed it does not (line 14 says
            `>`), though the same accuracy ends the training (line 9 says `<`).

    >>> next_stride(16, accuracy=0.9, schedule=StrideSchedule(), is_enough=True)
    32
    >>> next_stride(16, accuracy=0.8, schedule=StrideSchedule(), is_enough=False)
    8
    """
    is_good = accuracy > schedule.accuracy or (is_enough and accuracy == schedule.accuracy)
    return min(schedule.max_stride, 2 * stride) if is_good else max(schedule.min_stride, stride // 2)
