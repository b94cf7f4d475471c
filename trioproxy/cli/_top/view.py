"""What `top` looks like in so many columns and lines: lines of text, the most important ones where there are few.

What there is to show is `state`'s, the figures above it `figures`'; putting it on a terminal is `screen`'s.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from trioproxy.cli._remote import counted, duration, octets, printable
from trioproxy.cli._top.columns import HEAD_STYLE, Column, fitted, lines, shares
from trioproxy.cli._top.figures import FIGURES, both, figure_lines, rate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trioproxy.cli._top.state import State
    from trioproxy.cli._top.tunnels import Listed

_STATES: Final = {
    "up": "green",
    "running": "green",
    "down": "bold red",
    "ejected": "magenta",
    "draining": "yellow",
    "starting": "yellow",
    "unknown": "dim",
}
_LEVELS: Final = {"warning": "yellow", "error": "red"}
_ROOMY: Final = 20  # lines from which on some may be empty
_LEAST: Final = 2  # lines of a section: its head, and something
_LISTED_ONCE: Final = 10  # tunnels and events of each, where it is printed once
_KEYS: Final = "q quit   s sort tunnels   up/down select an upstream   d drain   r resume"

_UPSTREAM: Final = (
    Column("upstream", 0),
    Column("pool", 4),
    Column("state", 1),
    Column("tunnels", 2, right=True),
    Column("msg/s", 3, right=True),
    Column("bytes/s", 5, right=True),
    Column("active", 6, right=True),
    Column("weight", 8, right=True),
    Column("last probe", 7),
)
_TUNNEL: Final = (
    Column("client", 0),
    Column("upstream", 3),
    Column("route", 6),
    Column("messages", 2, right=True),
    Column("bytes", 1, right=True),
    Column("age", 4, right=True),
    Column("idle", 5, right=True),
    Column("id", 7),
)


def screen(state: State, width: int, height: int) -> list[Text]:
    """At most `height` lines of at most `width` cells: the proxy, its figures, upstreams, tunnels, events; keys."""
    if height < 2:  # noqa: PLR2004 - too few for a head and the keys
        return [_head(state, width)][:height]
    gaps = 4 if height >= _ROOMY else 0
    room = height - 2 - gaps
    of_figures = min(len(FIGURES), room // 2)
    wants = [1 + len(state.upstreams), 1 + len(state.tunnels), 1 + len(state.events)]
    given = shares(room - of_figures, [want if want > 1 else 0 for want in wants], _LEAST)
    body = _sections(state, state.samples, width, [of_figures, *given], gap=bool(gaps))
    filled = [*body, *(Text() for _ in range(height - 2 - len(body)))]
    return [_head(state, width), *filled[: height - 2], _foot(state, width)]


def report(state: State, width: int) -> list[Text]:
    """The same for who wants to read it once, with all upstreams."""
    wanted = [len(FIGURES), 1 + len(state.upstreams), 1 + _LISTED_ONCE, 1 + _LISTED_ONCE]
    return [_head(state, width), *_sections(state, list(state.samples)[-1:], width, wanted, gap=True)]


def _sections(
    state: State, samples: Sequence[Mapping[str, Any]], width: int, given: Sequence[int], *, gap: bool
) -> list[Text]:
    sections = (
        figure_lines(samples, width)[: given[0]],
        _upstreams(state, width, given[1] - 1),
        _tunnels(state, width, given[2] - 1),
        _events(state, width, given[3] - 1),
    )
    found: list[Text] = []
    for section in sections:
        if gap and section:
            found.append(Text())
        found += section
    if state.trouble:
        for line in found:
            line.stylize("dim")
    return found


def _head(state: State, width: int) -> Text:
    line = Text.assemble((f"trioproxy {printable(state.address)}", "bold"), "  ")
    if state.trouble:
        line.append(f"connection lost, retrying: {printable(state.trouble)}", "bold red")
    elif state.newest is not None:
        said = str(state.newest["state"])
        line.append(said, _STATES.get(said, ""))
        line.append(time.strftime("  %H:%M:%S", time.localtime(state.newest["time"])), "dim")
        if (faults := state.newest.get("chaos")) is not None:
            line.append(f"  chaos: {counted(faults, 'fault')} on", "bold magenta" if faults else "magenta")
    return fitted(line, width)


def _foot(state: State, width: int) -> Text:
    if state.question is not None:
        question = f"{state.question.verb} {state.question.upstream} of pool {state.question.pool}?  y: yes, else no"
        return fitted(Text(printable(question), "bold yellow"), width)
    return fitted(Text(printable(state.said), "bold") if state.said else Text(_KEYS, "dim"), width)


def _upstreams(state: State, width: int, count: int) -> list[Text]:
    upstreams = state.upstreams
    if count < 1 or not upstreams:
        return []
    shown, hidden = _window(state, count)
    found = lines(_UPSTREAM, [_upstream(pool, each) for pool, each in shown], width)
    for line, (pool, each) in zip(found[1:], shown, strict=True):
        if (pool, each["address"]) == state.selected:
            line.pad_right(max(0, width - line.cell_len))
            line.stylize("reverse")
    if hidden:
        amiss = sum(each["state"] != "up" for _, each in hidden)
        found.append(fitted(Text(f"... {len(hidden)} more, {amiss} of them not up", "dim"), width))
    return found


def _window(state: State, count: int) -> tuple[list[Any], list[Any]]:
    """Upstreams to be shown and those for which there is no room, where one line tells of those."""
    upstreams = list(state.upstreams)
    if len(upstreams) <= count:
        return upstreams, []
    room, start = max(1, count - 1), 0
    names = [(pool, each["address"]) for pool, each in upstreams]
    if state.selected in names:
        start = min(max(0, names.index(state.selected) - room // 2), len(upstreams) - room)
    else:
        upstreams.sort(key=lambda one: one[1]["state"] == "up")  # what is amiss comes first
    end = start + room
    return upstreams[start:end], (upstreams[:start] + upstreams[end:] if count > 1 else [])


def _upstream(pool: str, upstream: Mapping[str, Any]) -> list[Text]:
    state = str(upstream["state"])
    said = "drained" if state == "draining" and not upstream["active"] else state
    if state == "ejected":
        said += f", back in {duration(upstream['ejection']['returns_in_seconds'])}"
    elif state != upstream["health"] and upstream["health"] != "up":
        said += f" ({upstream['health']})"
    texts = (
        upstream["address"] + (" (backup)" if upstream["backup"] else ""),
        pool,
        said,
        str(upstream["tunnels"]),
        rate(both(upstream["messages_per_second"])),
        octets(both(upstream["bytes_per_second"])),
        str(upstream["active"]),
        f"{upstream['weight']:g}",
        _probe(upstream["last_probe"]),
    )
    styles = {2: _STATES.get(state, "")}
    return [Text(printable(text), styles.get(at, "")) for at, text in enumerate(texts)]


def _probe(probe: Mapping[str, Any] | None) -> str:
    if probe is None:
        return ""
    return f"{probe['result']} {probe['seconds'] * 1000:.1f} ms"


def _tunnels(state: State, width: int, count: int) -> list[Text]:
    shown = state.tunnels.most(state.sort, count) if count > 0 else []
    if not shown:
        return []
    columns = [Column(f"*{one.head}" if one.head == state.sort else one.head, one.rank, one.right) for one in _TUNNEL]
    return lines(columns, [_tunnel(each) for each in shown], width)


def _tunnel(listed: Listed) -> list[Text]:
    row = listed.row
    texts = (
        row["client"],
        row["upstream"],
        row["route"],
        f"{rate(listed.messages)}/s",
        f"{octets(listed.bytes)}/s",
        duration(row["age"]),
        duration(row["idle"]),
        row["id"],
    )
    return [Text(printable(text)) for text in texts]


def _events(state: State, width: int, count: int) -> list[Text]:
    if count < 1 or not state.events:
        return []
    newest = list(reversed(state.events))[:count]
    return [fitted(Text("events", HEAD_STYLE), width), *(fitted(_event(each), width) for each in newest)]


def _event(event: Mapping[str, Any]) -> Text:
    line = Text(time.strftime("%H:%M:%S ", time.localtime(event["time"])), "dim")
    line.append(printable(str(event["event"])), _LEVELS.get(event["level"], ""))
    for name, value in event.items():
        if name not in {"time", "event", "level"}:
            line.append(f" {name}=", "dim")
            line.append(printable(str(value)).replace("\n", " "))
    return line
