"""Who may talk to a page: the Host of every request, the Origin of every write, a token where others can reach it."""

import hashlib
import ipaddress
import secrets
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from narrowcast.core.errors import ConfigError

LOOPBACK = "127.0.0.1"
LEAST_TOKEN = 12  # letters; ours: one that can be guessed is none
READS = frozenset(["GET", "HEAD", "OPTIONS"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Who may talk to the application.

    Attributes:
        host: the address that it is bound to.
        token: what a client must show; "" asks for none, which only an address of this machine alone may do.
        names: other names that it is reached by, such as a reverse proxy's.
    """

    host: str = LOOPBACK
    token: str = field(default="", repr=False)
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.token and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host}: others can reach that address, so it needs a --token;"
                f" for example --token {secrets.token_urlsafe(12)}"
            )
        if self.token and (len(self.token) < LEAST_TOKEN or not self.token.isascii() or not self.token.isprintable()):
            raise ConfigError(f"--token: expected at least {LEAST_TOKEN} plain letters and digits")

    @property
    def cookie(self) -> str:
        """The cookie's name: cookies know no ports, so that two applications on one host must not share it."""
        return f"narrowcast-{hashlib.sha256(self.token.encode()).hexdigest()[:12]}"

    def allows_host(self, header: str) -> bool:
        """Whether a request to that Host may be meant for this application.

        Another page's script can reach a local port by a name that it made point here (DNS rebinding), but it cannot
        choose the Host: so names are listed. Bound to all addresses, any address will do, but of names only this
        machine's.
        """
        name = _host_name(header)
        if name is None:
            return False
        if is_loopback(self.host):
            return name in ("localhost", self.host) or _is_address(name, loopback=True) or name in self.names
        return name in {self.host, "localhost", socket.gethostname().lower(), *self.names} or _is_address(name)

    def allows_write(self, *, host: str, origin: str) -> bool:
        """Whether a write comes from a page of this application: browsers state the origin of every write."""
        return bool(host) and urlsplit(origin).scheme in ("http", "https") and origin.partition("://")[2] == host

    def allows_token(self, *shown: str) -> bool:
        """Whether one of these is the token."""
        return not self.token or any(
            secrets.compare_digest(token.encode("utf-8", "replace"), self.token.encode()) for token in shown
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    return host == "localhost" or _is_address(host, loopback=True)


def _is_address(name: str, *, loopback: bool = False) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not loopback


def _host_name(header: str) -> str | None:
    """The name in a Host header, without port; None where there is none."""
    try:
        parts = urlsplit(f"//{header}")
        port_is_number = parts.port is None or parts.port >= 0
    except ValueError:
        return None
    is_plain = not set("/?#@") & set(header)
    return parts.hostname if port_is_number and is_plain else None
