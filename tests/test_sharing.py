"""Who accepts on whose sockets, with real listeners and recorded words to the workers."""

from __future__ import annotations

import attrs
import pytest
from support.serving import descriptors, make_config, make_context

from trioproxy.control_messages import Adopt, Release
from trioproxy.listening import Listener
from trioproxy.logs import Log
from trioproxy.sharing import Sharing, portions
from trioproxy.transport import bind, more_like


@attrs.define(eq=False)
class Place:
    """A slot, as far as sharing goes."""

    number: int
    serving: bool = True
    told: list = attrs.field(factory=list)

    def send(self, message, fds=()):
        self.told.append((message, list(fds)))


def listener(context, index):
    config = context.config.listeners[index]
    (sock,) = bind(config.address, inherited={})
    return Listener(context, config, sock)


@pytest.fixture
async def shared(tmp_path):
    """Three workers; a port, a Unix socket, a port."""
    before = descriptors()
    context = make_context(make_config(listeners=("127.0.0.1:0", f"unix:{tmp_path / 'u'}", "127.0.0.1:0")))
    sharing = Sharing([listener(context, i) for i in range(3)], [Place(i) for i in range(3)], Log.memory())
    for each in sharing.listeners:
        sharing.add(each)
    yield sharing
    sharing.close_all()
    sharing.close_all()
    assert descriptors() == before


def adopted(shared, slot):
    return [message.worker for message, _ in slot.told if isinstance(message, Adopt)]


async def test_each_worker_has_a_socket_of_each_port_and_all_the_same_one_else(shared):
    sets = [shared.of(slot, shared.listeners) for slot in shared.slots]
    ports, files = {fds[0] for fds in sets}, {fds[1] for fds in sets}
    assert (len(ports), len(files)) == (3, 1)


async def test_another_stands_in_until_the_worker_is_back(shared):
    gone, other, _ = shared.slots
    gone.serving = False
    shared.orphaned(gone)
    fds = shared.of(gone, [shared.listeners[0], shared.listeners[2]])
    assert other.told == [(Adopt(0, [0, 2]), fds)]
    shared.hand_over()  # it is done already
    gone.serving = True
    shared.began(gone)
    assert other.told[1:] == [(Release(0), [])] and not gone.told
    shared.began(gone)


async def test_those_who_stand_in_share_the_work(shared):
    a, b, c = shared.slots
    a.serving = b.serving = False
    shared.orphaned(a)
    shared.orphaned(b)
    assert adopted(shared, c) == [0, 1]
    b.serving = True
    shared.began(b)
    c.serving = False
    shared.ended(c)
    shared.orphaned(c)
    assert adopted(shared, b) == [0, 2]
    c.serving = True
    shared.began(c)
    c.serving = False
    shared.ended(c)
    a.serving = b.serving = c.serving = True
    for each in (a, b, c):
        each.told.clear()
    shared.began(a)
    assert b.told == [(Release(0), [])]


async def test_without_anybody_the_next_one_that_is_back_stands_in(shared):
    for slot in shared.slots:
        slot.serving = False
    for slot in shared.slots:
        shared.orphaned(slot)
    assert not any(slot.told for slot in shared.slots)
    last = shared.slots[2]
    last.serving = True
    shared.began(last)
    assert adopted(shared, last) == [0, 1]


async def test_places_may_change_while_nobody_stands_in(shared):
    gone, other, _ = shared.slots
    gone.serving = False
    shared.orphaned(gone)
    shared.take_back()
    assert other.told[-1] == (Release(0), [])
    shared.close(shared.listeners.pop(0))
    shared.hand_over()
    assert other.told[-1][0] == Adopt(0, [1])


async def test_a_worker_that_says_it_is_ready_when_a_drain_has_closed_all_gets_nothing(shared):
    gone, other, back = shared.slots
    gone.serving = False
    shared.orphaned(gone)
    shared.close_all()
    other.told.clear()
    shared.began(back)  # it was killed, but its word was on the way
    shared.ended(other)  # nobody has anything to stand in with either
    assert not any(slot.told for slot in (gone, other, back))


async def test_where_all_sockets_are_shared_there_is_nothing_to_hand_over(shared):
    for index in (2, 0):
        shared.close(shared.listeners.pop(index))
    shared.slots[0].serving = False
    shared.orphaned(shared.slots[0])
    assert not any(slot.told for slot in shared.slots)


@pytest.fixture
def handed():
    """Three sockets on one port, as another process's workers had them, and one on another."""
    (first,) = bind("127.0.0.1:0", inherited={})
    sockets = [first, *more_like(first, 2), *bind("127.0.0.1:0", inherited={})]
    yield sockets
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize(("workers", "sizes"), [(1, [1, 1, 1, 1]), (2, [2, 1, 1]), (3, [3, 1]), (9, [3, 1])])
def test_what_workers_had_is_put_together_again_up_to_a_socket_a_worker(handed, workers, sizes):
    config = object()
    found = portions([(config, sock) for sock in handed], workers)
    assert sorted((len(sockets) for _, sockets in found), reverse=True) == sizes
    assert {sock for _, sockets in found for sock in sockets} == set(handed)
    assert all(sockets[0].getsockname() == sock.getsockname() for _, sockets in found for sock in sockets)


def test_sockets_of_two_listeners_are_never_put_together(handed):
    assert len(portions([(object(), handed[0]), (object(), handed[1])], 2)) == 2


async def test_no_socket_is_made_beside_those_that_were_handed_over(shared, handed):
    config = shared.listeners[0].config
    for given in (handed[:1], handed[:2], handed[:3]):
        one = Listener(shared.listeners[0].context, config, given[0])
        shared.add(one, given)
        used = [fd for slot in shared.slots for fd in shared.of(slot, [one])]
        assert set(used) == {sock.fileno() for sock in given}
        assert [(config.address, sock) for sock in given] == list(dict.fromkeys(shared.all()))[-len(given) :]
        del shared._sockets[one]
