"""Before the first request: whose connection a PROXY header says it is, who believes it, and how it ends without one."""

from __future__ import annotations

import fcntl
import gc
import json
import struct
import termios

import attrs
import pytest
import trio
import trio.lowlevel
from support import arriving
from support.frames import BINARY, CLOSE, WebSocket, close_payload, frame, upgrade_request
from support.http_client import get_request, reset
from support.proxy_headers import LOCAL, UNKNOWN, addresses, binary, from_client, line
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy.config import TimeoutsConfig
from trioproxy.errors import Reason

CLIENT = "198.51.100.7"


def running(folder, **more):
    """One that wants PROXY headers."""
    return arriving.running(folder, **{"proxy_protocol": True, "trusted_proxies": ("unix:",), **more})


def unsent(stream):
    """How many octets the other kernel half has not got yet (tcp(7), SIOCOUTQ)."""
    (count,) = struct.unpack("i", fcntl.ioctl(stream.socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))
    return count


# Whose connection it is


@pytest.mark.parametrize("header", [line(CLIENT), from_client(CLIENT), from_client("2001:db8::7")])
async def test_the_address_in_a_believed_header_is_the_client(tmp_path, autojump_clock, header):
    client = "2001:db8::7" if header[13] == 0x21 else CLIENT
    async with running(tmp_path) as proxy:
        assert await proxy.heard(header + get_request()) == (client, client)
        (said,) = proxy.lines("request")
        assert (said["client"], said["listener"], said["status"]) == (client, "public", 200)
        assert proxy.endings == {}


async def test_what_such_a_client_says_of_others_is_not_believed(tmp_path, autojump_clock):
    forged = get_request("/", "X-Forwarded-For: 192.0.2.66", "X-Real-IP: 192.0.2.66")
    async with running(tmp_path) as proxy:
        assert await proxy.heard(line(CLIENT) + forged) == (CLIENT, CLIENT)


async def test_it_is_if_that_client_is_a_trusted_proxy_itself(tmp_path, autojump_clock):
    said = get_request("/", "X-Forwarded-For: 192.0.2.66")
    async with running(tmp_path, trusted_proxies=("unix:", "198.51.100.0/24")) as proxy:
        assert await proxy.heard(line(CLIENT) + said) == (f"192.0.2.66, {CLIENT}", "192.0.2.66")


async def test_who_is_not_trusted_has_to_send_a_header_and_is_not_believed(tmp_path, autojump_clock):
    forged = get_request("/", "X-Forwarded-For: 192.0.2.66")
    async with running(tmp_path, trusted_proxies=("127.0.0.1",)) as proxy:
        assert await proxy.heard(line(CLIENT) + forged) == ("", "")
        assert [said["client"] for said in proxy.lines("request")] == ["unix"]
        assert await (await proxy.connect(forged)).at_end()
        assert proxy.endings == {"client invalid": 1}


async def test_a_local_connection_is_the_peers_own(tmp_path, autojump_clock):
    said = get_request("/", "X-Forwarded-For: 192.0.2.66")
    async with running(tmp_path) as proxy:
        assert await proxy.heard(LOCAL + said) == ("192.0.2.66", "192.0.2.66")
        assert [said["client"] for said in proxy.lines("request")] == ["unix"]


@pytest.mark.parametrize("header", [UNKNOWN, binary(b"", family=0), binary(b"/a".ljust(216, b"\0"), family=0x31)])
async def test_a_client_that_is_not_named_has_the_peers_address_and_not_its_word(tmp_path, autojump_clock, header):
    forged = get_request("/", "X-Forwarded-For: 192.0.2.66")
    async with running(tmp_path, max_connections_per_client=1) as proxy:
        other = await proxy.connect(header)
        http = await proxy.connect(header + forged)
        assert json.loads((await http.answer()).body)["X-Forwarded-For"] == ""
        await other.stream.aclose()
        await proxy.leave(http)
        assert [said["client"] for said in proxy.lines("request")] == ["unix"]


