"""A worker's side of the line, in the test's own Trio run: the test is its supervisor."""

from __future__ import annotations

import gc
import itertools
import os
import socket
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import attrs
import pytest
import trio
from support.frames import CLOSE, close_payload, websocket
from support.http_client import connection, get, get_request
from support.serving import POOL, descriptors, make_config, talk_both, unix_upstream
from trio.testing import wait_all_tasks_blocked

from trioproxy import metrics as m
from trioproxy import worker
from trioproxy.config import AdminConfig, DrainConfig, ListenerTlsConfig, LogConfig, ServerConfig
from trioproxy.config_show import show_config
from trioproxy.control_channel import Channel
from trioproxy.control_messages import (
    Abandon,
    Adopt,
    Answer,
    Ask,
    Commit,
    Cut,
    Drain,
    Failed,
    News,
    Prepare,
    Ready,
    Release,
    Reopen,
    Resolve,
    Start,
    UpstreamNews,
    encode,
)
from trioproxy.logs import Log
from trioproxy.metrics import Metrics
from trioproxy.shared_board import SUPERVISOR, create_memory, open_board
from trioproxy.transport import bind, format_address, more_like

WORKERS = 2
SOON = DrainConfig(spread=0, timeout=5)


@attrs.define(eq=False)
class Supervised:
    """The worker, its line, the board as a supervisor sees it, and the sockets that one keeps."""

    channel: Channel
    metrics: Metrics
    sockets: list
    folder: object
    upstream: str
    over: trio.Event = attrs.field(factory=trio.Event)
    numbers: object = attrs.field(factory=itertools.count)

    @property
    def address(self):
        return format_address(self.sockets[0])

    def config(self, *listeners, upstreams=(), **settings):
        server = ServerConfig(workers=WORKERS, drain=SOON)
        tables = {"server": server, "admin": AdminConfig(address=""), **settings}
        return make_config(self.upstream, *upstreams, listeners=listeners or ("127.0.0.1:0",), **tables)

    async def say(self, message, sockets=()):
        await self.channel.send(message, [sock.fileno() for sock in sockets])

    async def hear(self):
        message, fds = await self.channel.receive()
        assert not fds
        return message

    async def ask(self, make, sockets=()):
        await self.say(make(next(self.numbers)), sockets)
        return await self.hear()

    async def command(self, what, **arguments):
        return await self.ask(lambda number: Ask(number, what, arguments))

    async def prepare(self, config, sockets=(), places=()):
        return await self.ask(lambda number: Prepare(number, show_config(config), places), sockets)

    async def at_rest(self):
        """What was said has been heard: answers come in order."""
        await self.command("tunnels", after="", limit=0, where={})


@asynccontextmanager
async def supervised(folder, monkeypatch, **settings):
    monkeypatch.setattr(worker, "tune_collector", lambda: None)
    gc.collect()
    before = descriptors()
    async with AsyncExitStack() as stack:
        memory = create_memory(WORKERS)
        stack.callback(os.close, memory)
        metrics = Metrics(open_board(memory, WORKERS, SUPERVISOR), SUPERVISOR)
        sockets = bind("127.0.0.1:0", inherited={})
        sockets += more_like(sockets[0], WORKERS - 1)
        for sock in sockets:
            stack.callback(sock.close)
        upstream = await stack.enter_async_context(unix_upstream(folder / "up", talk_both))
        ours, theirs = Channel.pair()
        stack.callback(ours.close)
        run = Supervised(ours, metrics, sockets, folder, upstream)

        async def be_worker():
            await worker.run_worker(theirs.detach())
            run.over.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_worker)
            config = run.config(format_address(sockets[0]), **settings)
            start = Start(0, WORKERS, show_config(config), (0,), (UpstreamNews(POOL, upstream, "up"),))
            await ours.send(start, [memory, sockets[0].fileno()])
            assert await run.hear() == Ready()
            yield run
            with suppress(trio.BrokenResourceError):
                await ours.send(Cut())
            await run.over.wait()
    run.metrics = metrics = None
    gc.collect()  # the boards hold descriptors of their own
    assert descriptors() == before


