"""The charts of a report: which there are, of which numbers, in which order; faults above them.

Pure. How one is drawn is `chart`'s, what the numbers are `series`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trioproxy.chaos.report.chart import THIN, WIDTH, Chart, Frame, Layer, Shape, drawing, figure, plot
from trioproxy.chaos.report.markup import Markup, element, joined
from trioproxy.chaos.report.scale import moment, number
from trioproxy.chaos.series import series

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from trioproxy.chaos.records import Outcome
    from trioproxy.chaos.series import Series
    from trioproxy.chaos.timeline import Span

_COLOURS: Final = 7  # that can be told apart, by whoever sees colours in another way, too; see page.css
_LANE: Final = 14  # pixels
_MOST_LANES: Final = 40
_LABEL_LEFT: Final = 0.5  # of the time: what begins later is named at its left


def timeline(outcome: Outcome) -> Markup:
    """Faults and charts, all over the same time."""
    told = series(outcome)
    frame = Frame(told.times, outcome.happened)
    shown = [figure(chart, frame) for chart in charts(told, outcome)]
    return joined([_lanes(frame), *shown])


def charts(told: Series, outcome: Outcome) -> Iterator[Chart]:
    """In the order an operator asks: who is served, who comes, how long it takes, what is lost, how it ends."""
    upstreams = {_upstream(number): levels[:-1] for number, levels in told.open.items()}
    yield Chart(
        name="Open tunnels",
        note="By upstream, one upon the other; on top, clients that are without a tunnel against their will.",
        unit="tunnels",
        shape=Shape.AREAS,
        layers=[*_grouped(upstreams), Layer("without a tunnel", "without", told.without[:-1])],
        dashed=[(sample.time, sample.open_tunnels) for sample in outcome.samples],
        dashed_name="by the proxy's metrics: up to a second later, and with those that are closing",
    )
    yield Chart(
        name="Handshakes",
        note="A second.",
        unit="a second",
        shape=Shape.BARS,
        layers=[
            Layer("became a tunnel", "s0", _rate(told.opened, told.width)),
            Layer("failed", "bad", _rate(told.failed, told.width)),
        ],
    )
    yield _quantiles("Handshake time", "From connecting to the 101, by when that came.", told.handshake_ms)
    yield Chart(
        name="Messages",
        note="Echoes that came, a second.",
        unit="a second",
        shape=Shape.BARS,
        layers=[Layer("echoed", "s0", _rate(told.messages, told.width))],
    )
    yield _quantiles("Round trip", "From a message to its echo, by when it was sent.", told.round_trip_ms)
    lost = [Layer("lost", "bad", told.lost)]
    yield from _now_and_then("Messages lost", "That had no echo, by when they were sent.", lost)
    ended = _grouped(told.ended)
    yield from _now_and_then("Tunnels ended by the other side", "By Close code; cut: without a Close.", ended)
    yield from _now_and_then("Handshakes that failed", "By reason.", _grouped(told.failures))


def _quantiles(name: str, note: str, values: Mapping[float, Sequence[float]]) -> Chart:
    layers = [Layer(f"p{share * 100:g}", f"q{place}", each) for place, (share, each) in enumerate(values.items())]
    return Chart(name=name, note=f"{note} Logarithmic.", unit="ms", shape=Shape.LINES, layers=layers)


def _now_and_then(name: str, note: str, layers: Sequence[Layer]) -> Iterator[Chart]:
    """A chart of what happens now and then, unless it never did."""
    if any(any(layer.values) for layer in layers):
        yield Chart(name=name, note=note, unit="in each part", shape=Shape.BARS, layers=layers)


def _grouped(rows: Mapping[str, Sequence[int]]) -> list[Layer]:
    """A layer for each, the rest together where there are more than colours."""
    names = list(rows)
    alone = names if len(names) <= _COLOURS else names[: _COLOURS - 1]
    layers = [Layer(name, f"s{place}", rows[name]) for place, name in enumerate(alone)]
    if rest := names[len(alone) :]:
        together = [sum(values) for values in zip(*(rows[name] for name in rest), strict=True)]
        layers.append(Layer(f"{len(rest)} others", f"s{_COLOURS - 1}", together))
    return layers


def _rate(counts: Sequence[int], width: float) -> Sequence[float]:
    return [round(count / width, 6) for count in counts]


def _upstream(number: int | None) -> str:
    return "upstream unknown" if number is None else f"upstream {number}"


def _lanes(frame: Frame) -> Markup:
    """Each fault in a lane of its own, named."""
    faults = list(dict.fromkeys(span.fault for span in frame.spans))
    if not faults:
        return element("p", "No fault was let loose.", class_="quiet")
    lanes = [_lane([span for span in frame.spans if span.fault is fault], frame) for fault in faults[:_MOST_LANES]]
    if left := len(faults) - len(lanes):
        lanes.append(element("p", f"and {left} more, in the scenario below", class_="quiet"))
    return element(
        "figure",
        element("figcaption", element("h3", "Faults"), element("p", "Shaded in all charts.", class_="quiet")),
        plot(element("div", *lanes, class_="lanes"), frame),
        class_="chart",
    )


def _lane(spans: Sequence[Span], frame: Frame) -> Markup:
    words = _in_words(spans)
    shapes = []
    for span in spans:
        left, right = frame.x(span.begin), frame.x(span.end)
        if right - left <= THIN:
            shapes.append(element("path", class_="strike", d=f"M{left:g} 0V{_LANE}"))
        else:
            shapes.append(element("rect", class_="span", x=left, width=round(right - left, 1), height=_LANE))
    first = frame.x(spans[0].begin) / WIDTH
    place = f"margin-left:{first:.1%}" if first < _LABEL_LEFT else f"margin-right:{1 - first:.1%};text-align:right"
    return element("div", element("p", words, style=place), drawing(words, _LANE, *shapes), class_="lane")


def _in_words(spans: Sequence[Span]) -> str:
    first = spans[0]
    begin, end = moment(round(first.begin, 1)), moment(round(first.end, 1))
    when = f"at {begin}" if begin == end else f"{begin} to {end}"
    if len(spans) > 1:
        when += f", {number(len(spans))} times"
    concerned = sorted({upstream for span in spans for upstream in span.upstreams})
    where = f", upstream {', '.join(map(str, concerned))}" if concerned else ""
    return f"{first.name}{where}: {when}"
