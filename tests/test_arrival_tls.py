"""Before the first request on a listener with TLS: the handshake, in whichever pieces, and all that is none."""

from __future__ import annotations

import json
import socket
import ssl
import struct
from contextlib import asynccontextmanager
from functools import partial

import attrs
import pytest
import trio
from support import arriving
from support.certificates import authority
from support.frames import BINARY, CLOSE, WebSocket, close_payload, frame, upgrade_request
from support.http_client import get_request, reset
from support.key_updates import Asker, suited
from support.proxy_headers import LOCAL, line
from support.tls_client import Split, client_context, fail, hello, secured, why
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy.config import DrainConfig, LimitsConfig, ListenerTlsConfig, ServerConfig, TimeoutsConfig
from trioproxy.errors import Reason
from trioproxy.transport import as_stream

CLIENT = "198.51.100.7"


@attrs.frozen
class Trust:
    """An authority, a listener's settings that it has signed, a client's context that trusts it."""

    authority: object
    settings: ListenerTlsConfig
    context: ssl.SSLContext


@pytest.fixture(scope="module")
def trust(tmp_path_factory):
    made = authority(tmp_path_factory.mktemp("ca"))
    files = made.issue("localhost")
    settings = ListenerTlsConfig(certificate=files.certificate, key=files.key)
    return Trust(made, settings, client_context(made.file))


@pytest.fixture
def running(tmp_path, trust):
    return lambda **more: arriving.running(tmp_path, **{"tls": trust.settings, **more})


@pytest.fixture
def clients_must_be_known(trust):
    return attrs.evolve(trust.settings, client_ca=trust.authority.file)


@asynccontextmanager
async def connected(proxy, context, **more):
    http = await secured(await proxy.dial(), context, **more)
    yield http
    await http.stream.transport_stream.aclose()
    await proxy.context.no_connections()


async def heard(http, target="/"):
    await http.send(get_request(target))
    return json.loads((await http.answer()).body)


async def ended(stream):
    """The connection was closed, with or without an alert before."""
    with trio.fail_after(100):
        while await stream.receive_some():
            pass


# What follows from it


async def test_requests_come_through_and_are_said_to_have_come_by_https(running, trust, autojump_clock):
    async with running() as proxy:
        async with connected(proxy, trust.context) as http:
            assert http.stream.selected_alpn_protocol() == "http/1.1"
            assert [(await heard(http, f"/{n}"))["X-Forwarded-Proto"] for n in range(2)] == ["https", "https"]
            await http.send(get_request("/a") + get_request("/b"))
            assert [json.loads((await http.answer()).body)["target"] for _ in range(2)] == ["/a", "/b"]
        assert [said["tls"] for said in proxy.lines("request")] == ["TLSv1.3"] * 4
        assert proxy.endings == {}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_tunnel_goes_over_it_early_frames_and_all(running, trust, autojump_clock, version):
    context = client_context(trust.authority.file, maximum_version=version)
    async with running() as proxy:
        async with connected(proxy, context) as http:
            await http.send(upgrade_request() + frame(BINARY, b"early", mask=b"abcd"))
            head = await http.head()
            assert head.start.split()[1] == b"101"
            socket = WebSocket(http, head, mask=b"abcd")
            assert (await socket.receive()).payload == b"early"
            assert await socket.echo(bytes(100_000)) == bytes(100_000)
            await socket.send(CLOSE, close_payload(1000))
            assert (await socket.receive()).opcode == CLOSE
            assert await http.at_end()
        assert {said["tls"] for said in proxy.log.events if "tls" in said} == {version.name.replace("v1_", "v1.")}


async def test_a_sessions_ticket_spares_the_next_handshake_its_signature(running, trust, autojump_clock):
    async with running() as proxy:
        async with connected(proxy, trust.context) as http:
            await heard(http)  # the ticket comes with the first that is read
            session = http.stream.session
        async with connected(proxy, trust.context, session=session) as http:
            assert http.stream.session_reused
            assert (await heard(http))["target"] == "/"


@pytest.mark.rule("tls-end")
async def test_the_proxy_says_when_it_has_said_all_and_when_it_has_not(running, trust, autojump_clock):
    async with running() as proxy:
        http = await secured(await proxy.dial(), trust.context)
        await http.send(b"nonsense\r\n\r\n")
        assert (await http.answer()).status == 400
        assert await http.at_end()  # close_notify: without it SSLStream raises
        http = await secured(await proxy.dial(), trust.context)
        assert await http.at_end()  # idle
    async with running(upstream=half_an_answer) as proxy:
        http = await secured(await proxy.dial(), trust.context)
        await http.send(get_request())
        assert (await http.head()).get(b"content-length") is None
        proxy.proxy.cut()
        with pytest.raises(ConnectionResetError):
            await http.rest()


