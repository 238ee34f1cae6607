import cv2
import pytest

from narrowcast.core.errors import SourceError
from narrowcast.video.source import FrameSource
from narrowcast.video.webcam import CaptureReader, camera_number

from .conftest import Film, index_of


@pytest.mark.parametrize(
    ("spec", "number"),
    [("webcam:0", 0), ("webcam:12", 12), ("/dev/video3", 3), ("webcam", None), ("a/webcam:0", None), ("x.mp4", None)],
)
def test_camera_numbers_are_found_in_the_spec(spec: str, number: int | None) -> None:
    assert camera_number(spec) == number


def test_a_capture_gives_frames_stamped_on_arrival(film: Film) -> None:
    """OpenCV reads a film as it reads a camera, so the film stands in for one."""
    reader = CaptureReader(cv2.VideoCapture(str(film("a.avi", codec="mjpeg", pix_fmt="yuvj420p"))), name="webcam:0")
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
        CaptureReader(cv2.VideoCapture(), name="webcam:0")
