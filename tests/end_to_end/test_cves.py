"""Other proxies' mistakes that have a number, one test each: what was sent there, sent through a whole proxy of ours.

Their variants are in the corpus and in the tests of the rules; here stands what made the number.
"""

from __future__ import annotations

import pytest
from support.frames import BINARY, MASK, frame, upgrade_answer, upgrade_request
from support.http_client import get_request, parse_head
from support.stage import stage
from support.strict_http import read_requests
from support.upstream import reply

CHUNKED = b"POST /first HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
SMUGGLED = get_request("/smuggled")
ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


async def sent(raw, answer=None):
    """What the client of `raw` gets, and the targets of the whole requests that upstreams do; each gets `answer`."""
    targets = []

    def play(end):
        requests, _ = read_requests(end.received)
        for request in requests[end.answered :]:
            targets.append(request.target)
            end.send(answer or reply(request.target))
        end.answered = len(requests)

    async with stage() as running:
        client = running.client()
        client.send(raw)
        await running.settle(play)
        client.look()
        return client, targets


def statuses(received):
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


async def refused(body):
    """A chunked request with this body is answered 400 and no upstream sees it whole; an answer with it ends as cut."""
    client, targets = await sent(CHUNKED + body + SMUGGLED)
    assert (statuses(client.received), client.ended, targets) == ([400], True, [])
    client, targets = await sent(get_request("/first"), ANSWER + body)
    assert targets == [b"/first"]
    assert statuses(client.received) == [502] or (client.ended and not client.received.endswith(b"0\r\n\r\n"))


@pytest.mark.rule("line-ends", "chunks", "chunk-extensions")
@pytest.mark.parametrize("body", [b"5\nhello\r\n0\r\n\r\n", b"5;\n\r\nhello\r\n0\r\n\r\n", b"0;a\n\r\n\r\n"])
async def test_no_bare_lf_ends_a_chunk_line_cve_2025_22871(body):
    await refused(body)


@pytest.mark.rule("chunks")
@pytest.mark.parametrize(
    "body", [b"3\r\nabcXX0\r\n\r\n", b"5\r\nAAAAAXX2\r\n45\r\n0\r\n\r\n", b"3\r\nabc\n\n0\r\n\r\n"]
)
async def test_the_line_end_behind_a_chunk_is_one_cve_2025_43859(body):
    await refused(body)


@pytest.mark.rule("chunk-extensions")
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\n\r", b"\rX"])
async def test_no_line_end_stands_in_a_chunk_extension_cve_2025_55315(end):
    await refused(b"2;" + end + b"xx\r\n47\r\n0\r\n\r\n")


@pytest.mark.rule("chunk-extensions", "line-ends")
@pytest.mark.parametrize("line", [b"4a;\n", b"4a;a=b\n", b'4a;a="\n"\n'])
async def test_a_newline_in_an_extension_hides_no_request_cve_2025_58056(line):
    await refused(line + SMUGGLED.ljust(0x4A, b"x") + b"\r\n0\r\n\r\n")


async def fields_behind(*lines, how=get_request):
    """Of a request with these lines, as the upstream gets it."""
    heads = []
    async with stage() as running:
        client = running.client()
        client.send(how("/", *lines))
        await running.settle(lambda end: heads.append(parse_head(end.received)))
    return heads[0]


