"""Sockets: bind, adopt, dial; what the system says of them, translated.

Accepting is `accepting`'s work, reading, writing and closing what is connected `streaming`'s. Resolving names is
`resolver`'s: `dial` takes addresses that are resolved already.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import socket
import stat
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import trio

from trioproxy.accepting import BACKLOG, SHORTAGES
from trioproxy.config_syntax import canonical, has_free_port
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.sockets import Socket
from trioproxy.tls.layer import TlsError
from trioproxy.tls.stream import TlsStream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from trioproxy.tls.identity import Identity
    from trioproxy.tls.stream import OverSocket

_STREAM: Final = socket.SOCK_STREAM
_PASSIVE: Final = socket.AI_PASSIVE
NOTSENT_BYTES: Final = 16 * 1024  # as Trio has it
# A listener's file, as nginx: access is governed by the folder's permissions.
_FOR_ALL: Final = 0o666
_FOR_US: Final = 0o600


class ListenError(Exception):
    """A listener that cannot be bound; the message says which, where and why, in one line."""


@attrs.frozen
class Address:
    """Where a listener listens: `tcp` with host and port, `unix` with a path, `fd` with a socket's name."""

    kind: Literal["tcp", "unix", "fd"]
    host: str = ""
    port: int = 0
    path: str = ""
    name: str = ""


def parse_address(text: str) -> Address:
    """Read `host:port`, `[v6]:port`, `unix:PATH` or `fd:NAME`; raises ValueError for anything else."""
    if text.startswith("unix:"):
        return Address("unix", path=text.removeprefix("unix:"))
    if text.startswith("fd:"):
        return Address("fd", name=text.removeprefix("fd:"))
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 (16 bits)
        raise ValueError(f"expected host:port, got {text!r}")
    return Address("tcp", host=host.removeprefix("[").removesuffix("]"), port=int(port))


def by_address(bound: Iterable[tuple[str, socket.socket]]) -> dict[str, list[socket.socket]]:
    """Listening sockets by address as `canonical` writes it, each once, without those whose port the kernel chose.

    With those nobody can go on: a free port is another one each time.
    """
    found: dict[str, list[socket.socket]] = {}
    for address, sock in bound:
        sockets = found.setdefault(canonical(address), [])
        if sock not in sockets:
            sockets.append(sock)
    return {address: sockets for address, sockets in found.items() if not has_free_port(address)}


def format_address(sock: socket.socket) -> str:
    """The address a socket is bound to, as it would stand in config.toml."""
    return _format_sockaddr(sock.family, sock.getsockname())


def _format_sockaddr(family: int, sockaddr: Any) -> str:
    if family == socket.AF_UNIX:
        return f"unix:{sockaddr or ''}"
    host, port = sockaddr[:2]
    return f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"


def client_name(sockaddr: Any) -> str:
    """The client's IP address as text, without port; `unix` for a Unix socket; IPv4-mapped addresses as IPv4."""
    if not isinstance(sockaddr, tuple):  # a path or a name; asking the socket what it is costs more than accepting it
        return "unix"
    host = str(sockaddr[0])
    return host.removeprefix("::ffff:") if "." in host else host


def bind(text: str, *, inherited: Mapping[str, Sequence[socket.socket]]) -> list[socket.socket]:
    """Listening, non-blocking sockets for one configured address; a name with several addresses gives several.

    `inherited` are sockets this process was given: by name (socket activation), or by the address they listen on, as
    `canonical` writes it (a handover). The caller owns the result. Raises ListenError. Where the host is a name it
    blocks until that is looked up; `bind_later` does not.
    """
    with _explained(text):
        address = parse_address(text)
        host = address.host or None
        found = socket.getaddrinfo(host, address.port, type=_STREAM, flags=_PASSIVE) if address.kind == "tcp" else []
        return _bind(text, address, found, inherited)


async def bind_later(text: str, *, inherited: Mapping[str, Sequence[socket.socket]]) -> list[socket.socket]:
    """As `bind`, without holding up the loop for a name."""
    with _explained(text):
        address = parse_address(text)
        host = address.host or None
        found = []
        if address.kind == "tcp":
            found = await trio.socket.getaddrinfo(host, address.port, type=_STREAM, flags=_PASSIVE)
        return _bind(text, address, found, inherited)


