"""Waiting for a lease: in what order, for how long, and who goes without."""

from __future__ import annotations

from contextlib import asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioproxy.board import Board, Layout, Marks, Tally
from trioproxy.config import PoolConfig, UpstreamConfig
from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.health import UpstreamState
from trioproxy.queueing import CHECK_SECONDS, LOOK_ALONE_SECONDS, LOOK_SECONDS, Queue
from trioproxy.upstreams import Pool


@attrs.define(eq=False)
class Waiting:
    """A pool that has one lease an upstream, who waits for them, and what came of it, in order."""

    pool: Pool
    nursery: trio.Nursery
    came: list = attrs.field(factory=list)
    left: set = attrs.field(factory=set)
    scopes: dict = attrs.field(factory=dict)

    def config(self, **settings):
        self.pool.config = attrs.evolve(self.pool.config, **settings)

    async def ask(self, *names, exclude=()):
        """Have each ask for a lease, one after the other."""
        for name in names:
            self.nursery.start_soon(self._ask, name, exclude)
            await wait_all_tasks_blocked()

    async def _ask(self, name, exclude):
        started = trio.current_time()
        with trio.CancelScope() as self.scopes[name]:
            try:
                queue = self.pool.queue
                lease = queue.lease_at_once(exclude)
                if lease is None:
                    lease = await queue.wait_for_lease(exclude, lambda: name in self.left)
            except ProxyError as error:
                lease = (error.source, error.reason) if (error.phase, error.status) == (Phase.CONNECT, 503) else error
            self.came.append((name, lease, trio.current_time() - started))

    @property
    def served(self):
        return "".join(name for name, lease, _ in self.came if not isinstance(lease, tuple))

    @property
    def failed(self):
        return {name: lease[1] for name, lease, _ in self.came if isinstance(lease, tuple)}

    def took(self, name):
        return next(seconds for each, _, seconds in self.came if each == name)

    async def give_back(self, name):
        next(lease for each, lease, _ in self.came if each == name).release()
        await wait_all_tasks_blocked()


def pool_of(upstreams=1, board=None, row=0, **settings):
    configs = tuple(UpstreamConfig(address=f"{name}:1", max_connections=1) for name in "xyz"[:upstreams])
    config = PoolConfig(name="p", upstreams=configs, **{"queue": 4, "queue_timeout": 5.0, **settings})
    board = board or Board(Layout())

    def tally(name):
        return Tally.of(board, row, board.layout.intern(name, ()))

    pool = Pool(config, tally)
    pool.queue = Queue(pool, tally("length"), Marks.of(board, row, board.layout.intern("heads", ())), slack=0)
    for upstream in pool.upstreams:
        upstream.learn(UpstreamState.UP)
    return pool


@asynccontextmanager
async def waiting(*pools, **how):
    async with trio.open_nursery() as nursery:
        made = [Waiting(pool, nursery) for pool in pools or [pool_of(**how)]]
        yield made if pools else made[0]
        nursery.cancel_scope.cancel()


async def test_a_lease_that_is_free_is_not_waited_for(autojump_clock):
    async with waiting(upstreams=2) as run:
        await run.ask("a", "b")
        assert (run.served, run.took("b"), run.pool.queue.length.total) == ("ab", 0, 0)


async def test_leases_go_to_those_who_wait_in_the_order_they_came(autojump_clock):
    async with waiting() as run:
        await run.ask("a", "b", "c", "d")
        assert (run.served, run.pool.queue.length.total) == ("a", 3)
        await run.give_back("a")
        assert run.served == "ab"
        await run.ask("e")
        await run.give_back("b")
        await run.give_back("c")
        await run.give_back("d")
        assert (run.served, run.pool.queue.length.total) == ("abcde", 0)
        await run.give_back("e")
        assert run.pool.upstreams[0].active == 0
        assert run.pool.upstreams[0].on_room is None


