"""A proxy in front of an upstream that the test plays itself: the two that most tests of the wire's rules need."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
from support.proxy import run_proxy
from support.settings import settings
from support.upstream import reply, scripted_upstream, serve_http, serve_websocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from support.frames import WebSocket
    from support.http_client import Head, HttpConnection
    from support.processes import Programs
    from support.proxy import ProxyProcess
    from support.upstream import Upstream


FINE = reply(b"fine")


@attrs.define(eq=False)
class Proxied:
    """The running proxy, the upstream behind it, and the requests that upstream has seen whole."""

    proxy: ProxyProcess
    upstream: Upstream
    heads: list[Head]
    bodies: list[bytes]

    @property
    def address(self) -> str:
        return self.proxy.address


@asynccontextmanager
async def proxied(
    programs: Programs, serve: Callable[[HttpConnection], Awaitable[None]], **how: Any
) -> AsyncIterator[Proxied]:
    """Runs `serve` for every connection the proxy makes; `how` goes to `settings`."""
    async with scripted_upstream(serve) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address], **how))
        yield Proxied(proxy, upstream, [], [])


@asynccontextmanager
async def proxied_http(
    programs: Programs, answer: Callable[[Head, bytes], bytes] | bytes = FINE, **how: Any
) -> AsyncIterator[Proxied]:
    """An upstream that records whole requests and gives each the same answer, or what `answer(head, body)` says."""
    heads: list[Head] = []
    bodies: list[bytes] = []

    def record(head: Head, body: bytes) -> bytes:
        heads.append(head)
        bodies.append(body)
        return answer if isinstance(answer, bytes) else answer(head, body)

    async with proxied(programs, partial(serve_http, answer=record), **how) as both:
        both.heads, both.bodies = heads, bodies
        yield both


@asynccontextmanager
async def proxied_websocket(
    programs: Programs, talk: Callable[[WebSocket], Awaitable[None]], *lines: str, **how: Any
) -> AsyncIterator[Proxied]:
    """An upstream that accepts upgrades, with `lines` as further fields of its 101, and then runs `talk`."""

    async def serve(http: HttpConnection) -> None:
        await serve_websocket(http, talk, *lines)

    async with proxied(programs, serve, **how) as both:
        yield both
