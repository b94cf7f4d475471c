"""Runs of several proxies side by side, as lines for people and as Markdown: what each lost.

Pure. What is in it was measured by `beside`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from trioproxy.chaos.measures import MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trioproxy.chaos.beside import Entry, Row, Table

# The measures that say what somebody lost, in other words where a table is narrow.
SHOWN: Final = {
    "handshakes_failed": "handshakes failed",
    "handshake_p99_ms": "handshakes, p99",
    "failover_seconds": "longest without a tunnel",
    "return_seconds": "until a fault's upstream is used again",
    "lost_messages": "messages lost",
    "lost_messages_on_unharmed_tunnels": "messages lost on unharmed tunnels",
    "unharmed_tunnels_ended": "unharmed tunnels ended",
    "cut_without_close": "tunnels cut without a Close",
    "drained_tunnels_kept": "tunnels kept by what was drained",
    "silence_seconds": "longest without an echo that is due",
    "tunnels_with_invalid_frames": "tunnels that got invalid frames",
    "ended_at_once": "most ended within a second",
    "p99_ms": "round trips, p99",
    "corrupted_messages": "broken messages passed on",
}
# Those of them that stand in the table of all scenarios.
_LOSSES: Final = {
    "handshakes_failed": "{} handshakes failed",
    "lost_messages": "{} messages lost",
    "unharmed_tunnels_ended": "{} unharmed tunnels ended",
    "cut_without_close": "{} cut",
    "drained_tunnels_kept": "{} kept though drained",
    "corrupted_messages": "{} broken messages passed on",
}
_MET: Final = "expectations met"


def lines(row: Row) -> Iterator[str]:
    """One scenario against each proxy: what was lost, what was expected in vain, what was not done as asked."""
    yield row.title
    yield from _aligned([["", *(entry.proxy for entry in row.entries)], *_cells(row)])
    yield from _missed(row)
    for entry in row.entries:
        yield from (f"{entry.proxy}: {why}" for why in (_why(entry), *entry.remarks) if why)


def overview(table: Table) -> Iterator[str]:
    """All scenarios against each proxy, a line for each."""
    head = ["", *table.versions]
    yield from _aligned([head, *([row.name, *map(_score, row.entries)] for row in table.rows)])


def markdown(table: Table) -> str:
    """Both as Markdown: the table of all scenarios, and behind it one of each."""
    return "\n".join(_markdown(table)) + "\n"


def _markdown(table: Table) -> Iterator[str]:
    names = ", ".join(f"{name} {version}" for name, version in table.versions.items())
    yield f"{names}; {table.machine}; times of the scenarios multiplied by {table.length:g}.\n"
    yield from _rows(
        [
            ["scenario", *table.versions],
            *([f"[`{row.name}`](#{row.name})", *map(_told, row.entries)] for row in table.rows),
        ]
    )
    for row in table.rows:
        yield f"\n### {row.name}\n\n{row.title}.\n"
        yield from _rows([["", *(entry.proxy for entry in row.entries)], *_cells(row)])
        missed = list(_missed(row))
        whys = [f"{entry.proxy}: {why}" for entry in row.entries if (why := _why(entry))]
        if missed or whys:
            yield ""
            yield from (f"- {line}" for line in (*missed, *whys))


def _missed(row: Row) -> Iterator[str]:
    return (f"{entry.proxy}: {verdict}" for entry in row.entries for verdict in entry.verdicts if not verdict.held)


def _cells(row: Row) -> Iterator[list[str]]:
    """A row of cells for each measure that any of them has something to say of; then what was met."""
    for name, words in SHOWN.items():
        values = [_value(entry, name) for entry in row.entries]
        if any(value and not math.isnan(value) for value in values):
            yield [words, *(_number(name, value) for value in values)]
    yield [_MET, *map(_score, row.entries)]


def _value(entry: Entry, name: str) -> float:
    return MEASURES[name].of(entry.result.outcome) if entry.result else math.nan


def _number(name: str, value: float) -> str:
    if not math.isfinite(value):
        return "-" if math.isnan(value) else "never"
    unit = MEASURES[name].unit
    if unit == "share":
        return f"{value:.0%}"
    return f"{value:.0f} {unit}" if unit == "ms" else f"{value:.3g} {unit}".rstrip()


def _score(entry: Entry) -> str:
    if entry.result is None:
        return "no such thing" if entry.lacks else "failed"
    return f"{sum(verdict.held for verdict in entry.verdicts)} of {len(entry.verdicts)}"


def _told(entry: Entry) -> str:
    """What a cell of the table of all scenarios says: in bold where not all is met."""
    if entry.result is None:
        return _score(entry)
    score = _score(entry)
    if not all(verdict.held for verdict in entry.verdicts):
        score = f"**{score}**"
    losses = [(_value(entry, name), words) for name, words in _LOSSES.items()]
    return "<br>".join([score, *(words.format(int(count)) for count, words in losses if count > 0)])


def _why(entry: Entry) -> str:
    return f"no such thing: {entry.lacks}" if entry.lacks else entry.failed


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
        yield "  ".join(cells).rstrip()


def _rows(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    head, *rest = rows
    yield f"| {' | '.join(head)} |"
    yield "|---" + "|--:" * (len(head) - 1) + "|"
    yield from (f"| {' | '.join(row)} |" for row in rest)
