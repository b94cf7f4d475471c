"""The admin's commands to several workers: what each answers, made one answer."""

from __future__ import annotations

import json
from functools import partial

import attrs
import pytest
import trio
from support.serving import POOL, make_config, make_context

from trioproxy.admin.control import Unknown
from trioproxy.control_messages import Answer
from trioproxy.health import UpstreamState
from trioproxy.injections import Injections
from trioproxy.passive import Judge
from trioproxy.slots import ANSWER_SECONDS, Question
from trioproxy.status import Status
from trioproxy.supervisor_control import SupervisorControl

ADDRESS = "127.0.0.1:1"


@attrs.define(eq=False)
class Place:
    """A slot whose worker answers as the test says."""

    number: int
    answers: dict
    asked: list = attrs.field(factory=list)
    silent: tuple = ()  # what it does not answer

    def question(self, make):
        message = make(7)
        self.asked.append((message.what, message.arguments))
        asked = Question(self.answers.get(message.what))
        if message.what not in self.silent:
            asked.answered.set()
        return asked

    def status(self):
        return {"worker": self.number}


def control_of(*answers):
    context = make_context(make_config())
    places = [Place(number, each) for number, each in enumerate(answers)]
    # Without a nursery: nothing is ejected here, nor injected.
    judge, chaos = Judge(context, None), Injections(context, None, None)
    return SupervisorControl(context, Status(context, [], len(places)), places, judge, chaos), places


async def test_the_status_tells_of_the_processes():
    control, _ = control_of({}, {})
    status = await control.status()
    assert (status["workers"], status["processes"]) == (2, [{"worker": 0}, {"worker": 1}])
    assert control.ready()[0] is False
    assert control.config is control._context.config


async def test_pages_of_tunnels_become_one():
    def page(total, *ids):
        return {"tunnels": Answer(7, {"total": total, "tunnels": [{"id": each} for each in ids]})}

    control, places = control_of(page(3, "a-1", "c-1"), {}, page(1, "b-1"), {"tunnels": Answer(7, refusal=("no",))})
    found = await control.tunnels(after="", limit=2, where={"pool": "p"})
    assert found == {"total": 4, "tunnels": [{"id": "a-1"}, {"id": "b-1"}]}
    assert places[1].asked == [("tunnels", {"after": "", "limit": 2, "where": {"pool": "p"}})]


async def test_an_upstream_is_drained_and_resumed_everywhere_and_here():
    answers = {what: Answer(7, {"tunnels": 2}) for what in ("drain_upstream", "resume_upstream")}
    control, places = control_of(answers, {}, answers)
    (upstream,) = control._context.pools[POOL].upstreams
    news = control.metrics.news
    drained = await control.drain_upstream(POOL, ADDRESS, spread=5, timeout=2)
    stands = {"pool": POOL, "upstream": ADDRESS, "state": UpstreamState.DRAINING, "active": 0, "tunnels": 4}
    assert drained == {**stands, "spread": 1, "timeout": 2}
    assert places[2].asked == [("drain_upstream", {"pool": POOL, "address": ADDRESS, "spread": 1, "timeout": 2})]
    resumed = await control.resume_upstream(POOL, ADDRESS)
    assert (resumed["state"], upstream.draining) == (UpstreamState.UNKNOWN, False)
    assert control.metrics.news == news + 2
    await control.resume_upstream(POOL, ADDRESS)  # which changes nothing, and is no event
    with control.live.read() as reader:
        events = json.loads(reader.history())["events"]
    assert [(each["event"], each["upstream"]) for each in events] == [
        ("upstream_drain", ADDRESS),
        ("upstream_resume", ADDRESS),
    ]


async def test_of_commands_at_the_same_moment_all_workers_hear_the_same_one_last():
    answers = {what: Answer(7, {"tunnels": 0}) for what in ("drain_upstream", "resume_upstream")}
    control, places = control_of(*[answers] * 4)
    (upstream,) = control._context.pools[POOL].upstreams
    for _ in range(20):
        async with trio.open_nursery() as operators:
            operators.start_soon(partial(control.drain_upstream, POOL, ADDRESS, spread=0, timeout=1))
            operators.start_soon(control.resume_upstream, POOL, ADDRESS)
        last = "drain_upstream" if upstream.draining else "resume_upstream"
        assert {place.asked[-1][0] for place in places} == {last}


async def test_workers_that_stand_still_are_waited_for_all_at_once_and_not_long(autojump_clock):
    page = {"tunnels": Answer(7, {"total": 1, "tunnels": [{"id": "a-1"}]})}
    control, places = control_of({}, {}, page)
    places[0].silent = places[1].silent = ("tunnels",)
    assert (await control.tunnels(after="", limit=2, where={}))["total"] == 1
    assert trio.current_time() == ANSWER_SECONDS


async def test_what_nobody_knows_is_unknown():
    control, places = control_of({})
    with pytest.raises(Unknown, match=f"there are: {POOL}"):
        await control.drain_upstream("other", ADDRESS, spread=0, timeout=1)
    with pytest.raises(Unknown, match=f"there are: {ADDRESS}"):
        await control.resume_upstream(POOL, "other:1")
    assert not places[0].asked


async def test_a_tunnel_is_closed_by_whoever_has_it():
    no, yes = {"close_tunnel": Answer(7, refusal=("no",))}, {"close_tunnel": Answer(7, {"id": "a-1", "code": 1012})}
    control, _ = control_of(no, yes)
    assert await control.close_tunnel("a-1", 1012) == {"id": "a-1", "code": 1012}
    control, _ = control_of(no, {})
    with pytest.raises(Unknown, match="no open tunnel 'a-1'"):
        await control.close_tunnel("a-1", 1012)
