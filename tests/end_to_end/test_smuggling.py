"""Real servers behind the proxy get what it logged, and nothing else: no case of the corpus smuggles a request to one.

Each case comes from an address of its own, and each request carries the identity that the proxy's log has for it.
"""

from __future__ import annotations

import pytest
import trio
from support.corpus import load_cases
from support.http_client import HttpConnection, get
from support.proxy import run_proxy
from support.recorders import COMMANDS, run_recorder
from support.settings import settings

SOURCES = {f"127.200.{number >> 8}.{number & 255}": case for number, case in enumerate(load_cases())}
AT_ONCE = 8
PATIENCE = 30


async def deliver(case, address, source):
    """All bytes of a case and FIN, on a connection from `source`; until the proxy closes."""
    host, port = address.split(":")
    with trio.fail_after(PATIENCE):
        async with await trio.open_tcp_stream(host, int(port), local_address=source) as stream:
            http = HttpConnection(stream)
            try:
                await http.send(case.raw)
                await stream.send_eof()
            except trio.BrokenResourceError:  # refused before its end
                pass
            await http.rest()


@pytest.mark.parametrize("kind", COMMANDS)
async def test_a_server_sees_what_the_proxy_logged(programs, kind):
    recorder = await run_recorder(programs, kind)
    proxy = await run_proxy(programs, settings([recorder.address], route={"request_id": "set"}))
    limiter = trio.CapacityLimiter(AT_ONCE)

    async def one(source, case):
        async with limiter:
            await deliver(case, proxy.address, source)

    async with trio.open_nursery() as nursery:
        for source, case in SOURCES.items():
            nursery.start_soon(one, source, case)
    assert (await get(proxy.address, "/the-end")).status == 200
    await recorder.program.out.first(lambda line: "/the-end" in line, "the last request")
    await proxy.logged("request", path="/the-end")
    seen = {each.id: each for each in recorder.seen}
    assert len(seen) == len(recorder.seen), "a request was seen twice"
    logged = [entry for entry in proxy.log if entry["event"] == "request" and entry["client"] in SOURCES]
    passed = {str(entry["id"]): entry for entry in logged if "upstream" in entry}
    assert {each.id for each in seen.values() if each.target != "/the-end"} <= passed.keys()
    # What has this status was answered by the server itself, and only there that is 200.
    assert {id_ for id_, entry in passed.items() if entry["status"] == 200} <= seen.keys()
    for id_, entry in passed.items():
        if id_ in seen:
            assert (seen[id_].method, seen[id_].target.partition("?")[0]) == (entry["method"], entry["path"])
    refused = []
    for source, case in SOURCES.items():
        told = [(entry, seen.get(str(entry["id"]))) for entry in logged if entry["client"] == source]
        refused += check_content(case, [each for each in told if "upstream" in each[0]])
    assert len(refused) <= len(SOURCES) / 10, f"{kind} itself refuses {refused}"


def check_content(case, told):
    """Each request that a server may see of a case came whole, and no other did; the cases the server would not have."""
    readings = [reading for reading in case.readings if reading.target != b"*"]
    for entry, seen in told:
        if entry["ended_by"] == "client" and entry["status"] == 400:  # it never was a whole request
            assert seen is None, case.name
            continue
        if case.expect == "either":
            continue
        reading = readings.pop(0)
        if seen is None:
            assert entry["status"] >= 400, (case.name, entry)
            yield case.name
        else:
            wanted = [octets.decode(errors="replace") for octets in (reading.method, reading.target, reading.body)]
            wanted[1] = wanted[1].removesuffix("?")  # ASGI knows no query from an empty one
            assert [seen.method, seen.target.removesuffix("?"), seen.body] == wanted, case.name
    assert readings == [] or case.expect == "either", case.name
