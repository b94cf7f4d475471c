"""Every case of the corpus over real sockets, through a whole proxy; h11 reads what the upstream gets.

What the parser alone makes of the same bytes, however they are cut, is tested beside the corpus.
"""

from __future__ import annotations

from contextlib import asynccontextmanager

import attrs
import h11
import pytest
import trio
from support.corpus import Reading, load_cases
from support.http_client import connection
from support.upstream import reply, scripted_upstream

import trioproxy
from trioproxy.config import AdminConfig, Config, HealthConfig, ListenerConfig, PoolConfig, RouteConfig, UpstreamConfig

PATIENCE = 20
FINE = reply()


@attrs.define(eq=False)
class Recorder:
    """An upstream that reads with h11, answers every complete request with an empty 200, and keeps what it read."""

    requests: list[tuple[Reading, tuple[tuple[bytes, bytes], ...]]] = attrs.Factory(list)
    unclean: list[str] = attrs.Factory(list)

    async def serve(self, http):
        parser = h11.Connection(h11.SERVER)
        request, body, ended = None, b"", False
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError as error:
                if not ended:  # one cut short was never complete
                    self.unclean.append(str(error))
                return
            if event is h11.NEED_DATA:
                data = await http.stream.receive_some(65536)
                ended = not data
                parser.receive_data(data)
            elif isinstance(event, h11.Request):
                request, body = event, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                fields = tuple(request.headers.raw_items())
                self.requests.append((Reading(request.method, request.target, body), fields))
                await http.send(FINE)
                parser = h11.Connection(h11.SERVER)
            else:
                return

    @property
    def readings(self):
        return [reading for reading, _ in self.requests]


@asynccontextmanager
async def proxy_before(recorder):
    async with scripted_upstream(recorder.serve) as upstream:
        pool = PoolConfig(
            name="all", upstreams=(UpstreamConfig(address=upstream.address),), health=HealthConfig(probe="none")
        )
        config = Config(
            admin=AdminConfig(address=""),
            listeners=(ListenerConfig(address="127.0.0.1:0"),),
            routes=(RouteConfig(path="/", pool="all"),),
            pools={"all": pool},
        )
        async with trioproxy.serve(config) as proxy:
            yield proxy.listeners[0].address


@pytest.mark.parametrize("case", load_cases(), ids=lambda case: case.name)
async def test_a_case_meets_its_reaction_through_the_proxy(case):
    recorder = Recorder()
    async with proxy_before(recorder) as address, connection(address) as http:
        await http.send(case.raw)
        if case.half_close or case.expect == "either":
            await http.stream.send_eof()
        with trio.fail_after(PATIENCE):
            if case.expect == "either":
                await http.rest()
            else:
                await expect_answers(case, http)
    assert recorder.unclean == []
    if case.expect != "either":
        assert recorder.readings == [reading for reading in case.readings if reading.target != b"*"]
    if case.expect == "forward" and recorder.requests:
        arrived = iter(recorder.requests[0][1])
        for field in case.fields:
            assert field in arrived  # consumes up to it: the order counts


async def expect_answers(case, http):
    """One good answer for each reading, and behind them an error and a close where one is due."""
    for reading in case.readings:
        answer = await http.answer(reading.method)
        assert answer.status in ({200, 204} if reading.target == b"*" else {200}), answer
    if case.expect == "reject400" and case.half_close:
        rest = await http.rest()
        assert rest[9:10] in {b"", b"4", b"5"}
    elif case.expect == "reject400" or case.rejected_after:
        answer = await http.answer(b"HEAD" if case.raw.startswith(b"HEAD ") else b"GET")
        assert 400 <= answer.status < 600
        assert await http.at_end()
