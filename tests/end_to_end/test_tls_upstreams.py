"""TLS to upstreams: what is asked, answered and tunnelled over it, and that nothing goes to who cannot prove who it is.

First upstreams played by the test, octet by octet; then real servers. What a failed handshake is called is shown in
`tests/test_transport.py`, what becomes of kept connections in `tests/test_dialing.py`.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import AsyncExitStack, suppress
from functools import partial

import attrs
import pytest
import trio
from support.certificates import authority
from support.frames import (
    BINARY,
    CLOSE,
    TEXT,
    WebSocket,
    close_payload,
    frame,
    open_websocket,
    upgrade_answer,
    upgrade_request,
)
from support.http_client import connection, get, get_request
from support.nginx import run_nginx_with_tls
from support.peers import run_server
from support.proxy import run_proxy
from support.scripted import answers, listen, proxying
from support.serving import POOL, make_config
from support.settings import settings
from support.tls_middle import by_record, passing, unchanged
from support.upstream import reply
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy.config import HealthConfig, UpstreamTlsConfig
from trioproxy.health import UpstreamState
from trioproxy.logs import Log
from trioproxy.server import serve
from trioproxy.tls.contexts import client_context, server_context
from trioproxy.tls.identity import Identity

BODY = bytes(range(256)) * 64


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls(trusted):
    """What upstreams have, and what they have to prove."""
    return trusted.server("localhost"), Identity("localhost", trusted.client())


# Plain HTTP


async def test_requests_of_all_kinds_go_over_one_connection(tls, autojump_clock):
    upstream = answers(reply(b"fine"))
    async with proxying(upstream, tls=tls) as proxy:
        http = proxy.connect()
        for request in (
            get_request(),
            get_request("/", "Content-Length: 3", method="POST") + b"abc",
            get_request("/x"),
        ):
            await http.send(request)
            assert (await http.answer()).body == b"fine"
        assert [head.start for head in upstream.heads] == [b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"GET /x HTTP/1.1"]
        assert upstream.bodies[1] == b"abc"
        # What the client came by, not what the upstream is reached by.
        assert {head.get(b"X-Forwarded-Proto") for head in upstream.heads} == {b"http"}
        assert upstream.connections == 1


async def test_a_kept_connection_that_ends_on_use_is_a_stale_one(tls, autojump_clock):
    upstream = answers(reply(b"fine"), None, reply(b"again"))
    async with proxying(upstream, tls=tls, pool={"attempts": 1}) as proxy:
        assert (await proxy.ask(get_request())).body == b"fine"
        assert (await proxy.ask(get_request("/", method="DELETE"))).body == b"again"
        assert upstream.connections == 2


async def large_both_ways(http):
    head = await http.head()
    body = await http.body(head)
    await http.send(reply(body))


async def test_large_bodies_go_both_ways(tls, autojump_clock):
    body = BODY * 100
    async with proxying(large_both_ways, tls=tls) as proxy:
        http = proxy.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(http.send, get_request("/", f"Content-Length: {len(body)}", method="POST") + body)
            assert (await http.answer(b"POST")).body == body


def ends(answer, *, properly):
    """An upstream that answers and then ends, as TLS wants it or as an attacker can make it look."""

    async def script(http):
        await http.head()
        await http.send(answer)
        if not properly:
            await http.stream.socket.send_eof()
            await http.stream.receive_some()

    return script


UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n" + BODY
COUNTED = reply(BODY)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"


@pytest.mark.parametrize("answer", [UNTIL_CLOSE, COUNTED, CHUNKED])
async def test_an_answer_that_ends_properly_is_complete(tls, answer, autojump_clock):
    async with proxying(ends(answer, properly=True), tls=tls) as proxy:
        answered = await proxy.ask(get_request())
        assert (answered.status, answered.body) == (200, b"body" if answer == CHUNKED else BODY)
        assert proxy.endings == {"upstream response done": 1, "client head done": 1}


@pytest.mark.parametrize("answer", [COUNTED, CHUNKED])
async def test_an_answer_that_says_its_own_end_needs_no_other(tls, answer, autojump_clock):
    async with proxying(ends(answer, properly=False), tls=tls) as proxy:
        assert (await proxy.ask(get_request())).status == 200


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_an_answer_that_only_its_end_would_end_is_incomplete_where_tls_did_not_end(tls, version):
    """RFC 9112 §9.8: such an end anybody on the way can make."""
    async with proxying(ends(UNTIL_CLOSE, properly=False), tls=tls, tcp=True) as proxy:
        http = proxy.connect()
        await http.send(get_request().replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        head = await http.head()
        with pytest.raises(ConnectionError):
            await (http.chunked() if version == "1.1" else http.rest())
        assert head.start.endswith(b" 200 OK")
        await proxy.hang_up(http)
        assert proxy.endings == {"upstream response closed": 1}


@pytest.mark.parametrize("answer", [COUNTED[:-1], CHUNKED[:-5], b"HTTP/1.1 200 OK\r\nX-Half"])
@pytest.mark.parametrize("properly", [True, False])
async def test_a_part_of_an_answer_is_one_however_tls_ended(tls, answer, properly, autojump_clock):
    async with proxying(ends(answer, properly=properly), tls=tls) as proxy:
        http = proxy.connect()
        await http.send(get_request())
        with pytest.raises(ConnectionError):  # noqa: PT012 - wherever it shows
            answered = await http.answer()
            assert answered.status == 502
            raise ConnectionError
        await proxy.hang_up(http)


# A man in the middle


def records(first, rest):
    """An upstream whose answer comes in records: head and first part, then the others."""

    async def script(http):
        while True:
            await http.head()
            await http.send(first)
            for part in rest:
                await http.send(part)

    return script


PARTS = [bytes([65 + at]) * 100 for at in range(4)]
BY_COUNT = records(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n", PARTS)
BY_CHUNKS = records(
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    [b"64\r\n" + part + b"\r\n" for part in PARTS] + [b"0\r\n\r\n"],
)


async def read_all(http):
    """What a client that is content with any end gets."""
    received = b""
    with suppress(trio.BrokenResourceError):
        while data := await http.stream.receive_some():
            received += data
    return received


@pytest.mark.parametrize("script", [BY_COUNT, BY_CHUNKS])
@pytest.mark.parametrize("what", ["changed", "dropped", "twice"])
async def test_octets_that_are_tampered_with_never_reach_a_client(tls, script, what, autojump_clock):
    """Wherever it happens: what the client gets is nothing, our own answer, or a part of the upstream's that says so."""
    whole = b"".join(PARTS)
    outcomes = set()
    for number in range(12):

        def change(at, record, number=number):
            if at != number:
                return record
            changed = record[:-1] + bytes([record[-1] ^ 1])
            return {"changed": changed, "dropped": b"", "twice": record * 2}[what]

        middle = passing(tls[0], script, upwards=unchanged, downwards=by_record(change))
        async with proxying(middle, tls=tls, timeouts={"response": 5, "connect": 3}) as proxy:
            proxy.peers[0].tls = None
            http = proxy.connect()
            await http.send(get_request("/", "Connection: close"))
            received = await read_all(http)
            head, _, body = received.partition(b"\r\n\r\n")
            status = head.split(b" ")[1] if head else b""
            outcomes.add(status)
            if status != b"200":
                assert status in {b"502", b"503", b"504"}
                continue
            octets = b"".join(part for part in PARTS if part in body)
            assert whole.startswith(octets)
            complete = body == whole or body.endswith(b"0\r\n\r\n")
            assert complete == (octets == whole)
    assert {b"503", b"502"} <= outcomes  # a handshake, an answer's head
    assert b"200" in outcomes  # its body, or a ticket


