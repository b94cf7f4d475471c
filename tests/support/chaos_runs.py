"""Runs of chaos that never were: what a report is made of, without starting anything."""

from __future__ import annotations

from typing import Any

from trioproxy.chaos.faults import FAULTS
from trioproxy.chaos.records import Comparison, End, Outcome, Sample, Tunnel
from trioproxy.chaos.timeline import Span


def talkative(name: str, client: int, opened: float, ended: float, **more: Any) -> Tunnel:
    """A tunnel with ten messages a second, all echoed after 2 ms."""
    tunnel = Tunnel(name, client, opened - 0.005, opened=opened, ended=ended, **{"end": End.CLIENT, **more})
    tunnel.round_trips += [(opened + number / 10, 0.002) for number in range(int((ended - opened) * 10))]
    tunnel.echoed = len(tunnel.round_trips)
    tunnel.sent = tunnel.echoed + len(tunnel.unanswered)
    return tunnel


def one_killed(**more: Any) -> Outcome:
    """Ten seconds, four clients, two upstreams, of which 1 is killed from 4 s to 7 s; one client waits for a second."""
    tunnels = [talkative(f"{client}-0", client, 0.1, 10.0, upstream=0) for client in (0, 1)]
    closed = {"upstream": 1, "harmed": True, "end": End.CLOSED, "code": 1011}
    tunnels += [
        talkative("2-0", 2, 0.1, 4.0, **closed, unanswered=[3.95]),
        talkative("2-1", 2, 4.1, 10.0, upstream=0),
        talkative("3-0", 3, 0.1, 4.0, **{**closed, "end": End.CUT, "code": None}),
        Tunnel("3-1", 3, 4.1, failure="status 503", ended=4.2),
        talkative("3-2", 3, 5.0, 10.0, upstream=0),
    ]
    about = {
        "duration": 10.0,
        "tunnels": tunnels,
        "upstreams": 2,
        "happened": [
            Span(4.0, 7.0, (1,), FAULTS["kill"](at=4, lasts=3)),
            Span(8.0, 8.0, (0, 1), FAULTS["restart"](at=8)),
        ],
        "comparisons": [
            Comparison(what="tunnels", proxy=6, least=6, most=6),
            Comparison(what="messages_to_client", proxy=90, least=92, most=95),
        ],
        "samples": [Sample(float(second), 4 if second else 0) for second in (0, 1, 2, 3, 4, 8, 9)],
        "exit_status": 0,
    }
    return Outcome(**{**about, **more})