async def test_a_tunnel_is_the_named_clients_in_log_and_list(tmp_path, autojump_clock):
    async with running(tmp_path) as proxy:
        sent = line(CLIENT) + upgrade_request() + frame(BINARY, b"early", mask=b"abcd")
        http = await proxy.connect(sent)
        head = await http.head()
        assert head.start.split()[1] == b"101"
        socket = WebSocket(http, head, mask=b"abcd")
        assert (await socket.receive()).payload == b"early"
        (opened,) = proxy.context.tunnels.values()
        assert opened.record.client == CLIENT
        await socket.send(CLOSE, close_payload(1000))
        assert (await socket.receive()).opcode == CLOSE
        await proxy.leave(http)
        assert [line["client"] for line in proxy.log.events if line["event"].startswith("tunnel_")] == [CLIENT] * 2


async def test_a_parked_tunnel_holds_nothing_of_its_header(tmp_path, autojump_clock):
    async with running(tmp_path) as proxy:
        http = await proxy.connect(line(CLIENT) + upgrade_request())
        await http.head()
        await wait_all_tasks_blocked()
        (task,) = (task for task in all_tasks() if task.coro.__name__ == "handle_connection")
        files = [frame.f_code.co_filename for frame, _ in task.iter_await_frames()]
        assert sum("trioproxy" in file and "/tests/" not in file for file in files) == 1
        gc.collect()
        left = {type(each).__name__ for each in gc.get_objects()} & {"Arrival", "ProxyHeader", "Client", "Visit"}
        assert left == {"Visit"}  # who counts it off


def all_tasks():
    """Of this run."""
    found = [trio.lowlevel.current_root_task()]
    for task in found:
        found += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return found


async def test_behind_the_header_requests_follow_one_another(tmp_path, autojump_clock):
    async with running(tmp_path) as proxy:
        http = await proxy.connect(line(CLIENT) + get_request("/1") + get_request("/2"))
        assert [json.loads((await http.answer()).body)["target"] for _ in range(2)] == ["/1", "/2"]
        await http.send(get_request("/3"))
        assert json.loads((await http.answer()).body)["X-Forwarded-For"] == CLIENT


# In pieces, or slowly


@pytest.mark.parametrize("header", [line(CLIENT), binary(addresses() + b"\x04\0\x02ab"), LOCAL, UNKNOWN])
async def test_a_header_may_be_split_anywhere_and_take_nothing_of_the_request(tmp_path, autojump_clock, header):
    raw = header + get_request("/whole")
    async with running(tmp_path) as proxy:
        for at in range(1, len(header) + 3):
            http = await proxy.connect(raw[:at])
            await wait_all_tasks_blocked()
            await http.send(raw[at:])
            assert json.loads((await http.answer()).body)["target"] == "/whole"
            await proxy.leave(http)
        assert proxy.endings == {}


async def test_octet_by_octet_is_well_if_it_takes_no_longer_than_timeouts_head(tmp_path, autojump_clock):
    async with running(tmp_path) as proxy:
        http = await proxy.connect()
        start = trio.current_time()
        for octet in line(CLIENT):
            await http.send(bytes([octet]))
            await trio.sleep(0.2)
        assert trio.current_time() - start == pytest.approx(0.2 * len(line(CLIENT)))
        await http.send(get_request())
        assert json.loads((await http.answer()).body)["X-Real-IP"] == CLIENT


@pytest.mark.rule("proxy-header", "slow")
async def test_a_header_that_does_not_end_in_time_is_cut_however_slowly_it_goes_on(tmp_path, autojump_clock):
    async with running(tmp_path, tables={"timeouts": TimeoutsConfig(head=3)}) as proxy:
        http = await proxy.connect()
        start = trio.current_time()
        for octet in line(CLIENT)[:14]:
            await http.send(bytes([octet]))
            await trio.sleep(0.2)
        assert not proxy.endings
        assert await http.at_end()
        assert trio.current_time() - start == pytest.approx(3, abs=0.1)
        assert proxy.endings == {"client timeout": 1}
        (said,) = proxy.lines("arrival_failed")
        assert (said["reason"], said["detail"]) == ("timeout", "the PROXY header did not end within 3 s")


@pytest.mark.rule("proxy-header", "silent-clients")
async def test_who_says_nothing_is_let_go_without_a_word_after_timeouts_head(tmp_path, autojump_clock):
    async with running(tmp_path) as proxy:
        start = trio.current_time()
        http = await proxy.connect()
        assert await http.at_end()
        assert trio.current_time() - start == pytest.approx(10, abs=0.1)
        assert proxy.endings == {"proxy idle": 1}
        assert proxy.lines("arrival_failed") == proxy.lines("request") == []


