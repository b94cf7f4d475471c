"""Numbers of a run: what was lost, how long it took, how it was spread.

Pure. What is wanted of them is `expectations`'; what they are made of, `records`'.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.chaos.records import End

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from trioproxy.chaos.records import Outcome, Tunnel

_NOTICED_SECONDS: Final = 1.0  # of a fault, in which a tunnel may have been under way to where it struck

_DRAINS: Final = frozenset({"drain-upstream", "replace"})


@attrs.frozen
class Measure:
    """One number: how it is told of a run; nan where the run has nothing to tell it of."""

    of: Callable[[Outcome], float]
    unit: str
    meaning: str


def opened(outcome: Outcome) -> list[Tunnel]:
    """The tunnels that opened."""
    return [tunnel for tunnel in outcome.tunnels if tunnel.opened is not None]


def unharmed(outcome: Outcome) -> list[Tunnel]:
    """Those of them that no fault touched."""
    return [tunnel for tunnel in opened(outcome) if not tunnel.harmed]


def quantile(values: Iterable[float], share: float) -> float:
    """The least value that this share of them does not exceed; nan of none."""
    ranked = sorted(values)
    return ranked[max(math.ceil(share * len(ranked)) - 1, 0)] if ranked else math.nan


def round_trips(tunnels: Iterable[Tunnel]) -> list[float]:
    """In milliseconds."""
    return [seconds * 1000 for tunnel in tunnels for _, seconds in tunnel.round_trips]


def _handshakes(outcome: Outcome) -> list[float]:
    return [(tunnel.opened - tunnel.asked) * 1000 for tunnel in outcome.tunnels if tunnel.opened is not None]


def _success(outcome: Outcome) -> float:
    return len(opened(outcome)) / len(outcome.tunnels) if outcome.tunnels else math.nan


def gaps(outcome: Outcome) -> list[tuple[float, float]]:
    """From when to when a client was without a tunnel which it had not ended itself: to its next, or to the end."""
    by_client: dict[int, list[Tunnel]] = {}
    for tunnel in sorted(outcome.tunnels, key=lambda tunnel: tunnel.asked):
        by_client.setdefault(tunnel.client, []).append(tunnel)
    found = []
    for tunnels in by_client.values():
        since: float | None = None
        for tunnel in tunnels:
            if tunnel.opened is None:
                since = tunnel.asked if since is None else since
                continue
            if since is not None:
                found.append((since, tunnel.opened))
            since = tunnel.ended if tunnel.end in {End.CLOSED, End.CUT} else None
        if since is not None and since < outcome.duration:
            found.append((since, outcome.duration))
    return found


def _failover(outcome: Outcome) -> float:
    return max((end - begin for begin, end in gaps(outcome)), default=0.0)


def _return(outcome: Outcome) -> float:
    """The longest from the end of a fault to the first tunnel over an upstream it concerned; inf where none came."""
    found = [0.0]
    for span in outcome.spans:
        if span.end >= outcome.duration or not span.fault.lasts:
            continue
        for upstream in span.upstreams:
            times = [t.opened for t in opened(outcome) if t.upstream == upstream and t.opened and t.opened >= span.end]
            found.append(min(times, default=math.inf) - span.end)
    return max(found)


def _during_faults(outcome: Outcome) -> int:
    return sum(
        any(
            tunnel.upstream in span.upstreams and span.begin + _NOTICED_SECONDS < (tunnel.opened or 0) < span.end
            for span in outcome.spans
        )
        for tunnel in opened(outcome)
    )


def _kept(outcome: Outcome) -> float:
    drains = [span for span in outcome.spans if span.name in _DRAINS]
    kept = {
        tunnel.name
        for span in drains
        for tunnel in opened(outcome)
        if tunnel.upstream in span.upstreams and tunnel.opened is not None and tunnel.opened < span.begin
        if tunnel.ended is None or tunnel.ended >= outcome.duration
    }
    return len(kept)


def _cut(tunnels: Iterable[Tunnel]) -> int:
    return sum(tunnel.end is End.CUT for tunnel in tunnels)


def _at_once(outcome: Outcome) -> float:
    """Of the tunnels that the other side ended, those that did within one second, at most; a share of them."""
    times = sorted(t.ended for t in opened(outcome) if t.ended is not None and t.end is not End.CLIENT)
    most = max((bisect_left(times, start + 1) - place for place, start in enumerate(times)), default=0)
    return most / len(times) if times else 0.0


def shares(outcome: Outcome) -> list[float]:
    """For each upstream, the part of the tunnels open at the end that it has."""
    last = Counter(t.upstream for t in opened(outcome) if t.ended is None or t.ended >= outcome.duration)
    return [last[number] / last.total() if last else math.nan for number in range(outcome.upstreams)]


def _total(attribute: str, select: Callable[[Outcome], Sequence[Tunnel]]) -> Callable[[Outcome], float]:
    return lambda outcome: sum(getattr(tunnel, attribute) for tunnel in select(outcome))


MEASURES: Final[Mapping[str, Measure]] = MappingProxyType(
    {
        "handshakes": Measure(lambda o: len(o.tunnels), "", "Handshakes that clients began."),
        "handshake_success": Measure(_success, "share", "The part of them that became a tunnel."),
        "handshakes_failed": Measure(lambda o: len(o.tunnels) - len(opened(o)), "", "Those that did not."),
        "failed_handshake_seconds": Measure(
            lambda o: max(((t.ended or t.asked) - t.asked for t in o.tunnels if t.failure), default=0.0),
            "s",
            "The longest until one of those had its answer.",
        ),
        "handshake_p50_ms": Measure(lambda o: quantile(_handshakes(o), 0.5), "ms", "From connecting to the 101."),
        "handshake_p99_ms": Measure(lambda o: quantile(_handshakes(o), 0.99), "ms", "From connecting to the 101."),
        "failover_seconds": Measure(
            _failover, "s", "The longest that a client was without a tunnel, from its end or a first failed handshake."
        ),
        "return_seconds": Measure(
            _return,
            "s",
            "The longest from the end of a fault to the first tunnel over an upstream it concerned; inf: none came.",
        ),
        "tunnels": Measure(lambda o: len(opened(o)), "", "Tunnels opened."),
        "drained_tunnels_kept": Measure(
            _kept, "", "Those open when their upstream was drained, or the proxy replaced, and at the end still."
        ),
        "tunnels_during_faults": Measure(
            _during_faults, "", "Those opened over an upstream that a fault concerned then, from its first second on."
        ),
        "silence_seconds": Measure(
            lambda o: max((t.silence for t in opened(o)), default=0.0),
            "s",
            "The longest that a tunnel was open with an echo due, and nothing came.",
        ),
        "messages": Measure(_total("echoed", opened), "", "Messages echoed."),
        "lost_messages": Measure(_total("lost", opened), "", "Messages without an echo."),
        "lost_messages_on_unharmed_tunnels": Measure(
            _total("lost", unharmed), "", "Those of tunnels that no fault touched."
        ),
        "duplicated_messages": Measure(_total("duplicated", opened), "", "Echoes that came again."),
        "reordered_messages": Measure(_total("reordered", opened), "", "Echoes that came before an earlier one's."),
        "corrupted_messages": Measure(_total("corrupted", opened), "", "Messages that came and were never sent."),
        "corrupted_messages_on_unharmed_tunnels": Measure(
            _total("corrupted", unharmed), "", "Those of tunnels that no fault touched."
        ),
        "p50_ms": Measure(lambda o: quantile(round_trips(opened(o)), 0.5), "ms", "Round trips of messages."),
        "p99_ms": Measure(lambda o: quantile(round_trips(opened(o)), 0.99), "ms", "Round trips of messages."),
        "p99_ms_on_unharmed_tunnels": Measure(
            lambda o: quantile(round_trips(unharmed(o)), 0.99), "ms", "Those of tunnels that no fault touched."
        ),
        "cut_without_close": Measure(lambda o: _cut(opened(o)), "", "Tunnels that ended without a Close."),
        "cut_without_close_on_unharmed_tunnels": Measure(
            lambda o: _cut(unharmed(o)), "", "Those of them that no fault touched."
        ),
        "tunnels_with_invalid_frames": Measure(
            lambda o: sum(t.invalid for t in opened(o)), "", "Tunnels in which something came that is no frame."
        ),
        "unharmed_tunnels_ended": Measure(
            lambda o: sum(tunnel.end in {End.CLOSED, End.CUT} for tunnel in unharmed(o)),
            "",
            "Tunnels that no fault touched and their clients did not end.",
        ),
        "ended_at_once": Measure(
            _at_once, "share", "Of the tunnels that clients did not end: the most that ended within one second."
        ),
        "least_share": Measure(
            lambda o: min(shares(o), default=math.nan), "share", "Of the tunnels at the end: the upstream with fewest."
        ),
        "largest_share": Measure(
            lambda o: max(shares(o), default=math.nan), "share", "Of the tunnels at the end: the upstream with most."
        ),
        "disagreements": Measure(
            lambda o: sum(not each.agree for each in o.comparisons) if o.comparisons else math.nan,
            "",
            "Numbers that the proxy's metrics and the clients tell differently; not measured where those tell none.",
        ),
        "proxy_errors": Measure(
            lambda o: len(o.errors) + bool(o.exit_status), "", "Errors in the proxy's log, and a bad end of it."
        ),
    }
)
