"""Taking over the listening sockets of a running trioproxy, and handing ours to the next one, over a Unix socket.

What is done with the sockets is `server`'s business, when a process is ready and that the old one drains `lifecycle`'s.

The one that is there listens, the new one connects. Each message is a packet of JSON; sockets come along (SCM_RIGHTS):

    new  hello     protocol, version
    old  hello     protocol, version, pid
    old  sockets   address; the sockets that listen there: one for each address of a name, for each worker
    old  end       and the socket that this handover came in by
    new  ready     taken: the addresses it accepts on from now on
    old  released  it does no more; it drains

Up to `ready` nothing has changed for the old one: it goes on if the new one fails. A queue of clients belongs to the
socket, which both have: whoever accepts on it, nobody in it is lost. A second new process waits in the handover's own
queue, which is handed over likewise, for its turn.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio

from trioproxy import rights, transport
from trioproxy._version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence

    from trioproxy.logs import Log

    Offer = Callable[[], Mapping[str, Sequence[socket.socket]]]

PROTOCOL: Final = 1
HELLO_SECONDS: Final = 5.0  # that a new process may take to say who it is
ANSWER_SECONDS: Final = 30.0  # that the old one may take to answer: another new one may be before us
ACCEPT_PAUSE: Final = 1.0  # seconds
RELEASE_SECONDS: Final = 10.0  # that the old one may take to let go; it is not waited for any longer
_PACKET_BYTES: Final = 128 * 1024
_NO_MESSAGE: Final = "the other process sends what is no message"


class HandoverError(Exception):
    """The other side is gone, says no, or does not keep to the protocol."""


class GoneError(HandoverError):
    """The other side is gone."""


@attrs.define(eq=False)
class Line:
    """One end of a connection between an old and a new process, which it owns."""

    _sock: trio.socket.SocketType

    async def send(self, kind: str, sockets: Sequence[socket.socket] = (), **fields: Any) -> None:
        """One message; `sockets` stay the caller's."""
        packet = json.dumps({"kind": kind, **fields}).encode()
        try:
            await self._sock.sendmsg([packet], rights.granted([sock.fileno() for sock in sockets]))
        except OSError as error:
            raise GoneError(f"the other process is gone: {error.strerror}") from error

    async def receive(self, *kinds: str) -> tuple[dict[str, Any], list[socket.socket]]:
        """The next message, which must be of one of these kinds, and its sockets, now the caller's."""
        try:
            packet, ancillary, _, _ = await self._sock.recvmsg(_PACKET_BYTES, rights.SPACE, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise GoneError(f"the other process is gone: {error.strerror}") from error
        sockets = _sockets(rights.received(ancillary))
        try:
            if not packet:
                raise GoneError("the other process is gone")
            try:
                message = json.loads(packet)
                kind = message["kind"]
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise HandoverError(_NO_MESSAGE) from error
            if kind == "refused":
                raise HandoverError(str(message.get("reason")))
            if kind not in kinds:
                raise HandoverError(f"the other process says {kind!r} where {' or '.join(kinds)} is due")
        except HandoverError:
            for sock in sockets:
                sock.close()
            raise
        return message, sockets

    async def connect(self, path: str) -> None:
        """Raises OSError."""
        await self._sock.connect(path)

    def peer(self) -> tuple[int, int]:
        """Process id and user id at the other end when it connected, or listened first (SO_PEERCRED, unix(7))."""
        credentials = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, uid, _ = struct.unpack("3i", credentials)
        return pid, uid

    def close(self) -> None:
        """Close this end."""
        self._sock.close()


def _sockets(fds: Iterable[int]) -> list[socket.socket]:
    found: list[socket.socket] = []
    for fd in fds:
        try:
            found.append(socket.socket(fileno=fd))
        except OSError:  # it is none
            os.close(fd)
    return found


@attrs.define(eq=False)
class Predecessor:
    """The process before this one, which goes on until it hears that we are ready."""

    line: Line
    sockets: dict[str, list[socket.socket]] = attrs.field(factory=dict)  # by address, as `canonical` writes it
    door: socket.socket | None = None  # what it listens on for handovers

    async def ask(self, path: str, log: Log) -> None:
        """Have it send its sockets. Raises HandoverError; OSError where nobody is there."""
        await self.line.connect(path)
        pid, uid = self.line.peer()
        if uid != os.geteuid():
            raise HandoverError(f"process {pid} is another user's")
        await self.line.send("hello", protocol=PROTOCOL, version=__version__)
        hello, _ = await self.line.receive("hello")
        if hello.get("protocol") != PROTOCOL:
            raise HandoverError(f"trioproxy {hello.get('version')} hands over in another way: stop it first")
        while True:
            message, sockets = await self.line.receive("sockets", "end")
            if not sockets:  # the kernel drops what there are no descriptors for
                raise HandoverError("its sockets did not come along: too few open files are allowed here")
            if message["kind"] == "end":
                self.door = sockets[0]
                break
            self.sockets.setdefault(str(message.get("address")), []).extend(sockets)
        # Not `pid`: the kernel names who opened the door, which may have been one before it.
        log.info("taking_over", pid=hello.get("pid"), version=hello.get("version"), addresses=sorted(self.sockets))

    async def relieve(self, taken: Collection[str], log: Log) -> None:
        """We accept: it may go. Closes what we have no use for, so that it alone takes what waits there."""
        for address in self.sockets.keys() - set(taken):
            for sock in self.sockets.pop(address):
                sock.close()
        try:
            with trio.fail_after(RELEASE_SECONDS):
                await self.line.send("ready", taken=sorted(taken))
                await self.line.receive("released")
        except (HandoverError, trio.TooSlowError) as error:
            log.warning("handover_failed", reason=f"the old process did not let go: {_said(error)}")
        else:
            log.info("took_over", addresses=sorted(self.sockets))
        finally:
            self.line.close()

    def close(self) -> None:
        """Leave everything to it."""
        self.line.close()
        for sock in [each for sockets in self.sockets.values() for each in sockets]:
            sock.close()


@attrs.define(eq=False)
class Successor:
    """A process that accepts on the addresses of `taken`, and waits for us to let go of them."""

    line: Line
    taken: frozenset[str]
    pid: int

    async def go(self) -> None:
        """We have let go."""
        try:
            with trio.move_on_after(RELEASE_SECONDS):
                await self.line.send("released")
        except HandoverError:
            pass  # it has all it needs
        finally:
            self.line.close()


@attrs.define(eq=False)
class Handover:
    """This process's place in the row: perhaps one before it, perhaps one that comes."""

    log: Log
    door: socket.socket | None = None  # where the next one comes in; None for a process that hands nothing over
    predecessor: Predecessor | None = None

    @property
    def sockets(self) -> dict[str, list[socket.socket]]:
        """What was handed to this process, by address; the caller's."""
        return self.predecessor.sockets if self.predecessor is not None else {}

    async def relieve(self, taken: Collection[str]) -> None:
        """Tell the process before that this one accepts on the addresses of `taken`; returns when it has let go."""
        if self.predecessor is not None:
            await self.predecessor.relieve(taken, self.log)

    async def successor(self, offer: Offer) -> Successor:
        """Offer the sockets to whoever comes, one after the other, until one of them is ready."""
        if self.door is None:
            await trio.sleep_forever()
            raise AssertionError
        door = trio.socket.from_stdlib_socket(self.door)
        while True:
            try:
                sock, _ = await door.accept()
            except OSError as error:  # out of descriptors, most likely
                self.log.warning("handover_failed", reason=error.strerror or str(error))
                await trio.sleep(ACCEPT_PAUSE)
                continue
            line = Line(sock)
            try:
                return await self._offer(line, offer, self.door)
            except HandoverError as error:
                self.log.warning("handover_failed", pid=line.peer()[0], reason=str(error))
                line.close()
            except BaseException:
                line.close()
                raise

    async def _offer(self, line: Line, offer: Offer, door: socket.socket) -> Successor:
        pid, uid = line.peer()
        if uid != os.geteuid():
            raise HandoverError("it is another user's process")
        with trio.move_on_after(HELLO_SECONDS) as patience:
            hello, _ = await line.receive("hello")
        if patience.cancelled_caught:
            raise HandoverError("it does not say who it is")
        if hello.get("protocol") != PROTOCOL:
            reason = f"trioproxy {__version__} hands over in another way: stop it first"
            await line.send("refused", reason=reason)
            raise HandoverError(f"it is trioproxy {hello.get('version')}, which takes over in another way")
        self.log.info("handover", pid=pid, version=hello.get("version"))
        await line.send("hello", protocol=PROTOCOL, version=__version__, pid=os.getpid())
        for address, sockets in offer().items():
            for start in range(0, len(sockets), rights.MOST_FDS):
                await line.send("sockets", sockets[start : start + rights.MOST_FDS], address=address)
        await line.send("end", [door])
        # Its start takes as long as its first look at the upstreams; its end, whatever the cause, ends the wait.
        ready, _ = await line.receive("ready")
        if not isinstance(taken := ready.get("taken"), list):
            raise HandoverError(_NO_MESSAGE)
        return Successor(line, frozenset(map(str, taken)), pid)


@asynccontextmanager
async def open_handover(path: str, log: Log) -> AsyncIterator[Handover]:
    """Take over from whoever listens at `path`, or be the first; with "" neither, and nobody takes over from us.

    Raises ListenError where somebody is there who does not hand over, or `path` cannot be listened on.
    """
    if not path:
        yield Handover(log)
        return
    predecessor = await _predecessor(path, log)
    door = predecessor.door if predecessor is not None else None
    if door is None:
        door = transport.bind_door(path)
    try:
        yield Handover(log, door, predecessor)
    finally:
        if predecessor is not None:
            predecessor.close()
        transport.close_listener(door, f"unix:{path}")


async def _predecessor(path: str, log: Log) -> Predecessor | None:
    """Whoever is there, with its sockets; None if nobody is."""
    while True:
        predecessor = Predecessor(Line(trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)))
        try:
            with trio.fail_after(ANSWER_SECONDS):
                await predecessor.ask(path, log)
        except BaseException as error:
            predecessor.close()
            if isinstance(error, GoneError):
                continue  # it ended in the middle: by now another one is there, or nobody
            if isinstance(error, FileNotFoundError | ConnectionRefusedError):
                return None
            if isinstance(error, HandoverError | OSError | trio.TooSlowError):
                raise transport.ListenError(f"handover at {path}: {_said(error)}") from error
            raise
        return predecessor


def _said(error: Exception) -> str:
    if isinstance(error, trio.TooSlowError):
        return "no answer in time"
    return (isinstance(error, OSError) and error.strerror) or str(error)
