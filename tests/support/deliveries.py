"""The corpus over TCP, a hundred cases at a time: cut into pieces, each sent when the one before has gone as far as it goes.

All connections of a batch move in step, so that one wait until nothing moves serves them all: a delivery costs less than a
millisecond, and no piece can meet another in one read. What must come of it is said in the tests.
"""

from __future__ import annotations

import os
import random
import re
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from support.http_parsing import bytewise, every_cut
from support.stage import End, Stage, stage

from trioproxy.config import HealthConfig, PoolConfig, TimeoutsConfig
from trioproxy.logs import Log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from support.corpus import AnswerCase, Case

T = TypeVar("T")

AT_ONCE = 100  # connections; a listening socket's queue takes as many
CUTS = 3  # of each case in the usual run, besides whole and octet by octet
LONG = 1000  # octets, of which the middle comes in blocks
BLOCK = 97
EVERY_CUT = os.environ.get("TRIOPROXY_CORPUS") == "all"
PATIENT = TimeoutsConfig(head=3600, response=3600, keep_alive=3600, handshake=3600)  # what comes slowly is on purpose

KEEPING = PoolConfig(name="all", health=HealthConfig(probe="none"), keep_alive=3600, keep_alive_connections=2 * AT_ONCE)


_DATE = re.compile(rb"^Date: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT\r\n", re.MULTILINE)


def undated(answers: bytes) -> bytes:
    """Without the one line that depends on when they were given."""
    return _DATE.sub(b"", answers)


@attrs.frozen
class Delivery:
    """One case in pieces, by a client with an address of its own."""

    case: Case | AnswerCase
    pieces: tuple[bytes, ...]
    number: int

    @property
    def source(self) -> str:
        """A loopback address nobody else has."""
        return f"127.{100 + self.number // 62500}.{self.number // 250 % 250}.{1 + self.number % 250}"

    def __str__(self) -> str:
        sizes = [len(piece) for piece in self.pieces]
        return f"{self.case.name} in pieces of {sizes if len(sizes) < 5 else 'one octet'}"


def deliveries(cases: Sequence[Case] | Sequence[AnswerCase]) -> list[Delivery]:
    """Each case whole, octet by octet, and cut in two at some places: where, the case's name says; or at every place."""
    ways = [(case, pieces) for case in cases for pieces in _ways(case)]
    ways.sort(key=lambda way: len(way[1]))  # those of many pieces go together
    return [Delivery(case, pieces, number) for number, (case, pieces) in enumerate(ways)]


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """As many as go at once."""
    left = iter(items)
    while batch := list(islice(left, AT_ONCE)):
        yield batch


def _ways(case: Case | AnswerCase) -> Iterator[tuple[bytes, ...]]:
    raw = case.raw
    yield (raw,)
    if len(raw) > 1:
        yield tuple(_small_pieces(raw))
        cuts = list(every_cut(raw))
        yield from cuts if EVERY_CUT else random.Random(case.name).sample(cuts, min(CUTS, len(cuts)))


def _small_pieces(raw: bytes) -> Iterator[bytes]:
    if len(raw) <= 2 * LONG:
        yield from bytewise(raw)
        return
    yield from bytewise(raw[:LONG])
    for start in range(LONG, len(raw) - LONG, BLOCK):
        yield raw[start : min(start + BLOCK, len(raw) - LONG)]
    yield from bytewise(raw[-LONG:])


async def send_in_step(
    running: Stage, sending: Sequence[tuple[End, Delivery]], play: Callable[[End], None] | None
) -> None:
    """Send the first pieces of all, then the second ones, and so on; nobody sends to who has ended."""
    for turn in range(max((len(delivery.pieces) for _, delivery in sending), default=0)):
        for end, delivery in sending:
            if turn < len(delivery.pieces) and not end.ended and delivery.pieces[turn]:
                end.send(delivery.pieces[turn])
        await running.settle(play)
        for client in running.clients:
            client.look()


@asynccontextmanager
async def proxy_on_stage(**how: Any) -> AsyncIterator[Stage]:
    """A stage whose proxy is patient; at the end nothing is left open, and no bug was met. `how` is as for `stage`."""
    log = Log.memory()
    async with stage(log=log, pool=KEEPING, timeouts=PATIENT, **how) as running:
        yield running
        running.clear(lambda _: True)
        await running.settle()
        context = running.proxy.context
        assert not context.connections and not context.tunnels and not context.waiting
        assert [upstream.active for pool in context.pools.values() for upstream in pool.upstreams] == [0]
    assert not [event for event in log.events if event["event"] == "internal_error"]
