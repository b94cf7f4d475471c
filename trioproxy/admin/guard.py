"""Who may use the API: the Host it must be asked by, the Origin it must not come from, and the token it may need.

A page on the web can make an operator's browser send requests to loopback, also under a name of its own that resolves
there (DNS rebinding). Checking Host refuses the second; the first cannot send JSON without asking (a preflight request,
to which nobody answers here), nor anything else without telling its Origin, or where it is from in Sec-Fetch-Site
(Fetch Metadata): a GET for an image has no Origin. A token refuses whoever does not have it.
"""

from __future__ import annotations

import ipaddress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import attrs
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from trioproxy.admin.control import Control
    from trioproxy.admin.token import Token

    Handler = Callable[[Request], Awaitable[ASGIApp]]

_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")


@attrs.define(eq=False)
class Guard:
    """Wraps the handlers of the admin listener at `address` so that only those requests get through that may."""

    control: Control
    address: str
    token: Token

    def __call__(self, handler: Handler) -> Handler:
        """For what is read: Host, Origin and token are checked."""

        async def guarded(request: Request) -> ASGIApp:
            self._check(request)
            return await handler(request)

        return guarded

    def command(self, handler: Handler) -> Handler:
        """For what changes something: besides, it has to come as JSON."""

        async def guarded(request: Request) -> ASGIApp:
            self._check(request)
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json")
            return await handler(request)

        return guarded

    def _check(self, request: Request) -> None:
        admin = self.control.config.admin
        if not host_allowed(request.headers.get("host", ""), self.address, admin.hosts):
            raise HTTPException(HTTPStatus.FORBIDDEN, "Host is neither the admin address nor in admin.hosts")
        origin = request.headers.get("origin")
        if origin is not None and not host_allowed(origin.rpartition("://")[2], self.address, admin.hosts):
            raise HTTPException(HTTPStatus.FORBIDDEN, "Origin is neither the admin address nor in admin.hosts")
        if _is_fetched_by_another_site(request):
            raise HTTPException(HTTPStatus.FORBIDDEN, "not for pages of other sites")
        if not self.token.admits(request.headers.get("authorization", "")):
            raise HTTPException(HTTPStatus.UNAUTHORIZED, "token required", {"WWW-Authenticate": "Bearer"})


def _is_fetched_by_another_site(request: Request) -> bool:
    """Browsers say so, other programs say nothing; what a link leads to is shown to the operator alone."""
    site, mode = request.headers.get("sec-fetch-site"), request.headers.get("sec-fetch-mode")
    return site in {"cross-site", "same-site"} and mode != "navigate"


def host_allowed(host: str, address: str, hosts: Iterable[str]) -> bool:
    """Whether a Host header names the admin address, a loopback form of it, or one of `hosts` (with any port or none).

    The loopback forms count where the address is loopback or a wildcard, of which they are a part.
    """
    host = host.lower()
    name, port = _split(host)
    own_name, own_port = _split(address.lower())
    if host == address.lower() or (own_port == "80" and host == own_name):
        return True
    if _covers_loopback(own_name) and name in _LOOPBACK and (port or "80") == own_port:
        return True
    return any(allowed.lower() in (host, name) for allowed in hosts)


def _split(host: str) -> tuple[str, str]:
    """Name (an IPv6 address in brackets) and port ("" if none)."""
    name, colon, port = host.rpartition(":")
    if not colon or "]" in port:
        return host, ""
    return name, port


def _covers_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
