"""Who may talk to an application."""

import pytest

from narrowcast.core.errors import ConfigError
from narrowcast.web.access import Access

TOKEN = "a-long-enough-token"


@pytest.mark.parametrize(
    "header",
    ["127.0.0.1:80", "127.0.0.1", "localhost:8000", "LOCALHOST", "[::1]:8000", "127.8.8.8"],
)
def test_names_of_this_machine_are_allowed(header: str) -> None:
    assert Access().allows_host(header)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "192.168.1.5",
        "user@127.0.0.1",
        "127.0.0.1/x",
        "127.0.0.1:port",
        "[::1",
        "127.0.0.1:99999999",
        "0.0.0.0:8000",
        "localhost#",
        "127.0.0.1?",
    ],
)
def test_other_names_are_not(header: str) -> None:
    """A name that another page's owner made point here (DNS rebinding) is such a name."""
    assert not Access().allows_host(header)


def test_bound_elsewhere_addresses_and_listed_names_are_allowed() -> None:
    access = Access(host="0.0.0.0", token=TOKEN, names=("photos.example",))
    assert all(access.allows_host(name) for name in ("192.168.1.5:80", "photos.example", "localhost", "[fe80::1]:80"))
    assert not access.allows_host("evil.example")


@pytest.mark.parametrize(
    ("host", "origin", "is_allowed"),
    [
        pytest.param("127.0.0.1:80", "http://127.0.0.1:80", True, id="its own page"),
        pytest.param("photos.example", "https://photos.example", True, id="behind a proxy that speaks TLS"),
        pytest.param("127.0.0.1:80", "http://127.0.0.1:81", False, id="another port is another application"),
        pytest.param("127.0.0.1:80", "http://localhost:80", False, id="another name is another origin"),
        pytest.param("127.0.0.1:80", "", False, id="no origin"),
        pytest.param("127.0.0.1:80", "null", False, id="a sandboxed frame or a file"),
        pytest.param("127.0.0.1:80", "http://evil.example", False, id="another page"),
        pytest.param("", "http://", False, id="nothing at all"),
        pytest.param("127.0.0.1:80", "ftp://127.0.0.1:80", False, id="another scheme"),
    ],
)
def test_a_write_must_come_from_its_own_page(host: str, origin: str, is_allowed: bool) -> None:
    assert Access().allows_write(host=host, origin=origin) is is_allowed


def test_an_address_that_others_reach_needs_a_token() -> None:
    with pytest.raises(ConfigError, match="--token"):
        Access(host="0.0.0.0")
    with pytest.raises(ConfigError, match="at least 12"):
        Access(host="0.0.0.0", token="short")
    with pytest.raises(ConfigError, match="plain"):
        Access(token="a-long-enough-töken")


def test_only_the_token_is_the_token() -> None:
    access = Access(token=TOKEN)
    assert access.allows_token("", TOKEN)
    assert not access.allows_token()
    assert not access.allows_token(TOKEN[:-1], TOKEN + "x", "\ud800")
    assert Access().allows_token()
    assert TOKEN not in repr(access) + access.cookie
