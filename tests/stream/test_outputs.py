"""What is written beside the reports, frame by frame, and forgotten again when a run goes on from before."""

import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from fakes import CLASSES, FPS, plain_frames, shapes
from narrowcast.core.errors import SourceError, StorageError, UsageError
from narrowcast.core.frames import Frame
from narrowcast.stream.outputs import (
    MAX_SPACED,
    MAX_WORST,
    LabelledVideo,
    LabelPngs,
    Outputs,
    RunLengths,
    SamplePictures,
    at_frame_size,
    check_kinds,
    make_outputs,
)
from narrowcast.stream.stream_report import StreamReport
from narrowcast.video.labels import decode_rle, read_label_png
from narrowcast.video.overlay import draw_legend, overlay
from narrowcast.video.source import open_source

FRAMES, LABELS = shapes(20)


def report_on(frame: Frame, labels: np.ndarray, *, accuracy: float | None = None) -> StreamReport:
    """With the teacher, where an accuracy is given."""
    return StreamReport(
        frame.index,
        float(frame.time_s),
        labels=labels,
        prediction=labels,
        teacher_labels=None if accuracy is None else labels,
        stride=8,
        updates=0,
        accuracy=accuracy,
        accuracy_after=accuracy,
        loss=None,
        timings_ms={"student": 1.0},
    )


REPORTS = [
    report_on(frame, labels, accuracy=0.5 if frame.index % 8 == 0 else None)
    for frame, labels in zip(FRAMES, LABELS, strict=True)
]


def video(folder: Path, *, is_side_by_side: bool = False) -> LabelledVideo:
    return LabelledVideo(folder, CLASSES, fps=FPS, is_side_by_side=is_side_by_side)


def write(output: LabelledVideo | LabelPngs | RunLengths | SamplePictures, first: int = 0, last: int = 20) -> None:
    for frame, report in list(zip(FRAMES, REPORTS, strict=True))[first:last]:
        output.write(frame, report)


def frames_of(path: Path) -> list[Frame]:
    with open_source(path) as source:
        return list(source)


# --- the labelled video -----------------------------------------------------------------------------------------------


def test_the_video_shows_labels_over_frames(tmp_path: Path) -> None:
    out = video(tmp_path)
    write(out)
    out.finish()
    shown = frames_of(tmp_path / "labelled.mp4")
    assert [frame.time_s for frame in shown] == [frame.time_s for frame in FRAMES]
    for frame, labels, drawn in zip(FRAMES, LABELS, shown, strict=True):
        expected = draw_legend(overlay(frame.image_rgb, labels), CLASSES)
        assert np.abs(drawn.image_rgb.astype(int) - expected).mean() < 12  # what x264 and 4:2:0 lose


def test_times_of_a_variable_frame_rate_stay_true(tmp_path: Path) -> None:
    times_s = [Fraction(k * k, 90) for k in range(20)]
    out = video(tmp_path)
    for frame, report, time_s in zip(FRAMES, REPORTS, times_s, strict=True):
        out.write(Frame(frame.index, time_s, frame.image_rgb), report)
        if frame.index in (3, 11):
            out.checkpoint()
    out.finish()
    assert [frame.time_s for frame in frames_of(tmp_path / "labelled.mp4")] == times_s


@pytest.mark.parametrize("killed_at", [7, 12, 20])
def test_the_video_after_a_kill_has_every_frame_once(killed_at: int, tmp_path: Path) -> None:
    out = video(tmp_path)
    for first in range(0, killed_at, 6):
        write(out, first, min(first + 6, killed_at))
        if first + 6 <= killed_at:
            out.checkpoint()
    out.close()
    (tmp_path / "parts" / ".part-00000099.mp4.17.tmp").touch()
    next_frame = killed_at // 6 * 6
    again = video(tmp_path)
    again.rewind(next_frame)
    assert not list((tmp_path / "parts").glob(".*"))
    write(again, next_frame)
    again.finish()
    assert [frame.time_s for frame in frames_of(tmp_path / "labelled.mp4")] == [frame.time_s for frame in FRAMES]


def test_a_part_that_its_checkpoint_does_not_know_is_written_again(tmp_path: Path) -> None:
    """Killed between the end of a part and the checkpoint that would have counted it."""
    out = video(tmp_path)
    write(out, 0, 5)
    out.checkpoint()
    write(out, 5, 10)
    out.checkpoint()
    again = video(tmp_path)
    again.rewind(5)
    assert [part.name for part in (tmp_path / "parts").iterdir()] == ["part-00000000.mp4"]
    write(again, 5)
    again.finish()
    assert len(frames_of(tmp_path / "labelled.mp4")) == 20


