from pathlib import Path

import cv2
import pytest

from narrowcast.core.errors import SourceError
from narrowcast.video.patience import Patience
from narrowcast.video.source import FrameSource
from narrowcast.video.webcam import CaptureReader, camera_number

from .conftest import Film, index_of


@pytest.mark.parametrize(
    ("spec", "number"),
    [("webcam:0", 0), ("webcam:12", 12), ("/dev/video3", 3), ("webcam", None), ("a/webcam:0", None), ("x.mp4", None)],
)
def test_camera_numbers_are_found_in_the_spec(spec: str, number: int | None) -> None:
    assert camera_number(spec) == number


def capture(*connections: Path) -> CaptureReader:
    """A camera that sends one film after another and is gone then."""
    waiting = list(connections)
    opener = lambda: cv2.VideoCapture(str(waiting.pop(0))) if waiting else cv2.VideoCapture()  # noqa: E731
    return CaptureReader(opener, name="webcam:0", patience=Patience(first_s=0.001, attempts=3))


def test_a_camera_that_comes_back_goes_on_behind_a_gap(film: Film) -> None:
    path = film("a.avi", codec="mjpeg", pix_fmt="yuvj420p", num_frames=3)
    with FrameSource(capture(path, path)) as source:
        frames = list(source)
    assert [index_of(frame.image_rgb) for frame in frames] == [0, 1, 2, 0, 1, 2]
    assert [frame.is_after_gap for frame in frames] == [False, False, False, True, False, False]


def test_a_capture_gives_frames_stamped_on_arrival(film: Film) -> None:
    """OpenCV reads a film as it reads a camera, so the film stands in for one."""
    reader = capture(film("a.avi", codec="mjpeg", pix_fmt="yuvj420p"))
    with FrameSource(reader, start_index=5) as source:
        assert (source.is_live, source.size_wh, source.fps) == (True, (64, 48), 25)
        frames = list(source)
        assert source.truncated == "the camera stopped sending"
    assert [index_of(frame.image_rgb) for frame in frames] == list(range(10))
    assert [frame.index for frame in frames] == list(range(5, 15))
    times_s = [frame.time_s for frame in frames]
    assert times_s == sorted(set(times_s))


def test_a_camera_without_pictures_is_an_error() -> None:
    with pytest.raises(SourceError, match="the camera gives no picture"):
        CaptureReader(cv2.VideoCapture, name="webcam:0")
