"""A proxy whose listener wants something before the first request, on a Unix socket, and the clients that come there."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp

import attrs
from support.frames import WebSocket, upgrade_answer
from support.http_client import HttpConnection, dial
from support.serving import echo, make_config, unix_upstream
from support.upstream import reply

from trioproxy.config import ListenerConfig
from trioproxy.errors import Phase, Reason, Source
from trioproxy.logs import Log
from trioproxy.metrics import ENDINGS
from trioproxy.server import serve


@attrs.define(eq=False)
class Running:
    """The proxy, what it has logged, and its clients."""

    proxy: object = None
    log: Log = attrs.Factory(Log.memory)
    targets: list[str] = attrs.Factory(list)  # of the requests that have come to the upstream
    _clients: list[object] = attrs.Factory(list)

    @property
    def context(self):
        return self.proxy.context

    @property
    def listener(self):
        return self.proxy.listeners[0]

    @property
    def endings(self):
        """Those of connections that came to no request."""
        board = self.context.metrics
        counted = {
            f"{by} {reason}": int(board.value(ENDINGS, (by, Phase.ACCEPT, reason)))
            for by in Source
            for reason in Reason
        }
        return {ending: count for ending, count in counted.items() if count}

    def lines(self, event):
        return [line for line in self.log.events if line["event"] == event]

    async def _tell(self, http):
        """The upstream: it answers with what it heard of the client, or echoes."""
        while True:
            head = await http.head()
            self.targets.append(head.start.split(b" ")[1].decode())
            if head.get(b"upgrade") is not None:
                await http.send(upgrade_answer(head))
                await echo(WebSocket(http, head, mask=None))
                return
            names = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP")
            said = {name: (head.get(name.lower().encode()) or b"").decode() for name in names}
            await http.send(reply(json.dumps({"target": self.targets[-1], **said}).encode()))

    async def dial(self):
        stream = await dial(self.listener.address)
        self._clients.append(stream)
        return stream

    async def connect(self, *sent):
        http = HttpConnection(await self.dial())
        for piece in sent:
            await http.send(piece)
        return http

    async def heard(self, *sent):
        """What the upstream heard of the client of a request that was sent so."""
        http = await self.connect(*sent)
        told = json.loads((await http.answer()).body)
        await self.leave(http)
        return told["X-Forwarded-For"], told["X-Real-IP"]

    def end(self):
        for stream in self._clients:
            stream.socket.close()

    async def leave(self, http):
        await http.stream.aclose()
        await self.context.no_connections()


@asynccontextmanager
async def running(folder, *, tables=None, upstream=None, **listener):
    """`tables` are of the configuration, `upstream` what it does instead, the rest is the listener's."""
    made = Running()
    folder = Path(mkdtemp(dir=folder))
    async with unix_upstream(folder / "up", upstream or made._tell) as address:
        config = attrs.evolve(
            make_config(address, **(tables or {})),
            listeners=(ListenerConfig(**{"address": f"unix:{folder / 'public'}", "name": "public", **listener}),),
        )
        async with serve(config, log=made.log) as made.proxy:
            try:
                yield made
            finally:
                made.end()
