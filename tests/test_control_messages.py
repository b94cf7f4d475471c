"""Every message there is: what is said is what is heard."""

from __future__ import annotations

import pytest

from trioproxy.config import PoolConfig, UpstreamConfig
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
    decode,
    encode,
)
from trioproxy.upstreams import Pool

NEWS = (
    UpstreamNews("p", "localhost:80", "up", addresses=((2, ("127.0.0.1", 80)), (10, ("::1", 80, 0, 0)))),
    UpstreamNews("p", "unix:/x", "down", draining=True, ejected=True, back_for=1.5, addresses=((1, "/x"),)),
)
MESSAGES = [
    Start(1, 2, 'a = "ü\n"', (0, 0, 1), NEWS),
    News(NEWS),
    Adopt(1, [0, 2]),
    Release(1),
    Ask(7, "tunnels", {"after": "", "limit": 3, "where": {"pool": "p"}}),
    Prepare(8, "", ()),
    Commit(9, NEWS),
    Abandon(),
    Drain(),
    Cut(),
    Reopen(),
    Ready(),
    Answer(7, {"total": 0}),
    Answer(8, refusal=["no", "and no"]),
    Resolve("p", "localhost:80"),
    Failed("p", "localhost:80"),
]


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_is_one_line_and_comes_out_as_it_went_in(message):
    line = encode(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert decode(line) == message


def test_what_there_is_to_know_of_an_upstream():
    (upstream,) = Pool(PoolConfig(name="p", upstreams=(UpstreamConfig(address="127.0.0.1:80"),))).upstreams
    upstream.addresses = ((2, ("127.0.0.1", 80)),)
    upstream.draining = True
    assert UpstreamNews.of(upstream) == UpstreamNews(
        "p", "127.0.0.1:80", upstream.health.state, draining=True, addresses=upstream.addresses
    )


def test_addresses_are_what_sockets_take():
    (first, second) = decode(encode(News(NEWS))).upstreams
    assert first.addresses == ((2, ("127.0.0.1", 80)), (10, ("::1", 80, 0, 0)))
    assert second.addresses == ((1, "/x"),)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b'{"message":"explode"}',
        b'{"message":"drain","hard":true}',
        b'{"message":"release"}',
    ],
)
def test_anything_else_is_no_message(line):
    with pytest.raises(ValueError):
        decode(line)
