"""The admin application on a real socket, in the same Trio run, over a proxy that a test makes up."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import h11
import trio

from trioproxy.admin import Unknown, make_app, serve_admin
from trioproxy.config import AdminConfig, Config
from trioproxy.live import Feed
from trioproxy.logs import Log
from trioproxy.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from trioproxy.admin import Token
    from trioproxy.logs.log import MemoryLog


@attrs.define(eq=False)
class FakeSampler:
    """Counts its samples, each of which has `of_each` as its pools."""

    taken: int = 0
    of_each: list[dict[str, Any]] = attrs.field(factory=lambda: [{"name": "backend"}])

    def sample(self) -> dict[str, Any]:
        self.taken += 1
        return {"taken": self.taken}

    def pools(self) -> list[dict[str, Any]]:
        return self.of_each


@attrs.define(eq=False)
class FakeChaos:
    """Keeps the orders it is given."""

    orders: list[Any] = attrs.field(factory=list)
    stopped_by: list[str] = attrs.field(factory=list)
    refusal: Exception | None = None

    def active(self) -> list[dict[str, Any]]:
        return [{"id": number} for number in range(len(self.orders))]

    async def inject(self, order: Any) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        self.orders.append(order)
        return {"id": len(self.orders)}

    async def stop(self, asked_by: str) -> list[dict[str, Any]]:
        self.stopped_by.append(asked_by)
        return self.active()


@attrs.define(eq=False)
class FakeControl:
    config: Config
    metrics: Metrics = attrs.field(factory=Metrics)
    live: Feed = attrs.field(factory=lambda: Feed(FakeSampler()))
    answer: tuple[bool, dict[str, Any]] = (True, {"ready": True})
    document: dict[str, Any] = attrs.field(factory=lambda: {"version": "1"})
    page: dict[str, Any] = attrs.field(factory=lambda: {"total": 0, "tunnels": []})
    commands: list[tuple[Any, ...]] = attrs.field(factory=list)
    chaos: FakeChaos = attrs.field(factory=FakeChaos)

    def ready(self) -> tuple[bool, dict[str, Any]]:
        return self.answer

    async def status(self) -> dict[str, Any]:
        return self.document

    async def tunnels(self, *, after: str, limit: int, where: Mapping[str, str]) -> dict[str, Any]:
        self.commands.append(("tunnels", after, limit, dict(where)))
        return self.page

    async def drain_upstream(self, pool: str, address: str, *, spread: float, timeout: float) -> dict[str, Any]:  # noqa: ASYNC109
        return self._take("drain", pool, address, spread, timeout)

    async def resume_upstream(self, pool: str, address: str) -> dict[str, Any]:
        return self._take("resume", pool, address)

    async def close_tunnel(self, tunnel: str, code: int) -> dict[str, Any]:
        return self._take("close", tunnel, code)

    def _take(self, *command: Any) -> dict[str, Any]:
        if "gone" in command:
            raise Unknown("such thing", "gone", ["here"])
        self.commands.append(command)
        return {"done": command[0]}


@attrs.frozen
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@attrs.define(eq=False)
class Admin:
    """The application, its address, and everything it logged."""

    control: FakeControl
    address: str
    log: MemoryLog
    sock: socket.socket

    async def dial(self) -> trio.SocketStream:
        host, port = self.address.split(":")
        return await trio.open_tcp_stream(host, int(port))

    async def get(
        self, target: str, *, method: str = "GET", host: str | None = None, body: bytes = b"", **headers: str
    ) -> Answer:
        """One request on a connection of its own; `host` is the address unless given, "" for none (then HTTP/1.0)."""
        async with await self.dial() as stream:
            return await exchange(stream, method, target, self.address if host is None else host, headers, body)

    async def post(self, target: str, body: Any = None, **how: Any) -> Answer:
        """A command as it should be, where `how` does not say otherwise; `body` is bytes, or what JSON is made of."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.get(target, method="POST", body=content, **{"content_type": "application/json", **how})


async def exchange(
    stream: trio.SocketStream, method: str, target: str, host: str, headers: dict[str, str], body: bytes = b""
) -> Answer:
    peer = h11.Connection(h11.CLIENT)
    fields = [("Host", host), *((name.replace("_", "-"), value) for name, value in headers.items())]
    if body:
        fields.append(("Content-Length", str(len(body))))
    await stream.send_all(peer.send(h11.Request(method=method, target=target, headers=fields)) or b"")
    if body:
        await stream.send_all(peer.send(h11.Data(data=body)) or b"")
    await stream.send_all(peer.send(h11.EndOfMessage()) or b"")
    head, body = None, b""
    while True:
        match peer.next_event():
            case h11.NEED_DATA:
                peer.receive_data(await stream.receive_some(65536))
            case h11.Response() as head:
                pass
            case h11.Data(data=data):
                body += bytes(data)
            case h11.EndOfMessage():
                assert head is not None
                fields = {name.decode(): value.decode() for name, value in head.headers}
                return Answer(head.status_code, fields, body)


@asynccontextmanager
async def open_admin(token: Token | None = None, **settings: Any) -> AsyncIterator[Admin]:
    """`settings` are those of [admin]; a `token` stands for what was read from its file."""
    config = Config(listeners=(), routes=(), pools={}, admin=AdminConfig(**settings))
    sock = socket.create_server(("127.0.0.1", 0))
    address = f"127.0.0.1:{sock.getsockname()[1]}"
    admin = Admin(FakeControl(config), address, Log.memory(), sock)
    app = make_app(admin.control, address, token=token, log=admin.log)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_admin, sock, app, log=admin.log))
        yield admin
        nursery.cancel_scope.cancel()
    assert sock.fileno() == -1
