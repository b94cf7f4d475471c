"""Upstreams that are killed and started again, or paused for a moment, and the tunnels to those that die."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import trio
from soak.faults import close
from support.frames import BINARY, CLOSE, PING
from support.waiting import wait_until

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from soak.faults import Scene
    from support.frames import WebSocket
    from support.peers import PeerServer

ANOTHER_ROUND = 0.8  # how likely: tunnels come and go, so that an upstream that is back gets some
PAUSE_SECONDS = 0.5  # an upstream is stopped for up to so long


@attrs.define(eq=False)
class Mortals:
    """Tunnels to upstreams that get killed: each echoes for a while, ends or is cut, and opens anew."""

    scene: Callable[[], Scene]
    opened: Counter[str] = attrs.Factory(Counter)  # by the upstream's name, since it was last started
    ended: Counter[object] = attrs.Factory(Counter)  # by what their clients saw: 1011, reset or fin

    async def live(self, over: trio.Event) -> None:
        while not over.is_set():
            async with self.scene() as scene:
                end = await scene.upgrade("/mortal")
                self.opened[(end.head.get(b"x-server") or b"").decode()] += 1
                self.ended[await self._echo(end, scene.dice, over)] += 1

    async def _echo(self, end: WebSocket, dice: random.Random, over: trio.Event) -> object:
        """How it ended: with the upstream, or closed by the client."""
        try:
            while not over.is_set() and dice.random() < ANOTHER_ROUND:
                await end.send(BINARY, b"alive?")
                while (got := await end.receive()).opcode == PING:
                    pass
                if got.opcode == CLOSE:
                    return got.close_code
                with trio.move_on_after(dice.random() * PAUSE_SECONDS):
                    await over.wait()
            return await close(end, 1000)
        except (ConnectionResetError, trio.BrokenResourceError):
            return "reset"


async def kill_in_turns(servers: list[PeerServer], mortals: Mortals, fired: Counter[str], over: trio.Event) -> None:
    """One after the other, each once all have tunnels again: there is always one to go to, and nobody gets a 503."""
    for server in itertools.cycle(servers):
        await wait_until(lambda: over.is_set() or all(mortals.opened[each.name] for each in servers), "tunnels on all")
        if over.is_set():
            return
        server.kill()
        fired["upstream_killed"] += 1
        await server.restart()
        mortals.opened[server.name] = 0


async def pause_in_turns(servers: list[PeerServer], dice: random.Random, fired: Counter[str], over: trio.Event) -> None:
    """SIGSTOP, a moment later SIGCONT: whoever waits for it waits, and loses nothing."""
    while not over.is_set():
        server = dice.choice(servers)
        server.program.pause()
        with trio.move_on_after(dice.random() * PAUSE_SECONDS):
            await over.wait()
        server.program.resume()
        fired["upstream_paused"] += 1
        with trio.move_on_after(dice.random() * 2 * PAUSE_SECONDS):
            await over.wait()
