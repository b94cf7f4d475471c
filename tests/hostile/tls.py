"""The TLS of a hostile client: real, and broken by some of them at one of its stages, as a seed's dice have it.

What is sent inside is in `mutations`; the generator of `fuzz` for the same spoils the octets.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
from support.tls_octets import ALERT, NO_TLS, Spoiling, record

if TYPE_CHECKING:
    import random

STAGES = ("hello", "shaking", "data")
SHARE_BROKEN = 0.3  # of the clients, a third of them at each stage
SHARE_OF_RECORDS = 0.3  # that are spoilt by who breaks the data
READ_BYTES = 65536


@attrs.define(eq=False)
class Session:
    """One client's TLS. `stage` is where it breaks it, "" for nowhere; `shaken` is set once data can be sent."""

    context: ssl.SSLContext
    dice: random.Random
    stage: str = attrs.field(init=False)
    shaken: bool = attrs.field(default=False, init=False)
    _incoming: ssl.MemoryBIO = attrs.field(factory=ssl.MemoryBIO, init=False)
    _outgoing: ssl.MemoryBIO = attrs.field(factory=ssl.MemoryBIO, init=False)
    _object: ssl.SSLObject = attrs.field(init=False)

    @stage.default
    def _stage(self) -> str:
        dice = self.dice.random()
        return STAGES[int(dice / SHARE_BROKEN * len(STAGES))] if dice < SHARE_BROKEN else ""

    @_object.default
    def _session(self) -> ssl.SSLObject:
        return self.context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def begin(self) -> bytes:
        """The first octets."""
        hello = self._shake()
        if self.stage != "hello":
            return hello
        return self._spoilt(hello) if self.dice.random() < 0.7 else self.dice.choice(NO_TLS)

    def hear(self, data: bytes) -> tuple[bytes, bytes]:
        """What the other side said in these octets, and what there is to send for it."""
        self._incoming.write(data)
        outgoing = b""
        if not self.shaken:
            outgoing = self._shake()
            if self.stage == "shaking" and outgoing:
                outgoing = self._spoilt(outgoing)
        said = b""
        with suppress(ssl.SSLError):
            while self.shaken and (more := self._object.read(READ_BYTES)):
                said += more
        return said, outgoing

    def seal(self, data: bytes) -> bytes:
        """The octets that say it."""
        with suppress(ssl.SSLError):
            self._object.write(data)
        sealed = self._outgoing.read()
        spoil = self.stage == "data" and self.dice.random() < SHARE_OF_RECORDS
        return self._spoilt(sealed) if spoil else sealed

    def leave(self) -> bytes:
        """The last octets; many a client ends without any."""
        if self.dice.random() < 0.5:
            return b""
        with suppress(ssl.SSLError):
            self._object.unwrap()
        return self._outgoing.read()

    def _shake(self) -> bytes:
        with suppress(ssl.SSLError):  # mostly it wants to hear more
            self._object.do_handshake()
            self.shaken = True
        return self._outgoing.read()

    def _spoilt(self, sent: bytes) -> bytes:
        dice = self.dice
        what = dice.choice(("flip", "flip", "drop", "double", "insert", "between", "end", "split"))
        octets = bytes(int(dice.random() * 256) for _ in range(int(dice.random() * 20)))
        if what == "between":
            octets = record(octets, dice.choice((ALERT, 20, 22, 23, 24)))
        sent = Spoiling(what, dice.random(), 1 + int(dice.random() * 50), octets)(sent)
        return Spoiling("relength")(sent) if dice.random() < 0.3 else sent
