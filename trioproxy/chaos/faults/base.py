"""What a fault is: settings, a time when it is on, and what it does to whom.

Pure. Faults of a connection's bytes stand in `network` and `websocket`, those of processes in `process` and `proxy`;
when each begins and ends is `timeline`'s.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol, Self

import attrs

from trioproxy import config_rules as rules
from trioproxy.config import CountOrNone, SecondsOrNone, setting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from random import Random

    from trioproxy.chaos.parts import Part

Share = Annotated[float, rules.number("a share")]


class Opening(Enum):
    """What becomes of a connection that the proxy wants to open while a fault is on."""

    ACCEPT = auto()
    REFUSE = auto()  # nothing listens
    RESET = auto()  # accepted, then reset


class Way(Protocol):
    """One direction of a connection through a hop, as faults see it."""

    @property
    def to_client(self) -> bool:
        """Whether it leads away from the upstream."""
        ...

    @property
    def random(self) -> Random:
        """Of this way alone, by the seed."""
        ...

    def put_in(self, part: Part) -> None:
        """Send this at the next frame boundary, which may be now; nothing where no tunnel is open."""
        ...

    def mute(self) -> None:
        """Let nothing more of its own pass behind the frame that is on its way."""
        ...

    def finish(self) -> None:
        """FIN behind what it carries; nothing more of its own passes."""
        ...


class Link(Protocol):
    """A connection through a hop, as faults see it."""

    @property
    def ways(self) -> Sequence[Way]:
        """To the upstream, to the client."""
        ...

    def reset(self) -> None:
        """RST to both sides."""
        ...


class Hop(Protocol):
    """The way to one upstream."""

    def begin(self, fault: ConnectionFault) -> None:
        """Let it loose on what is open and on what comes."""
        ...

    def end(self, fault: ConnectionFault) -> None:
        """Stop it."""
        ...

    def harm(self, ports: Collection[int] | None = None) -> None:
        """Note that what is open now may lose messages or end; `ports`: only what the proxy has at these local ones."""
        ...


class Upstream(Protocol):
    """A server of the run that can be done something to."""

    def signal(self, number: int) -> None:
        """Send its process a signal, if it runs."""
        ...

    async def start(self) -> None:
        """Start it anew, once the last one has ended; returns when it listens."""
        ...


class Proxy(Protocol):
    """The proxy under test, as far as it can be commanded; its errors say what it cannot."""

    async def reload(self, changes: Mapping[str, object]) -> None:
        """Put these settings, laid over those it has, in force."""
        ...

    async def drain_upstream(self, number: int) -> None:
        """Take an upstream out politely, at run time."""
        ...

    async def resume_upstream(self, number: int) -> None:
        """Take it in again."""
        ...

    async def inject(self, number: int, verb: str, settings: Mapping[str, object]) -> None:
        """Have it do a chaos verb of its own to an upstream; `settings` are the keys of that verb."""
        ...

    async def stop_injecting(self) -> None:
        """End all of those."""
        ...

    def workers(self) -> Sequence[int]:
        """The process ids of its workers, in the order they were started."""
        ...

    def ports(self, worker: int) -> Collection[int]:
        """The local ports of this process's connections to upstreams."""
        ...

    async def replace(self) -> None:
        """Start a new process, which takes over the listening sockets, and let the old one drain."""
        ...

    def limit_descriptors(self, spare: int | None) -> None:
        """Leave it only so many descriptors more than it has open; None: as many as before."""
        ...


class Stage(Protocol):
    """Everything a fault may lay hands on."""

    @property
    def hops(self) -> Sequence[Hop]:
        """One for each upstream."""
        ...

    @property
    def servers(self) -> Sequence[Upstream]:
        """The upstreams' processes; those of real addresses can be done nothing to, and say so."""
        ...

    @property
    def proxy(self) -> Proxy:
        """The one in front."""
        ...

    @property
    def random(self) -> Random:
        """Of this fault alone, by the seed."""
        ...


@attrs.frozen(kw_only=True, eq=False)
class Fault:
    """The settings that all faults have.

    A fault is on from `at` for `lasts` seconds (0: to its next time, or the end), `times` times, `every` so many
    seconds. It concerns the `upstreams` with these numbers, or as many as `pick` says, by the seed; by default all.
    """

    name: ClassVar[str]
    harms: ClassVar[bool] = True  # tunnels it touches may lose messages or end; else they are only slow
    instant: ClassVar[bool] = False  # it strikes at one moment, and has no end

    at: SecondsOrNone = setting(0.0, "When it begins, in seconds from the beginning of the load.")
    lasts: SecondsOrNone = setting(0.0, "For how long, in seconds; 0 is to its next time, or to the end.")
    every: SecondsOrNone = setting(0.0, "Seconds from one beginning to the next, where it comes several times.")
    times: CountOrNone = setting(1, "How often it comes.")
    upstreams: tuple[CountOrNone, ...] = setting((), "The numbers of the upstreams it concerns, from 0; empty: all.")
    pick: CountOrNone = setting(0, "Choose so many of them, by the seed; 0: no choice.")

    def stretched(self, factor: float) -> Self:
        """The same with every time of the timeline multiplied; how hard it strikes stays."""
        return attrs.evolve(self, at=self.at * factor, lasts=self.lasts * factor, every=self.every * factor)

    async def begin(self, stage: Stage, upstreams: Sequence[int]) -> None:
        """It sets in, for these upstreams; each says how."""

    async def end(self, stage: Stage, upstreams: Sequence[int]) -> None:
        """It is over; nothing to do for what happens in one moment."""


@attrs.frozen(kw_only=True, eq=False)
class ConnectionFault(Fault):
    """One that a hop brings about. What it does not say passes as it is."""

    opening: ClassVar[Opening] = Opening.ACCEPT

    share: Share = setting(1.0, "Of the connections: the part it concerns, chosen by the seed.")

    async def begin(self, stage: Stage, upstreams: Sequence[int]) -> None:
        for number in upstreams:
            stage.hops[number].begin(self)

    async def end(self, stage: Stage, upstreams: Sequence[int]) -> None:
        for number in upstreams:
            stage.hops[number].end(self)

    def strike(self, link: Link) -> None:
        """It sets in on an open connection."""

    def release(self, link: Link) -> None:
        """It is over for an open connection."""

    def passing(self, way: Way, part: Part) -> Iterable[Part]:
        """What becomes of a part that wants to pass while it is on."""
        return (part,)
