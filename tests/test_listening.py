"""Clients as they arrive: counted, limited, trusted or not, and never lost when the listener closes."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from support.http_client import HttpConnection, dial, get_request
from support.serving import make_config, make_context, no_descriptors_left, serving_unix

from trioproxy import metrics as m
from trioproxy import transport
from trioproxy.config import ListenerConfig
from trioproxy.errors import Reason
from trioproxy.listening import MOST_REJECTIONS, Listener
from trioproxy.logs import Log
from trioproxy.sockets import NO_LINGER

REJECTED = ("l0", Reason.OVERLOADED)


@asynccontextmanager
async def listener_running(address="127.0.0.1:0", **how):
    """A listener that accepts, alone: nothing is behind it, so every request is answered 503."""
    log = Log.memory()
    config = make_config(listeners=(address,), **how)
    (sock,) = transport.bind(address, inherited={})
    listener = Listener(make_context(config, log), config.listeners[0], sock)
    async with trio.open_nursery() as connections, trio.open_nursery() as listening:
        listening.start_soon(listener.serve, connections)
        try:
            yield listener
        finally:
            listening.cancel_scope.cancel()
            connections.cancel_scope.cancel()


def active(listener):
    """What is said of open connections, everywhere it is said."""
    context = listener.context
    gauge = context.metrics.value(m.CONNECTIONS_ACTIVE, ("l0",))
    assert gauge == listener.active == context.connections
    return gauge


async def until_idle(listener):
    """Connections end in their own tasks; each of their steps is over once nothing else is to be done."""
    await listener.context.no_connections()
    await trio.testing.wait_all_tasks_blocked()


async def test_a_listener_tells_the_port_it_got():
    async with listener_running() as listener:
        assert listener.address == transport.format_address(listener.sock)
        assert not listener.address.endswith(":0")


async def test_connections_are_counted_while_they_are_open():
    async with listener_running() as listener:
        async with await dial(listener.address) as one, await dial(listener.address) as two:
            for stream in (one, two):
                await stream.send_all(get_request())
                assert b" 503 " in await stream.receive_some()
            assert active(listener) == 2
        await until_idle(listener)
        assert active(listener) == 0
        assert listener.context.metrics.value(m.CONNECTIONS, ("l0",)) == 2


async def test_a_connection_too_many_reads_503_with_retry_after_and_a_proper_end():
    async with listener_running(max_connections=1) as listener, await dial(listener.address) as first:
        await first.send_all(get_request())
        assert b" 503 " in await first.receive_some()
        async with await dial(listener.address) as stream:
            # What it sends is never read before the answer: closing at once would reset the answer away.
            await stream.send_all(get_request("/", "X-Long: " + "x" * 20000))
            http = HttpConnection(stream)
            answer = await http.answer()
            assert answer.status == 503
            assert answer.get(b"retry-after") == b"1"
            assert answer.get(b"connection") == b"close"
            assert await http.at_end()
        assert active(listener) == 1
        assert listener.context.metrics.value(m.CONNECTIONS_REJECTED, REJECTED) == 1
        assert listener.context.metrics.value(m.CONNECTIONS, ("l0",)) == 2


async def test_there_is_room_again_when_a_connection_ended():
    async with listener_running(max_connections=1) as listener:
        for _ in range(3):
            async with await dial(listener.address) as stream:
                await stream.send_all(get_request())
                assert b" 503 " in await stream.receive_some()
            await until_idle(listener)
        assert listener.context.metrics.value(m.CONNECTIONS_REJECTED, REJECTED) == 0


async def test_rejections_that_wait_for_their_clients_are_limited_too(tmp_path, autojump_clock):
    async with listener_running(f"unix:{tmp_path / 'public'}", max_connections=1) as listener:
        streams = [await dial(listener.address) for _ in range(MOST_REJECTIONS + 3)]
        answers = [await stream.receive_some() for stream in streams[1:]]
        assert sum(b" 503 " in answer for answer in answers) == MOST_REJECTIONS
        assert answers.count(b"") == 2  # closed without a word
        assert listener.context.metrics.value(m.CONNECTIONS_REJECTED, REJECTED) == MOST_REJECTIONS + 2
        # None of them closes; the proxy does, and has room for rejections again.
        await trio.sleep(10)
        streams.append(await dial(listener.address))
        assert b" 503 " in await streams[-1].receive_some()
        for stream in streams:
            await stream.aclose()


async def test_every_client_in_the_queue_is_served_when_the_listener_closes(tmp_path, autojump_clock):
    log = Log.memory()
    async with serving_unix(tmp_path, log=log) as proxy:
        await trio.testing.wait_all_tasks_blocked()
        clients = [HttpConnection(await dial(proxy.listeners[0].address)) for _ in range(50)]
        for http in clients:
            await http.send(get_request())
        proxy._listening.cancel()
        for http in clients:
            assert (await http.answer()).body == b"fine"
            await http.stream.aclose()
        assert not (tmp_path / "public").exists()


async def test_accept_errors_are_logged_once_a_second_and_pass(tmp_path, autojump_clock):
    async with listener_running(f"unix:{tmp_path / 'public'}") as listener:
        await trio.testing.wait_all_tasks_blocked()
        client = socket.socket(socket.AF_UNIX)
        with no_descriptors_left():
            client.connect(listener.sock.getsockname())
            await trio.sleep(2.95)
        errors = [event for event in listener.context.log.events if event["event"] == "accept_failed"]
        assert [(event["level"], event["listener"]) for event in errors] == [("error", "l0")] * 3
        assert errors[0]["reason"] == "Too many open files"
        assert listener.context.metrics.value(m.ACCEPT_FAILURES, ("l0", "descriptors")) == 30
        async with transport.as_stream(client) as stream:
            await stream.send_all(get_request())
            assert b" 503 " in await stream.receive_some()


@pytest.mark.parametrize(
    ("trusted", "client", "believed"),
    [
        ((), "10.1.2.3", False),
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("192.0.2.0/24", "10.1.2.3"), "10.1.2.3", True),
        (("10.1.2.3/8",), "10.9.9.9", True),  # host bits do not matter
        (("10.0.0.0/8",), "11.0.0.1", False),
        (("10.0.0.0/8",), "::1", False),
        (("fe80::/10",), "fe80::1%eth0", True),
        (("0.0.0.0/0", "::/0"), "unix", False),
        (("unix:",), "unix", True),
    ],
)
async def test_a_client_is_believed_if_its_address_is_in_a_trusted_network(trusted, client, believed):
    config = ListenerConfig(address="127.0.0.1:0", trusted_proxies=trusted)
    with socket.socket() as sock:
        listener = Listener(make_context(make_config()), config, sock)
        assert listener._trusts(client) is believed


async def test_who_is_denied_is_closed_without_a_word_and_counted():
    config = ListenerConfig(address="127.0.0.1:0", name="l0", deny=("127.0.0.0/8",))
    async with listener_running() as listener:
        listener.change(config)
        for _ in range(3):
            async with await dial(listener.address) as stream:
                assert await stream.receive_some() == b""
        assert active(listener) == 0
        assert listener.context.metrics.value(m.CONNECTIONS_REJECTED, ("l0", Reason.FORBIDDEN)) == 3
        listener.change(ListenerConfig(address="127.0.0.1:0", name="l0", deny=("127.0.0.0/8",), allow=("127.0.0.1",)))
        async with await dial(listener.address) as stream:
            await stream.send_all(get_request())
            assert b" 503 " in await stream.receive_some()


async def test_who_is_not_allowed_is_denied_on_a_unix_socket_too(tmp_path):
    address = f"unix:{tmp_path / 'public'}"
    async with listener_running(address) as listener:
        listener.change(ListenerConfig(address=address, name="l0", allow=("0.0.0.0/0",)))
        async with await dial(address) as stream:
            assert await stream.receive_some() == b""
        listener.change(ListenerConfig(address=address, name="l0", allow=("unix:",)))
        async with await dial(address) as stream:
            await stream.send_all(get_request())
            assert b" 503 " in await stream.receive_some()


async def test_one_client_gets_as_many_connections_as_it_may_and_others_theirs():
    async with listener_running() as listener:
        listener.change(ListenerConfig(address="127.0.0.1:0", name="l0", max_connections_per_client=2))
        async with await dial(listener.address) as first, await dial(listener.address) as second:
            for stream in (first, second):
                await stream.send_all(get_request())
                assert b" 503 " in await stream.receive_some()  # there is no upstream
            async with await dial(listener.address) as third:
                answer = await HttpConnection(third).answer()
                assert (answer.status, answer.get(b"retry-after"), answer.get(b"connection")) == (503, b"1", b"close")
            assert listener.context.metrics.value(m.CONNECTIONS_REJECTED, ("l0", Reason.TOO_MANY)) == 1
            assert active(listener) == 2
            stranger = await trio.open_tcp_stream(*listener.sock.getsockname(), local_address="127.0.0.2")
            async with stranger:
                await stranger.send_all(get_request())
                assert b"retry-after" in (await stranger.receive_some()).lower()
                assert active(listener) == 3
        await until_idle(listener)
        async with await dial(listener.address):
            await trio.testing.wait_all_tasks_blocked()
        await until_idle(listener)
        assert not listener.context.per_client._open
        assert listener.context.metrics.value(m.CONNECTIONS_REJECTED, ("l0", Reason.TOO_MANY)) == 1


@pytest.mark.parametrize(("how", "rejected"), [({}, 2), ({"trusted_proxies": ("127.0.0.1",)}, 0)])
async def test_a_trusted_proxy_has_many_clients(how, rejected):
    async with listener_running() as listener:
        listener.change(ListenerConfig(address="127.0.0.1:0", name="l0", max_connections_per_client=1, **how))
        streams = [await dial(listener.address) for _ in range(3)]
        for stream in streams:
            await stream.send_all(get_request())
            assert b" 503 " in await stream.receive_some()
        assert listener.context.metrics.value(m.CONNECTIONS_REJECTED, ("l0", Reason.TOO_MANY)) == rejected
        for stream in streams:
            await stream.aclose()


async def test_who_is_one_too_many_for_all_is_not_counted_for_itself():
    async with listener_running(max_connections=1) as listener:
        listener.change(ListenerConfig(address="127.0.0.1:0", name="l0", max_connections_per_client=5))
        async with await dial(listener.address), await dial(listener.address) as second:
            assert b" 503 " in await second.receive_some()
            assert list(listener.context.per_client._open.values()) == [1]
        await until_idle(listener)
        assert not listener.context.per_client._open


async def test_rejections_are_logged_once_a_second_for_each_reason(tmp_path, autojump_clock):
    address = f"unix:{tmp_path / 'public'}"
    async with listener_running(address) as listener:

        async def knock(times):
            for _ in range(times):
                async with await dial(address) as stream:
                    assert await stream.receive_some() == b""

        listener.change(ListenerConfig(address=address, name="l0", deny=("unix:",)))
        await knock(3)
        await trio.sleep(1)
        await knock(2)
        said = [event for event in listener.context.log.events if event["event"] == "connection_rejected"]
        assert [(one["reason"], one["client"], one["more_since_last"]) for one in said] == [
            ("forbidden", "unix", 0),
            ("forbidden", "unix", 2),
        ]


async def test_an_address_in_other_words_is_the_same_listener_to_other_processes():
    context = make_context(make_config())
    with socket.socket() as sock:
        one, other = (Listener(context, ListenerConfig(address=address), sock) for address in ("[::]:80", "[::0]:80"))
    assert one.entrance.handshakes.take(1.0) == 0
    assert other.entrance.handshakes.take(1.0) == 1


async def test_garbage_is_answered_and_counted_off():
    async with listener_running() as listener, await dial(listener.address) as stream:
        await stream.send_all(b"\x16\x03\x01\x02\x00 a TLS hello\r\n\r\n")
        http = HttpConnection(stream)
        assert (await http.answer()).status == 400
        assert await http.at_end()
        await stream.aclose()
        await until_idle(listener)
        assert active(listener) == 0


async def test_a_client_that_is_gone_before_it_is_accepted_harms_nobody():
    async with listener_running() as listener:
        for _ in range(3):
            with socket.create_connection(listener.sock.getsockname()) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        async with await dial(listener.address) as stream:
            await stream.send_all(get_request())
            assert b" 503 " in await stream.receive_some()
        await until_idle(listener)
        assert active(listener) == 0
        assert listener.context.metrics.value(m.CONNECTIONS, ("l0",)) == 4
