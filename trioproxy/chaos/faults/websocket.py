"""Faults of upstreams that speak WebSocket, brought about by a hop, so that any server can be made to have them.

One small class each; what carries them out is `hop`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import attrs

from trioproxy import config_rules as rules
from trioproxy.chaos.faults.base import ConnectionFault
from trioproxy.chaos.parts import Cut, Kind, Part
from trioproxy.config import CloseCode, Count, setting
from trioproxy.wire.websocket import Opcode, close_frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trioproxy.chaos.faults.base import Link, Way

_MALFORMED: Final[Mapping[str, bytes]] = {
    "reserved-bit": b"\xf1\x01x",
    "reserved-opcode": b"\x83\x01x",
    "masked": b"\x81\x81\0\0\0\0x",  # a server's frames never are
    "continuation-of-nothing": b"\x80\x01x",
    "fragmented-control": b"\x09\x01x",
    "long-control": b"\x89\x7e\x00\x80" + bytes(128),
    "length-not-minimal": b"\x82\x7e\x00\x01x",
    "length-above-63-bits": b"\x82\x7f" + b"\xff" * 8,
}


@attrs.frozen(kw_only=True, eq=False)
class RefuseUpgrade(ConnectionFault):
    """Upgrades are answered with an HTTP status."""

    name = "refuse-upgrade"
    harms = False  # who has a tunnel keeps it

    status: Annotated[int, rules.whole(400, 599)] = setting(500, "The status.")

    def passing(self, way: Way, part: Part) -> Iterable[Part]:
        if not (way.to_client and part.is_upgrade):
            yield part
            return
        answer = b"HTTP/1.1 %d Broken on Purpose\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % self.status
        yield attrs.evolve(part, data=answer, cut=Cut.CLOSE)


@attrs.frozen(kw_only=True, eq=False)
class WrongAccept(ConnectionFault):
    """The Sec-WebSocket-Accept of a 101 is another's."""

    name = "wrong-accept"
    harms = False

    def passing(self, way: Way, part: Part) -> Iterable[Part]:
        if not (way.to_client and part.is_upgrade):
            yield part
            return
        lines = part.data.split(b"\r\n")
        wrong = b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="
        changed = [wrong if line.lower().startswith(b"sec-websocket-accept:") else line for line in lines]
        yield attrs.evolve(part, data=b"\r\n".join(changed))


@attrs.frozen(kw_only=True, eq=False)
class Silent(ConnectionFault):
    """Behind the 101 the upstream says nothing, and hears nothing; what was said is lost."""

    name = "silent"

    def release(self, link: Link) -> None:
        link.reset()

    def passing(self, way: Way, part: Part) -> Iterable[Part]:
        return () if part.kind is Kind.FRAME else (part,)


@attrs.frozen(kw_only=True, eq=False)
class NoPongs(ConnectionFault):
    """Pings are not answered; all else is."""

    name = "no-pongs"

    def passing(self, way: Way, part: Part) -> Iterable[Part]:
        return () if way.to_client and part.kind is Kind.FRAME and part.opcode == Opcode.PONG else (part,)


@attrs.frozen(kw_only=True, eq=False)
class _PutIn(ConnectionFault):
    """Something is put into open tunnels, on their way to the client, once."""

    instant = True

    def strike(self, link: Link) -> None:
        _, to_client = link.ways
        for part in self.parts():
            to_client.put_in(part)

    def parts(self) -> Iterable[Part]:
        """What is put in; each says."""
        return ()


def _frame(data: bytes, cut: Cut | None = None) -> Part:
    return Part(Kind.FRAME, data, data[0] & 15, starts=True, ends=True, cut=cut)


@attrs.frozen(kw_only=True, eq=False)
class Close(_PutIn):
    """The upstream closes open tunnels with a code, and says nothing more."""

    name = "close"

    code: CloseCode = setting(1011, "The code.")

    def strike(self, link: Link) -> None:
        super().strike(link)
        link.ways[1].mute()

    def parts(self) -> Iterable[Part]:
        yield _frame(close_frame(self.code))


@attrs.frozen(kw_only=True, eq=False)
class CutInFrame(_PutIn):
    """Connections are reset in the middle of a frame."""

    name = "cut-in-frame"

    def parts(self) -> Iterable[Part]:
        yield _frame(b"\x82\x7d" + bytes(60), Cut.RESET)


@attrs.frozen(kw_only=True, eq=False)
class Malformed(_PutIn):
    """A frame that breaks a rule of RFC 6455 §5."""

    name = "malformed"

    kind: Annotated[str, rules.choice(*_MALFORMED)] = setting("reserved-bit", f"Which: {', '.join(_MALFORMED)}.")

    def parts(self) -> Iterable[Part]:
        yield _frame(_MALFORMED[self.kind])


@attrs.frozen(kw_only=True, eq=False)
class Oversized(_PutIn):
    """One message of that size."""

    name = "oversized"
    harms = False

    size: Annotated[int, rules.size(126)] = setting(16 * 1024**2, "Bytes of payload.")

    def parts(self) -> Iterable[Part]:
        yield _frame(b"\x82\x7f" + self.size.to_bytes(8, "big") + bytes(self.size))


@attrs.frozen(kw_only=True, eq=False)
class Flood(_PutIn):
    """So many messages at once into every tunnel."""

    name = "flood"
    harms = False

    messages: Count = setting(10_000, "How many.")
    size: Annotated[int, rules.whole(1, 125)] = setting(10, "Bytes of payload of each.")

    def parts(self) -> Iterable[Part]:
        yield _frame((bytes((0x82, self.size)) + bytes(self.size)) * self.messages)