def test_the_video_keeps_the_size_of_the_first_frame_of_the_run(tmp_path: Path) -> None:
    """Parts of several sizes did not join; after a kill the size is that of the first part."""
    odd, odd_labels = shapes(20, size_wh=(51, 33))
    out = video(tmp_path)
    for ix in range(4):
        out.write(odd[ix], report_on(odd[ix], odd_labels[ix]))
    write(out, 4, 8)
    out.checkpoint()
    out.close()
    again = video(tmp_path)
    again.rewind(8)
    write(again, 8)
    again.finish()
    shown = frames_of(tmp_path / "labelled.mp4")
    assert len(shown) == 20
    assert {frame.image_rgb.shape for frame in shown} == {(34, 52, 3)}


def test_parts_are_joined_in_the_order_of_frames(tmp_path: Path) -> None:
    """Eight digits end at a hundred million frames, and names of nine sort before them."""
    out = video(tmp_path)
    (tmp_path / "parts").mkdir()
    for first in (99_999_750, 100_000_000):
        (tmp_path / "parts" / f"part-{first:08}.mp4").touch()
    assert [part.name for part in out._parts()] == ["part-99999750.mp4", "part-100000000.mp4"]


def test_side_by_side_shows_the_teacher_where_it_ran_last(tmp_path: Path) -> None:
    out = video(tmp_path, is_side_by_side=True)
    write(out, 0, 12)
    out.finish()
    shown = frames_of(tmp_path / "labelled.mp4")
    rights = [frame.image_rgb[:, 64:].astype(int) for frame in shown]
    assert {frame.image_rgb.shape for frame in shown} == {(48, 128, 3)}
    assert np.abs(rights[1] - rights[7]).mean() < 4  # still frame 0
    assert np.abs(rights[7] - rights[8]).mean() > 6  # frame 8


def test_side_by_side_goes_on_between_two_teacher_frames(tmp_path: Path) -> None:
    """A run that went on from a frame without the teacher had nothing to show beside it, and ended there."""
    out = video(tmp_path, is_side_by_side=True)
    write(out, 0, 5)
    out.checkpoint()
    again = video(tmp_path, is_side_by_side=True)
    again.rewind(5)
    write(again, 5)
    again.finish()
    assert len(frames_of(tmp_path / "labelled.mp4")) == 20


def test_a_run_without_frames_has_no_video(tmp_path: Path) -> None:
    out = video(tmp_path)
    out.rewind(0)
    out.checkpoint()
    out.finish()
    assert not (tmp_path / "labelled.mp4").exists()


# --- label files ------------------------------------------------------------------------------------------------------


def test_pngs_hold_the_labels_at_the_frames_size(tmp_path: Path) -> None:
    out = LabelPngs(tmp_path)
    small = LABELS[3][::2, ::2].copy()
    out.write(FRAMES[2], REPORTS[2])
    out.write(FRAMES[3], report_on(FRAMES[3], small))
    np.testing.assert_array_equal(read_label_png(tmp_path / "labels" / "00000002.png"), LABELS[2])
    big = read_label_png(tmp_path / "labels" / "00000003.png")
    assert big.shape == (48, 64)
    np.testing.assert_array_equal(big[::2, ::2], small)


def test_labels_grow_without_new_values() -> None:
    frame = plain_frames(1, size_wh=(67, 51))[0]
    grown = at_frame_size(frame, np.array([[0, 2], [255, 0]], np.uint8))
    assert grown.shape == (51, 67)
    assert set(np.unique(grown)) == {0, 2, 255}
    assert at_frame_size(FRAMES[0], LABELS[0]) is LABELS[0]


def run_lengths(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "labels.jsonl").read_text().splitlines()]


def test_run_lengths_hold_labels_and_times(tmp_path: Path) -> None:
    write(RunLengths(tmp_path, CLASSES))
    records = run_lengths(tmp_path)
    assert [record["frame"] for record in records] == list(range(20))
    assert [record["time_s"] for record in records] == [float(frame.time_s) for frame in FRAMES]
    for record, labels in zip(records, LABELS, strict=True):
        np.testing.assert_array_equal(decode_rle(record), labels)


@pytest.mark.parametrize("torn", [b"", b'{"frame":9,"ti', b'{"frame":9}'], ids=["whole", "in a key", "at the end"])
@pytest.mark.parametrize("next_frame", [0, 4, 9])
def test_run_lengths_after_a_kill(next_frame: int, torn: bytes, tmp_path: Path) -> None:
    write(RunLengths(tmp_path, CLASSES), 0, 9)
    with (tmp_path / "labels.jsonl").open("ab") as file:
        file.write(torn)
    again = RunLengths(tmp_path, CLASSES)
    again.rewind(next_frame)
    assert [record["frame"] for record in run_lengths(tmp_path)] == list(range(next_frame))
    write(again, next_frame)
    assert [record["frame"] for record in run_lengths(tmp_path)] == list(range(20))


def test_run_lengths_that_were_never_written_are_rewound(tmp_path: Path) -> None:
    RunLengths(tmp_path, CLASSES).rewind(0)
    assert not (tmp_path / "labels.jsonl").exists()


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").mkdir()
    with pytest.raises(StorageError, match=r"labels.jsonl: cannot be written: Is a directory"):
        write(RunLengths(tmp_path, CLASSES))