async def half_an_answer(http):
    await http.head()
    await http.send(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
    await trio.sleep_forever()


# Whose connection it is


async def test_behind_a_proxy_header_it_is_the_named_clients(running, trust, autojump_clock):
    async with running(proxy_protocol=True, trusted_proxies=("unix:",)) as proxy:
        for together in (False, True):
            stream = await proxy.dial()
            if not together:
                await stream.send_all(line(CLIENT))
            http = await secured(Behind(stream, line(CLIENT)) if together else stream, trust.context)
            said = await heard(http)
            assert (said["X-Real-IP"], said["X-Forwarded-Proto"]) == (CLIENT, "https")


@attrs.define(eq=False)
class Behind(Split):
    """Sends something in front of the first octets, in one piece with them."""

    async def send_all(self, data):
        before, self.wait = self.wait, b""
        await self.stream.send_all(before + data)


async def test_behind_a_proxy_header_failures_are_the_named_clients_too(running, autojump_clock):
    async with running(proxy_protocol=True, trusted_proxies=("unix:",)) as proxy:
        http = await proxy.connect(line(CLIENT) + get_request())
        assert (await http.answer()).status == 400
        (said,) = proxy.lines("arrival_failed")
        assert (said["client"], said["reason"]) == (CLIENT, "tls")


async def test_who_comes_with_a_proxy_header_and_no_hello_has_done_no_wrong(running, autojump_clock):
    # A load balancer's check, or its client that says nothing.
    async with running(proxy_protocol=True, trusted_proxies=("unix:",)) as proxy:
        await proxy.leave(await proxy.connect(line(CLIENT)))
        silent = await proxy.connect(LOCAL)
        assert await silent.at_end()
        assert proxy.endings == {"client done": 1, "proxy idle": 1}
        await proxy.leave(await proxy.connect(line(CLIENT) + b"\x16"))
        assert [said["detail"] for said in proxy.lines("arrival_failed")] == ["ended inside a TLS handshake"]


async def test_who_is_kept_out_gets_no_handshake(running, trust, autojump_clock):
    names = {"proxy_protocol": True, "trusted_proxies": ("unix:",)}
    for how, reason in (({"deny": (CLIENT,)}, Reason.FORBIDDEN), ({"max_connections_per_client": 1}, Reason.TOO_MANY)):
        async with running(**names, **how) as proxy:
            open_one = await proxy.connect(line(CLIENT))
            await wait_all_tasks_blocked()
            http = await proxy.connect(line(CLIENT) + hello(trust.context))
            assert await http.rest() == b""
            assert proxy.context.metrics.value(m.CONNECTIONS_REJECTED, ("public", reason)) == 1 + (
                reason == "forbidden"
            )
            await open_one.stream.aclose()


async def test_handshakes_under_way_count_and_one_too_many_is_closed_without_a_word(running, trust, autojump_clock):
    async with running(tables={"limits": LimitsConfig(max_connections=1)}) as proxy:
        first = await proxy.connect(hello(trust.context)[:50])
        await wait_all_tasks_blocked()
        assert proxy.context.connections == 1
        second = await proxy.connect()
        assert await second.rest() == b""
        assert proxy.context.metrics.value(m.CONNECTIONS_REJECTED, ("public", Reason.OVERLOADED)) == 1
        await proxy.leave(first)
        async with connected(proxy, trust.context) as http:
            assert (await heard(http))["target"] == "/"


@pytest.mark.rule("tls-certificate")
async def test_a_client_has_to_show_a_certificate_that_is_signed_as_it_should_be(
    running, trust, clients_must_be_known, tmp_path, autojump_clock
):
    stranger = authority(tmp_path / "other").issue("client")
    issued, expired = trust.authority.issue("client"), trust.authority.issue("client", expired=True)
    cases = [
        (None, "TLSV13_ALERT_CERTIFICATE_REQUIRED", "peer did not return a certificate"),
        (stranger, "TLSV1_ALERT_UNKNOWN_CA", "certificate not accepted: unable to get local issuer certificate"),
        (expired, "SSLV3_ALERT_CERTIFICATE_EXPIRED", "certificate not accepted: certificate has expired"),
    ]
    async with running(tls=clients_must_be_known) as proxy:
        async with connected(proxy, client_context(trust.authority.file, issued)) as http:
            assert (await heard(http))["target"] == "/"
        for shown, alert, detail in cases:
            await trio.sleep(2)  # for a line in the log each
            http = await secured(await proxy.dial(), client_context(trust.authority.file, shown))
            await http.send(get_request("/never"))  # with TLS 1.3 the client thinks that all is well
            with pytest.raises(ConnectionResetError) as caught:
                await http.rest()
            assert why(caught.value.__cause__) == alert
            assert proxy.lines("arrival_failed")[-1]["detail"] == detail
            await http.stream.transport_stream.aclose()
        assert proxy.endings == {"client tls": 3}
        assert proxy.targets == ["/"]


@pytest.mark.rule("tls-certificate")
@pytest.mark.parametrize("shown", ["nothing", "expired"])
async def test_with_tls_1_2_the_handshake_itself_fails(running, trust, clients_must_be_known, autojump_clock, shown):
    expired = trust.authority.issue("client", expired=True) if shown == "expired" else None
    context = client_context(trust.authority.file, expired, maximum_version=ssl.TLSVersion.TLSv1_2)
    async with running(tls=clients_must_be_known) as proxy:
        with pytest.raises(trio.BrokenResourceError):
            await secured(await proxy.dial(), context)
        await proxy.context.no_connections()
        assert proxy.endings == {"client tls": 1}


async def test_a_client_that_does_not_trust_the_certificate_ends_it(running, trust, tmp_path, autojump_clock):
    files = trust.authority.issue("localhost", expired=True)
    settings = ListenerTlsConfig(certificate=files.certificate, key=files.key)
    async with running(tls=settings) as proxy:
        error = await fail(await proxy.dial(), trust.context)
        assert error.verify_message == "certificate has expired"
        await proxy.context.no_connections()
        (said,) = proxy.lines("arrival_failed")
        assert (said["level"], said["reason"]) == ("info", "tls")
        assert "certificate expired" in said["detail"]


# In pieces, or slowly


async def test_a_hello_may_be_split_anywhere(running, trust, autojump_clock):
    async with running() as proxy:
        size = len(hello(trust.context))
        for at in range(1, size + 1):
            http = await secured(Split(await proxy.dial(), wait_all_tasks_blocked, at), trust.context)
            await wait_all_tasks_blocked()
            await http.stream.transport_stream.aclose()
        await proxy.context.no_connections()
        assert proxy.endings == {}


async def test_octet_by_octet_is_well_if_it_takes_no_longer_than_timeouts_head(running, trust, autojump_clock):
    async with running() as proxy:
        stream = Split(await proxy.dial(), partial(trio.sleep, 0.01))
        start = trio.current_time()
        http = await secured(stream, trust.context)
        assert 5 < trio.current_time() - start < 10
        assert (await heard(http))["target"] == "/"
        await http.stream.transport_stream.aclose()


@pytest.mark.rule("tls-handshake", "slow")
async def test_a_handshake_that_does_not_end_in_time_is_cut_however_slowly_it_goes_on(running, trust, autojump_clock):
    async with running(tables={"timeouts": TimeoutsConfig(head=3)}) as proxy:
        start = trio.current_time()
        with pytest.raises(trio.BrokenResourceError):
            await secured(Split(await proxy.dial(), partial(trio.sleep, 0.1)), trust.context)
        assert trio.current_time() - start == pytest.approx(3, abs=0.2)
        assert proxy.endings == {"client timeout": 1}
        (said,) = proxy.lines("arrival_failed")
        assert said["detail"] == "the TLS handshake did not end within 3 s"


async def test_a_proxy_header_and_the_handshake_have_that_time_together(running, trust, autojump_clock):
    async with running(proxy_protocol=True, trusted_proxies=("unix:",)) as proxy:
        stream = await proxy.dial()
        start = trio.current_time()
        for octet in line(CLIENT):
            await stream.send_all(bytes([octet]))
            await trio.sleep(0.2)
        assert trio.current_time() - start > 8
        await ended(stream)
        assert trio.current_time() - start == pytest.approx(10, abs=0.1)
        assert proxy.endings == {"proxy idle": 1}


@pytest.mark.rule("tls-handshake", "silent-clients")
async def test_who_says_nothing_is_let_go_after_timeouts_head_and_has_cost_no_tls(running, autojump_clock):
    async with running() as proxy:
        stream = await proxy.dial()
        start = trio.current_time()
        assert await stream.receive_some() == b""
        assert trio.current_time() - start == pytest.approx(10, abs=0.1)
        assert proxy.endings == {"proxy idle": 1}
        assert proxy.lines("arrival_failed") == []


async def test_a_drain_lets_a_handshake_come_to_its_end_for_a_second_more(running, trust, autojump_clock):
    drain = {"server": ServerConfig(drain=DrainConfig(spread=0, timeout=30))}
    async with running(tables=drain) as proxy:
        stuck = await proxy.connect(hello(trust.context)[:50])
        silent = await proxy.connect()
        await wait_all_tasks_blocked()
        start = trio.current_time()
        await proxy.proxy.drain()
        assert trio.current_time() - start == pytest.approx(1, abs=0.1)
        await ended(stuck.stream)
        await ended(silent.stream)
        assert proxy.endings == {"proxy draining": 2}


async def test_who_comes_to_its_end_in_a_drain_is_served_once(running, trust, autojump_clock):
    async with running() as proxy:
        stream = await proxy.dial()
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proxy.proxy.drain)
            await wait_all_tasks_blocked()
            http = await secured(stream, trust.context)
            await http.send(get_request())
            answer = await http.answer()
            assert answer.get(b"connection") == b"close"
            assert await http.at_end()


