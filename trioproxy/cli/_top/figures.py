"""The figures of a proxy as a whole, each with how it went over the last minutes.

Where they stand on the screen is `view`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
from rich.text import Text

from trioproxy.cli._remote import counted, octets
from trioproxy.cli._top.columns import fitted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Sample = Mapping[str, Any]

_BARS: Final = "▁▂▃▄▅▆▇█"
_LEAST_BARS: Final = 8  # a sparkline that is shorter says nothing


@attrs.frozen
class Figure:
    """One line: its name, what is drawn, how that is written, and what is said besides."""

    name: str
    value: Callable[[Sample], float]
    text: Callable[[float], str]
    detail: Callable[[Sample], str]


def rate(value: float) -> str:
    """Tenths where they say something: 0.3, 12, 12,345."""
    return f"{value:.1f}" if 0 < value < 10 else f"{value:,.0f}"  # noqa: PLR2004


def both(ways: Mapping[str, float]) -> float:
    """Both directions together."""
    return ways["to_upstream"] + ways["to_client"]


def _ways(sample: Sample, what: str, text: Callable[[float], str]) -> str:
    return f"{text(sample[what]['to_upstream'])} up, {text(sample[what]['to_client'])} down"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds else "-"


def _handshakes(sample: Sample) -> str:
    took = sample["handshake_seconds"]
    return f"p50 {_milliseconds(took['p50'])}, last 10 s" if took else "none in the last 10 s"


def _endings(sample: Sample) -> str:
    by_reason = sorted(sample["endings_per_second"].items(), key=lambda one: -one[1])
    return ", ".join(f"{reason} {rate(each)}" for reason, each in by_reason)


FIGURES: Final = (
    Figure(
        "tunnels",
        lambda s: s["tunnels"],
        lambda value: f"{value:,.0f}",
        lambda s: counted(s["connections"], "connection"),
    ),
    Figure(
        "messages/s",
        lambda s: both(s["messages_per_second"]),
        rate,
        lambda s: _ways(s, "messages_per_second", rate),
    ),
    Figure("bytes/s", lambda s: both(s["bytes_per_second"]), octets, lambda s: _ways(s, "bytes_per_second", octets)),
    Figure(
        "handshakes/s",
        lambda s: s["handshakes_per_second"]["accepted"],
        rate,
        lambda s: f"{rate(s['handshakes_per_second']['failed'])} failed",
    ),
    Figure("handshake p99", lambda s: (s["handshake_seconds"] or {"p99": 0.0})["p99"], _milliseconds, _handshakes),
    Figure("endings/s", lambda s: sum(s["endings_per_second"].values()), rate, _endings),
    Figure("requests/s", lambda s: s["requests_per_second"], rate, lambda _: ""),
)


def figure_lines(samples: Sequence[Sample], width: int) -> list[Text]:
    """A line for each figure of the last sample, with a sparkline where there is room and more than that one."""
    if not samples:
        return []
    newest = samples[-1]
    names = max(len(figure.name) for figure in FIGURES)
    values = [figure.text(figure.value(newest)) for figure in FIGURES]
    details = [figure.detail(newest) for figure in FIGURES]
    of_values, of_details = max(map(len, values)), max(len("p50 1000.0 ms, last 10 s"), *map(len, details[:-2]))
    bars = width - names - of_values - of_details - 6 if len(samples) > 1 else 0
    found = []
    for figure, value, detail in zip(FIGURES, values, details, strict=True):
        line = Text.assemble(f"{figure.name:{names}}  ", (f"{value:>{of_values}}", "bold"), "  ")
        line.append(detail if bars < _LEAST_BARS else f"{_cut(detail, of_details):{of_details}}  ", "dim")
        if bars >= _LEAST_BARS:
            line.append(sparkline([figure.value(sample) for sample in samples], bars), "cyan")
        found.append(fitted(line, width))
    return found


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def sparkline(values: Sequence[float], width: int) -> str:
    """The last `width` values as bars, the highest of them in full; at the right, where there are fewer."""
    shown = list(values)[-width:]
    most = max(shown, default=0)
    bars = (_BARS[min(int(value / most * len(_BARS)), len(_BARS) - 1)] if most else _BARS[0] for value in shown)
    return "".join(bars).rjust(width)
