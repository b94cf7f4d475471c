"""Clients and what they note, against servers that misbehave."""

import contextlib
import itertools
from functools import partial

import pytest
import trio
from trio_websocket import ConnectionClosed, serve_websocket

from trioproxy.chaos.load import Load, arrivals, planned
from trioproxy.chaos.records import End
from trioproxy.chaos.scenario import LoadConfig

QUICK = {"clients": 1, "ramp": 0.0, "rate": 50.0, "reconnect": False, "patience": 0.3}


async def run_load(answer, *, duration=0.3, handshakes=0, **settings):
    """The tunnels of clients whose server deals with each connection as `answer` says; until so many `handshakes`."""
    numbers = itertools.count(1)
    async with trio.open_nursery() as nursery:

        async def serve(request):
            if next(numbers) == handshakes:
                nursery.cancel_scope.cancel()
            with contextlib.suppress(ConnectionClosed):
                await answer(request)

        server = await nursery.start(serve_websocket, serve, "127.0.0.1", 0, None)
        load = Load(LoadConfig(**{**QUICK, **settings}), "127.0.0.1", server.port, 1, duration)
        await load.run()
        nursery.cancel_scope.cancel()
    return load.tunnels


async def echo(request, change=lambda number, message: [message], fields=()):
    websocket = await request.accept(extra_headers=list(fields))
    number = 0
    while True:
        message = await websocket.get_message()
        for each in change(number, message):
            await websocket.send_message(each)
        number += 1


async def test_every_message_has_its_echo():
    (tunnel,) = await run_load(echo)
    assert tunnel.sent == tunnel.echoed > 3
    assert (tunnel.lost, tunnel.duplicated, tunnel.reordered, tunnel.corrupted) == (0, 0, 0, 0)
    assert (tunnel.end, tunnel.code, tunnel.failure, tunnel.upstream) == (End.CLIENT, None, "", None)
    assert len(tunnel.round_trips) == tunnel.sent
    assert 0 <= tunnel.asked <= tunnel.opened <= tunnel.ended


async def test_the_upstream_is_the_one_the_answer_names():
    (tunnel,) = await run_load(lambda request: echo(request, fields=[(b"x-chaos-upstream", b"3")]))
    assert tunnel.upstream == 3


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda number, message: [] if number == 1 else [message], {"lost": 1}),
        (lambda number, message: [message] * (2 if number == 1 else 1), {"duplicated": 1}),
        (
            lambda number, message: [message.replace("0-0", "0-1")] if number == 1 else [message],
            {"lost": 1, "corrupted": 1},
        ),
        (
            lambda number, message: [message[:-1] + "<"] if number == 1 else [message],
            {"lost": 1, "corrupted": 1},
        ),
        (lambda number, message: [b"\xff", message] if number == 1 else [message], {"corrupted": 1}),
    ],
)
async def test_what_is_lost_comes_twice_or_was_never_sent(change, counts):
    (tunnel,) = await run_load(lambda request: echo(request, change))
    found = {name: getattr(tunnel, name) for name in ("lost", "duplicated", "reordered", "corrupted")}
    assert found == dict.fromkeys(found, 0) | counts
    assert len(tunnel.unanswered) == tunnel.lost
    assert all(tunnel.opened <= sent <= tunnel.ended for sent in tunnel.unanswered)


async def test_what_comes_before_an_earlier_one():
    held = []

    def swap(number, message):
        if number == 1:
            held.append(message)
            return []
        return [message, held.pop()] if held else [message]

    (tunnel,) = await run_load(lambda request: echo(request, swap))
    assert (tunnel.reordered, tunnel.lost) == (1, 0)


async def refuse(request):
    await request.reject(503)


async def fall_silent(_):
    await trio.sleep_forever()


@pytest.mark.parametrize(("answer", "why"), [(refuse, "status 503"), (fall_silent, "timeout")])
async def test_a_handshake_that_fails_says_why(answer, why):
    (tunnel,) = await run_load(answer)
    assert (tunnel.failure, tunnel.opened, tunnel.end) == (why, None, None)


async def test_a_connect_that_is_refused_says_so():
    load = Load(LoadConfig(**QUICK), "127.0.0.1", 1, 1, 0.1)
    await load.run()
    (tunnel,) = load.tunnels
    assert tunnel.failure.startswith("connect: ")


async def close(request):
    websocket = await request.accept()
    await websocket.get_message()
    await websocket.aclose(4321)


