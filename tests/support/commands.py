"""Commands of this program run against a proxy that lives in the test's own Trio run: they block, so in a thread."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio
from click.testing import CliRunner
from support.frames import open_websocket
from support.serving import make_config, talk_both, unix_upstream

from trioproxy.cli import main
from trioproxy.config import AdminConfig
from trioproxy.server import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from click.testing import Result
    from support.frames import WebSocket

    from trioproxy.server import Proxy
    from trioproxy.upstreams import Upstream


async def run(*args: str) -> Result:
    """One command line, to its end."""
    return await trio.to_thread.run_sync(CliRunner().invoke, main, args)


@attrs.frozen
class Commanded:
    """A proxy before one upstream that echoes; `command` runs a command on it."""

    proxy: Proxy
    stack: AsyncExitStack

    async def command(self, *args: str) -> Result:
        return await run(*args, "--admin", self.proxy.admin_address)

    async def tell(self, *args: str) -> str:
        """What a command that has to succeed writes."""
        result = await self.command(*args)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return result.stdout

    async def open(self) -> WebSocket:
        """A tunnel, until the end of the test."""
        end = await open_websocket(self.proxy.listeners[0].address)
        await self.stack.enter_async_context(end.http.stream)
        assert await end.echo(b"hello") == b"hello"
        return end

    @property
    def upstream(self) -> Upstream:
        return self.proxy.context.pools["backend"].upstreams[0]


@asynccontextmanager
async def commanded(folder: Path, **admin: Any) -> AsyncIterator[Commanded]:
    """`admin` are settings of [admin]."""
    config = AdminConfig(**{"address": "127.0.0.1:0", **admin})
    async with (
        unix_upstream(folder / "up", talk_both) as upstream,
        AsyncExitStack() as stack,
        serve(make_config(upstream, admin=config)) as proxy,
    ):
        yield Commanded(proxy, stack)