@pytest.mark.rule("nominated", "hop-by-hop")
@pytest.mark.parametrize("name", [b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Real-IP"])
async def test_connection_names_none_of_the_proxys_fields_away_cve_2024_45410(name):
    said = {b"x-forwarded-proto": b"http", b"x-forwarded-host": b"a.test"}.get(name.lower(), b"127.0.0.1")
    head = await fields_behind(f"Connection: close, {name.decode()}")
    assert head.all(name) == [said]
    head = await fields_behind(f"Connection: Upgrade, {name.decode()}", how=asked_upgrade)
    assert head.all(name) == [said]


def asked_upgrade(path, connection):
    return upgrade_request(path).replace(b"Connection: Upgrade", connection.encode())


@pytest.mark.rule("nominated", "hop-by-hop")
async def test_a_field_that_connection_names_is_gone_before_ours_come_cve_2021_32813():
    spoofed = ["X-Forwarded-For: 9.9.9.9", "X-Real-IP: 9.9.9.9", "X-Mine: 1", "Host2: b"]
    head = await fields_behind("Connection: X-Forwarded-For, X-Real-IP, X-Mine, Via, Host", *spoofed)
    assert head.all(b"x-forwarded-for") == head.all(b"x-real-ip") == [b"127.0.0.1"]
    assert head.all(b"host") == [b"a.test"]
    assert head.all(b"via") == [b"1.1 trioproxy"]
    assert head.all(b"x-mine") == head.all(b"connection") == []


@pytest.mark.rule("upgrade-body")
@pytest.mark.parametrize("line", [f"Content-Length: {len(SMUGGLED)}", "Transfer-Encoding: chunked"])
async def test_an_upgrade_with_a_body_reaches_nobody_cve_2026_58055(line):
    client, targets = await sent(upgrade_request("/first", line) + SMUGGLED)
    assert (statuses(client.received), client.ended, targets) == ([400], True, [])


@pytest.mark.rule("early-data", "smuggled-behind-upgrade")
async def test_what_stands_behind_an_upgrade_is_sent_before_no_101_and_never_a_request_cve_2026_2833():
    async with stage() as running:
        client = running.client()
        client.send(upgrade_request("/first") + SMUGGLED)
        await running.settle()
        [upstream] = running.upstreams
        assert upstream.received.endswith(b"\r\n\r\n") and upstream.received.count(b"HTTP/1.1") == 1
        upstream.send(reply(b"no upgrade here"))
        await running.settle()
        client.look()
        assert (statuses(client.received), client.ended) == ([200], True)
        assert b"smuggled" not in upstream.received and len(running.upstreams) == 1


@pytest.mark.rule("early-data", "smuggled-behind-upgrade")
async def test_an_upgrade_to_something_else_is_a_request_and_so_is_what_follows_cve_2026_2833():
    client, targets = await sent(get_request("/first", "Upgrade: x", "Connection: Upgrade") + get_request("/second"))
    assert (statuses(client.received), targets) == ([200, 200], [b"/first", b"/second"])


@pytest.mark.rule("early-data-connect", "early-data", "connect-trace")
async def test_what_stands_behind_a_connect_is_never_read_cve_2025_64763():
    client, targets = await sent(b"CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n" + SMUGGLED)
    assert (statuses(client.received), client.ended, targets) == ([405], True, [])


@pytest.mark.rule("early-data")
async def test_early_frames_follow_a_valid_101_and_nothing_else_cve_2025_64763():
    early = frame(BINARY, b"early", mask=MASK)
    for accept, gets in ((None, early), (b"d3Jvbmc=", b"")):
        async with stage() as running:
            client = running.client()
            client.send(upgrade_request() + early)
            await running.settle()
            [upstream] = running.upstreams
            head, _, behind = upstream.received.partition(b"\r\n\r\n")
            assert behind == b""
            answer = upgrade_answer(parse_head(head))
            right = parse_head(answer).get(b"sec-websocket-accept")
            upstream.send(answer.replace(right, accept or right))
            await running.settle()
            client.look()
            assert statuses(client.received) == [502 if accept else 101]
            assert upstream.received.partition(b"\r\n\r\n")[2] == gets


@pytest.mark.rule("upgrade-unasked", "fake-101")
async def test_a_200_with_upgrade_switches_nothing_cve_2024_23326():
    answer = reply(b"plain", "200 OK", "Upgrade: websocket", "Connection: Upgrade")
    client, targets = await sent(upgrade_request("/first") + SMUGGLED, answer)
    assert (statuses(client.received), client.ended, targets) == ([200], True, [b"/first"])
    assert client.received.endswith(b"\r\n\r\nplain")
    client, targets = await sent(get_request("/first") + get_request("/second"), answer)
    assert (statuses(client.received), targets) == ([200, 200], [b"/first", b"/second"])