# Tunnels


def tunnels(*behind, then=None):
    """An upstream that accepts upgrades, sends `behind` in the record of its 101, and echoes until the Close."""

    async def script(http):
        head = await http.head()
        await http.send(upgrade_answer(head) + b"".join(behind))
        socket = WebSocket(http, head, mask=None)
        while then is None:
            message = await socket.receive()
            await socket.send(message.opcode, message.payload)
            if message.opcode == CLOSE:
                return
        await then(http)

    return script


async def upgraded(proxy):
    http = proxy.connect()
    await http.send(upgrade_request("/"))
    head = await http.head()
    assert head.start == b"HTTP/1.1 101 Switching Protocols", head
    return WebSocket(http, head)


async def test_a_tunnel_carries_messages_and_ends_with_both_closes(tls, autojump_clock):
    async with proxying(tunnels(), tls=tls) as proxy:
        tunnel = await upgraded(proxy)
        for size in (0, 1, 125, 126, 70_000, 1_000_000):
            assert len(await tunnel.echo(bytes(size))) == size
        await tunnel.close()
        await proxy.hang_up(tunnel.http)
        assert proxy.endings == {"client close done": 1}


async def test_frames_in_the_record_of_the_101_reach_the_client(tls, autojump_clock):
    hello = frame(TEXT, b"hello") + frame(BINARY, bytes(100_000))  # more than one record, more than one read
    async with proxying(tunnels(hello), tls=tls) as proxy:
        tunnel = await upgraded(proxy)
        assert (await tunnel.receive()).payload == b"hello"
        assert len((await tunnel.receive()).payload) == 100_000
        assert await tunnel.echo(b"and on") == b"and on"
        await tunnel.close()
        await proxy.hang_up(tunnel.http)


