"""Sources at an address, served by this machine to itself."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from narrowcast.core.errors import SourceError, UsageError
from narrowcast.video.patience import LIVE, Patience
from narrowcast.video.source import open_source

from .conftest import Film, index_of


class _Handler(BaseHTTPRequestHandler):
    """Gives the files of a folder with their length, and as `/live/...` without one, as a camera does."""

    folder: Path
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.folder / Path(self.path).name
        if not path.exists():
            self.send_error(404)
            return
        content = path.read_bytes()
        if self.path.startswith("/live/"):
            self._head("Transfer-Encoding", "chunked")
            content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
        else:
            self._head("Content-Length", str(len(content)))
        self.wfile.write(content)

    def _head(self, name: str, value: str) -> None:
        self.send_response(200)
        self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where the files of `tmp_path` are served until the test ends."""
    handler = type("Handler", (_Handler,), {"folder": tmp_path})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_file_at_an_address_is_a_film_like_any_other(film: Film, address: str) -> None:
    film("a.mkv", num_frames=8)
    with open_source(f"{address}/a.mkv", start_index=2) as source:
        frames = list(source)
        assert (source.is_live, source.truncated, source.name) == (False, None, f"{address}/a.mkv")
    assert [frame.index for frame in frames] == [2, 3, 4, 5, 6, 7]
    assert [index_of(frame.image_rgb) for frame in frames] == [2, 3, 4, 5, 6, 7]


def test_a_stream_without_an_end_is_live_and_counts_on_from_the_start_index(film: Film, address: str) -> None:
    film("camera.mjpeg", codec="mjpeg", pix_fmt="yuvj420p", num_frames=6)
    with open_source(f"{address}/live/camera.mjpeg", start_index=50, max_frames=4) as source:
        frames = list(source)
        assert source.is_live
    assert [frame.index for frame in frames] == [50, 51, 52, 53]
    assert frames[0].time_s == Fraction(50, 25)
    with pytest.raises(UsageError, match="loops has no effect on a live source"):
        open_source(f"{address}/live/camera.mjpeg", loops=2)


def test_a_live_stream_that_ends_was_cut_and_is_asked_for_again(film: Film, address: str) -> None:
    film("camera.mjpeg", codec="mjpeg", pix_fmt="yuvj420p", num_frames=6)
    patience = replace(LIVE, first_s=0.001)
    with open_source(f"{address}/live/camera.mjpeg", max_frames=14, patience=patience) as source:
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(14))
    assert [frame.index for frame in frames if frame.is_after_gap] == [6, 12]
    times_s = [frame.time_s for frame in frames]
    assert times_s == sorted(set(times_s))


def test_an_address_without_a_file_is_one_line(address: str) -> None:
    with pytest.raises(SourceError, match=r"no\.mp4: cannot be opened: .*404"):
        open_source(f"{address}/no.mp4")


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_server_that_never_answers_is_given_up(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/a"
        with pytest.raises(SourceError, match=r"no answer within 0\.2 s"):
            open_source(address, patience=Patience(timeout_s=0.2))