async def test_a_drain_lets_a_header_come_for_a_second_more(tmp_path, autojump_clock):
    async with running(tmp_path) as proxy:
        waiting = await proxy.connect()
        half = await proxy.connect(line(CLIENT)[:9])
        await wait_all_tasks_blocked()
        start = trio.current_time()
        await proxy.proxy.drain()
        assert trio.current_time() - start == pytest.approx(1, abs=0.1)
        assert await waiting.at_end() and await half.at_end()
        assert proxy.endings == {"proxy draining": 2}


async def test_what_is_accepted_in_a_drain_has_a_second(tmp_path, autojump_clock):
    async with running(tmp_path) as proxy:
        proxy.context.draining = True
        start = trio.current_time()
        assert await (await proxy.connect()).at_end()
        assert trio.current_time() - start == pytest.approx(1, abs=0.1)
        http = await proxy.connect(line(CLIENT) + get_request())
        assert (await http.answer()).get(b"connection") == b"close"


# Without a header, or with none that is one


@pytest.mark.rule("proxy-header")
@pytest.mark.parametrize(
    ("sent", "reason", "detail"),
    [
        (get_request(), "invalid", "no PROXY header"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "invalid", "no PROXY header"),
        (line(CLIENT)[:-2] + b"\n" + get_request(), "invalid", "a PROXY line that does not end in CRLF"),
        (line("203.0.113.300") + get_request(), "invalid", "a PROXY line whose addresses are not both IPv4"),
        (b"PROXY " + b"A" * 200, "too_large", "a PROXY line of more than 107 bytes"),
        (binary(length=11) + get_request(), "invalid", "a PROXY header whose 11 bytes do not hold its addresses"),
        (binary(length=0xFFFF), "too_large", "a PROXY header of 65551 bytes, more than 4096"),
        (binary(length=32) + get_request(), "invalid", "a PROXY header whose TLVs are longer than it is"),
    ],
)
async def test_what_is_no_header_is_closed_without_a_word_and_never_a_request(
    tmp_path, autojump_clock, sent, reason, detail
):
    async with running(tmp_path) as proxy:
        assert await (await proxy.connect(sent)).at_end()
        await proxy.context.no_connections()
        assert proxy.endings == {f"client {reason}": 1}
        (said,) = proxy.lines("arrival_failed")
        assert said == {**said, "listener": "public", "client": "unix", "reason": reason, "detail": detail}
        assert proxy.lines("request") == []


@pytest.mark.rule("proxy-header")
async def test_the_rest_of_a_header_that_says_it_is_shorter_is_no_request(tmp_path, autojump_clock):
    rest = b"\x04\0\x02ab" + get_request("/smuggled")
    async with running(tmp_path) as proxy:
        http = await proxy.connect(binary(addresses() + rest, length=12))
        assert (await http.answer()).status == 400
        assert await http.at_end()


@pytest.mark.rule("proxy-header")
@pytest.mark.parametrize("second", [line("192.0.2.66"), from_client("192.0.2.66"), UNKNOWN])
async def test_a_header_behind_a_header_is_no_request(tmp_path, autojump_clock, second):
    async with running(tmp_path) as proxy:
        http = await proxy.connect(line(CLIENT) + second + get_request())
        assert (await http.answer()).status == 400
        assert await http.at_end()
        assert [said["client"] for said in proxy.lines("request")] == [CLIENT]


async def test_lines_about_those_come_once_a_second(tmp_path, autojump_clock):
    async with running(tmp_path) as proxy:
        for _ in range(12):
            assert await (await proxy.connect(get_request())).at_end()
            await trio.sleep(0.25)
        assert proxy.endings == {"client invalid": 12}
        assert [said["more_since_last"] for said in proxy.lines("arrival_failed")] == [0, 3, 3]


