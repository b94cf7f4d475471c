"""Real servers and real clients: what each sees through the proxy equals what it sees without one.

Servers and clients are programs of `tests/peers`, written with the libraries people use.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest
from support.nginx import run_nginx
from support.peers import command, run_client, run_server
from support.proxy import run_proxy
from support.settings import settings
from support.waiting import wait_until

SERVERS = ["websockets_server.py", "aiohttp_server.py", "ws_server.js"]
CLIENTS = ["websockets_client.py", "aiohttp_client.py", "trio_websocket_client.py"]
BETWEEN = ["trioproxy", "nginx"]
ABNORMAL = {1001, 1006, 1011}  # 1006: the cut itself was seen; the others: the proxy said what happened


async def address_between(programs, between, server):
    if between == "nginx":
        return await run_nginx(programs, [server.address])
    return (await run_proxy(programs, settings([server.address]))).address


def told(server):
    """What the server saw since it started, in no order: one tunnel's end and the next one's start may cross."""
    return Counter(json.dumps(event) for event in server.events if event["event"] != "listening")


def opens(server):
    return len([event for event in server.events if event["event"] == "open"])


def ends(server):
    return len([event for event in server.events if event["event"] == "close"])


@pytest.mark.slow
@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("server", SERVERS)
async def test_both_peers_see_the_same_with_and_without_a_proxy(programs, server, client, between):
    direct = await run_server(programs, server)
    behind = await run_server(programs, server)
    address = await address_between(programs, between, behind)
    seen_directly = await run_client(programs, client, f"ws://{direct.address}", seconds=60)
    seen_through = await run_client(programs, client, f"ws://{address}", seconds=60)
    assert seen_through == seen_directly
    await wait_until(lambda: ends(direct) == ends(behind) == opens(direct), "every tunnel ended at its server")
    assert told(behind) == told(direct)


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("server", SERVERS)
async def test_a_killed_server_is_an_abnormal_end_for_its_client(programs, server, client, between):
    peer = await run_server(programs, server)
    address = await address_between(programs, between, peer)
    waiting = await programs.start(client, [*command(client), f"ws://{address}", "until-cut"])
    await peer.event(lambda event: event["event"] == "open", "an open tunnel")
    await waiting.out.first(lambda line: "open" in line, "the client's word")
    peer.kill()
    assert await waiting.wait() == 0, waiting.err.text
    assert int(waiting.out.seen[-1]) in ABNORMAL


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("server", SERVERS)
async def test_a_killed_client_is_an_abnormal_end_for_its_server(programs, server, client, between):
    peer = await run_server(programs, server)
    address = await address_between(programs, between, peer)
    waiting = await programs.start(client, [*command(client), f"ws://{address}", "until-cut"])
    await waiting.out.first(lambda line: "open" in line, "the client's word")
    waiting.kill()
    ended = await peer.event(lambda event: event["event"] == "close", "the end of the tunnel")
    assert ended["code"] in ABNORMAL
