"""Sockets as the kernel makes them: binding, adopting, accepting, dialling."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
import struct
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.testing
from support.certificates import authority
from support.serving import descriptors, no_descriptors_left

from trioproxy import transport
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.tls.contexts import client_context, server_context
from trioproxy.tls.identity import Identity
from trioproxy.tls.layer import TlsError
from trioproxy.tls.stream import TlsStream
from trioproxy.transport import (
    Address,
    ListenError,
    bind,
    bind_door,
    client_name,
    close_listener,
    dial,
    format_address,
    more_like,
    parse_address,
    raise_descriptor_limit,
)

V4 = socket.AF_INET


def have_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as sock:
        return sock.connect_ex(("::1", 9)) not in {errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EAFNOSUPPORT}


needs_ipv6 = pytest.mark.skipif(not have_ipv6(), reason="needs IPv6 on loopback")


@contextmanager
def bound(text, inherited=None):
    """The sockets of an address, closed as a listener closes them."""
    socks = bind(text, inherited=inherited or {})
    try:
        yield socks
    finally:
        for sock in socks:
            close_listener(sock, text)


@contextmanager
def listening(backlog=100):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(backlog)
        yield sock


@contextmanager
def silent():
    """An address that answers no connect: a listener whose queue is full, so that the kernel drops what else comes."""
    with listening(0) as sock:
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
            fillers.append(filler)
        yield V4, sock.getsockname()
        for filler in fillers:
            filler.close()


def closed_port() -> tuple[int, tuple[str, int]]:
    with listening() as sock:
        return V4, sock.getsockname()


# Addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("tcp", host="127.0.0.1", port=80)),
        ("[::]:8080", Address("tcp", host="::", port=8080)),
        ("localhost:0", Address("tcp", host="localhost", port=0)),
        ("unix:/run/a:b", Address("unix", path="/run/a:b")),
        ("fd:web", Address("fd", name="web")),
    ],
)
def test_an_address_is_read_by_its_form(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "80", "a", "a:", "a:b", "a:65536", "a:-1", "a:٣"])
def test_what_is_no_address_is_refused_by_name(text):
    with pytest.raises(ValueError, match="expected host:port"):
        parse_address(text)
    with pytest.raises(ListenError, match=f"cannot listen on {text}: expected host:port"):
        bind(text, inherited={})


@pytest.mark.parametrize(
    ("sockaddr", "name"),
    [
        (("10.0.0.1", 5), "10.0.0.1"),
        (("::1", 5, 0, 0), "::1"),
        (("::ffff:10.0.0.1", 5, 0, 0), "10.0.0.1"),
        ("", "unix"),
        ("/run/client", "unix"),
        (b"\0abstract", "unix"),
    ],
)
def test_a_client_is_named_by_its_address_alone(sockaddr, name):
    assert client_name(sockaddr) == name


# Binding


def test_port_0_becomes_a_real_one():
    with bound("127.0.0.1:0") as (sock,):
        host, _, port = format_address(sock).rpartition(":")
        assert host == "127.0.0.1" and int(port) > 0
        socket.create_connection(sock.getsockname()).close()


def test_localhost_listens_on_every_address_it_has():
    with bound("localhost:0") as socks:
        expected = {info[0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
        assert {sock.family for sock in socks} <= expected
        for sock in socks:
            socket.create_connection(sock.getsockname()[:2]).close()


@needs_ipv6
def test_ipv6_and_ipv4_have_the_same_port_each_for_itself():
    with bound("0.0.0.0:0") as (four,):  # first, as others may have any port of IPv4
        port = four.getsockname()[1]
        with bound(f"[::]:{port}") as (six,), socket.create_connection(("127.0.0.1", port)):
            assert format_address(six) == f"[::]:{port}"
            four.accept()[0].close()
            with pytest.raises(BlockingIOError):
                six.accept()


def test_a_port_in_use_is_named_with_the_reason():
    with bound("127.0.0.1:0") as (sock,):
        address = format_address(sock)
        with pytest.raises(ListenError) as caught:
            bind(address, inherited={})
    assert str(caught.value) == f"cannot listen on {address}: Address already in use"


def test_clients_are_spread_over_sockets_that_stand_beside_each_other():
    with bound("127.0.0.1:0") as (first,):
        socks = [first, *more_like(first, 2)]
        assert len({sock.getsockname() for sock in socks}) == 1
        clients = [socket.create_connection(first.getsockname()) for _ in range(60)]
        accepted = []
        for sock in socks:
            with suppress(BlockingIOError):
                while True:
                    accepted.append((sock, sock.accept()[0]))
        assert len(accepted) == 60 and {sock for sock, _ in accepted} == set(socks)
        with pytest.raises(ListenError, match="in use"):  # as for anybody else
            bind(format_address(first), inherited={})
        for sock in [*clients, *(each for _, each in accepted), *socks]:
            sock.close()


def test_what_cannot_stand_beside_another_leaves_nothing_bound(tmp_path):
    before = descriptors()
    with bound("127.0.0.1:0") as (sock,):
        address, own = format_address(sock), descriptors()
        with no_descriptors_left(), pytest.raises(ListenError, match=f"cannot listen on {address}: Too many"):
            more_like(sock, 2)
        assert descriptors() == own
    assert descriptors() == before


def test_an_address_of_another_machine_is_named_with_the_reason():
    with pytest.raises(ListenError, match=r"^cannot listen on 192\.0\.2\.1:0: Cannot assign requested address$"):
        bind("192.0.2.1:0", inherited={})


def test_a_name_nobody_can_look_up_is_a_listen_error():
    with pytest.raises(ListenError, match=r"^cannot listen on a{64}\.test:80: "):
        bind("a" * 64 + ".test:80", inherited={})


@contextmanager
def resolving(*addresses):
    """The system's resolver knows one answer."""
    answer = [(V4, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
        yield


async def test_binding_later_is_the_same_without_holding_up_the_loop(tmp_path):
    with ExitStack() as stack:
        for address in ("localhost:0", ":0", "[::1]:0"):
            at_once, later = bind(address, inherited={}), await transport.bind_later(address, inherited={})
            for sock in (*at_once, *later):
                stack.enter_context(closing(sock))
            assert [sock.family for sock in later] == [sock.family for sock in at_once]
    (unix,) = await transport.bind_later(f"unix:{tmp_path / 'sock'}", inherited={})
    unix.close()
    with pytest.raises(ListenError, match=r"^cannot listen on a{64}\.test:80: "):
        await transport.bind_later("a" * 64 + ".test:80", inherited={})
    with pytest.raises(ListenError, match="no socket of that name"):
        await transport.bind_later("fd:web", inherited={})


def test_a_name_may_have_addresses_that_this_machine_has_not_as_long_as_it_has_one():
    with resolving(("192.0.2.1", 0), ("127.0.0.1", 0)), bound("chat.internal:0") as (sock,):
        assert sock.getsockname()[0] == "127.0.0.1"
    with resolving(("192.0.2.1", 0)), pytest.raises(ListenError, match=r"chat\.internal:0: Cannot assign requested"):
        bind("chat.internal:0", inherited={})


def test_a_name_of_which_one_address_is_taken_leaves_nothing_bound():
    with listening() as taken:
        before = descriptors()
        with (
            resolving(("127.0.0.1", 0), taken.getsockname(), ("192.0.2.1", 0)),
            pytest.raises(ListenError, match=r"^cannot listen on chat\.internal:80: Address already in use$"),
        ):
            bind("chat.internal:80", inherited={})
        assert descriptors() == before


# Unix sockets


def test_a_unix_socket_is_open_to_all_who_reach_its_folder_and_gone_with_its_listener(tmp_path):
    path = tmp_path / "socket"
    with bound(f"unix:{path}") as (sock,):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        assert format_address(sock) == f"unix:{path}"
        close_listener(sock, f"unix:{path}")
        assert not path.exists()
        path.touch()  # somebody else's by now: closing once more leaves it alone
    assert path.exists()


def test_a_unix_sockets_file_stays_while_another_process_listens_there(tmp_path):
    path = tmp_path / "socket"
    with bound(f"unix:{path}") as (sock,):
        other = sock.dup()  # as a process has it that took over
        close_listener(sock, f"unix:{path}")
        assert path.exists()
        close_listener(other, f"unix:{path}")
        assert not path.exists()


def test_a_door_is_for_packets_of_this_user_alone(tmp_path):
    path = tmp_path / "door"
    with bind_door(str(path)) as door:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert door.type == socket.SOCK_SEQPACKET and not door.getblocking()
        with pytest.raises(ListenError, match=r"^cannot listen on unix:.*door: Address already in use$"):
            bind_door(str(path))
    with pytest.raises(ListenError, match="path too long"):
        bind_door(str(tmp_path / ("x" * 200)))


def test_a_socket_that_was_handed_over_is_adopted_by_its_address_however_it_is_spelt():
    with listening() as one, listening() as two:
        assert bind("LocalHost:80", inherited={"localhost:80": [one, two]}) == [one, two]
        assert bind("fd:web", inherited={"fd:web": [one]}) == [one]
        with bound("127.0.0.1:0", inherited={"127.0.0.1:0": []}) as (fresh,):  # given up since
            assert fresh.fileno() not in {one.fileno(), two.fileno(), -1}


def test_a_stale_unix_socket_is_replaced(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(path)
        crashed.listen()
    with bound(f"unix:{path}"), socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_a_living_unix_socket_is_refused_and_stays(tmp_path):
    path = str(tmp_path / "socket")
    with bound(f"unix:{path}") as (living,):
        with pytest.raises(ListenError, match=r"socket: Address already in use$"):
            bind(f"unix:{path}", inherited={})
        living.accept()[0].close()  # the look
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)


def test_a_living_unix_socket_with_a_full_queue_is_refused_at_once(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as living, socket.socket(socket.AF_UNIX) as filler:
        living.bind(path)
        living.listen(0)
        filler.connect(path)
        with pytest.raises(ListenError, match="Address already in use"):
            bind(f"unix:{path}", inherited={})
        assert Path(path).exists()


def test_a_file_in_the_place_of_a_unix_socket_is_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ListenError, match="Address already in use"):
        bind(f"unix:{path}", inherited={})
    assert path.read_text() == "data"


@pytest.mark.parametrize("path", ["missing/socket", "x" * 200])
def test_a_path_where_no_unix_socket_can_be_is_named_and_leaks_nothing(tmp_path, path):
    before = descriptors()
    with pytest.raises(ListenError, match=r"cannot listen on unix:.*: (No such file|AF_UNIX path too long)"):
        bind(f"unix:{tmp_path}/{path}", inherited={})
    assert descriptors() == before


# Sockets handed over


def test_a_handed_over_socket_is_taken_by_its_name():
    with listening() as passed, bound("fd:web", {"web": [passed]}) as socks:
        assert socks == [passed]
        assert not passed.getblocking()


def test_a_name_that_was_not_handed_over_is_told_with_those_that_were():
    told = r"fd:web: no socket of that name was passed \(passed: api, unknown\)"
    with listening() as passed, pytest.raises(ListenError, match=told):
        bind("fd:web", inherited={"unknown": [passed], "api": [passed]})
    with pytest.raises(ListenError, match=r"\(passed: none\)"):
        bind("fd:web", inherited={})


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_handed_over_socket_that_does_not_listen_is_refused(kind):
    with (
        socket.socket(V4, kind) as passed,
        pytest.raises(ListenError, match="fd:web: not a listening stream socket"),
    ):
        bind("fd:web", inherited={"web": [passed]})


def test_the_file_of_a_handed_over_unix_socket_stays(tmp_path):
    path = tmp_path / "systemd's"
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(path))
        passed.listen()
        with bound("fd:web", {"web": [passed]}):
            pass
        assert passed.fileno() < 0 and path.exists()


# Dialling


async def failed_dial(*addresses, seconds=3.0, identity=None) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        await dial(addresses, seconds, identity)
    return caught.value


async def test_addresses_are_tried_in_order():
    with listening() as first, listening() as second:
        async with await dial([(V4, first.getsockname()), (V4, second.getsockname())], 3) as stream:
            assert stream.socket.getpeername() == first.getsockname()
        async with await dial([closed_port(), (V4, second.getsockname())], 3) as stream:
            assert stream.socket.getpeername() == second.getsockname()


async def test_a_silent_address_leaves_time_for_the_next(autojump_clock):
    with silent() as never, listening() as sock:
        start = trio.current_time()
        async with await dial([never, never, (V4, sock.getsockname())], 3) as stream:
            assert stream.socket.getpeername() == sock.getsockname()
        assert trio.current_time() - start == pytest.approx(2)


async def test_all_addresses_together_take_no_longer_than_the_timeout(autojump_clock):
    with silent() as never:
        start = trio.current_time()
        failure = await failed_dial(never, closed_port(), never, seconds=3)
        assert trio.current_time() - start == pytest.approx(3)
    assert failure.reason is Reason.TIMEOUT and failure.retryable and failure.status == 503
    assert f"{never[1][0]}:{never[1][1]}" in failure.detail


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        (None, Reason.REFUSED),
        ((socket.AF_UNIX, "/no/such/socket"), Reason.REFUSED),
        ((V4, ("255.255.255.255", 9)), Reason.UNREACHABLE),
    ],
)
async def test_a_failed_connect_is_the_upstreams_and_may_be_tried_elsewhere(address, reason):
    before = descriptors()
    failure = await failed_dial(address or closed_port())
    assert (failure.source, failure.phase, failure.reason) == (Source.UPSTREAM, Phase.CONNECT, reason)
    assert failure.retryable and failure.status == 503
    assert descriptors() == before


