"""On a real port: found free, taken, stopped while somebody listens."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from urllib.request import urlopen

import pytest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from narrowcast.core.errors import StorageError, UsageError
from narrowcast.web.access import Access
from narrowcast.web.answers import json_ok
from narrowcast.web.application import application
from narrowcast.web.serving import Address, serving


async def hello(request: Request) -> Response:
    return json_ok()


async def forever(request: Request) -> Response:
    async def ticks() -> AsyncIterator[bytes]:
        while True:
            yield b"tick\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(ticks())


APP = application([Route("/", hello), Route("/forever", forever)], Access())


def test_it_answers_while_the_block_runs_and_not_behind_it() -> None:
    with serving(APP, Access()) as address:
        assert urlopen(address.url).read() == b'{"ok":true}'
        with pytest.raises(UsageError, match="taken"), serving(APP, Access(), port=address.port):
            pass
    assert "narrowcast-web" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(OSError):
        urlopen(address.url)


def test_the_port_is_free_again_behind_it() -> None:
    with serving(APP, Access()) as address:
        urlopen(address.url).read()
    with serving(APP, Access(), port=address.port) as again:
        assert again == address


def test_an_open_stream_does_not_keep_it_from_stopping() -> None:
    with serving(APP, Access()) as address:
        answer = urlopen(address.url + "forever")
        assert answer.readline() == b"tick\n"
        started = time.monotonic()
    assert time.monotonic() - started < 8
    answer.close()


def test_an_application_that_cannot_start_says_so() -> None:
    async def broken(scope, receive, send) -> None:
        raise RuntimeError

    with pytest.raises(StorageError, match="could not start"), serving(broken, Access()):
        pass


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99999), ("203.0.113.7", 0)])
def test_addresses_that_are_none_of_ours(host: str, port: int) -> None:
    with pytest.raises(UsageError), serving(APP, Access(host=host, token="a-long-enough-token"), port=port):
        pass


def test_addresses_as_browsers_take_them() -> None:
    assert Address("127.0.0.1", 80).url == "http://127.0.0.1:80/"
    assert Address("0.0.0.0", 80, "a b&c").url == "http://127.0.0.1:80/?token=a%20b%26c"
    assert Address("::1", 80).url == "http://[::1]:80/"