async def test_cut_in_a_handshake_it_is_counted_so(running, trust, autojump_clock):
    async with running() as proxy:
        http = await proxy.connect(hello(trust.context)[:50])
        await wait_all_tasks_blocked()
        proxy.proxy.cut()
        await ended(http.stream)
        assert proxy.endings == {"proxy cut": 1}


# What is none


@pytest.mark.rule("tls-handshake")
@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        (b"\x00" * 64, "wrong version number"),
        (b"\xff" * 64, "wrong version number"),
        (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", "length"),
        (b"\x16\x03\x01\x40\x01" + bytes(0x4001), "length too long"),  # RFC 8446 §5.1: 2^14 at most
        (b"\x80\x2e\x01\x00\x02" + bytes(0x2C), ""),  # SSL 2.0
        (b"\x15\x03\x01\x00\x02\x02\x28", ""),
        (b"\x17\x03\x03\x00\x05hello", ""),
        (b"ssh-2.0-x\r\n", "wrong version number"),
    ],
)
async def test_what_is_no_handshake_ends_and_is_never_a_request(running, autojump_clock, sent, detail):
    async with running() as proxy:
        http = await proxy.connect(sent + get_request())
        await ended(http.stream)
        await proxy.context.no_connections()
        assert proxy.endings == {"client tls": 1}
        (said,) = proxy.lines("arrival_failed")
        assert said == {**said, "listener": "public", "client": "unix", "reason": "tls", "level": "info"}
        assert detail in said["detail"]
        assert proxy.targets == []