@contextlib.contextmanager
def _explained(text: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ListenError(f"cannot listen on {text}: {error.strerror or error}") from error
    except ValueError as error:  # no address, or no name that could be looked up
        raise ListenError(f"cannot listen on {text}: {error}") from error


def _bind(
    text: str, address: Address, found: Sequence[Any], inherited: Mapping[str, Sequence[socket.socket]]
) -> list[socket.socket]:
    passed = inherited.get(canonical(text)) or (inherited.get(address.name) if address.kind == "fd" else ())
    if passed:
        return _adopt(text, passed)
    match address.kind:
        case "fd":
            have = ", ".join(sorted(inherited)) or "none"
            raise ListenError(f"cannot listen on {text}: no socket of that name was passed (passed: {have})")
        case "unix":
            return [_bind_unix(address.path, socket.SOCK_STREAM, _FOR_ALL)]
        case _:
            return _bind_tcp(found)


def _bind_tcp(found: Sequence[Any]) -> list[socket.socket]:
    bound: list[socket.socket] = []
    failures: list[OSError] = []
    for family, _, _, _, sockaddr in dict.fromkeys(found):
        try:
            bound.append(_listen(family, sockaddr, (socket.SO_REUSEADDR,)))
        except OSError as error:
            failures.append(error)
    # `localhost` is ::1 too where no IPv6 is: that one may be missing, as long as another is there.
    fatal = [error for error in failures if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}]
    if fatal or not bound:
        for sock in bound:
            sock.close()
        raise (fatal or failures)[0]
    return bound