async def test_who_asks_only_whether_somebody_listens_does_no_wrong(tmp_path, autojump_clock):
    async with running(tmp_path) as proxy:
        await proxy.leave(await proxy.connect())
        assert proxy.endings == {"client done": 1}
        assert proxy.lines("arrival_failed") == []
        await proxy.leave(await proxy.connect(line(CLIENT)[:20]))
        assert proxy.endings == {"client done": 1, "client closed": 1}
        assert [said["detail"] for said in proxy.lines("arrival_failed")] == ["ended inside a PROXY header"]


@pytest.mark.parametrize(("sent", "lines"), [(b"", 0), (line(CLIENT)[:20], 1)])
async def test_a_reset_is_one(tmp_path, sent, lines):
    async with running(tmp_path, address="127.0.0.1:0") as proxy:
        http = await proxy.connect(sent)
        while not proxy.context.waiting:
            await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        reset(http.stream)
        await proxy.context.no_connections()
        assert proxy.endings == {"client reset": 1}
        assert len(proxy.lines("arrival_failed")) == lines


async def test_cut_in_its_header_it_is_counted_so(tmp_path, autojump_clock):
    async with running(tmp_path) as proxy:
        http = await proxy.connect(line(CLIENT)[:20])
        await wait_all_tasks_blocked()
        proxy.proxy.cut()
        assert await http.at_end()
        assert proxy.endings == {"proxy cut": 1}


# Who may come


async def test_allow_and_deny_are_about_the_client_that_is_named(tmp_path, autojump_clock):
    async with running(tmp_path, allow=("unix:", "198.51.100.0/24"), deny=("198.51.100.66",)) as proxy:
        assert await proxy.heard(line(CLIENT) + get_request()) == (CLIENT, CLIENT)
        for stranger in ("198.51.100.66", "203.0.113.1"):
            assert await (await proxy.connect(line(stranger) + get_request())).at_end()
        assert await proxy.heard(LOCAL + get_request()) == ("", "")
        (said,) = proxy.lines("connection_rejected")
        assert (said["reason"], said["client"]) == ("forbidden", "198.51.100.66")
        assert proxy.context.metrics.value(m.CONNECTIONS_REJECTED, ("public", Reason.FORBIDDEN)) == 2
        assert proxy.endings == {}


async def test_who_is_not_trusted_is_judged_by_its_own_address_at_once(tmp_path, autojump_clock):
    async with running(tmp_path, trusted_proxies=("127.0.0.1",), deny=("unix:",)) as proxy:
        assert await (await proxy.connect()).at_end()
        assert proxy.context.metrics.value(m.CONNECTIONS_REJECTED, ("public", Reason.FORBIDDEN)) == 1
        assert proxy.endings == {}


async def test_a_client_that_is_named_gets_as_many_connections_as_it_may(tmp_path, autojump_clock):
    async with running(tmp_path, max_connections_per_client=2) as proxy:
        first, second = [await proxy.connect(line(CLIENT) + get_request()) for _ in range(2)]
        for http in (first, second):
            assert (await http.answer()).status == 200
        third = await proxy.connect(line(CLIENT) + get_request())
        answer = await third.answer()
        assert (answer.status, answer.get(b"retry-after"), answer.get(b"connection")) == (503, b"1", b"close")
        assert await third.at_end()
        assert await proxy.connect(line("198.51.100.8") + get_request())
        (said,) = proxy.lines("connection_rejected")
        assert (said["reason"], said["client"]) == ("too_many", CLIENT)
        await third.stream.aclose()
        await first.stream.aclose()
        await wait_all_tasks_blocked()
        assert await (await proxy.connect(line(CLIENT) + get_request())).answer()
    assert not proxy.context.per_client._open


async def test_a_reload_is_for_connections_that_come_behind_it(tmp_path, autojump_clock):
    async with running(tmp_path) as proxy:
        before = await proxy.connect()
        await wait_all_tasks_blocked()
        proxy.listener.change(attrs.evolve(proxy.listener.config, proxy_protocol=False, trusted_proxies=()))
        await before.send(line(CLIENT) + get_request())
        assert json.loads((await before.answer()).body)["X-Real-IP"] == CLIENT
        assert await proxy.connect(get_request())
        assert (await (await proxy.connect(get_request())).answer()).status == 200
        http = await proxy.connect(line(CLIENT) + get_request())
        assert (await http.answer()).status == 400