async def test_who_comes_while_a_lease_is_on_its_way_to_another_does_not_overtake(autojump_clock):
    async with waiting() as run:
        await run.ask("a", "b")
        run.nursery.start_soon(run._ask, "c", ())
        next(lease for _, lease, _ in run.came).release()
        await wait_all_tasks_blocked()
        assert run.served == "ab"


async def test_above_the_bound_it_is_refused_at_once(autojump_clock):
    async with waiting(queue=2) as run:
        await run.ask("a", "b", "c", "d")
        assert run.failed == {"d": Reason.FULL} and run.took("d") == 0
        await run.give_back("a")
        await run.ask("e")
        assert run.pool.queue.length.total == 2


async def test_it_ends_with_the_timeout(autojump_clock):
    async with waiting() as run:
        await run.ask("a", "b")
        await trio.sleep(1)
        await run.ask("c")
        await trio.sleep(4.5)
        assert run.failed == {"b": Reason.TIMEOUT} and run.took("b") == 5
        assert run.came[-1][1][0] is Source.PROXY
        await run.give_back("a")
        assert run.served == "ac"


async def test_a_client_that_leaves_is_not_waited_with_and_takes_no_lease(autojump_clock):
    async with waiting() as run:
        await run.ask("a", "b", "c", "d")
        run.left.update("bc")
        await trio.sleep(CHECK_SECONDS + 2 * LOOK_ALONE_SECONDS)
        assert run.failed == {"b": Reason.CLOSED, "c": Reason.CLOSED}
        assert run.came[-1][1][0] is Source.CLIENT
        await run.ask("e")
        run.left.add("d")
        await run.give_back("a")
        assert run.failed["d"] is Reason.CLOSED
        assert run.served == "ae"


async def test_whose_task_is_cancelled_leaves_its_place_and_gives_back_what_it_has_got(autojump_clock):
    async with waiting() as run:
        await run.ask("a", "b", "c", "d")
        run.scopes["c"].cancel()
        await wait_all_tasks_blocked()
        assert run.pool.queue.length.total == 2
        run.scopes["b"].cancel()
        next(lease for _, lease, _ in run.came).release()  # it is handed to b before that hears of its end
        await wait_all_tasks_blocked()
        assert (run.served, run.pool.queue.length.total, run.pool.upstreams[0].active) == ("ad", 0, 1)


async def test_a_lease_that_comes_with_the_end_of_patience_is_taken(autojump_clock):
    async with waiting() as run:
        await run.ask("a", "b")
        held = run.came[0][1]

        async def release_in_time():
            await trio.sleep(5)
            held.release()

        run.nursery.start_soon(release_in_time)
        await trio.sleep(10)
        assert run.served in {"ab", "a"}
        assert run.pool.upstreams[0].active == len(run.served) - 1


async def test_other_reasons_why_there_is_none_are_told_at_once(autojump_clock):
    async with waiting() as run:
        run.pool.upstreams[0].learn(UpstreamState.DOWN)
        await run.ask("a")
        assert run.failed == {"a": Reason.NO_UPSTREAM} and run.took("a") == 0


async def test_nobody_waits_for_what_is_down_or_draining(autojump_clock):
    async with waiting() as run:
        await run.ask("a", "b", "c")
        run.pool.upstreams[0].drain(60)
        await trio.sleep(CHECK_SECONDS + 2 * LOOK_ALONE_SECONDS)
        assert run.failed == {"b": Reason.NO_UPSTREAM, "c": Reason.NO_UPSTREAM}