@pytest.mark.parametrize("properly", [True, False])
async def test_an_upstream_that_ends_without_a_close_leaves_a_client_that_is_told(tls, properly, autojump_clock):
    async def leave(http):
        if properly:
            await http.stream.send_eof()
        else:
            await http.stream.socket.send_eof()
        await http.stream.receive_some()

    async with proxying(tunnels(then=leave), tls=tls) as proxy:
        tunnel = await upgraded(proxy)
        assert (await tunnel.receive()).close_code == 1011
        await tunnel.send(CLOSE, close_payload(1011))
        await proxy.hang_up(tunnel.http)
        assert proxy.endings == {"upstream tunnel closed": 1}


async def test_an_end_of_one_side_lets_the_other_finish(tls, autojump_clock):
    """RFC 8446 §6.1: close_notify ends one direction alone."""

    async def speak_last(http):
        while await http.stream.receive_some():
            pass
        assert not http.stream.truncated
        await http.send(frame(TEXT, b"last") + frame(CLOSE, close_payload(1000)))

    async with proxying(tunnels(then=speak_last), tls=tls) as proxy:
        tunnel = await upgraded(proxy)
        await tunnel.send(CLOSE, close_payload(1000))
        await tunnel.http.stream.send_eof()
        assert (await tunnel.receive()).payload == b"last"
        assert (await tunnel.receive()).close_code == 1000
        assert await tunnel.http.at_end()
        await proxy.hang_up(tunnel.http)


# Those who cannot prove who they are


POST = get_request("/", "Content-Length: 6", method="POST") + b"secret"


@pytest.mark.rule("retry")
@pytest.mark.parametrize("request_", [get_request("/secret"), POST, upgrade_request("/secret")])
@pytest.mark.parametrize("how", ["expired", "another's", "unknown", "plain"])
async def test_who_cannot_prove_it_gets_not_a_single_octet_of_any_request(
    trusted, tls, tmp_path, request_, how, autojump_clock
):
    """A certificate that expired, and its like. Everything that comes in is recorded below TLS."""
    context = {
        "expired": partial(trusted.server, "localhost", expired=True),
        "another's": partial(trusted.server, "else.test"),
        "unknown": partial(authority(tmp_path).server, "localhost"),
        "plain": lambda: None,
    }[how]()
    read, came = bytearray(), []

    async def steal(http):
        came.append(await http.stream.receive_some())
        await http.send(reply(b"stolen"))

    def record(data):
        read.extend(data)
        return data

    impostor = steal if context is None else passing(context, steal, upwards=record, downwards=unchanged)
    async with proxying(impostor, answers(reply(b"fine")), tls=tls) as proxy:
        proxy.peers[0].tls = None
        assert (await proxy.ask(request_)).body == b"fine"
        assert proxy.counted(m.CONNECT_FAILURES) == {f"backend {proxy.peers[0].address} tls": 1}
        assert proxy.counted(m.UPSTREAM_FAILURES) == {f"backend {proxy.peers[0].address} connect": 1}
        await wait_all_tasks_blocked()
    assert read or how == "plain"
    assert not any(b"secret" in data or b"HTTP" in data for data in [*came, read])
    assert how == "plain" or not came  # whatever was sent, TLS let no request through