async def test_it_serves_what_it_was_given_and_counts_on_the_board(tmp_path, monkeypatch):
    async with supervised(tmp_path, monkeypatch) as run:
        run.sockets[1].close()  # all clients are its own
        assert (await get(run.address)).body == b"fine"
        async with websocket(run.address) as tunnel:
            assert await tunnel.echo(b"hello") == b"hello"
            assert run.metrics.total(m.TUNNELS_ACTIVE) == run.metrics.total(m.UPSTREAM_ACTIVE) == 1
            answer = await run.command("tunnels", after="", limit=5, where={})
            assert answer.result["total"] == 1
        assert run.metrics.total(m.REQUESTS, code="200") == 1


def test_files_that_have_become_unusable_are_told_of_in_the_log():
    config = make_config()
    tls = ListenerTlsConfig(certificate="/none/cert.pem", key="/none/key.pem")
    config = attrs.evolve(config, listeners=(attrs.evolve(config.listeners[0], tls=tls),))
    log = Log.memory()
    assert worker._load_certificates(config, log) is None
    (said,) = log.events
    assert (said["event"], said["level"]) == ("certificate_unusable", "error")
    assert said["reason"].startswith("listeners[0].tls: /none/cert.pem: a certificate cannot be read")


async def test_commands_are_answered_or_refused(tmp_path, monkeypatch):
    async with supervised(tmp_path, monkeypatch) as run:
        run.sockets[1].close()
        async with websocket(run.address) as tunnel:
            (row,) = (await run.command("tunnels", after="", limit=5, where={})).result["tunnels"]
            assert (await run.command("close_tunnel", tunnel="x-1", code=1012)).refusal == ("no open tunnel 'x-1'",)
            assert (await run.command("close_tunnel", tunnel=row["id"], code=1012)).result["id"] == row["id"]
            assert (await tunnel.receive()).close_code == 1012
        answer = await run.command("drain_upstream", pool=POOL, address=run.upstream, spread=0, timeout=1)
        assert answer.result["state"] == "draining"
        assert (await get(run.address)).status == 503
        await run.command("resume_upstream", pool=POOL, address=run.upstream)
        assert (await get(run.address)).status == 200


async def test_of_commands_that_come_together_the_last_one_holds(tmp_path, monkeypatch):
    async with supervised(tmp_path, monkeypatch) as run:
        run.sockets[1].close()
        where = {"pool": POOL, "address": run.upstream}
        drain, resume = (("drain_upstream", {**where, "spread": 0, "timeout": 60}), ("resume_upstream", where))
        asks = [Ask(number, *command) for number, command in enumerate([drain, resume] * 10)]
        await run.channel._sock.send(b"".join(b"0 " + encode(ask) for ask in asks))
        answers = [await run.hear() for _ in range(20)]
        assert [answer.number for answer in answers] == list(range(20))
        assert answers[-1].result["state"] == "up"
        assert (await get(run.address)).status == 200


@pytest.mark.parametrize(("message", "error"), [(Ask(1, "__init__", {}), TypeError), (Ready(), ValueError)])
async def test_what_is_no_command_ends_the_worker(tmp_path, monkeypatch, message, error):
    with pytest.raises(BaseExceptionGroup) as caught:  # noqa: PT012
        async with supervised(tmp_path, monkeypatch) as run:
            await run.say(message)
            await run.over.wait()
    assert caught.group_contains(error)


async def test_what_the_supervisor_knows_of_upstreams_counts_at_once(tmp_path, monkeypatch):
    async with supervised(tmp_path, monkeypatch) as run:
        run.sockets[1].close()
        nobody = (UpstreamNews(POOL, "other:1", "up"), UpstreamNews("other", run.upstream, "up"))
        await run.say(News([*nobody, UpstreamNews(POOL, run.upstream, "down")]))
        await run.at_rest()
        assert (await get(run.address)).status == 503
        await run.say(News([UpstreamNews(POOL, run.upstream, "up", draining=True)]))
        await run.at_rest()
        assert (await get(run.address)).status == 503
        await run.command("resume_upstream", pool=POOL, address=run.upstream)
        assert (await get(run.address)).status == 200


