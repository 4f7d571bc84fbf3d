"""Access control: where the page is served, its token, and the headers that a foreign page cannot forge."""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from deepfeatures.errors import InputError

MIN_TOKEN_LENGTH = 16


@dataclass(frozen=True)
class Address:
    """Where to serve.

    Args:
        host: Name or number of the network interface.
        port: 0 takes a free one.
        token: What a browser must send once; `None` admits everybody who reaches the port.
    """

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None

    def __post_init__(self):
        if self.token is not None and len(self.token) < MIN_TOKEN_LENGTH:
            raise InputError(f"the token is shorter than {MIN_TOKEN_LENGTH} characters; give a longer, random one")
        if self.token is None and not is_loopback(self.host):
            raise InputError(
                f"--host {self.host} can be reached from other machines; give --token with a secret of at least "
                f"{MIN_TOKEN_LENGTH} random characters"
            )

    def admits(self, token: str | None) -> bool:
        """Whether a browser that sends `token` may have a session."""
        return self.token is None or (token is not None and hmac.compare_digest(token.encode(), self.token.encode()))

    def is_called(self, host_header: str) -> bool:
        """Whether a request's `Host` names this server.

        On loopback only its own names do: any other belongs to a foreign page that resolves its name to this machine.
        """
        return not is_loopback(self.host) or is_loopback(urlsplit(f"//{host_header}").hostname or "")


def is_loopback(host: str) -> bool:
    """Whether `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_same_origin(origin: str | None, host_header: str) -> bool:
    """Whether a request was made by a page of this server; browsers send no origin where they load the page itself."""
    return origin is None or urlsplit(origin).netloc == host_header
