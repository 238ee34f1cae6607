"""Algorithm 1 against a straight transcription, its mended holes, and the order of seeing and learning."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fakes import FPS, LookupTeacher, TinyStudent, flat_labels, plain_frames, same_tensors, shapes
from narrowcast.core.frames import IGNORE, Frame
from narrowcast.metrics.segmentation import SegmentationScore
from narrowcast.models.teacher import TeacherLabels
from narrowcast.stream.distill import (
    DEFAULT,
    LEARNING,
    LOOK_AHEAD,
    METHODS,
    THESIS,
    DistillConfig,
    Distiller,
    distill,
    score_labels,
    with_accuracy,
)
from narrowcast.stream.learner import LearnerConfig
from narrowcast.stream.schedule import StrideSchedule
from narrowcast.stream.stream_report import StreamReport

CPU = torch.device("cpu")
NO_PRIOR = LearnerConfig(own_share=1.0, prior_share=0.0)
BY_ITSELF = replace(
    LEARNING, learner=NO_PRIOR, judges="learned"
)  # the student is not told of the teacher's last labels
ALONE = replace(BY_ITSELF, replay=0)  # learns the current frame only, so that scripts stay readable


# --- Algorithm 1 as printed -------------------------------------------------------------------------------------------

Accuracies = Callable[[int, int], float]  # of frame t after u updates on it


@dataclass
class Step:
    """What Algorithm 1 did on a teacher frame."""

    t: int
    updates: int
    stride: int


def algorithm_1(
    num_frames: int, accuracy: Accuracies, *, u_max: int, delta_min: int, delta_max: int, a_thresh: float
) -> Iterator[Step]:
    """Algorithm 1, line by line. One mend, without which it need not end: line 13 counts inside of the loop."""
    delta = delta_min  # 1
    for t in range(num_frames):  # 2
        if t % delta == 0:  # 3
            u, update = 0, True  # 5
            while update:  # 6
                a_curr = accuracy(t, u)  # 7, 8
                if u < u_max and a_curr < a_thresh:  # 9
                    u = u + 1  # 10, 13
                else:  # 11
                    update = False  # 12
                    if a_curr > a_thresh:  # noqa: SIM108 - 14
                        delta = min(delta_max, 2 * delta)  # 15
                    else:  # 16
                        delta = max(delta_min, delta // 2)  # 17
            yield Step(t, u, delta)


class ScriptedStudent(nn.Module):
    """A student whose IoU on frame t after u updates is `percent(t, u)`, on frames of 10×10 pixels that tell t."""

    def __init__(self, percent: Callable[[int, int], int]) -> None:
        super().__init__()
        self.percent = percent
        self.unused = nn.Parameter(torch.zeros(1))
        self.looks: list[int] = []  # the frame of each attempt to learn

    def coarse_logits(self, images: Tensor) -> Tensor:
        high, low, _ = (images[0, :, 0, 0].float() * 255 / 16).round().int().tolist()
        t = 16 * high + low
        done = self.looks.count(t)
        if torch.is_grad_enabled():
            self.looks.append(t)
        is_object = torch.arange(100).view(1, 1, 10, 10) < self.percent(t, done)
        return torch.cat([~is_object, is_object], dim=1).float() + 0 * self.unused


def scripted_frames(num: int) -> list[Frame]:
    images = [np.full((10, 10, 3), (16 * (t // 16), 16 * (t % 16), 0), np.uint8) for t in range(num)]
    return [Frame(t, t / FPS, image) for t, image in enumerate(images)]


def run_script(num: int, percent: Callable[[int, int], int], config: DistillConfig) -> list[StreamReport]:
    """The reports of teacher frames; the teacher says that all of every frame is object."""
    teacher = LookupTeacher([np.ones((10, 10), np.uint8)] * num, ("background", "object"))
    reports = list(distill(scripted_frames(num), ScriptedStudent(percent), teacher, config=config))
    assert [report.frame for report in reports] == list(range(num))
    assert [report.frame for report in reports if report.teacher_ran] == teacher.asked
    return [report for report in reports if report.teacher_ran]


def random_script(seed: int) -> Callable[[int, int], int]:
    """Accuracies around the threshold, some of them equal to it, that wander from frame to frame and rise and fall."""
    rng = np.random.default_rng(seed)
    levels = 75 + np.cumsum(rng.integers(-3, 4, 256)) % 20
    gains = rng.integers(-2, 6, (256, 20)).cumsum(axis=1)
    return lambda t, u: int(np.clip(levels[t] - 10 + (gains[t, u - 1] if u else 0), 0, 100))


@pytest.mark.parametrize("threshold", [70, 80, 90])
@pytest.mark.parametrize("seed", range(3))
def test_thesis_does_what_algorithm_1_says(seed: int, threshold: int) -> None:
    script, config = random_script(seed), with_accuracy(THESIS, threshold / 100)
    expected = algorithm_1(
        150,
        lambda t, u: script(t, u) / 100,
        u_max=config.schedule.max_updates,
        delta_min=config.schedule.min_stride,
        delta_max=config.schedule.max_stride,
        a_thresh=threshold / 100,
    )
    found = [Step(report.frame, report.updates, report.stride) for report in run_script(150, script, config)]
    assert found == list(expected)


def test_reports_tell_the_accuracy_before_and_after_learning() -> None:
    first, *_ = run_script(8, lambda t, u: 50 + 10 * u, THESIS)
    assert (first.accuracy, first.accuracy_after, first.updates) == (0.5, 0.8, 3)


def test_the_thesis_method_is_that_of_section_2_2() -> None:
    assert METHODS == {"default": DEFAULT, "look-ahead": LOOK_AHEAD, "learning": LEARNING, "thesis": THESIS}
    assert THESIS.learner == replace(NO_PRIOR, optimizer="sgd", learning_rate=0.01, momentum=0.9)
    assert THESIS.schedule == StrideSchedule(min_stride=8, max_stride=64, max_updates=8)
    assert (THESIS.asks, THESIS.replay, THESIS.min_area) == ("multiple", 0, 0.0)


# --- its holes, mended ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "asked"),
    [
        pytest.param(THESIS, [0, 16, 32, 64, 128, 192], id="as printed multiples of δ fire early after δ doubled"),
        pytest.param(ALONE, [0, *range(16, 200, 16)], id="mended: δ frames pass after the last teacher frame"),
    ],
)
def test_teacher_frames_of_a_good_student(config: DistillConfig, asked: list[int]) -> None:
    assert [report.frame for report in run_script(200, lambda t, u: 95, config)] == asked


@pytest.mark.parametrize(
    ("config", "strides"),
    [
        pytest.param(THESIS, [8, 8, 8, 8], id="as printed the stride halves though the training was ended"),
        pytest.param(ALONE, [16, 16], id="mended: the threshold is enough"),
    ],
)
def test_accuracy_equal_to_the_threshold(config: DistillConfig, strides: list[int]) -> None:
    reports = run_script(32, lambda t, u: 80, config)
    assert [report.stride for report in reports] == strides
    assert all(report.updates == 0 for report in reports)


def test_a_source_that_begins_later_asks_at_once() -> None:
    teacher = LookupTeacher([np.ones((10, 10), np.uint8)] * 40, ("background", "object"))
    frames = scripted_frames(40)[13:]
    reports = list(distill(frames, ScriptedStudent(lambda t, u: 50), teacher, config=ALONE))
    assert [report.frame for report in reports if report.teacher_ran] == [13, 21, 29, 37]


class FixedStudent(nn.Module):
    """Says the same on every frame whatever it learns."""

    def __init__(self, labels: np.ndarray, num_classes: int = 3) -> None:
        super().__init__()
        one_hot = np.eye(num_classes, dtype=np.float32)[labels]
        self.logits = torch.from_numpy(one_hot).permute(2, 0, 1)[None]
        self.unused = nn.Parameter(torch.zeros(1))

    def coarse_logits(self, images: Tensor) -> Tensor:
        return self.logits + 0 * self.unused


def first_report(student: nn.Module, labels: np.ndarray, config: DistillConfig) -> StreamReport:
    return next(distill(plain_frames(1), student, LookupTeacher([labels]), config=config))


@pytest.mark.parametrize("config", [ALONE, THESIS], ids=["default", "thesis"])
def test_an_empty_scene_seen_as_empty_is_right_and_teaches_nothing(config: DistillConfig) -> None:
    """Line 8 leaves the mean IoU of two empty maps undefined; here it is 1."""
    report = first_report(FixedStudent(flat_labels()), flat_labels(), config)
    assert (report.accuracy, report.updates, report.stride, report.loss) == (1.0, 0, 16, None)


ROUND = (slice(10, 30), slice(10, 40), 1)
STRAY = (slice(0, 1), slice(0, 1), 2)


def test_a_stray_pixel_of_an_absent_class_halves_the_mean_as_printed() -> None:
    student = FixedStudent(flat_labels(object=ROUND, stray=STRAY))
    report = first_report(student, flat_labels(object=ROUND), THESIS)
    assert (report.accuracy, report.updates) == (0.5, 8)


@pytest.mark.parametrize(
    ("seen", "true"),
    [
        pytest.param(flat_labels(object=ROUND, stray=STRAY), flat_labels(object=ROUND), id="the student's stray pixel"),
        pytest.param(flat_labels(object=ROUND), flat_labels(object=ROUND, stray=STRAY), id="the teacher's stray pixel"),
        pytest.param(flat_labels(stray=STRAY), flat_labels(), id="a stray pixel in an empty scene"),
    ],
)
def test_stray_pixels_below_the_least_area_are_ignored(seen: np.ndarray, true: np.ndarray) -> None:
    report = first_report(FixedStudent(seen), true, ALONE)
    assert report.accuracy is not None
    assert report.accuracy > 0.99
    assert report.updates == 0


def test_what_reaches_the_least_area_counts() -> None:
    two = (slice(0, 1), slice(0, 2), 2)  # 2 of 3072 pixels, 0.0005 of them are 1.5
    report = first_report(FixedStudent(flat_labels(object=ROUND, two=two)), flat_labels(object=ROUND), ALONE)
    assert report.accuracy == 0.5


@pytest.mark.parametrize("config", [ALONE, THESIS], ids=["default", "thesis"])
def test_a_teacher_that_knows_nothing_teaches_nothing(config: DistillConfig) -> None:
    student = TinyStudent()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    frames = plain_frames(20)
    reports = list(distill(frames, student, LookupTeacher([flat_labels(IGNORE)] * 20), config=config))
    assert sum(report.updates for report in reports) == 0
    assert all(report.accuracy == 1.0 for report in reports if report.teacher_ran)
    assert same_tensors(before, student.state_dict())


@pytest.mark.parametrize(
    ("config", "is_teachers"),
    [
        pytest.param(THESIS, False, id="as printed a teacher frame's output is the student's after learning it"),
        pytest.param(ALONE, True, id="ours is the teacher's, which is there"),
    ],
)
def test_output_of_a_teacher_frame(config: DistillConfig, is_teachers: bool) -> None:
    frames, labels = shapes(1)
    student = TinyStudent()
    report = next(distill(frames, student, LookupTeacher(labels), config=config))
    afterwards = Distiller(student, LookupTeacher(labels), config, size_wh=None, device=CPU).learner.predict(
        frames[0].image_rgb
    )
    assert report.updates == 8
    np.testing.assert_array_equal(report.labels, labels[0] if is_teachers else afterwards)
    assert (report.prediction != report.labels).any()


# --- replay -----------------------------------------------------------------------------------------------------------


def test_half_of_the_updates_go_to_the_last_teacher_frames() -> None:
    student, num = ScriptedStudent(lambda t, u: 50), 33
    teacher = LookupTeacher([np.ones((10, 10), np.uint8)] * num, ("background", "object"))
    reports = [r for r in distill(scripted_frames(num), student, teacher, config=BY_ITSELF) if r.teacher_ran]
    assert [report.updates for report in reports] == [8] * 5
    first, last = student.looks[:9], student.looks[-9:]
    assert first == [0] * 9  # nothing to replay yet: 8 updates and the look that ends the training
    assert last[0::2] == [32] * 5
    assert set(last[1::2]) <= {0, 8, 16, 24}


def test_updates_never_exceed_the_limit_with_replay() -> None:
    config = replace(LEARNING, schedule=StrideSchedule(max_updates=3))
    frames, labels = shapes(20)
    reports = list(distill(frames, TinyStudent(), LookupTeacher(labels), config=config))
    assert [report.updates for report in reports if report.teacher_ran] == [3, 3, 3]


def adapted(config: DistillConfig, *, num: int = 24) -> dict[str, Tensor]:
    frames, labels = shapes(num)
    student = TinyStudent()
    for _ in distill(frames, student, LookupTeacher(labels), config=config):
        pass
    return {name: value.clone() for name, value in student.state_dict().items()}


def test_draws_from_the_replay_are_seeded() -> None:
    config = replace(BY_ITSELF, schedule=StrideSchedule(min_stride=2, max_stride=2, max_updates=4))
    assert same_tensors(adapted(config), adapted(config))
    assert not same_tensors(adapted(config), adapted(replace(config, seed=1)))


# --- every frame is predicted before it is learned from ---------------------------------------------------------------


class WatchedStudent(nn.Module):
    """Notes when it predicts and when it learns which frame; frames are told by their first pixel."""

    def __init__(self, notes: list[tuple[str, int]]) -> None:
        super().__init__()
        self.inner, self.notes = TinyStudent(), notes

    def coarse_logits(self, images: Tensor) -> Tensor:
        self.notes.append(("learn" if torch.is_grad_enabled() else "predict", round(images[0, 0, 0, 0].item() * 25.5)))
        return self.inner.coarse_logits(images)


class WatchedTeacher(LookupTeacher):
    """Notes when it is asked about which frame."""

    def __init__(self, labels: list[np.ndarray], notes: list[tuple[str, int]]) -> None:
        super().__init__(labels)
        self.notes = notes

    def __call__(self, image_rgb: np.ndarray, *, frame_index: int | None = None) -> TeacherLabels:
        assert frame_index is not None
        self.notes.append(("ask", frame_index))
        return super().__call__(image_rgb, frame_index=frame_index)


@pytest.mark.parametrize("config", [LEARNING, THESIS], ids=["learning", "thesis"])
def test_every_frame_is_predicted_before_its_label_is_asked_for_and_learned(config: DistillConfig) -> None:
    config = replace(config, schedule=StrideSchedule(min_stride=2, max_stride=4, max_updates=3))
    frames, labels = shapes(12)
    for frame in frames:
        frame.image_rgb[0, 0] = 10 * frame.index
    notes: list[tuple[str, int]] = []
    list(distill(frames, WatchedStudent(notes), WatchedTeacher(labels, notes), config=config))
    assert [frame for what, frame in notes if what == "predict"] == list(range(12))
    seen: set[int] = set()
    for position, (what, frame) in enumerate(notes):
        if what == "predict":
            seen.add(frame)
        if what == "ask":
            assert notes[position - 1] == ("predict", frame)
        if what == "learn":
            assert frame in seen
            assert ("ask", frame) in notes[:position]
    assert ("learn", 2) in notes


@pytest.mark.parametrize("config", [LEARNING, THESIS], ids=["learning", "thesis"])
def test_a_frames_label_cannot_change_its_own_prediction(config: DistillConfig) -> None:
    frames, labels = shapes(14)
    config = replace(config, schedule=StrideSchedule(min_stride=4, max_stride=4))
    config = replace(config, learner=replace(config.learner, learning_rate=0.03))

    def predictions(answers: list[np.ndarray]) -> list[np.ndarray]:
        return [r.prediction for r in distill(frames, TinyStudent(), LookupTeacher(answers), config=config)]

    plain, other = predictions(labels), predictions([*labels[:8], 2 - labels[8], *labels[9:]])
    for frame in range(9):  # up to the frame itself
        np.testing.assert_array_equal(plain[frame], other[frame])
    assert any((plain[frame] != other[frame]).any() for frame in range(9, 14))  # it was learned, though


def test_accuracy_is_that_of_the_prediction() -> None:
    frames, labels = shapes(6)
    config = replace(LEARNING, schedule=StrideSchedule(min_stride=1, max_stride=1), min_area=0.0)
    for report in distill(frames, TinyStudent(), LookupTeacher(labels), config=config):
        score = SegmentationScore(("background", "round", "square"))
        assert report.teacher_labels is not None
        assert report.accuracy == score.add(report.prediction, report.teacher_labels)


# --- learning pays ----------------------------------------------------------------------------------------------------


def pooled(frames: list[Frame], labels: list[np.ndarray], config: DistillConfig, *, seed: int) -> float:
    score = SegmentationScore(("background", "round", "square"))
    teacher = LookupTeacher(labels)
    for report in distill(frames, TinyStudent(seed=seed), teacher, config=config):
        if report.frame >= len(frames) // 2 and not report.teacher_ran:
            score.add(report.prediction, labels[report.frame])
    return score.pooled or 0.0


QUICK = StrideSchedule(min_stride=4, max_stride=8)
FROZEN = replace(BY_ITSELF, schedule=StrideSchedule(min_stride=4, max_stride=8, max_updates=0))


def test_online_learning_beats_the_frozen_student() -> None:
    """10 streams, 10 students; if learning were worth nothing, all ten would win with p = 2⁻¹⁰ < 0.001."""
    config = replace(BY_ITSELF, schedule=QUICK, learner=replace(NO_PRIOR, learning_rate=1e-2))
    for seed in range(10):
        frames, labels = shapes(40, seed=seed)
        frozen, learned = (pooled(frames, labels, how, seed=seed) for how in (FROZEN, config))
        assert learned > frozen + 0.1, f"stream {seed}: {learned:.3f} after learning, {frozen:.3f} frozen"


# --- frames of all sizes ----------------------------------------------------------------------------------------------


def test_the_student_works_at_its_own_size_and_the_teacher_at_the_frames() -> None:
    frames, labels = shapes(10, size_wh=(80, 60))
    reports = list(distill(frames, TinyStudent(), LookupTeacher(labels), config=LEARNING, size_wh=(32, 24)))
    for report in reports:
        assert report.labels.shape == report.prediction.shape == (24, 32)
        assert report.teacher_labels is None or report.teacher_labels.shape == (24, 32)
    np.testing.assert_array_equal(score_labels(reports[0], labels[0]), reports[0].teacher_labels)


def test_odd_sizes_and_sizes_that_change() -> None:
    (frames, labels), (more, more_labels) = shapes(9, size_wh=(67, 51)), shapes(18, size_wh=(35, 83))
    config = replace(LEARNING, schedule=StrideSchedule(min_stride=3, max_stride=3))
    reports = list(
        distill([*frames, *more[9:]], TinyStudent(), LookupTeacher([*labels, *more_labels[9:]]), config=config)
    )
    assert [report.prediction.shape for report in reports] == [(51, 67)] * 9 + [(83, 35)] * 9
    assert sum(report.teacher_ran for report in reports) == 6