async def test_failures_are_told_of_and_an_ejection_counts_at_once(tmp_path, monkeypatch):
    async with supervised(tmp_path, monkeypatch) as run:
        run.sockets[1].close()
        gone = f"unix:{tmp_path / 'gone'}"
        assert await run.prepare(run.config(run.address, upstreams=[gone])) == Answer(0)
        both = [UpstreamNews(POOL, run.upstream, "down"), UpstreamNews(POOL, gone, "up")]
        await run.ask(lambda number: Commit(number, both))
        assert [(await get(run.address)).status for _ in range(3)] == [503] * 3
        assert await run.hear() == Failed(POOL, gone)  # once for all that failed meanwhile, or again
        assert run.metrics.total(m.UPSTREAM_FAILURES, upstream=gone, reason="connect") == 3
        await run.say(News([UpstreamNews(POOL, run.upstream, "up"), UpstreamNews(POOL, gone, "up", ejected=True)]))
        await run.say(Ask(9, "tunnels", {"after": "", "limit": 0, "where": {}}))
        while isinstance(await run.hear(), Failed):
            pass
        assert [(await get(run.address)).status for _ in range(3)] == [200] * 3
        assert run.metrics.total(m.UPSTREAM_FAILURES) == 3


async def test_names_come_from_the_supervisor_and_wishes_go_there(tmp_path, monkeypatch):
    async with supervised(tmp_path, monkeypatch) as run:
        run.sockets[1].close()
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            name, refused = f"localhost:{nobody.getsockname()[1]}", nobody.getsockname()
            config = run.config(run.address, upstreams=[name])
            assert await run.prepare(config) == Answer(0)
            await run.ask(
                lambda number: Commit(
                    number,
                    [
                        UpstreamNews(POOL, run.upstream, "down", addresses=((2, ("127.0.0.1", 1)),)),
                        UpstreamNews(POOL, name, "up", addresses=((2, refused),)),
                    ],
                )
            )
            await run.at_rest()
            assert (await get(run.address)).status == 503
            assert {await run.hear(), await run.hear()} == {Resolve(POOL, name), Failed(POOL, name)}
            # What is no name keeps its address.
            await run.say(News([UpstreamNews(POOL, run.upstream, "up")]))
            await run.say(News([UpstreamNews(POOL, name, "down")]))
            await run.at_rest()
            assert (await get(run.address)).status == 200


async def test_it_stands_in_for_another_until_that_is_back(tmp_path, monkeypatch):
    async with supervised(tmp_path, monkeypatch) as run:
        clients = [socket.create_connection(run.sockets[0].getsockname()) for _ in range(40)]
        await run.say(Adopt(1, [0]), [run.sockets[1]])
        await wait_for(lambda: run.metrics.total(m.CONNECTIONS_ACTIVE) == 40)
        await run.say(Release(1))
        await run.say(Release(5))
        await run.at_rest()
        more = [socket.create_connection(run.sockets[0].getsockname()) for _ in range(40)]
        await wait_for(lambda: run.metrics.total(m.CONNECTIONS_ACTIVE) > 40)
        waiting = []
        with suppress(BlockingIOError):
            while True:
                waiting.append(run.sockets[1].accept()[0])  # they are for the other one again
        assert 0 < len(waiting) < 40
        for sock in [*clients, *more, *waiting]:
            sock.close()
        await run.say(Drain())
        await run.say(Adopt(1, [0]), [run.sockets[1]])  # too late: closed again
        await run.over.wait()


async def wait_for(condition):
    with trio.fail_after(30):
        while not condition():
            await trio.sleep(0.01)


