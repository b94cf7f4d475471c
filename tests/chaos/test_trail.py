"""Whose a connection is, in two header fields."""

import pytest

from trioproxy.chaos import trail

HEAD = b"GET /chaos HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n"


@pytest.mark.parametrize(
    ("field", "name"),
    [
        (b"X-Chaos-Connection: 3-0", "3-0"),
        (b"x-chaos-connection:3-0 ", "3-0"),
        (b"X-Other: 3-0", ""),
        (b"X-Chaos-Connection: a b", ""),
        (b"X-Other: X-Chaos-Connection: 3-0", ""),
    ],
)
def test_a_connection_is_named_in_its_request(field, name):
    assert trail.connection(HEAD % field) == name


def test_an_upstream_is_told_in_the_answer():
    answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    assert trail.with_upstream(answer, 7) == answer[:-2] + b"X-Chaos-Upstream: 7\r\n\r\n"
