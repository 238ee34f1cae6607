import numpy as np
import pytest

from fakes import CLASSES, LookupTeacher, flat_labels, plain_frames
from narrowcast.core.errors import ClassNameError
from narrowcast.models.classes import parse_classes
from narrowcast.stream.baselines import hold
from narrowcast.stream.truth import TruthTally, truth_table

LEFT = (slice(0, 48), slice(0, 32), 1)


def test_classes_are_found_by_their_names_and_their_members() -> None:
    class_map = parse_classes("horse+person=object,motorbike=bike", ("background", "horse", "person", "motorbike"))
    assert truth_table(("background", "object", "Motorcycle", "tree"), class_map)[[0, 1, 2, 3, 255]].tolist() == [
        0,
        1,
        2,
        0,
        255,
    ]
    with pytest.raises(ClassNameError, match="know none of object, bike; they know tree"):
        truth_table(("background", "tree"), class_map)


def test_the_teacher_is_judged_as_well() -> None:
    """The teacher sees half of the object; what is held agrees with the teacher and not with the truth."""
    frames, class_map = plain_frames(6), parse_classes("round=object", CLASSES)
    half = flat_labels(one=LEFT)
    truth = LookupTeacher([flat_labels(1)] * 6, classes=("background", "object"))
    tally = TruthTally(truth, class_map)
    for frame, report in zip(frames, hold(frames, LookupTeacher([half] * 6), every=3, size_wh=(64, 48)), strict=True):
        tally.add(frame.image_rgb, frame.index, report, half)
    found = tally.found()
    assert found is not None
    assert found["frames"] == 6
    assert found["miou_pooled_of_teacher"] == found["miou_pooled_with_teacher_labels"] == 0.5
    assert found["miou_pooled"] == pytest.approx(5 / 12)  # nothing was known of the first frame
    assert found["j"] == {"mean": 0.5, "recall": 0.0, "decay": 0.0}
    assert found["f"]["mean"] == 0.0  # an object that fills the image has no boundary


def test_frames_without_truth_are_not_scored() -> None:
    frames = plain_frames(2)
    unknown = np.full((48, 64), 255, np.uint8)
    tally = TruthTally(LookupTeacher([unknown] * 2), parse_classes("round", CLASSES))
    for frame, report in zip(
        frames, hold(frames, LookupTeacher([unknown] * 2), every=1, size_wh=(64, 48)), strict=True
    ):
        tally.add(frame.image_rgb, frame.index, report, unknown)
    assert tally.found() is None
