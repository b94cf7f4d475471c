"""Faults of the network between the proxy and its upstreams, whatever is spoken over it.

One small class each, after the toxics of toxiproxy; what carries them out is `hop`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import attrs

from trioproxy import config_rules as rules
from trioproxy.chaos.faults.base import ConnectionFault, Opening
from trioproxy.chaos.parts import Kind
from trioproxy.config import Count, Flag, Seconds, SecondsOrNone, setting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioproxy.chaos.faults.base import Link, Way
    from trioproxy.chaos.parts import Part

_PIECES = 1024  # of one part at most: 64 KiB by the byte would be as many timers


@attrs.frozen(kw_only=True, eq=False)
class Latency(ConnectionFault):
    """Everything arrives later, in order."""

    name = "latency"
    harms: ClassVar[bool] = False

    delay: SecondsOrNone = setting(0.1, "Seconds that each part takes, one way.")
    jitter: SecondsOrNone = setting(0.0, "Up to so much more or less, at random.")

    def passing(self, way: Way, part: Part) -> Iterable[Part]:
        yield attrs.evolve(part, lag=max(part.lag + self.delay + way.random.uniform(-self.jitter, self.jitter), 0))


@attrs.frozen(kw_only=True, eq=False)
class Bandwidth(ConnectionFault):
    """Each connection carries so much a second, each way."""

    name = "bandwidth"
    harms: ClassVar[bool] = False

    rate: Annotated[int, rules.size(1)] = setting(64 * 1024, "Bytes a second.")

    def passing(self, way: Way, part: Part) -> Iterable[Part]:
        yield attrs.evolve(part, gap=part.gap + len(part.data) / self.rate)


@attrs.frozen(kw_only=True, eq=False)
class Slicer(ConnectionFault):
    """Everything comes in little pieces."""

    name = "slicer"
    harms: ClassVar[bool] = False

    size: Count = setting(1, "Bytes a piece, unless a part would come in more than a thousand.")
    gap: SecondsOrNone = setting(0.0, "Seconds between two.")

    def passing(self, way: Way, part: Part) -> Iterable[Part]:
        size = max(self.size, -(-len(part.data) // _PIECES))
        for at in range(0, max(len(part.data), 1), size):
            first, last = at == 0, at + size >= len(part.data)
            yield attrs.evolve(
                part,
                data=part.data[at : at + size],
                starts=part.starts and first,
                ends=part.ends and last,
                gap=part.gap if first else self.gap,
                cut=part.cut if last else None,
            )


@attrs.frozen(kw_only=True, eq=False)
class Blackhole(ConnectionFault):
    """Nothing arrives, nothing is said of it. What was sent arrives when it is over, as TCP would send it again."""

    name = "blackhole"

    def passing(self, way: Way, part: Part) -> Iterable[Part]:
        yield attrs.evolve(part, held_by=(*part.held_by, self))


@attrs.frozen(kw_only=True, eq=False)
class Reset(ConnectionFault):
    """What is open is reset, and what is opened while it is on."""

    name = "reset"
    opening = Opening.RESET

    def strike(self, link: Link) -> None:
        link.reset()


@attrs.frozen(kw_only=True, eq=False)
class Refuse(ConnectionFault):
    """Nothing listens any longer; what is open stays."""

    name = "refuse"
    harms: ClassVar[bool] = False
    opening = Opening.REFUSE


@attrs.frozen(kw_only=True, eq=False)
class HalfOpen(ConnectionFault):
    """The upstream's machine vanishes: what is sent is lost, without a FIN. When it is back, it knows no connection."""

    name = "half-open"

    def release(self, link: Link) -> None:
        link.reset()

    def passing(self, way: Way, part: Part) -> Iterable[Part]:
        return ()


@attrs.frozen(kw_only=True, eq=False)
class SlowClose(ConnectionFault):
    """FINs arrive late."""

    name = "slow-close"
    harms: ClassVar[bool] = False

    delay: Seconds = setting(2.0, "Seconds.")

    def passing(self, way: Way, part: Part) -> Iterable[Part]:
        yield attrs.evolve(part, lag=part.lag + self.delay) if part.kind is Kind.END else part


@attrs.frozen(kw_only=True, eq=False)
class HalfClose(ConnectionFault):
    """The upstream's side says FIN, though it goes on reading."""

    name = "half-close"
    instant = True

    def strike(self, link: Link) -> None:
        _, to_client = link.ways
        to_client.finish()


@attrs.frozen(kw_only=True, eq=False)
class Corrupt(ConnectionFault):
    """Bits flip."""

    name = "corrupt"

    chance: Annotated[float, rules.number("a chance from 0 to 1")] = setting(0.1, "That a part of a tunnel is hit.")
    heads: Flag = setting(False, "Heads of HTTP, too.")

    def passing(self, way: Way, part: Part) -> Iterable[Part]:
        concerned = part.data and (self.heads or part.kind is not Kind.HEAD)
        if not concerned or way.random.random() >= self.chance:
            yield part
            return
        data = bytearray(part.data)
        data[way.random.randrange(len(data))] ^= 1 << way.random.randrange(8)
        yield attrs.evolve(part, data=bytes(data))