@pytest.mark.rule("tls-handshake")
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "PRI"])
async def test_plain_http_is_told_so_in_plain_text(running, autojump_clock, method):
    async with running() as proxy:
        http = await proxy.connect(get_request().replace(b"GET", method.encode()))
        assert (await http.answer()).status == 400
        assert await http.at_end()
        assert proxy.endings == {"client tls": 1}
        assert proxy.lines("arrival_failed")[0]["detail"] == "plain HTTP where TLS is due"
        assert proxy.lines("request") == proxy.targets == []


@pytest.mark.rule("tls-handshake")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
@pytest.mark.parametrize(
    ("settings", "ciphers", "detail"),
    [
        ({"minimum_version": ssl.TLSVersion.TLSv1, "maximum_version": ssl.TLSVersion.TLSv1_1}, "", "protocol"),
        ({"maximum_version": ssl.TLSVersion.TLSv1_2}, "AES128-SHA256", "no shared cipher"),  # RSA alone
    ],
)
async def test_old_versions_and_ciphers_nobody_shares_come_to_nothing(
    running, trust, autojump_clock, settings, ciphers, detail
):
    context = client_context(trust.authority.file)
    context.set_ciphers(ciphers or "ALL:@SECLEVEL=0")
    for name, value in settings.items():
        setattr(context, name, value)
    async with running() as proxy:
        with pytest.raises(trio.BrokenResourceError):
            await secured(await proxy.dial(), context)
        await proxy.context.no_connections()
        assert proxy.endings == {"client tls": 1}
        assert detail in proxy.lines("arrival_failed")[0]["detail"]


