"""The tables of a report: what was expected, measured, counted, compared.

Pure. Where they stand on the page is `page`'s.
"""

from __future__ import annotations

import math
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from trioproxy.chaos.measures import MEASURES, opened
from trioproxy.chaos.records import End
from trioproxy.chaos.report.markup import Markup, element
from trioproxy.chaos.report.scale import number

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from trioproxy.chaos.expectations import Verdict
    from trioproxy.chaos.records import Comparison, Outcome, Tunnel

_SIGNS: Final[Mapping[str, str]] = {"<=": "at most", ">=": "at least", "=": "exactly"}
_MOST_ROWS: Final = 50  # of what is counted by name
_LONGEST: Final = 300  # characters of a name
# RFC 6455 section 7.4.1, and the registry it made
_CODES: Final[Mapping[int, str]] = {
    1000: "normal closure",
    1001: "going away",
    1002: "protocol error",
    1003: "unsupported data",
    1007: "invalid payload",
    1008: "policy violation",
    1009: "message too big",
    1010: "mandatory extension",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
    1014: "bad gateway",
}


def expectations(verdicts: Sequence[Verdict]) -> Markup:
    """The failed ones first."""
    if not verdicts:
        return element("p", "The scenario expects nothing.", class_="quiet")
    rows = [
        (
            _mark("met", good=True) if verdict.held else _mark("not met", good=False),
            _code(verdict.measure),
            f"{_SIGNS[verdict.sign]} {_value(verdict.wanted, verdict.measure)}",
            _value(verdict.measured, verdict.measure),
            MEASURES[verdict.measure].meaning,
        )
        for verdict in sorted(verdicts, key=lambda verdict: verdict.held)
    ]
    return table("What was expected", ("", "measure", "wanted", ">measured", "meaning"), rows)


def measures(outcome: Outcome) -> Markup:
    """All that is measured, whether anything was expected of it or not."""
    rows = [(_code(name), _value(each.of(outcome), name), each.meaning) for name, each in MEASURES.items()]
    return table("What the clients saw", ("measure", ">value", "meaning"), rows)


def endings(outcome: Outcome) -> Markup:
    """How tunnels ended."""
    found = Counter(map(_ending, opened(outcome)))
    return _counted("How tunnels ended", ("end", ">tunnels"), found, "No tunnel was opened.")


def failures(outcome: Outcome) -> Markup:
    """Why handshakes failed."""
    found = Counter(_failure(tunnel.failure) for tunnel in outcome.tunnels if tunnel.opened is None)
    return _counted("Why handshakes failed", ("reason", ">handshakes"), found, "None did.")


def comparisons(found: Sequence[Comparison]) -> Markup:
    """What the proxy counted beside what the clients did."""
    if not found:
        return element("p", "The proxy's metrics tell nothing that could be compared.", class_="quiet")
    rows = [
        (
            _mark("agree", good=True) if each.agree else _mark("disagree", good=False),
            each.what.replace("_", " "),
            number(each.proxy),
            number(each.least) if each.least == each.most else f"{number(each.least)} to {number(each.most)}",
        )
        for each in found
    ]
    return table("By the proxy's metrics, and by the clients", ("", "what", ">proxy", ">clients"), rows)


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    """Rows under their heads; a head that starts with ">" is for numbers. The first column with a head names a row."""
    columns = [(head.removeprefix(">"), "number" if head.startswith(">") else None) for head in heads]
    names = [element("th", head, scope="col", class_=kind) for head, kind in columns]
    named = 0 if heads[0] else 1
    tags = [("th", "row") if at == named else ("td", None) for at in range(len(heads))]
    body = [
        element(
            "tr",
            *(
                element(name, cell, scope=scope, class_=kind, data_label=head)
                for (name, scope), cell, (head, kind) in zip(tags, row, columns, strict=True)
            ),
        )
        for row in rows
    ]
    return element(
        "table", element("caption", caption), element("thead", element("tr", *names)), element("tbody", *body)
    )


def _counted(caption: str, heads: Sequence[str], counts: Counter[str], none: str) -> Markup:
    if not counts:
        return element("p", none, class_="quiet")
    rows = [(name, number(count)) for name, count in counts.most_common(_MOST_ROWS)]
    if left := len(counts) - len(rows):
        others = counts.total() - sum(count for _, count in counts.most_common(_MOST_ROWS))
        rows.append((f"{left} others", number(others)))
    return table(caption, heads, rows)


def _ending(tunnel: Tunnel) -> str:
    match tunnel.end, tunnel.code:
        case End.CLIENT, _:
            return "by the client, politely"
        case End.CUT, _:
            return "cut: the other side was gone without a Close (1006)"
        case End.CLOSED, None:
            return "Close without a code"
        case End.CLOSED, int(code):
            meaning = _CODES.get(code, "")
            return f"Close {code:d}" + (f", {meaning}" if meaning else "")
    return "open to the last"


def _failure(why: str) -> str:
    words = why[:_LONGEST]
    status = words.removeprefix("status ")
    known = status.isdigit() and int(status) in set(HTTPStatus)
    return f"{words} {HTTPStatus(int(status)).phrase}" if known else words or "unknown"


def _value(value: float, measure: str) -> str:
    if math.isnan(value):
        return "not measured"
    return f"{number(value)} {MEASURES[measure].unit.removeprefix('share')}".rstrip()


def _code(text: str) -> Markup:
    return element("code", text)


def _mark(text: str, *, good: bool) -> Markup:
    return element("span", text, class_="mark good" if good else "mark bad")