async def test_503_and_when_to_come_again_where_no_upstream_can_prove_it(trusted, tls, autojump_clock):
    expired = trusted.server("localhost", expired=True)
    async with proxying(answers(), answers(), tls=(expired, tls[1])) as proxy:
        answered = await proxy.ask(POST)
        assert (answered.status, answered.get(b"retry-after") is not None) == (503, True)
        refused = await proxy.ask(upgrade_request("/"))
        assert refused.status == 503
        assert proxy.endings["upstream connect tls"] == 2
        (handshakes,) = proxy.counted(m.HANDSHAKES)
        assert handshakes.endswith(" unreachable")
        (line, *_) = [event for event in proxy.log if event["event"] == "request"]
        assert "certificate has expired" in line["detail"]


async def test_an_upstream_that_accepts_and_says_nothing_is_followed_by_another(tls, autojump_clock):
    async def mute(http):
        await trio.sleep_forever()

    async with proxying(mute, answers(reply(b"fine")), tls=tls, timeouts={"connect": 3}) as proxy:
        proxy.peers[0].tls = None
        start = trio.current_time()
        assert (await proxy.ask(POST)).body == b"fine"
        assert trio.current_time() - start == pytest.approx(3, abs=0.1)
        assert proxy.counted(m.CONNECT_FAILURES) == {f"backend {proxy.peers[0].address} timeout": 1}


@pytest.mark.parametrize("request_", [get_request(), upgrade_request("/")])
async def test_an_upstream_that_wants_a_certificate_of_ours_is_told_in_its_words(
    trusted, tls, request_, autojump_clock
):
    """With TLS 1.3 it can only say so behind a handshake that looks fine."""
    wanting = trusted.server("localhost", client_ca=trusted.file)
    async with proxying(answers(), tls=(wanting, tls[1])) as proxy:
        assert (await proxy.ask(request_)).status == 502
        (line,) = [event for event in proxy.log if event["event"] == "request"]
        assert line["reason"] == "tls"
        assert "certificate required" in line["detail"]


async def test_a_server_of_tls_1_2_will_do_and_older_ones_will_not(trusted, autojump_clock):
    files = trusted.issue("localhost")
    identity = Identity("localhost", client_context(trusted.file))
    context = server_context(files.certificate, files.key)
    context.maximum_version = context.minimum_version
    async with proxying(answers(reply(b"fine")), tls=(context, identity)) as proxy:
        http = proxy.connect()
        for _ in range(2):
            await http.send(get_request())
            assert (await http.answer()).body == b"fine"
        assert proxy.peers[0].accepted == 1


# Real servers


def digest(data):
    return hashlib.sha256(data).hexdigest()


async def test_real_servers_are_asked_and_tunnelled_to_over_tls(programs, trusted):
    files = trusted.issue("backend.internal", "127.0.0.1")
    large = BODY * 200
    kinds = {"aiohttp": "aiohttp_server.py", "node": "ws_server.js", "websockets": "websockets_server.py"}
    addresses = {}

    async def start(name, kind):
        addresses[name] = (await run_server(programs, kind, name, tls=files)).address

    async with trio.open_nursery() as nursery:
        for name, kind in kinds.items():
            nursery.start_soon(start, name, kind)
        addresses["nginx"] = await run_nginx_with_tls(programs, files, large)
    probes = {"aiohttp": "http", "node": "websocket", "websockets": "tcp", "nginx": "http"}
    config = settings([addresses["nginx"]])
    config["routes"] = [{"path": f"/{name}", "pool": name, "strip_prefix": True} for name in addresses]
    config["pools"] = {
        name: {
            "upstreams": [address],
            # An IP address is not asked for, but checked; a name is both.
            "tls": {"ca": trusted.file, **({"server_name": "backend.internal"} if name != "node" else {})},
            "health": {"probe": probes[name], "interval": 60, "timeout": 20},
        }
        for name, address in addresses.items()
    }
    async with trio.open_nursery() as nursery:
        for workers in (1, 2):
            nursery.start_soon(ask_real_servers, programs, {**config, "server": {"workers": workers}}, large)


