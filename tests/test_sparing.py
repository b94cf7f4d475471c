"""What peers could have logged by the thousand is said once a second, with how often it was not."""

from __future__ import annotations

import trio

from trioproxy.errors import Reason
from trioproxy.sparing import Sparing


async def test_a_reason_is_said_once_a_second_and_then_how_many_were_not(autojump_clock):
    sparing = Sparing()
    said = []
    for _ in range(9):
        said.append(sparing.due("connection_rejected", Reason.TOO_MANY))
        await trio.sleep(0.25)
    assert [since for since in said if since is not None] == [0, 3, 3]


async def test_one_event_or_reason_does_not_silence_another(autojump_clock):
    sparing = Sparing()
    for event in ("connection_rejected", "arrival_failed"):
        for reason in (Reason.INVALID, Reason.FORBIDDEN):
            assert [sparing.due(event, reason) for _ in range(3)] == [0, None, None]
