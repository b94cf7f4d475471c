"""A run as JSON, for programs. What stands in it stays; more may come, and `format` tells when something changed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import attrs

from trioproxy._version import __version__
from trioproxy.chaos.measures import MEASURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioproxy.chaos.expectations import Verdict
    from trioproxy.chaos.records import Outcome, Tunnel
    from trioproxy.chaos.timeline import Span

FORMAT: Final = 1


def document(title: str, seed: int, outcome: Outcome, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """All that is known of a run, in seconds from the beginning of load; null: not to be measured, or never."""
    return {
        "format": FORMAT,
        "trioproxy": __version__,
        "title": title,
        "seed": seed,
        "passed": all(verdict.held for verdict in verdicts),
        "duration": outcome.duration,
        "expectations": [
            {"name": each.name, "wanted": each.wanted, "measured": _number(each.measured), "held": each.held}
            for each in verdicts
        ],
        "measures": {
            name: {"value": _number(measure.of(outcome)), "unit": measure.unit} for name, measure in MEASURES.items()
        },
        "faults": list(map(_span, outcome.spans)),
        "happened": list(map(_span, outcome.happened)),
        "comparisons": [{**attrs.asdict(each), "agree": each.agree} for each in outcome.comparisons],
        "samples": [attrs.asdict(each) for each in outcome.samples],
        "proxy": {"exit_status": outcome.exit_status, "errors": list(outcome.errors)},
        "tunnels": [_tunnel(tunnel) for tunnel in outcome.tunnels],
    }


def _span(span: Span) -> dict[str, Any]:
    return {"fault": span.name, "begin": span.begin, "end": span.end, "upstreams": list(span.upstreams)}


def _tunnel(tunnel: Tunnel) -> dict[str, Any]:
    told = attrs.asdict(tunnel)
    told["end"] = tunnel.end.value if tunnel.end else None
    told["code"] = None if tunnel.code is None else int(tunnel.code)
    told["round_trips"] = [[round(sent, 6), round(seconds, 6)] for sent, seconds in tunnel.round_trips]
    return told


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