async def cut(request):
    websocket = await request.accept()
    await websocket.get_message()
    await websocket._stream.aclose()


@pytest.mark.parametrize(("answer", "end", "code"), [(close, End.CLOSED, 4321), (cut, End.CUT, None)])
async def test_a_tunnel_that_the_other_side_ends(answer, end, code):
    (tunnel,) = await run_load(answer)
    assert (tunnel.end, tunnel.code, tunnel.echoed) == (end, code, 0)
    assert tunnel.lost == len(tunnel.unanswered) >= 1


async def test_a_tunnel_in_which_no_frame_comes_is_cut():
    async def answer(request):
        websocket = await request.accept()
        await websocket.get_message()
        await websocket._stream.send_all(b"\xf1\x01x")
        await trio.sleep_forever()

    (tunnel,) = await run_load(answer)
    assert (tunnel.end, tunnel.code, tunnel.invalid) == (End.CUT, None, True)


async def test_a_close_for_a_protocol_error_is_a_close():
    async def answer(request):
        websocket = await request.accept()
        await websocket.get_message()
        await websocket.aclose(1002, "of yours")

    (tunnel,) = await run_load(answer)
    assert (tunnel.end, tunnel.code, tunnel.invalid) == (End.CLOSED, 1002, False)


async def test_a_client_comes_again():
    tunnels = await run_load(close, duration=60, handshakes=3, reconnect=True, pause=0.01)
    assert [tunnel.name for tunnel in tunnels] == ["0-0", "0-1", "0-2"]


async def test_a_client_opens_another_tunnel_when_one_has_lived():
    *lived, _ = await run_load(echo, duration=60, handshakes=3, reconnect=True, lifetime=0.1)
    assert [tunnel.end for tunnel in lived] == [End.CLIENT] * 2
    assert all(tunnel.ended - tunnel.asked >= 0.1 for tunnel in lived)


async def test_clients_may_be_silent():
    (tunnel,) = await run_load(echo, rate=0.0)
    assert (tunnel.sent, tunnel.end) == (0, End.CLIENT)


@pytest.mark.parametrize("arrival", ["even", "random", "burst"])
def test_arrivals_are_within_the_ramp_and_by_the_seed(arrival):
    settings = LoadConfig(clients=50, ramp=2.0, arrival=arrival)
    times = arrivals(settings, 1)
    assert len(times) == 50
    assert times == sorted(times) == arrivals(settings, 1)
    assert 0 <= times[0] <= times[-1] <= 2
    assert (arrivals(settings, 2) == times) is (arrival != "random")
    assert len(set(times)) == (1 if arrival == "burst" else 50)


def test_lifetimes():
    assert planned(LoadConfig(lifetime=0.0), 1, "0-0").lifetime == float("inf")
    assert planned(LoadConfig(lifetime=0.0, lifetimes="exponential"), 1, "0-0").lifetime == float("inf")
    assert planned(LoadConfig(lifetime=3.0), 1, "0-0").lifetime == 3
    settings = LoadConfig(lifetime=3.0, lifetimes="exponential")
    varied = [planned(settings, 1, f"0-{number}").lifetime for number in range(2000)]
    assert len(set(varied)) == 2000
    assert sum(varied) / 2000 == pytest.approx(3, rel=0.1)


def test_a_tunnel_is_planned_by_the_seed_and_its_name():
    settings = LoadConfig(lifetime=3.0, lifetimes="exponential", pause=0.2, jitter=0.5)
    plan = planned(settings, 1, "0-0")
    assert plan == planned(settings, 1, "0-0")
    others = planned(settings, 2, "0-0"), planned(settings, 1, "0-1"), planned(settings, 1, "1-0")
    assert len({plan, *others}) == 4
    assert 0 <= plan.phase < 1
    assert 0.2 <= plan.pause <= 0.3


async def test_how_long_nothing_came_though_an_echo_was_due():
    answer = partial(echo, change=lambda number, message: [message] if number < 3 else [])
    (tunnel,) = await run_load(answer, duration=1.0)
    (sent, seconds) = tunnel.round_trips[-1]
    assert tunnel.lost >= 1
    assert 0.3 <= tunnel.silence <= tunnel.ended - sent - seconds


async def test_silence_is_no_longer_than_a_round_trip_where_all_is_answered():
    (tunnel,) = await run_load(echo)
    assert 0 < tunnel.silence <= max(seconds for _, seconds in tunnel.round_trips)