async def test_an_upstream_without_an_address_yet_is_unreachable():
    failure = await failed_dial()
    assert failure.reason is Reason.UNREACHABLE and failure.retryable


async def test_a_full_unix_socket_fails_at_once(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as filler:
        full.bind(path)
        full.listen(0)
        filler.connect(path)
        failure = await failed_dial((socket.AF_UNIX, path), seconds=1000)
    assert failure.reason is Reason.UNREACHABLE and path in failure.detail


async def test_being_short_of_descriptors_is_our_own_fault():
    with listening() as sock, no_descriptors_left():
        failure = await failed_dial((V4, sock.getsockname()))
    assert (failure.source, failure.reason) == (Source.PROXY, Reason.OVERLOADED)
    assert not failure.retryable and failure.status == 503


async def test_a_connection_to_itself_is_none():
    """The kernel may pick the very port that is dialled; bound to it, a socket does the same every time."""
    with socket.socket() as itself, listening() as sock, socket.create_connection(sock.getsockname()) as proper:
        itself.bind(("127.0.0.1", 0))
        itself.connect(itself.getsockname())
        assert transport._is_self_connected(itself, itself.getsockname())
        assert not transport._is_self_connected(proper, sock.getsockname())


async def test_a_dialled_connection_does_not_delay_small_writes_and_is_kept_alive():
    with listening() as sock:
        async with await dial([(V4, sock.getsockname())], 3) as stream:
            assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert not os.get_inheritable(stream.socket.fileno())


async def test_a_cancelled_dial_leaves_no_descriptor(autojump_clock):
    with silent() as never:
        before = descriptors()
        with trio.move_on_after(1) as scope:
            await dial([never], 3)
        assert scope.cancelled_caught
        assert descriptors() == before


# Limits


def test_the_limit_of_descriptors_is_raised_to_the_hard_one():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))
    try:
        assert raise_descriptor_limit() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert raise_descriptor_limit() == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Dialling with TLS


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def identity(trusted):
    return Identity("localhost", trusted.client())


