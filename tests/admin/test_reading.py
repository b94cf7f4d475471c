"""Bodies and queries as the API reads them; what it refuses is asked over sockets in `test_app`."""

from __future__ import annotations

import json
import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException
from starlette.requests import Request

from trioproxy.admin.reading import BODY_SECONDS, digits, read_body, read_query
from trioproxy.config_rules import Unfit, number

SPREAD = {"spread": number("seconds")}


def request(*parts, query=b"", last=True):
    """A request whose body comes in these parts, and then ends unless `last` is False."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if last:
        messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        return messages.pop(0) if messages else await trio.sleep(math.inf)

    return Request({"type": "http", "method": "POST", "headers": [], "query_string": query}, receive)


async def test_a_body_may_come_in_pieces():
    assert await read_body(request(b'{"spr', b'ead"', b": 2}"), SPREAD) == {"spread": 2.0}


async def test_no_body_says_nothing():
    assert await read_body(request(), SPREAD) == {}


async def test_a_body_that_does_not_come_is_given_up(autojump_clock):
    start = trio.current_time()
    with pytest.raises(HTTPException) as caught:
        await read_body(request(b"{", last=False), SPREAD)
    assert caught.value.status_code == 408
    assert trio.current_time() - start == BODY_SECONDS


async def test_a_client_that_goes_in_the_middle_is_no_error_of_ours():
    async def receive():
        return {"type": "http.disconnect"}

    gone = Request({"type": "http", "method": "POST", "headers": [], "query_string": b""}, receive)
    with pytest.raises(HTTPException) as caught:
        await read_body(gone, SPREAD)
    assert caught.value.status_code == 400


async def test_a_body_without_end_is_given_up_at_its_bound():
    with pytest.raises(HTTPException) as caught:
        await read_body(request(b" " * 10_000, b" " * 10_000, last=False), SPREAD)
    assert caught.value.status_code == 413


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("spread"), inner),
)


@given(st.binary() | DOCUMENTS.map(lambda document: json.dumps(document).encode()))
def test_whatever_comes_is_read_by_the_rules_or_refused(content):
    async def read():
        try:
            return await read_body(request(content), SPREAD)
        except HTTPException as error:
            return error.status_code

    outcome = trio.run(read)
    if outcome != 400:
        assert outcome == {} or (set(outcome) == {"spread"} and 0 <= outcome["spread"] <= 1e9)


def test_a_query_is_read_by_the_same_rules():
    assert read_query(request(query=b"limit=020"), {"limit": digits(1, 999)}) == {"limit": 20}
    assert read_query(request(), {"limit": digits(1, 999)}) == {}


@pytest.mark.parametrize("value", ["", "x", "1e2", "+1", "0", "11", "1_0", "\uff11", 5, None, "9" * 5000])
def test_digits_are_digits_within_their_bounds(value):
    with pytest.raises(Unfit, match=r"^a whole number from 1 to 10$"):
        digits(1, 10).read(value)