async def test_a_reload_is_prepared_then_put_in_force(tmp_path, monkeypatch):
    async with supervised(tmp_path, monkeypatch) as run:
        run.sockets[1].close()
        path = str(tmp_path / "new")
        (sock,) = bind(f"unix:{path}", inherited={})
        config = run.config(run.address, f"unix:{path}")
        assert await run.prepare(config, [sock], [1]) == Answer(0)
        await run.ask(lambda number: Commit(number, [UpstreamNews(POOL, run.upstream, "up")]))
        await run.at_rest()
        assert (await get(f"unix:{path}")).status == 200
        # Without that listener again: its file is the supervisor's to remove.
        await run.prepare(run.config(run.address))
        await run.ask(lambda number: Commit(number, [UpstreamNews(POOL, run.upstream, "up")]))
        await run.at_rest()
        await wait_all_tasks_blocked()
        assert await trio.Path(path).exists() and (await get(run.address)).status == 200
        await run.ask(lambda number: Commit(number, []))  # nothing is prepared
        sock.close()


async def test_what_was_prepared_can_be_abandoned(tmp_path, monkeypatch):
    async with supervised(tmp_path, monkeypatch) as run:
        run.sockets[1].close()
        (sock,) = bind("127.0.0.1:0", inherited={})
        config = run.config(run.address, format_address(sock), log=LogConfig(file=str(tmp_path / "log")))
        assert not (await run.prepare(config, [sock], [1])).refusal
        await run.say(Abandon())
        await run.say(Abandon())
        await run.at_rest()
        sock.close()
        assert (await get(run.address)).status == 200


async def test_a_reload_that_cannot_be_is_refused(tmp_path, monkeypatch):
    async with supervised(tmp_path, monkeypatch) as run:
        server = ServerConfig(workers=7, drain=SOON)
        (problem,) = (await run.prepare(run.config(run.address, server=server))).refusal
        assert problem.startswith("server.workers: takes a restart")
        nowhere = LogConfig(file=str(tmp_path / "no" / "where"))
        (problem,) = (await run.prepare(run.config(run.address, log=nowhere))).refusal
        assert problem == "log.file: cannot be opened: No such file or directory"
        await run.say(Abandon())


async def test_told_to_drain_it_ends_when_its_tunnels_have(tmp_path, monkeypatch):
    async with supervised(tmp_path, monkeypatch) as run:
        run.sockets[1].close()
        async with websocket(run.address) as tunnel:
            await run.say(Drain())
            await run.say(Drain())
            assert (await tunnel.receive()).close_code == 1001
            assert not run.over.is_set()
            await tunnel.send(CLOSE, close_payload(1001))
        await run.over.wait()
        assert await run.channel.receive() is None


async def test_without_a_supervisor_it_drains(tmp_path, monkeypatch):
    async with supervised(tmp_path, monkeypatch) as run:
        run.sockets[1].close()
        async with websocket(run.address) as tunnel:
            run.channel.close()
            assert (await tunnel.receive()).close_code == 1001
            await tunnel.send(CLOSE, close_payload(1001))
        await run.over.wait()


async def test_told_to_cut_it_ends_at_once(tmp_path, monkeypatch):
    async with supervised(tmp_path, monkeypatch) as run:
        run.sockets[1].close()
        async with websocket(run.address) as tunnel, connection(run.address) as idle:
            await idle.send(get_request())
            await idle.answer()
            await run.say(Cut())
            await run.over.wait()
            with pytest.raises(ConnectionError):
                await tunnel.receive()


async def test_the_log_file_is_opened_anew(tmp_path, monkeypatch):
    path = tmp_path / "log"
    async with supervised(tmp_path, monkeypatch, log=LogConfig(file=str(path))) as run:
        run.sockets[1].close()
        await get(run.address)
        path.rename(tmp_path / "old")
        await run.say(Reopen())
        await run.at_rest()
        await get(run.address)
        path.rename(tmp_path / "older")
        path.mkdir()
        await run.say(Reopen())
        await run.at_rest()
    assert "worker=0" in (tmp_path / "older").read_text() and "worker=0" in (tmp_path / "old").read_text()
    assert "log_reopen_failed" in (tmp_path / "older").read_text()


@pytest.mark.parametrize("first", [None, Cut()])
async def test_a_supervisor_that_ends_before_it_started_is_no_error(first):
    ours, theirs = Channel.pair()
    if first is not None:
        await ours.send(first)
    ours.close()
    await worker.run_worker(theirs.detach())
