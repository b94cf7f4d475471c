"""What happens once a second, on the mock clock."""

from __future__ import annotations

import gc
import os
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import trio
from support.frames import BINARY, websocket
from support.http_client import get
from support.serving import POOL, descriptors, make_config, make_context, no_descriptors_left, serving_unix
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy.housekeeping import HEARTBEAT, TICK, keep_house, tune_collector
from trioproxy.logs import Log
from trioproxy.metrics import process


async def test_the_lag_of_the_loop_is_taken_once_a_second(autojump_clock, nursery):
    context = make_context(make_config())
    nursery.start_soon(keep_house, context)
    await trio.sleep(10.5 * TICK)
    assert context.metrics.value(m.EVENT_LOOP_LAG, ("0",)) == 10


async def test_the_heartbeat_goes_on_with_every_tick(autojump_clock, nursery):
    context = make_context(make_config())
    nursery.start_soon(keep_house, context)
    await trio.sleep(3.5 * TICK)
    assert context.metrics.private_tally(HEARTBEAT).own == 3


async def test_what_the_process_uses_is_measured(autojump_clock, nursery, monkeypatch):
    context = make_context(make_config())
    context.name = "3"
    nursery.start_soon(keep_house, context)
    await trio.sleep(1.5 * TICK)
    value = context.metrics.value
    assert value(m.WORKER_CPU, ("3",)) == pytest.approx(time.process_time(), rel=0.5)
    assert value(m.WORKER_MEMORY, ("3",)) > 10_000_000
    open_now = len(descriptors())
    assert abs(value(m.WORKER_DESCRIPTORS, ("3",)) - open_now) <= 2
    # Before Linux 6.2 the number has to be counted, which is done seldom.
    unknown = SimpleNamespace(stat=lambda _path: SimpleNamespace(st_size=0), listdir=os.listdir)
    monkeypatch.setattr(process, "os", unknown)
    with ExitStack() as files:
        for _ in range(3):
            files.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        await trio.sleep(20 * TICK)
        assert abs(value(m.WORKER_DESCRIPTORS, ("3",)) - open_now - 3) <= 2


async def test_it_goes_on_where_the_process_is_out_of_descriptors(autojump_clock, nursery):
    context = make_context(make_config())
    nursery.start_soon(keep_house, context)
    await wait_all_tasks_blocked()
    with no_descriptors_left():
        await trio.sleep(2.5 * TICK)
    assert context.metrics.value(m.WORKER_MEMORY, ("0",)) > 10_000_000
    assert context.metrics.private_tally(HEARTBEAT).own == 2


async def test_dropped_log_lines_are_counted_once(autojump_clock, nursery):
    log = Log.null()
    log._sink.dropped = 5
    context = make_context(make_config(), log)
    nursery.start_soon(keep_house, context)
    await trio.sleep(2.5 * TICK)
    log._sink.dropped = 7
    context.metrics.samples()  # a scrape
    assert context.metrics.value(m.LOG_LINES_DROPPED) == 7


def test_the_collector_looks_seldom(monkeypatch):
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)  # as Python starts, whatever another test has left
    try:
        tune_collector()
        assert gc.get_threshold()[0] > 700 and gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


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


async def test_when_all_is_published_who_wants_to_know_is_told(autojump_clock, nursery):
    context = make_context(make_config())
    found = []

    def look():
        found.append(context.metrics.private_tally(HEARTBEAT).own)

    nursery.start_soon(keep_house, context, look)
    await trio.sleep(3.5 * TICK)
    assert found == [1, 2, 3]
