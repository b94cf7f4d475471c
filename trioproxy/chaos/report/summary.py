"""A run in lines for people."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Final

from trioproxy.chaos.measures import MEASURES
from trioproxy.chaos.records import End

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trioproxy.chaos.expectations import Verdict
    from trioproxy.chaos.records import Comparison, Outcome

_SHOWN: Final = 5  # lines of the proxy's log that tell of a bug


def summary(outcome: Outcome, verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Line by line: what was measured, how tunnels ended, whether the proxy says the same, what was expected."""
    for name, measure in MEASURES.items():
        if not math.isnan(value := measure.of(outcome)):
            yield f"{name:40} {value:10.4g} {measure.unit}".rstrip()
    yield ""
    yield "handshakes that failed: " + _counted(tunnel.failure for tunnel in outcome.tunnels if tunnel.failure)
    closed = (tunnel.code for tunnel in outcome.tunnels if tunnel.end is End.CLOSED)
    yield "Close codes from the other side: " + _counted("none" if code is None else str(int(code)) for code in closed)
    for comparison in outcome.comparisons:
        yield f"proxy and clients: {_compared(comparison)}"
    for line in outcome.errors[:_SHOWN]:
        yield f"in the proxy's log: {line}"
    if outcome.exit_status:
        yield f"the proxy ended with status {outcome.exit_status}"
    yield ""
    yield from verdict_lines(verdicts)


def verdict_lines(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """What was expected; the failed ones come last, where the prompt is."""
    yield from map(str, sorted(verdicts, key=lambda verdict: not verdict.held))


def _counted(words: Iterator[str]) -> str:
    return ", ".join(f"{count} x {word}" for word, count in Counter(words).most_common()) or "none"


def _compared(comparison: Comparison) -> str:
    bounds = (
        f"{comparison.least:g}"
        if comparison.least == comparison.most
        else f"{comparison.least:g} to {comparison.most:g}"
    )
    word = "agree" if comparison.agree else "DISAGREE"
    return f"{word} on {comparison.what}: {comparison.proxy:g}, by the clients {bounds}"
