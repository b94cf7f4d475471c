"""How a run stands, in lines: several for a terminal of so many columns, one for what is no terminal.

Pure. What they say is counted by `tally`; they are brought to the terminal by `showing`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from rich.text import Text

from trioproxy.chaos.report import number
from trioproxy.cli._top.columns import fitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trioproxy.chaos.timeline import Span
    from trioproxy.cli._chaos.tally import Snapshot

_LEAST_BAR: Final = 10  # cells, from which a bar says something
_MOST_BAR: Final = 40
_LABEL: Final = 12
_WRONG: Final = "bold red"
_ROOM: Final = 9  # lines of a terminal, from which on it has room for all of them


def progress(snapshot: Snapshot, width: int, height: int) -> list[Text]:
    """Lines of at most `width` cells, for a terminal with `height` lines."""
    if height < _ROOM:
        return [fitted(Text(progress_line(snapshot)), width)]
    rows = [Text(f"{label:{_LABEL}}", "dim").append_text(line) for label, line in _rows(snapshot)]
    return [fitted(line, width) for line in (_time(snapshot, width), *rows)]


def progress_line(snapshot: Snapshot) -> str:
    """All of it in one line."""
    by_upstream = ", ".join(map(str, snapshot.open))
    return (
        f"{snapshot.now:7.2f} s  {_open(snapshot)} tunnels ({by_upstream}), {snapshot.without} clients without, "
        f"{snapshot.opened} handshakes, {snapshot.failed} failed, "
        f"{snapshot.messages} messages, {snapshot.lost} lost, p99 {_milliseconds(snapshot.p99_ms)}"
    )


def _time(snapshot: Snapshot, width: int) -> Text:
    share = min(snapshot.now / snapshot.duration, 1.0)
    line = Text(f"{min(snapshot.now, snapshot.duration):.1f} s of {snapshot.duration:g} s", "bold")
    room = min(width - line.cell_len - 2, _MOST_BAR)
    if room >= _LEAST_BAR:
        full = round(share * room)
        line.append("  ").append("━" * full, "cyan").append("─" * (room - full), "dim")
    return line


def _rows(snapshot: Snapshot) -> list[tuple[str, Text]]:
    upstreams = ", ".join(f"upstream {at}: {count}" for at, count in enumerate(snapshot.open))
    tunnels = Text(f"{_open(snapshot):,} open")
    if snapshot.without:
        tunnels.append(", ").append(f"{snapshot.without:,} clients without", "bold yellow")
    tunnels.append(f"   {upstreams}", "dim")
    return [
        ("tunnels", tunnels),
        ("handshakes", Text(f"{snapshot.opened:,} opened, ").append(*_amiss(snapshot.failed, "failed"))),
        (
            "messages",
            Text(f"{snapshot.messages:,} echoed, {number(round(snapshot.rate))} a second, ").append(
                *_amiss(snapshot.lost, "lost")
            ),
        ),
        ("round trips", Text(f"p50 {_milliseconds(snapshot.p50_ms)}, p99 {_milliseconds(snapshot.p99_ms)}, lately")),
        ("faults", _faults(snapshot.on, snapshot.now)),
    ]


def _open(snapshot: Snapshot) -> int:
    return sum(snapshot.open) + snapshot.elsewhere


def _amiss(count: int, word: str) -> tuple[str, str]:
    return f"{count:,} {word}", _WRONG if count else ""


def _milliseconds(value: float) -> str:
    return "-" if math.isnan(value) else f"{number(value)} ms"


def _faults(on: Sequence[Span], now: float) -> Text:
    line = Text()
    for span in on:
        where = f" of upstream {', '.join(map(str, span.upstreams))}" if span.upstreams else ""
        line.append("; " if line else "").append(f"{span.name}{where}", "yellow")
        line.append(f", {span.end - now:.1f} s more", "dim")
    return line or Text("none now", "dim")