async def ask_real_servers(programs, config, large):
    proxy = await run_proxy(programs, config)
    for name in ("aiohttp", "node"):
        assert digest((await get(proxy.address, f"/{name}/bytes?n={len(large)}&chunked=1")).body) == digest(large)
        async with connection(proxy.address) as http, trio.open_nursery() as nursery:
            post = get_request(f"/{name}/hash", f"Content-Length: {len(large)}", method="POST") + large
            nursery.start_soon(http.send, post)
            said = json.loads((await http.answer(b"POST")).body)
        assert (said["length"], said["sha256"]) == (len(large), digest(large))
        fields = {key.lower(): value for key, value in dict(said["fields"]).items()}
        assert fields["x-forwarded-proto"] == "http"
    assert (await get(proxy.address, "/nginx/")).body == b"TLSv1.2 backend.internal ."
    assert (await get(proxy.address, "/nginx/file")).body == large
    for path in ("/aiohttp/ws", "/node/", "/websockets/"):
        tunnel = await open_websocket(proxy.address, path)
        for size in (1, 200_000):
            assert await tunnel.echo(large[:size]) == large[:size]
        await tunnel.send(TEXT, b"!close 4001 enough")
        assert (await tunnel.receive()).close_code == 4001
        await tunnel.http.stream.aclose()
    samples = await proxy.metrics()
    assert samples.by("result", "probes_total")["ok"] == 4
    assert samples.total("connect_failures_total") == 0


async def test_a_certificate_that_expires_costs_no_request_and_takes_its_upstream_down(trusted):
    """Among good ones, while clients ask. Connections are not kept, so each request is a handshake."""
    identity = {"ca": trusted.file, "server_name": "localhost"}
    good = trusted.server("localhost")
    files = trusted.issue("localhost", seconds=2)
    async with AsyncExitStack() as stack:
        addresses = []
        for context in (good, server_context(files.certificate, files.key), good):
            peer = listen("", 0, tcp=True, tls=context)
            stack.callback(peer.close)
            addresses.append(peer.address)
            nursery = await stack.enter_async_context(trio.open_nursery())
            stack.callback(nursery.cancel_scope.cancel)
            nursery.start_soon(peer.serve, answers(reply(b"fine")))
        config = make_config(*addresses)
        pool = attrs.evolve(config.pools[POOL], tls=UpstreamTlsConfig(**identity), keep_alive=0.0)
        config = attrs.evolve(config, pools={POOL: pool})
        log = Log.memory()
        proxy = await stack.enter_async_context(serve(config, log=log))
        expiring = proxy.context.pools[POOL].upstreams[1]

        async def ask_until(condition):
            with trio.fail_after(60):
                while not condition():
                    assert (await get(proxy.listeners[0].address)).status == 200

        await ask_until(lambda: proxy.context.metrics.value(m.CONNECT_FAILURES, (POOL, expiring.address, "tls")) > 2)
        assert proxy.context.metrics.value(m.RETRIES, (POOL, "connect")) > 2
        probed = attrs.evolve(pool, health=HealthConfig(probe="tcp", interval=60, timeout=30, fall=1))
        (await proxy.prepare(attrs.evolve(config, pools={POOL: probed}))).commit()
        await ask_until(lambda: expiring.state is UpstreamState.DOWN)
        assert expiring.last_probe.result == "tls"
        assert "certificate has expired" in expiring.last_probe.detail
        events = [event for event in log.events if event["event"] == "upstream_down"]
        (down,) = [event for event in events if event["upstream"] == expiring.address]
        assert "certificate has expired" in down["reason"]


async def test_a_reload_is_heeded_by_every_worker_and_keeps_tunnels(programs, trusted, tmp_path):
    other = authority(tmp_path / "other")

    async def both(http):
        head = await http.head()
        if head.get(b"upgrade") is None:
            await http.send(reply(b"fine"))
            return
        await http.send(upgrade_answer(head))
        socket = WebSocket(http, head, mask=None)
        while True:
            message = await socket.receive()
            await socket.send(message.opcode, message.payload)

    peer = listen("", 0, tcp=True, tls=trusted.server("127.0.0.1"))

    def believing(ca):
        return settings([peer.address], server={"workers": 2}, pool={"tls": {"ca": ca}})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.serve, both)
        proxy = await run_proxy(programs, believing(trusted.file))
        tunnels = [await open_websocket(proxy.address) for _ in range(6)]
        for ca, status in ((other.file, 503), (trusted.file, 200)):
            await proxy.reload(believing(ca))
            for _ in range(8):
                assert (await get(proxy.address)).status == status
        for tunnel in tunnels:
            assert await tunnel.echo(b"still here") == b"still here"
            await tunnel.http.stream.aclose()
        await proxy.stop()
        nursery.cancel_scope.cancel()
    peer.close()