@asynccontextmanager
async def tls_server(context, read=None):
    """A server that shakes hands and then reads; what that came to is put into `read`. Without a context: it only reads."""
    with listening() as sock:
        sock.setblocking(False)
        read = [] if read is None else read

        async def serve():
            while True:
                await trio.lowlevel.wait_readable(sock)
                connection = transport.as_stream(sock.accept()[0])
                nursery.start_soon(talk, connection)

        async def talk(connection):
            async with connection:
                with suppress(TlsError, trio.BrokenResourceError):
                    stream = connection if context is None else await TlsStream.accept(connection, context)
                    while data := await stream.receive_some():
                        read.append(data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield V4, sock.getsockname()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("names", [("localhost",), ("127.0.0.1",), ("*.chat.internal",)])
async def test_an_upstream_has_to_prove_who_it_is(trusted, names):
    name = names[0].replace("*", "a")
    async with (
        tls_server(trusted.server(*names)) as address,
        await dial([address], 3, Identity(name, trusted.client())) as stream,
    ):
        assert isinstance(stream, TlsStream)


async def failed_handshake(address, identity, seconds=3.0) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        await dial([address], seconds, identity)
    failure = caught.value
    assert (failure.source, failure.phase, failure.status) == (Source.UPSTREAM, Phase.CONNECT, 503)
    assert failure.retryable
    assert f"{address[1][0]}:{address[1][1]}" in failure.detail
    return failure


@pytest.mark.rule("retry")
@pytest.mark.parametrize(
    ("names", "expired", "asked", "words"),
    [
        (("localhost",), True, "localhost", "certificate has expired"),
        (("chat.internal",), False, "localhost", "not valid for 'localhost'"),
        (("*.chat.internal",), False, "a.b.chat.internal", "not valid for 'a.b.chat.internal'"),
        (("localhost",), False, "127.0.0.1", "not valid for '127.0.0.1'"),
        (("127.0.0.2",), False, "127.0.0.1", "not valid for '127.0.0.1'"),
    ],
)
async def test_a_certificate_that_expired_or_is_anothers_is_not_accepted(trusted, names, expired, asked, words):
    read = []
    before = descriptors()
    async with tls_server(trusted.server(*names, expired=expired), read) as address:
        failure = await failed_handshake(address, Identity(asked, trusted.client()))
    assert descriptors() == before
    assert failure.reason is Reason.TLS
    assert words in failure.detail
    assert not read


async def test_a_certificate_of_an_unknown_authority_is_not_accepted(trusted, tmp_path, identity):
    async with tls_server(authority(tmp_path / "other").server("localhost")) as address:
        failure = await failed_handshake(address, identity)
    assert failure.reason is Reason.TLS
    assert "certificate not accepted: " in failure.detail


async def test_a_certificate_is_trusted_that_is_itself_in_the_file(trusted):
    files = trusted.issue("localhost")  # signed by an authority that is not there
    identity = Identity("localhost", client_context(files.certificate))
    async with tls_server(server_context(files.certificate, files.key)) as address:
        (await dial([address], 3, identity)).close()


async def test_what_speaks_no_tls_is_no_upstream_with_tls(identity, nursery):
    async def answer(stream):
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    listeners = await nursery.start(trio.serve_tcp, answer, 0)
    failure = await failed_handshake((V4, ("127.0.0.1", listeners[0].socket.getsockname()[1])), identity)
    assert failure.reason is Reason.TLS
    assert "is TLS spoken there?" in failure.detail
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["ends", "resets"])
async def test_what_ends_inside_the_handshake_is_no_upstream_with_tls(identity, nursery, how):
    async def end(stream):
        await stream.receive_some()
        if how == "resets":
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await stream.aclose()

    listeners = await nursery.start(trio.serve_tcp, end, 0)
    failure = await failed_handshake((V4, ("127.0.0.1", listeners[0].socket.getsockname()[1])), identity)
    assert failure.reason is Reason.TLS
    assert "inside the TLS handshake" in failure.detail
    nursery.cancel_scope.cancel()


async def test_a_handshake_gets_the_time_that_connecting_left(identity, autojump_clock):
    with listening() as mute, silent() as never:
        start = trio.current_time()
        failure = await failed_dial(never, (V4, mute.getsockname()), seconds=3, identity=identity)
        assert trio.current_time() - start == pytest.approx(3)
    assert failure.reason is Reason.TIMEOUT
    assert failure.detail.endswith("no TLS handshake within 1.5 s")


async def test_an_address_that_cannot_prove_it_is_followed_by_the_next(trusted, identity, tmp_path):
    async with (
        tls_server(authority(tmp_path / "other").server("localhost")) as impostor,
        tls_server(trusted.server("localhost")) as real,
        await dial([impostor, real], 3, identity) as stream,
    ):
        assert stream.socket.socket.getpeername() == real[1]


async def test_a_dial_cancelled_inside_the_handshake_leaves_no_descriptor(identity, autojump_clock):
    with listening() as mute:
        before = descriptors()
        with trio.move_on_after(1) as scope:
            await dial([(V4, mute.getsockname())], 3, identity)
        assert scope.cancelled_caught
        assert descriptors() == before