async def test_who_leaves_inside_a_handshake_has_left_and_who_said_nothing_has_done_no_wrong(
    running, trust, autojump_clock
):
    async with running() as proxy:
        await proxy.leave(await proxy.connect())
        assert proxy.endings == {"client done": 1}
        for sent in (hello(trust.context)[:50], hello(trust.context)):
            await proxy.leave(await proxy.connect(sent))
        assert proxy.endings == {"client done": 1, "client closed": 2}
        assert [said["detail"] for said in proxy.lines("arrival_failed")] == ["ended inside a TLS handshake"]


async def test_a_reset_is_one(running, trust):
    async with running(address="127.0.0.1:0") as proxy:
        http = await proxy.connect(hello(trust.context)[:50])
        while not proxy.context.waiting:
            await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        reset(http.stream)
        await proxy.context.no_connections()
        assert proxy.endings == {"client reset": 1}


async def test_lines_about_those_come_once_a_second(running, autojump_clock):
    async with running() as proxy:
        for _ in range(12):
            await ended((await proxy.connect(b"nothing of TLS")).stream)
            await trio.sleep(0.25)
        assert proxy.endings == {"client tls": 12}
        assert [said["more_since_last"] for said in proxy.lines("arrival_failed")] == [0, 3, 3]


@pytest.mark.rule("tls-records")
@pytest.mark.parametrize(
    "record", [struct.pack("!BHH", 23, 0x0303, 0x4101) + bytes(0x4101), b"\x17\x03\x03\x00\x20" + bytes(32)]
)
async def test_behind_the_handshake_records_that_nobody_made_end_it(running, trust, autojump_clock, record):
    async with running() as proxy:
        http = await secured(await proxy.dial(), trust.context)
        await http.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n")
        await http.stream.transport_stream.send_all(record)
        with pytest.raises(ConnectionResetError):
            await http.rest()
        await http.stream.transport_stream.aclose()
        await proxy.context.no_connections()
        assert proxy.targets == []


@pytest.mark.rule("tls-records")
@pytest.mark.parametrize(("times", "served"), [(100, True), (1000, False)])
async def test_a_client_may_ask_for_new_keys_and_not_for_ever(running, trust, autojump_clock, tmp_path, times, served):
    context = suited(client_context(trust.authority.file), tmp_path)
    async with running() as proxy:
        http = await secured(await proxy.dial(), context)
        assert http.stream.cipher()[0] == "TLS_AES_256_GCM_SHA384"
        flood = Asker.of(tmp_path)
        await http.stream.transport_stream.send_all(flood.ask(times))
        await wait_all_tasks_blocked()
        assert (proxy.context.connections == 1) == served
        if served:
            await http.stream.transport_stream.send_all(flood.seal(get_request()))
            assert (await http.answer()).status == 200


# Reloads


async def test_a_reload_is_for_connections_that_come_behind_it(running, trust):  # it reads in a thread
    async with running() as proxy:
        accepted = await proxy.dial()
        await wait_all_tasks_blocked()
        files = trust.authority.issue("localhost", "renewed.test")
        renewed = ListenerTlsConfig(certificate=files.certificate, key=files.key)
        config = proxy.context.config
        before = await secured(await proxy.dial(), trust.context)
        following = attrs.evolve(config, listeners=(attrs.evolve(config.listeners[0], tls=renewed),))
        (await proxy.proxy.prepare(following)).commit()
        assert (await heard(before))["target"] == "/"
        for stream, count in ((accepted, 1), (await proxy.dial(), 2)):
            http = await secured(stream, trust.context)
            assert len(http.stream.getpeercert()["subjectAltName"]) == count
            await heard(http)
        without = attrs.evolve(config, listeners=(attrs.evolve(config.listeners[0], tls=None),))
        (await proxy.proxy.prepare(without)).commit()
        assert (await (await proxy.connect(get_request())).answer()).status == 200
        assert (await heard(before))["X-Forwarded-Proto"] == "https"


async def test_who_waits_at_a_listener_that_a_reload_takes_away_is_served_with_its_certificate(running, trust):
    async with running() as proxy:
        config = proxy.context.config
        plain = attrs.evolve(config.listeners[0], name="plain", address="127.0.0.2:0", tls=None)
        prepared = await proxy.proxy.prepare(attrs.evolve(config, listeners=(plain,)))
        queued = socket.socket(socket.AF_UNIX)
        queued.connect(proxy.proxy.listeners[0].address.removeprefix("unix:"))
        prepared.commit()
        with queued:
            http = await secured(as_stream(queued), trust.context)
            assert (await heard(http))["X-Forwarded-Proto"] == "https"
