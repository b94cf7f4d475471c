"""The admin application: which path answers what.

It reads what its `Control` offers and knows nothing of the proxy's inside; serving it on a socket is `serve`'s.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from trioproxy.admin.guard import Token, host_allowed, read_token
from trioproxy.logs import Log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from trioproxy.admin.control import Control

    Handler = Callable[[Request], Awaitable[Response]]

_API: Final = "/api"

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
)

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>trioproxy</title>
<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem }</style>
<h1>trioproxy</h1>
<ul>
<li><a href="/api/status">/api/status</a>: pools, upstreams, totals (JSON)
<li><a href="/metrics">/metrics</a>: for Prometheus
<li><a href="/readyz">/readyz</a>: whether it takes traffic
<li><a href="/healthz">/healthz</a>: whether it works
</ul>
"""


def make_app(control: Control, address: str, *, token: Token | None = None, log: Log | None = None) -> ASGIApp:
    """The ASGI application for the admin listener at `address` (`host:port`, as bound).

    Without `token` it reads the configured token file, once, and raises OSError or ValueError where that cannot be
    used. What goes wrong in a handler is logged and answered 500.
    """
    endpoints = _Endpoints(control)
    guard = _Guard(control, address, token or Token(read_token(control.config.admin.token_file)))
    errors = _Errors(Log.null() if log is None else log)
    app = Starlette(
        routes=[
            Route("/", endpoints.page, methods=["GET"]),
            Route("/metrics", endpoints.metrics, methods=["GET"]),
            Route("/healthz", endpoints.healthz, methods=["GET"]),
            Route("/readyz", endpoints.readyz, methods=["GET"]),
            Route("/api/status", guard(endpoints.status), methods=["GET"]),
        ],
        exception_handlers={HTTPException: errors.refused, Exception: errors.failed},
    )
    app.router.redirect_slashes = False
    return _with_headers(app)


@attrs.frozen(eq=False)
class _Endpoints:
    control: Control

    async def page(self, _request: Request) -> Response:
        return HTMLResponse(_PAGE)

    async def metrics(self, request: Request) -> Response:
        body, content_type = await self.control.metrics.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type, "vary": "Accept"})

    async def healthz(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(self, _request: Request) -> Response:
        ready, body = self.control.ready()
        return JSONResponse(body, HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE)

    async def status(self, _request: Request) -> Response:
        return JSONResponse(await self.control.status())


@attrs.frozen(eq=False)
class _Guard:
    """Wraps handlers so that only those get through who may."""

    control: Control
    address: str
    token: Token

    def __call__(self, handler: Handler) -> Handler:
        async def guarded(request: Request) -> Response:
            self._check(request)
            return await handler(request)

        return guarded

    def _check(self, request: Request) -> None:
        if not host_allowed(request.headers.get("host", ""), self.address, self.control.config.admin.hosts):
            raise HTTPException(HTTPStatus.FORBIDDEN, "Host is neither the admin address nor in admin.hosts")
        if not self.token.admits(request.headers.get("authorization", "")):
            raise HTTPException(HTTPStatus.UNAUTHORIZED, "token required", {"WWW-Authenticate": "Bearer"})


@attrs.frozen(eq=False)
class _Errors:
    log: Log

    async def refused(self, request: Request, error: Exception) -> Response:
        refusal = cast("HTTPException", error)  # what Starlette was told to bring here
        return _error(request, refusal.status_code, refusal.detail, refusal.headers)

    async def failed(self, request: Request, error: Exception) -> Response:
        self.log.error("admin_failed", path=request.url.path, exc_info=error)
        return _error(request, HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.INTERNAL_SERVER_ERROR.phrase)


def _error(request: Request, status: int, detail: str, headers: Any = None) -> Response:
    if request.url.path.startswith(_API + "/"):
        return JSONResponse({"error": detail}, status, headers)
    return PlainTextResponse(detail + "\n", status, headers)


def _with_headers(app: ASGIApp) -> ASGIApp:
    """Put the security headers on every answer, errors too."""

    async def secured(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await app(scope, receive, send_secured)

    return secured