def _listen(family: int, sockaddr: Any, options: Sequence[int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        for option in options:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        _set_options(sock, family)
        if family == socket.AF_INET6:
            # As nginx: [::]:80 is IPv6 alone, so that 0.0.0.0:80 can stand beside it.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(sockaddr)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def bind_door(path: str) -> socket.socket:
    """A listening Unix socket for packets, for processes of this user alone. Raises ListenError."""
    with _explained(f"unix:{path}"):
        return _bind_unix(path, socket.SOCK_SEQPACKET, _FOR_US)


def _bind_unix(path: str, kind: int, mode: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _remove_stale_socket(path)
        sock.bind(path)
        os.chmod(path, mode)  # noqa: PTH101 (a socket, not a file)
        sock.listen(BACKLOG)
    except (OSError, ValueError):
        sock.close()
        raise
    return sock


def _remove_stale_socket(path: str) -> None:
    """Remove a socket file that nobody listens on any more; leave a living one, or what is no socket, for bind."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):  # noqa: PTH116 (the path may be a socket)
            return
        # Not to wait where the living one's queue is full: it is no stale one then.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            if probe.connect_ex(path) == errno.ECONNREFUSED:
                os.unlink(path)  # noqa: PTH108


def _adopt(text: str, passed: Sequence[socket.socket]) -> list[socket.socket]:
    for sock in passed:
        if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ListenError(f"cannot listen on {text}: not a listening stream socket")
        sock.setblocking(False)
        _set_options(sock, sock.family)
    return list(passed)


def more_like(sock: socket.socket, count: int) -> list[socket.socket]:
    """`count` more listening sockets on the address of one of `bind`'s: the kernel spreads new clients over them all.

    That they may stand beside each other is said of the first one only now (SO_REUSEPORT, socket(7)): bound without,
    it was sure to be alone on its port. The caller owns the result. Raises ListenError.
    """
    made: list[socket.socket] = []
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        for _ in range(count):
            made.append(_listen(sock.family, sock.getsockname(), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)))  # noqa: PERF401 - what was made is closed
    except OSError as error:
        for each in made:
            each.close()
        raise ListenError(f"cannot listen on {format_address(sock)}: {error.strerror or error}") from error
    return made


def close_listener(sock: socket.socket, text: str) -> None:
    """Close what `bind` made of `text`. A Unix socket's file goes with it, unless another process listens there still.

    Idempotent.
    """
    address = parse_address(text)
    was_open = sock.fileno() >= 0
    sock.close()
    if was_open and address.kind == "unix":
        with contextlib.suppress(OSError):
            _remove_stale_socket(address.path)


def as_stream(sock: socket.socket) -> Socket:
    """A stream over an accepted socket, which it owns and makes non-blocking."""
    sock.setblocking(False)
    return Socket(sock)


async def dial(
    addresses: Sequence[tuple[int, Any]],
    timeout: float,  # noqa: ASYNC109
    identity: Identity | None = None,
) -> OverSocket:
    """Connect to the first of `addresses` ((family, sockaddr), resolved) that answers, all within `timeout` seconds.

    With an `identity` it has to speak TLS and prove that first. Each address gets its share of the time that is left,
    so a silent first one leaves time for the next. Raises ProxyError with the last failure; `retryable` unless this
    machine itself is short of something.
    """
    failure: ProxyError | None = None
    start = now = trio.current_time()
    for index, (family, sockaddr) in enumerate(addresses):
        share = (timeout - (now - start)) / (len(addresses) - index)
        try:
            connected = Socket(await _connect(family, sockaddr, share))
            if identity is None:
                return connected
            return await _shake_hands(connected, identity, _format_sockaddr(family, sockaddr), now + share, share)
        except ProxyError as error:
            failure = error
        except trio.TooSlowError:
            where = _format_sockaddr(family, sockaddr)
            failure = _connect_error(Reason.TIMEOUT, f"{where}: no answer in {share:.3g} s")
        except OSError as error:
            failure = _translate_connect(error, _format_sockaddr(family, sockaddr))
        now = trio.current_time()
    raise failure or _connect_error(Reason.UNREACHABLE, "the name has no address yet")


async def _shake_hands(
    connected: Socket, identity: Identity, where: str, deadline: float, patience: float
) -> TlsStream:
    """TLS over what is connected; it is closed where this raises. Of `patience` seconds some are over."""
    try:
        with trio.fail_at(deadline):
            return await TlsStream.connect(connected, identity.context, identity.name)
    except trio.TooSlowError:
        connected.close()
        raise _connect_error(Reason.TIMEOUT, f"{where}: no TLS handshake within {patience:.3g} s") from None
    except TlsError as error:
        connected.close()
        raise _connect_error(Reason.TLS, f"{where}: {error}") from error
    except trio.BrokenResourceError as error:
        connected.close()
        raise _connect_error(Reason.TLS, f"{where}: {error.__cause__ or error} inside the TLS handshake") from error
    except BaseException:
        connected.close()
        raise


async def _connect(family: int, sockaddr: Any, patience: float) -> socket.socket:
    # Not trio.socket's connect: it would look the address up again, on every connection.
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # A Unix socket whose queue is full answers EAGAIN and cannot be waited for (connect(2)).
        code = sock.connect_ex(sockaddr)
        if code == errno.EINPROGRESS:
            # On this machine the handshake is over by now, and asking again costs a tenth of a wait.
            code = sock.connect_ex(sockaddr)
        if code == errno.EALREADY:
            with trio.fail_after(max(0.0, patience)):
                await trio.lowlevel.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == errno.EISCONN:
            code = 0
        if not code and family != socket.AF_UNIX and _is_self_connected(sock, sockaddr):
            code = errno.ECONNREFUSED
        if code:
            raise OSError(code, os.strerror(code))
        _set_options(sock, family)
    except BaseException:
        sock.close()
        raise
    return sock


def _set_options(sock: socket.socket, family: int) -> None:
    """What each connection needs (tcp(7)); what a listener accepts inherits it, which is cheaper."""
    if family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # the kernel finds out about peers that are gone
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # small writes are not delayed
    # Room is told of when little is unsent, so that what a slow peer has not read does not pile up in the kernel.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_BYTES)


def _is_self_connected(sock: socket.socket, sockaddr: Any) -> bool:
    """Whether the kernel took the very port that was dialled as ours, where nobody listens on it.

    TCP then connects to itself (RFC 9293 §3.5, simultaneous open), and an upstream on loopback that is down looks up.
    """
    name = sock.getsockname()
    return bool(name[1] == sockaddr[1] and name == sock.getpeername())


_CONNECT_REASONS: Final[Mapping[int, Reason]] = {
    errno.ECONNREFUSED: Reason.REFUSED,
    errno.ENOENT: Reason.REFUSED,  # a Unix socket that is not there
    errno.ECONNRESET: Reason.RESET,
    errno.ETIMEDOUT: Reason.TIMEOUT,
}


def _translate_connect(error: OSError, where: str) -> ProxyError:
    detail = f"{where}: {error.strerror or error}"
    if error.errno in SHORTAGES:
        return ProxyError(Source.PROXY, Phase.CONNECT, Reason.OVERLOADED, 503, detail)
    return _connect_error(_CONNECT_REASONS.get(error.errno or 0, Reason.UNREACHABLE), detail)


def _connect_error(reason: Reason, detail: str) -> ProxyError:
    return ProxyError(Source.UPSTREAM, Phase.CONNECT, reason, 503, detail, retryable=True)


def raise_descriptor_limit() -> int:
    """Raise this process's soft limit of open descriptors to its hard one (setrlimit(2)); return what is in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
