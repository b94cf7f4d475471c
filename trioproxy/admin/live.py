"""Sends what a feed tells as server-sent events (WHATWG HTML, section 9.2), for as long as its reader is there.

What is told is `live`'s; who may read it is `guard`'s.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import attrs
import trio
from starlette.exceptions import HTTPException

from trioproxy.live import TooManyReaders

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from trioproxy.live import Feed
    from trioproxy.live.feed import Reader

HEARTBEAT_SECONDS: Final = 5.0  # of nothing to tell (while the proxy starts), after which readers may take it for dead
_RETRY_MILLISECONDS: Final = 1000
_RETRY_SECONDS: Final = "5"  # for who is refused
_HEADERS: Final = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # an nginx before the admin would collect it otherwise
)


@attrs.frozen(eq=False)
class EventStream:
    """The answer that goes on, for as long as `admitted` says so. With more readers than may be it is a 503."""

    feed: Feed
    admitted: Callable[[], bool]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ends with the feed, when the reader is gone or no longer admitted, or takes nothing any more (`serve`)."""
        try:
            with self.feed.read() as reader:
                await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": list(_HEADERS)})
                if scope["method"] != "HEAD":
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
                        await _tell(reader, send, self.admitted)
                        nursery.cancel_scope.cancel()
                await send({"type": "http.response.body", "body": b""})
        except TooManyReaders:
            detail = "as many event streams are open as there may be"
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": _RETRY_SECONDS}) from None


async def _tell(reader: Reader, send: Send, admitted: Callable[[], bool]) -> None:
    await _send(send, f"retry: {_RETRY_MILLISECONDS}\n" + _event("history", reader.history()))
    while True:
        news = None
        with trio.move_on_after(HEARTBEAT_SECONDS):
            news = await reader.news()
        if not admitted():  # a reload has put another token in force
            return
        if news is None:
            await _send(send, ":\n\n")
        elif news:
            await _send(send, "".join(_event(kind, text) for kind, text in news))
        else:
            return


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _event(kind: str, text: str) -> str:
    return f"event: {kind}\ndata: {text}\n\n"  # JSON has no line breaks of its own


async def _send(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