@pytest.mark.parametrize("how", ["comes up", "is taken back", "may have more", "is new"])
async def test_an_upstream_that_gets_room_otherwise_is_found(autojump_clock, how):
    async with waiting(upstreams=2) as run:
        first, second = run.pool.upstreams
        match how:
            case "comes up" | "may have more":
                second.learn(UpstreamState.DOWN)
            case "is taken back":
                second.drain(60)
            case "is new":
                run.pool.upstreams = [first]
        await run.ask("a", "b")
        await trio.sleep(1)
        assert run.served == "a"
        match how:
            case "comes up":
                second.learn(UpstreamState.UP)
            case "is taken back":
                second.resume()
            case "may have more":
                first.config = attrs.evolve(first.config, max_connections=2)
            case "is new":
                run.pool.upstreams = [first, second]
        await trio.sleep(2 * LOOK_ALONE_SECONDS)
        assert run.served == "ab"


async def test_who_has_tried_one_goes_before_who_waits_and_waits_for_the_others_alone(autojump_clock):
    async with waiting(upstreams=2) as run:
        first, second = run.pool.upstreams
        await run.ask("a", "b")
        held = {lease.upstream: name for name, lease, _ in run.came}
        await run.ask("c", exclude=[first])
        await run.ask("d")
        await run.give_back(held[first])
        assert run.served == "abd"  # c would not take it
        await run.give_back(held[second])
        assert run.served == "abdc"
        await run.give_back("d")
        await run.ask("e", "f")
        await run.give_back("c")
        assert run.served == "abdcef"


async def test_other_settings_are_those_of_who_comes_next(autojump_clock):
    async with waiting() as run:
        await run.ask("a", "b")
        run.config(queue_timeout=1.0, queue=2)
        await run.ask("c", "d")
        await trio.sleep(2)
        assert run.failed == {"d": Reason.FULL, "c": Reason.TIMEOUT}
        await run.give_back("a")
        assert run.served == "ab"


# Several processes


async def test_a_lease_that_another_process_gives_back_is_found_soon(autojump_clock):
    board = Board(Layout(), rows=2)
    async with waiting(pool_of(board=board, row=0), pool_of(board=board, row=1)) as (here, there):
        await here.ask("a")
        await there.ask("b")
        assert there.pool.queue.length.total == here.pool.queue.length.total == 1
        await trio.sleep(1)
        await here.give_back("a")
        given_back = trio.current_time()
        while not there.served:
            await trio.sleep(0.001)
        assert trio.current_time() - given_back <= 1.5 * LOOK_SECONDS + 0.001


async def test_the_bound_is_over_all_processes(autojump_clock):
    board = Board(Layout(), rows=2)
    async with waiting(*(pool_of(board=board, row=row, queue=2) for row in range(2))) as (here, there):
        await here.ask("a", "b")
        await there.ask("c", "d")
        assert there.failed == {"d": Reason.FULL}


async def test_they_are_served_in_the_order_they_came_over_all_processes(autojump_clock):
    board = Board(Layout(), rows=3)
    pools = [pool_of(board=board, row=row, queue=10, queue_timeout=60) for row in range(3)]
    async with waiting(*pools) as runs:
        order = "abcdefghi"
        for number, name in enumerate(order):
            await runs[number % 3].ask(name)
        served = []
        while len(served) < len(order):
            for run in runs:
                for name, lease, _ in run.came:
                    if name not in served:
                        served.append(name)
                        lease.release()
            await trio.sleep(0.001)
        assert "".join(served) == order


async def test_who_looks_at_the_same_moment_takes_it_and_the_other_waits_on(autojump_clock):
    board = Board(Layout(), rows=2)
    async with waiting(*(pool_of(board=board, row=row) for row in range(2))) as (here, there):
        await here.ask("a")
        await there.ask("b")
        leases = there.pool.upstreams[0].leases

        class Contended:
            """Seen as free, and then taken by the other process."""

            total = 0
            release = leases.release

            def claim(self, most):
                return False

        there.pool.upstreams[0].leases = Contended()
        await trio.sleep(1)
        assert there.served == ""
        there.pool.upstreams[0].leases = leases
        await here.give_back("a")
        await trio.sleep(2 * LOOK_SECONDS)
        assert there.served == "b"
