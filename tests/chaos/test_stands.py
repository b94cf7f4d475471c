"""Hops and proxies in front of servers that know nothing of Trio, and clients that do not, either."""

import asyncio
import socket
import threading
import time
from contextlib import contextmanager

import pytest
import trio
from trio_websocket import open_websocket_url
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

from trioproxy.chaos.faults import FAULTS, NETWORK, WEBSOCKET, ConnectionFault
from trioproxy.chaos.stands import chaos_hop, chaos_proxy
from trioproxy.config_file import ConfigError

CONNECTION_FAULTS = [*NETWORK, *WEBSOCKET]


@pytest.fixture(scope="module")
def server():
    """The address of a server that echoes, in threads."""

    def echo(websocket):
        for message in websocket:
            websocket.send(message)

    with serve(echo, "127.0.0.1", 0, close_timeout=0.1) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield "{}:{}".format(*running.socket.getsockname())
        running.shutdown()
        thread.join()


@contextmanager
def client(address):
    with connect(f"ws://{address}", proxy=None, close_timeout=0.1) as websocket:
        yield websocket


def round_trip(websocket):
    start = time.monotonic()
    websocket.send("hello")
    assert websocket.recv(timeout=60) == "hello"
    return time.monotonic() - start


def test_a_real_client_sees_the_fault_while_it_is_on_and_not_after(server):
    with chaos_hop(server) as hop, client(hop.address) as websocket:
        round_trip(websocket)
        assert hop.connections == 1
        with hop.fault(FAULTS["latency"](delay=0.1), FAULTS["slicer"](size=3)):
            assert round_trip(websocket) >= 0.2
        hop.begin(FAULTS["close"](code=1013))
        with pytest.raises(ConnectionClosedError) as caught:
            websocket.recv(timeout=60)
        assert caught.value.rcvd.code == 1013


def test_what_is_refused_is_refused_at_once(server):
    with chaos_hop(server) as hop:
        with hop.fault(FAULTS["refuse"]()), pytest.raises(ConnectionRefusedError):
            socket.create_connection((hop.host, hop.port))
        with hop.fault(FAULTS["refuse-upgrade"](status=503)), pytest.raises(InvalidStatus, match="503"):
            client(hop.address).__enter__()
        with client(hop.address) as websocket:
            round_trip(websocket)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((hop.host, hop.port))


@pytest.mark.parametrize("fault", CONNECTION_FAULTS, ids=lambda fault: fault.name)
def test_every_fault_of_connections_can_be_begun_and_ended(server, fault):
    with chaos_hop(server) as hop, client(hop.address):
        one = fault()
        hop.begin(one)
        hop.end(one)


def test_the_faults_of_connections_are_these():
    assert {fault for fault in FAULTS.values() if issubclass(fault, ConnectionFault)} == set(CONNECTION_FAULTS)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: 3, TypeError, "expected a fault of connections, got 3"),
        (FAULTS["kill"], TypeError, "expected a fault of connections, got Kill"),
        (lambda: FAULTS["latency"](at=3.0), ValueError, "Latency: at is for scenarios"),
        (lambda: FAULTS["latency"](delay=-1), ValueError, "Latency: delay: expected a number of seconds"),
    ],
)
def test_what_a_hop_cannot_do_is_said(server, make, error, words):
    with chaos_hop(server) as hop, pytest.raises(error, match=words):
        hop.begin(make())


def test_a_fault_that_is_not_on_cannot_be_ended(server):
    with chaos_hop(server) as hop, pytest.raises(ValueError, match="latency is not on"):
        hop.end(FAULTS["latency"]())


@pytest.mark.parametrize("target", ["", "x", ":1", "x:", "x:0", "x:65536", "x:y"])
def test_a_server_has_an_address(target):
    with pytest.raises(ValueError, match=f"expected HOST:PORT, got '{target}'"):
        chaos_hop(target)


def test_a_seed_says_what_chance_does(server):
    def who_is_cut(seed):
        with chaos_hop(server, seed=seed) as hop:
            hop.begin(FAULTS["refuse-upgrade"](share=0.5))
            for _ in range(10):
                try:
                    with client(hop.address):
                        yield False
                except InvalidStatus:
                    yield True

    assert list(who_is_cut(1)) == list(who_is_cut(1)) != list(who_is_cut(2))


def test_a_proxy_finds_the_server_whose_way_is_not_broken(server):
    with chaos_proxy(server, server) as proxy:
        proxy.hops[0].begin(FAULTS["refuse-upgrade"](status=500))
        proxy.hops[1].begin(FAULTS["latency"](delay=0.01))
        codes = set()
        for _ in range(4):
            try:
                with client(proxy.address) as websocket:
                    round_trip(websocket)
                    codes.add(101)
            except InvalidStatus as error:
                codes.add(error.response.status_code)
        assert codes == {101, 500}


def test_a_proxy_takes_settings_and_says_what_is_wrong_with_them(server):
    retry = {"pools": {"backend": {"retry_on": ["connect", "5xx"]}}}
    with chaos_proxy(server, server, settings=retry) as proxy:
        proxy.hops[0].begin(FAULTS["refuse-upgrade"](status=500))
        for _ in range(4):
            with client(proxy.address) as websocket:
                round_trip(websocket)
    with (
        pytest.raises(ConfigError, match=r"server.workres: .* \(did you mean workers\?\)"),
        chaos_proxy(server, settings={"server": {"workres": 1}}),
    ):
        pass


def test_under_asyncio(server):
    from websockets.asyncio.client import connect

    async def use():
        async with chaos_hop(server) as hop, connect(f"ws://{hop.address}", proxy=None, close_timeout=0.1) as websocket:
            await websocket.send("hello")
            assert await websocket.recv() == "hello"
            hop.begin(FAULTS["reset"]())
            with pytest.raises(ConnectionClosedError):
                await websocket.recv()

    asyncio.run(use())


async def test_under_trio_with_a_clock_that_jumps(server, autojump_clock):
    """Nothing waits really, as hop and client have the same clock."""
    async with chaos_hop(server) as hop, trio.open_nursery() as nursery:
        stream = await trio.open_tcp_stream(hop.host, hop.port)
        async with stream:
            with hop.fault(FAULTS["latency"](delay=3600.0)):
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                with trio.move_on_after(7000) as patience:
                    await stream.receive_some()
                assert patience.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_under_trio(server):
    async with chaos_proxy(server, server) as proxy, open_websocket_url(f"ws://{proxy.address}") as websocket:
        for hop in proxy.hops:
            hop.begin(FAULTS["slicer"](size=2))
        await websocket.send_message("hello")
        assert await websocket.get_message() == "hello"
