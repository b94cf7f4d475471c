"""The admin application: which path answers what.

It reads what its `Control` offers and knows nothing of the proxy's inside; serving it on a socket is `serve`'s.
"""

from __future__ import annotations

from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlencode

import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from trioproxy.admin.chaos import ChaosEndpoints
from trioproxy.admin.control import TUNNEL_FILTERS, NotNow, Unknown
from trioproxy.admin.guard import Guard
from trioproxy.admin.live import EventStream
from trioproxy.admin.page import INDEX, POLICY, page_files
from trioproxy.admin.reading import digits, read_body, read_query
from trioproxy.admin.token import Token, read_token
from trioproxy.config_rules import close_code, number, text
from trioproxy.logs import Log
from trioproxy.relay.tunnel import SERVICE_RESTART

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from trioproxy.admin.control import Control
    from trioproxy.admin.page import File


_API: Final = "/api"

_SECONDS: Final = number("a number of seconds")
_MOST_ON_A_PAGE: Final = 1000  # tunnels: some 350 kB, and of 10,000 some 20 ms of the loop
_USUAL_PAGE: Final = 100
_TUNNELS_QUERY: Final = MappingProxyType(
    {
        "after": text("an id", bool),
        "limit": digits(1, _MOST_ON_A_PAGE),
        **dict.fromkeys(TUNNEL_FILTERS, text("a name", bool)),
    }
)

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", POLICY.encode()),
)


def make_app(control: Control, address: str, *, token: Token | None = None, log: Log | None = None) -> ASGIApp:
    """The ASGI application for the admin listener at `address` (`host:port`, as bound).

    Without `token` it reads the configured token file, once, and raises OSError or ValueError where that cannot be
    used. What goes wrong in a handler is logged and answered 500.
    """
    token = token or Token(read_token(control.config.admin.token_file))
    endpoints, commands = _Endpoints(control, token), _Commands(control)
    guard, errors = Guard(control, address, token), _Errors(Log.null() if log is None else log)
    chaos = ChaosEndpoints(control)
    at = "/pools/{pool}/upstreams/{address:path}"
    app = Starlette(
        routes=[
            Route("/", endpoints.page, methods=["GET"]),
            Route("/page/{name}", endpoints.page, methods=["GET"]),
            Route("/metrics", endpoints.metrics, methods=["GET"]),
            Route("/healthz", endpoints.healthz, methods=["GET"]),
            Route("/readyz", endpoints.readyz, methods=["GET"]),
            Route("/api/status", guard(endpoints.status), methods=["GET"]),
            Route("/api/live", guard(endpoints.live), methods=["GET"]),
            Route("/api/tunnels", guard(endpoints.tunnels), methods=["GET"]),
            Route(f"/api{at}/drain", guard.command(commands.drain), methods=["POST"]),
            Route(f"/api{at}/resume", guard.command(commands.resume), methods=["POST"]),
            Route("/api/chaos", guard(chaos.active), methods=["GET"]),
            Route("/api/chaos", guard(chaos.stop), methods=["DELETE"]),
            Route(f"/api/chaos{at}/close", guard.command(chaos.close), methods=["POST"]),
            Route(f"/api/chaos{at}/blackhole", guard.command(chaos.blackhole), methods=["POST"]),
            Route(f"/api/chaos{at}/refuse", guard.command(chaos.refuse), methods=["POST"]),
            Route("/api/tunnels/{id}/close", guard.command(commands.close), methods=["POST"]),
        ],
        exception_handlers={
            HTTPException: errors.refused,
            Unknown: errors.unknown,
            NotNow: errors.not_now,
            Exception: errors.failed,
        },
    )
    app.router.redirect_slashes = False
    return _with_headers(app)


@attrs.frozen(eq=False)
class _Endpoints:
    control: Control
    token: Token
    files: Mapping[str, File] = attrs.field(factory=page_files, init=False)

    async def page(self, request: Request) -> Response:
        name = request.path_params.get("name", INDEX)
        if name not in self.files:
            raise Unknown("file of the page", name)
        file = self.files[name]
        return Response(file.content, headers={"content-type": file.content_type})

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

    async def live(self, request: Request) -> ASGIApp:
        carried = request.headers.get("authorization", "")
        return EventStream(self.control.live, lambda: self.token.admits(carried))

    async def tunnels(self, request: Request) -> Response:
        query = read_query(request, _TUNNELS_QUERY)
        after, limit = query.pop("after", ""), query.pop("limit", _USUAL_PAGE)
        page = await self.control.tunnels(after=after, limit=limit, where=query)
        headers = {"x-total-count": str(page["total"])}
        if len(page["tunnels"]) == limit:  # there may be more
            link = urlencode({**query, "limit": limit, "after": page["tunnels"][-1]["id"]})
            headers["link"] = f'</api/tunnels?{link}>; rel="next"'
        return JSONResponse(page["tunnels"], headers=headers)


@attrs.frozen(eq=False)
class _Commands:
    """What changes something; each answers how things stand then."""

    control: Control

    async def drain(self, request: Request) -> Response:
        defaults = self.control.config.server.drain
        body = await read_body(request, {"spread": _SECONDS, "timeout": _SECONDS})
        spread, timeout = body.get("spread", defaults.spread), body.get("timeout", defaults.timeout)
        told = await self.control.drain_upstream(*_upstream(request), spread=spread, timeout=timeout)
        return JSONResponse(told)

    async def resume(self, request: Request) -> Response:
        await read_body(request, {})
        return JSONResponse(await self.control.resume_upstream(*_upstream(request)))

    async def close(self, request: Request) -> Response:
        body = await read_body(request, {"code": close_code()})
        told = await self.control.close_tunnel(request.path_params["id"], body.get("code", SERVICE_RESTART))
        return JSONResponse(told)


def _upstream(request: Request) -> tuple[str, str]:
    return request.path_params["pool"], request.path_params["address"]


@attrs.frozen(eq=False)
class _Errors:
    log: Log

    async def refused(self, request: Request, error: Exception) -> Response:
        refusal = cast("HTTPException", error)  # what Starlette was told to bring here
        return _error(request, refusal.status_code, refusal.detail, refusal.headers)

    async def unknown(self, request: Request, error: Exception) -> Response:
        return _error(request, HTTPStatus.NOT_FOUND, str(error))

    async def not_now(self, request: Request, error: Exception) -> Response:
        return _error(request, HTTPStatus.CONFLICT, str(error))

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
