"""Live cameras in a fleet: a stream that breaks off is asked for again, and what was missed is told of."""

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import pytest

from narrowcast.core.errors import ConfigError
from narrowcast.core.runs import read_reports
from narrowcast.fleet.cameras import CameraConfig
from narrowcast.fleet.run import OneProcess, run_fleet
from narrowcast.video.synth import moving_shapes

FPS, FRAMES, BREAKS_AFTER = 25, 30, 12


class _Camera(BaseHTTPRequestHandler):
    """Motion JPEG without an end, at its own rate, as webcams give it; it breaks off now and then."""

    protocol_version = "HTTP/1.1"
    pictures: Iterator[bytes]
    stopping: threading.Event

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for picture in itertools.islice(self.pictures, BREAKS_AFTER):
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                self.wfile.write(head.encode() + picture + b"\r\n")
                if self.stopping.wait(1 / FPS):
                    return
        except OSError:
            return  # nobody listens any more

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    """A camera of this machine."""
    drawn = moving_shapes(num_frames=20, size_wh=(64, 48), num_classes=4, fps=Fraction(FPS))
    pictures = [cv2.imencode(".jpg", frame.image_rgb[..., ::-1])[1].tobytes() for frame, _ in drawn]
    stopping = threading.Event()
    handler = type("Handler", (_Camera,), {"pictures": itertools.cycle(pictures), "stopping": stopping})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/live.mjpg"
        stopping.set()
        server.shutdown()
        thread.join()


@pytest.mark.slow
def test_a_live_camera_that_breaks_off_is_asked_for_again(
    tmp_path: Path, write: Callable[..., Path], address: str
) -> None:
    out = tmp_path / "out"
    path = write("gate", source=address, live=True, max_frames=FRAMES, more="calls_per_s = 5.0")  # type: ignore[arg-type]
    *_, last = run_fleet(path, out, lambda fleet: OneProcess(fleet, out), tick_s=0.05)
    (gate,) = last.cameras
    assert (gate.status, gate.message) == ("finished", "")
    reports = list(read_reports(out / "cameras" / "gate"))
    assert reports[-1]["frame"] == FRAMES - 1
    assert sum(1 + report["dropped"] for report in reports) == FRAMES  # none is lost silently
    assert gate.calls >= 1
    run = json.loads((out / "cameras" / "gate" / "run.json").read_text(encoding="utf-8"))
    assert run["config"]["live"]["when_late"] == "drop-oldest"
    assert not run["config"]["live"]["is_paced"]
    events = (out / "cameras" / "gate" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert "gap" in [json.loads(line)["event"] for line in events]


@pytest.mark.slow
def test_a_recorded_video_plays_live_at_its_own_rate(tmp_path: Path, write: Callable[..., Path]) -> None:
    out = tmp_path / "out"
    *_, last = run_fleet(write("a", live=True), out, lambda fleet: OneProcess(fleet, out), tick_s=0.05)
    assert [camera.status for camera in last.cameras] == ["finished"]
    reports = list(read_reports(out / "cameras" / "a"))
    assert sum(1 + report["dropped"] for report in reports) == 20
    run = json.loads((out / "cameras" / "a" / "run.json").read_text(encoding="utf-8"))
    assert run["config"]["live"]["is_paced"]


def test_what_lives_takes_no_turns_and_only_an_address_is_tried_again() -> None:
    cameras = {
        "file": CameraConfig(name="a", source="a.mp4"),
        "live file": CameraConfig(name="a", source="a.mp4", live=True),
        "http": CameraConfig(name="a", source="http://gate/1", live=True),
        "rtsp": CameraConfig(name="a", source="rtsp://gate/1"),
    }
    assert [name for name, camera in cameras.items() if camera.takes_turns] == ["file"]
    assert [name for name, camera in cameras.items() if camera.is_live] == ["http", "rtsp"]
    with pytest.raises(ConfigError, match="add score_with"):
        CameraConfig(name="a", source="a.mp4", live=True, score_every=1)
