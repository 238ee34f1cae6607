from pathlib import Path

import numpy as np
import pytest

from fakes import CLASSES, LookupTeacher, flat_labels, plain_frames
from narrowcast.core.errors import ClassNameError
from narrowcast.metrics.davis import davis_score
from narrowcast.models.classes import parse_classes
from narrowcast.stream.baselines import hold
from narrowcast.stream.paired_labels import PairedLabels, same_values
from narrowcast.stream.truth import ObjectTally, TruthTally, mean_over_objects, truth_table
from narrowcast.video.labels import write_label_png

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


def test_every_object_counts_alike() -> None:
    """J and F of two objects, one of them small, are those of `metrics.davis` one at a time, and then their mean."""
    rng = np.random.default_rng(0)
    predictions = (rng.random((5, 48, 64)) < 0.2).astype(np.uint8)
    truths = predictions.copy()
    truths[:, :, 32:] *= 2
    predictions[:, :8, 32:] *= 2
    tally = ObjectTally(("object-1", "object-2"))
    for prediction, truth in zip(predictions, truths, strict=True):
        tally.add(prediction, truth)
    found = tally.found()
    assert found is not None
    slow = [davis_score(predictions == number, truths == number) for number in (1, 2)]
    assert [found[f"object-{number}"]["j"]["mean"] for number in (1, 2)] == [score.region.mean for score in slow]
    assert [found[f"object-{number}"]["f"]["decay"] for number in (1, 2)] == [score.boundary.decay for score in slow]
    means = mean_over_objects(found.values())
    assert means["j"]["mean"] == pytest.approx((slow[0].region.mean + slow[1].region.mean) / 2)


def test_where_the_truth_is_unknown_nothing_is_wrong() -> None:
    truth = flat_labels(1)
    truth[:24] = 255
    tally = ObjectTally(("object",))
    for _ in range(3):
        tally.add(flat_labels(1), truth)
    found = tally.found()
    assert found is not None
    assert found["object"]["j"]["mean"] == found["object"]["f"]["mean"] == 1.0


def test_objects_of_a_sequence_are_scored_one_by_one(tmp_path: Path) -> None:
    labels, classes = flat_labels(one=LEFT), ("background", "object-1", "object-2")
    labels[:, 40:] = 2
    write_label_png(tmp_path / "0.png", labels)
    truth = PairedLabels([tmp_path / "0.png"] * 4, classes, same_values(), are_objects=True)
    tally, frames = TruthTally(truth, parse_classes("all", classes)), plain_frames(4)
    reports = hold(frames, LookupTeacher([labels] * 4, classes=classes), every=4, size_wh=(64, 48))
    for frame, report in zip(frames, reports, strict=True):
        tally.add(frame.image_rgb, frame.index, report, labels)
    found = tally.found()
    assert found is not None
    assert found["j"] == found["j_of_predictions"] == {"mean": 1.0, "recall": 1.0, "decay": 0.0}
    assert sorted(found["objects"]) == ["object-1", "object-2"]
