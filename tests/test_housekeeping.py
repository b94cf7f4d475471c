"""What happens once a second, on the mock clock."""

from __future__ import annotations

import pytest
import trio
from support.frames import BINARY, websocket
from support.http_client import get
from support.serving import POOL, make_config, make_context, serving_unix
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy.housekeeping import TICK, WORKER, keep_house


async def test_the_lag_of_the_loop_is_taken_once_a_second(autojump_clock, nursery):
    context = make_context(make_config())
    nursery.start_soon(keep_house, context)
    await trio.sleep(10.5 * TICK)
    assert context.metrics.value(m.EVENT_LOOP_LAG, (WORKER,)) == 10


async def test_a_loop_that_stood_still_shows_as_lag(mock_clock, nursery):
    context = make_context(make_config())
    nursery.start_soon(keep_house, context)
    await wait_all_tasks_blocked()
    mock_clock.jump(TICK + 0.3)
    await wait_all_tasks_blocked()
    (sample,) = (each for each in context.metrics.samples() if each.metric is m.EVENT_LOOP_LAG)
    assert sample.cells[-1] / m.EVENT_LOOP_LAG.scale == pytest.approx(0.3)


async def test_what_open_tunnels_count_is_published_while_they_are_open(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy, websocket(proxy.listeners[0].address) as tunnel:
        await tunnel.send(BINARY, bytes(100))
        await tunnel.receive()
        await trio.sleep(1.5 * TICK)
        assert proxy.context.metrics.total(m.MESSAGES, pool=POOL, direction="to_client") == 1
        assert proxy.context.metrics.total(m.BYTES, pool=POOL, direction="to_upstream") == 106
        await tunnel.close()


async def test_idle_upstream_connections_end_when_their_time_is_over(tmp_path, autojump_clock):
    async with serving_unix(tmp_path) as proxy:
        idle = proxy.context.idle[POOL]
        await get(proxy.listeners[0].address)
        assert len(idle) == 1
        await trio.sleep(proxy.context.config.pools[POOL].keep_alive - TICK / 2)
        assert len(idle) == 1
        await trio.sleep(2 * TICK)
        assert len(idle) == 0
