"""The decisions of Algorithm 1, one table each; lines are those of the thesis, section 2.2.3."""

import numpy as np
import pytest

from narrowcast.core.errors import ConfigError
from narrowcast.stream.schedule import StrideSchedule, has_elapsed, is_multiple, next_stride, wants_update

SCHEDULE = StrideSchedule()


def test_the_defaults_are_those_of_the_thesis() -> None:
    """Section 2.2.3: "We set δ_min and δ_max to 8 and 64 respectively, and u_max to 8 for all experiments"."""
    assert (SCHEDULE.min_stride, SCHEDULE.max_stride, SCHEDULE.max_updates) == (8, 64, 8)


@pytest.mark.parametrize(
    ("stride", "accuracy", "after"),
    [
        pytest.param(8, 0.9, 16, id="a good student doubles the stride"),
        pytest.param(32, 0.9, 64, id="a good student doubles the stride up to the ceiling"),
        pytest.param(64, 0.9, 64, id="a good student at the ceiling stays there"),
        pytest.param(64, 0.7, 32, id="a bad student halves the stride"),
        pytest.param(16, 0.0, 8, id="however bad the student, the stride is halved once"),
        pytest.param(8, 0.7, 8, id="a bad student at the floor stays there"),
        pytest.param(48, 0.9, 64, id="a doubled stride is cut off at the ceiling"),
        pytest.param(12, 0.7, 8, id="a halved stride is cut off at the floor"),
    ],
)
def test_stride(stride: int, accuracy: float, after: int) -> None:
    for is_enough in (True, False):
        assert next_stride(stride, accuracy=accuracy, schedule=SCHEDULE, is_enough=is_enough) == after


@pytest.mark.parametrize(
    ("is_enough", "after"),
    [
        pytest.param(False, 8, id="as printed (line 14: >) an accuracy equal to the threshold halves the stride"),
        pytest.param(True, 32, id="mended: what ends the training doubles the stride"),
    ],
)
def test_stride_at_the_threshold(is_enough: bool, after: int) -> None:
    assert next_stride(16, accuracy=0.8, schedule=SCHEDULE, is_enough=is_enough) == after


@pytest.mark.parametrize("is_enough", [True, False])
def test_stride_is_a_whole_number_within_its_bounds_for_ever(is_enough: bool) -> None:
    rng, stride = np.random.default_rng(0), 7
    schedule = StrideSchedule(min_stride=7, max_stride=50)
    for accuracy in rng.uniform(0.5, 1.0, 500):
        stride = next_stride(stride, accuracy=accuracy, schedule=schedule, is_enough=is_enough)
        assert isinstance(stride, int)
        assert 7 <= stride <= 50


@pytest.mark.parametrize(
    ("updates", "accuracy", "wanted"),
    [
        pytest.param(0, 0.5, True, id="a bad student learns"),
        pytest.param(7, 0.5, True, id="the last update that is allowed"),
        pytest.param(8, 0.5, False, id="the limit ends the training of a bad student"),
        pytest.param(0, 0.9, False, id="a good student is left alone"),
        pytest.param(3, 0.9, False, id="a student that became good is left alone"),
        pytest.param(0, 0.8, False, id="an accuracy equal to the threshold ends the training (line 9: <)"),
    ],
)
def test_update(updates: int, accuracy: float, wanted: bool) -> None:
    assert wants_update(updates, accuracy=accuracy, schedule=SCHEDULE) is wanted


def test_without_updates_nothing_is_learned() -> None:
    assert not wants_update(0, accuracy=0.0, schedule=StrideSchedule(max_updates=0))


@pytest.mark.parametrize(
    ("frame", "stride", "asks"),
    [
        pytest.param(0, 64, True, id="the first frame is a multiple of every stride"),
        pytest.param(8, 8, True, id="a multiple"),
        pytest.param(9, 8, False, id="one after a multiple"),
        pytest.param(15, 16, False, id="one before a multiple"),
        pytest.param(32, 16, True, id="a later multiple"),
    ],
)
def test_multiple(frame: int, stride: int, asks: bool) -> None:
    assert is_multiple(frame, stride=stride) is asks


@pytest.mark.parametrize(
    ("frame", "last", "stride", "asks"),
    [
        pytest.param(0, None, 8, True, id="the first frame asks"),
        pytest.param(5, None, 64, True, id="a stream that begins later asks at its first frame"),
        pytest.param(15, 8, 8, False, id="one frame too early"),
        pytest.param(16, 8, 8, True, id="exactly δ frames later"),
        pytest.param(30, 8, 8, True, id="frames that never came do not silence the teacher"),
        pytest.param(16, 8, 16, False, id="a multiple that comes too early after δ doubled does not ask"),
    ],
)
def test_elapsed(frame: int, last: int | None, stride: int, asks: bool) -> None:
    assert has_elapsed(frame, last_teacher_frame=last, stride=stride) is asks


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accuracy": 0.0}, r"accuracy = 0.0: must be between 0 and 1"),
        ({"accuracy": 1.0}, r"accuracy = 1.0: must be between 0 and 1"),
        ({"accuracy": 80.0}, r"accuracy = 80.0: .*0.8 is usual"),
        ({"accuracy": float("nan")}, r"accuracy = nan"),
        ({"min_stride": 0}, r"min_stride = 0, max_stride = 64: must be positive"),
        ({"min_stride": 32, "max_stride": 16}, r"must be positive, in order"),
        ({"max_updates": -1}, r"max_updates = -1: must not be negative"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StrideSchedule(**settings)  # type: ignore[arg-type]
