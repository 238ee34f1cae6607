"""An application on a port: in a thread beside other work, until told to stop."""

import errno
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote

import uvicorn
from starlette.types import ASGIApp

from narrowcast.core.errors import StorageError, UsageError
from narrowcast.web.access import LOOPBACK, Access

log = logging.getLogger(__name__)
START_S, STOP_S = 30.0, 1.0  # patience; open streams of events are cut off after STOP_S


@dataclass(frozen=True, slots=True)
class Address:
    """Where an application is served."""

    host: str
    port: int
    token: str = ""

    @property
    def origin(self) -> str:
        """As browsers state it."""
        reachable = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)
        return f"http://{f'[{reachable}]' if ':' in reachable else reachable}:{self.port}"

    @property
    def url(self) -> str:
        """What to open; the token is in it."""
        return f"{self.origin}/" + (f"?token={quote(self.token, safe='')}" if self.token else "")


@contextmanager
def serving(app: ASGIApp, access: Access, *, port: int = 0) -> Iterator[Address]:
    """Serve `app` in a thread while the block runs; gives the address, which answers already.

    Args:
        port: 0 takes a free one.

    Raises:
        UsageError: the port is taken, or the address is not one of this machine.
        StorageError: the application could not start.
    """
    listener = _listen(access.host, port)
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=round(STOP_S),
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=_run, args=(server, listener), name="narrowcast-web", daemon=True)
    thread.start()
    try:
        started = time.monotonic()
        while not server.started:
            if not thread.is_alive() or time.monotonic() > started + START_S:
                raise StorageError("the application could not start; --debug shows why")
            time.sleep(0.005)
        yield Address(access.host, listener.getsockname()[1], access.token)
    finally:
        server.should_exit = True
        thread.join(2 * STOP_S)
        listener.close()


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    with suppress(SystemExit):  # its way to say that it could not start
        server.run([listener])


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port}: expected a number up to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"--host {host}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(f"--port {port}: taken by another program; 0 takes a free one") from error
        raise UsageError(f"--host {host} --port {port}: {error.strerror}") from error
    return listener
