"""Several workers inside the test's own Trio run; the workers are real processes, their upstream the test's."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager

from support.http_client import get
from support.serving import descriptors, make_config, talk_both, unix_upstream
from support.waiting import wait_until

from trioproxy.config import AdminConfig, DrainConfig, LogConfig, ServerConfig
from trioproxy.logs import Log
from trioproxy.supervisor import supervise

SERVER = ServerConfig(workers=2, drain=DrainConfig(spread=0, timeout=5))
QUIET = LogConfig(level="error")


def config_of(folder, *upstreams, listeners=("127.0.0.1:0",), **settings):
    tables = {"server": SERVER, "admin": AdminConfig(address="127.0.0.1:0"), "log": QUIET, **settings}
    return make_config(*(upstreams or (f"unix:{folder / 'up'}",)), listeners=listeners, **tables)


@asynccontextmanager
async def supervising(folder, **settings):
    gc.collect()
    before = descriptors()
    log = Log.memory()
    async with unix_upstream(folder / "up", talk_both), supervise(config_of(folder, **settings), log=log) as run:
        yield run
    assert all(slot.process.returncode is not None for slot in run.slots)
    gc.collect()
    assert {name for name in descriptors() - before if "board" not in name} == set()


def address_of(run):
    return run.listeners[0].address


async def wait_for_status(run, wanted):
    """Until ten answers in a row are the same: both workers are asked, as good as certainly."""

    async def look():
        return [(await get(address_of(run))).status for _ in range(10)] == [wanted] * 10

    await wait_until(look, f"status {wanted}")
