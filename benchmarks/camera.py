"""A camera that goes away: a clip over HTTP as MPEG-TS, at its own rate; every connection is cut now and then.

Its clock runs on while nobody watches, as a camera's does; the clip begins anew at its end. Each cut and each return is
a line of JSON on stdout with the time. While it is away, nobody can connect.
"""

import io
import json
import socket
import sys
import threading
import time
from argparse import ArgumentParser
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import numpy as np

from narrowcast.video.source import open_source


class Camera:
    """The frames of a clip, by the clock."""

    def __init__(self, clip: str, max_frames: int | None) -> None:
        with open_source(clip, max_frames=max_frames) as source:
            self.fps = source.fps or Fraction(25)
            self.images = [frame.image_rgb for frame in source]
        self.began_s = time.monotonic()

    def send(self, out: io.RawIOBase, is_cut: threading.Event) -> None:
        """Encode from now on until the connection is cut."""
        height, width = self.images[0].shape[:2]
        with av.open(out, "w", format="mpegts", options={"flush_packets": "1"}) as container:
            options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "18", "x264-params": "keyint=20"}
            stream = container.add_stream("libx264", rate=self.fps, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            index = int((time.monotonic() - self.began_s) * self.fps) + 1
            while not is_cut.wait(max(0.0, self.began_s + float(index / self.fps) - time.monotonic())):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(self.images[index % len(self.images)]), "rgb24")
                frame.pts = index
                container.mux(stream.encode(frame))
                index += 1


class Pipe(io.RawIOBase):
    """What a muxer writes, to a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def writable(self) -> bool:
        return True

    def write(self, content) -> int:
        self.connection.sendall(content)
        return len(content)


def serve(camera: Camera, port: int, is_cut: threading.Event) -> ThreadingHTTPServer:
    """A server of the camera, in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            try:
                camera.send(Pipe(self.connection), is_cut)
            except (OSError, av.error.FFmpegError):
                pass  # whoever watched has gone
            finally:
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads, allow_reuse_address = True, True

    server = Server(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


def main() -> None:
    parser = ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("clip")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--up", type=float, default=10.0, help="seconds between two cuts; 0: no cut")
    parser.add_argument("--down", type=float, default=2.0, help="seconds away")
    parser.add_argument("--max-frames", type=int)
    arguments = parser.parse_args()
    camera, port = Camera(arguments.clip, arguments.max_frames), arguments.port
    while True:
        is_cut = threading.Event()
        server = serve(camera, port, is_cut)
        port = server.server_address[1]
        tell("up", port)
        if not arguments.up:
            threading.Event().wait()
        time.sleep(arguments.up)
        tell("down", port)
        is_cut.set()
        server.shutdown()
        server.server_close()
        time.sleep(arguments.down)


def tell(what: str, port: int) -> None:
    print(json.dumps({"event": what, "unix_s": round(time.time(), 3), "port": port}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