# --- sample pictures --------------------------------------------------------------------------------------------------


def kept(folder: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("frame-")) for path in (folder / "samples").glob("*.jpg"))


def test_samples_are_spaced_evenly_and_hold_the_worst(tmp_path: Path) -> None:
    out = SamplePictures(tmp_path)
    frame, bad = plain_frames(1)[0], {13: 0.01, 55: 0.02, 77: 0.03, 91: 0.0}
    for index in range(100):
        out.write(
            Frame(index, index / FPS, frame.image_rgb),
            report_on(frame_at(index), LABELS[0], accuracy=bad.get(index, 0.9)),
        )
    spaced = [index for index in kept(tmp_path) if index not in bad]
    assert set(bad) <= set(kept(tmp_path))
    assert len(kept(tmp_path)) <= MAX_SPACED + MAX_WORST
    assert len(spaced) > MAX_SPACED // 2
    assert len(set(np.diff(spaced))) == 1


def frame_at(index: int) -> Frame:
    return Frame(index, index / FPS, FRAMES[0].image_rgb)


def test_a_sample_shows_student_and_teacher(tmp_path: Path) -> None:
    write(SamplePictures(tmp_path), 0, 1)
    assert cv2.imread(str(tmp_path / "samples" / "frame-00000000.jpg")).shape == (48, 128, 3)


def test_frames_without_the_teacher_are_no_samples(tmp_path: Path) -> None:
    write(SamplePictures(tmp_path), 1, 8)
    assert not (tmp_path / "samples").exists()


def test_large_frames_become_small_samples(tmp_path: Path) -> None:
    frame = Frame(0, Fraction(0), np.zeros((700, 1300, 3), np.uint8))
    SamplePictures(tmp_path).write(frame, report_on(frame, np.zeros((350, 650), np.uint8), accuracy=1.0))
    assert cv2.imread(str(tmp_path / "samples" / "frame-00000000.jpg")).shape == (345, 1280, 3)


def test_samples_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    write(SamplePictures(tmp_path))
    assert kept(tmp_path) == [0, 8, 16]
    again = SamplePictures(tmp_path)
    again.rewind(10)
    assert kept(tmp_path) == [0, 8]
    write(again, 10)
    assert kept(tmp_path) == [0, 8, 16]


# --- all together -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "files"),
    [
        ((), set()),
        (("overlay",), {"labelled.mp4"}),
        (("side-by-side",), {"labelled.mp4"}),
        (("png",), {"labels"}),
        (("rle",), {"labels.jsonl"}),
        (("overlay", "png", "rle"), {"labelled.mp4", "labels", "labels.jsonl"}),
    ],
    ids=lambda value: "+".join(sorted(value)) or "none",
)
def test_kinds(kinds: tuple[str, ...], files: set[str], tmp_path: Path) -> None:
    with make_outputs(kinds, tmp_path, CLASSES, fps=FPS) as out:
        for frame, report in zip(FRAMES[:3], REPORTS[:3], strict=True):
            out.write(frame, report)
        out.finish()
    assert {path.name for path in tmp_path.iterdir()} == files | {"samples"}


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (("gif",), "--output gif: expected overlay, side-by-side, png, rle, lessons or none"),
        (("overlay", "overlay"), "--output overlay: is given twice"),
        (("none", "png"), "--output none: writes nothing, so it stands alone"),
        (("side-by-side", "overlay"), "overlay and side-by-side are both labelled.mp4; choose one"),
    ],
)
def test_kinds_that_cannot_be_made_are_refused(kinds: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_kinds(kinds)


class Stuck:
    """An output that cannot be closed."""

    is_closed = False

    def write(self, frame: Frame, report: StreamReport) -> None: ...
    def taught(self, frame: Frame, report: StreamReport) -> None: ...
    def drop(self, before_frame: int) -> None: ...
    def checkpoint(self) -> None: ...
    def rewind(self, next_frame: int) -> None: ...
    def finish(self) -> None: ...

    def close(self) -> None:
        self.is_closed = True
        raise StorageError("no space left")


def test_every_output_is_closed_and_the_first_error_is_the_one_to_show(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Stuck(), Stuck()
    with pytest.raises(StorageError, match="no space left"), Outputs([first, second]):
        pass
    assert first.is_closed
    assert second.is_closed
    with pytest.raises(SourceError, match="unreadable"), Outputs([Stuck()]):
        raise SourceError("unreadable")
    assert "no space left" in caplog.text


def test_an_error_closes_the_video(tmp_path: Path) -> None:
    with pytest.raises(SourceError), make_outputs(("overlay",), tmp_path, CLASSES, fps=FPS) as out:
        for frame, report in zip(FRAMES[:9], REPORTS[:9], strict=True):
            out.write(frame, report)
        raise SourceError("unreadable")
    assert [part.name for part in (tmp_path / "parts").iterdir()] == ["part-00000000.mp4"]
