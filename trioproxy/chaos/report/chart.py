"""One chart over time as an HTML figure: an SVG with faults shaded, its axes, a legend, and the same as a table.

Pure, and without any script. Which charts a report has is `timeline`'s. The drawing is stretched to the page's width:
everything written stands beside it, in HTML.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.chaos.report.markup import Markup, element, joined
from trioproxy.chaos.report.scale import Scale, linear, logarithmic, moment, number, of_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from trioproxy.chaos.timeline import Span

WIDTH: Final = 1000  # of the drawing; its height is that in CSS pixels
HEIGHT: Final = 150
THIN: Final = 4  # what is no wider is a line
_BAR: Final = 0.86  # of a part's width
# What drawings take from elsewhere on the page: stripes, for what should be seen without its colour, too.
PATTERNS: Final = Markup(
    '<svg class="patterns" aria-hidden="true"><defs>'
    '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<path class="hatch" d="M0 0V6"/></pattern></defs></svg>'
)


class Shape(StrEnum):
    """How the layers of a chart are drawn."""

    AREAS = "areas"  # levels, one upon the other
    BARS = "bars"  # counts of each part, one upon the other
    LINES = "lines"  # values of each part, with gaps where there is none, on a logarithmic axis


@attrs.frozen
class Layer:
    """One row of numbers, a number for each part. `kind` is its class in the style sheet, which has its colour."""

    name: str
    kind: str
    values: Sequence[float]


@attrs.frozen(kw_only=True)
class Chart:
    """What is drawn in one figure."""

    name: str
    note: str
    unit: str
    shape: Shape
    layers: Sequence[Layer]
    dashed: Sequence[tuple[float, float]] = ()  # (time, value): a line over it all, from another source
    dashed_name: str = ""


@attrs.frozen
class Frame:
    """What all charts of a page have in common: the time from left to right, its parts, and faults."""

    times: Sequence[float]
    spans: Sequence[Span]

    def x(self, time: float) -> float:
        """Where a time lies in a drawing."""
        return round(min(max(time / self.times[-1], 0), 1) * WIDTH, 1)


def figure(chart: Chart, frame: Frame) -> Markup:
    """The whole figure."""
    return element(
        "figure",
        element("figcaption", element("h3", chart.name), element("p", chart.note, class_="quiet"), _legend(chart)),
        plot(_drawing(chart, frame), frame, marks=_scale(chart)),
        _numbers(chart, frame),
        class_="chart",
    )


def plot(drawing: Markup, frame: Frame, marks: Scale | None = None) -> Markup:
    """A drawing with what is written around it: at its left the marks of its own axis, below those of time."""
    times = of_time(frame.times[-1])
    levels = [(number(mark), f"bottom:{marks.place(mark):.1%}") for mark in marks.marks] if marks else []
    moments = [(moment(mark), f"left:{times.place(mark):.1%}") for mark in times.marks]
    return element(
        "div",
        element("div", *(element("span", text, style=place) for text, place in levels), class_="levels"),
        drawing,
        element("div", *(element("span", text, style=place) for text, place in moments), class_="times"),
        class_="plot",
    )


def drawing(label: str, height: int, *content: str) -> Markup:
    """An SVG that is as wide as its place; `label` says in words what is to be seen."""
    box = f"0 0 {WIDTH} {height}"
    return element(
        "svg",
        *content,
        role="img",
        aria_label=label,
        viewBox=box,
        height=height,
        preserveAspectRatio="none",
    )


def shades(frame: Frame, height: int) -> Iterator[Markup]:
    """The faults behind a drawing: a band while one is on, if that is wide enough to be seen."""
    for span in frame.spans:
        left, right = frame.x(span.begin), frame.x(span.end)
        if right - left > THIN:
            yield element("rect", class_="fault", x=left, y=0, width=round(right - left, 1), height=height)


def _edges(frame: Frame) -> Iterator[float]:
    """Where a fault begins, ends or strikes once: lines above all colours, which leave those as they are."""
    for span in frame.spans:
        left, right = frame.x(span.begin), frame.x(span.end)
        yield left
        if right - left > THIN:
            yield right


def _drawing(chart: Chart, frame: Frame) -> Markup:
    scale = _scale(chart)
    grid = "".join(f"M0 {_y(scale, mark):g}H{WIDTH}" for mark in scale.marks)
    return drawing(
        _in_words(chart),
        HEIGHT,
        *shades(frame, HEIGHT),
        element("path", class_="grid", d=grid),
        *_layers(chart, frame, scale),
        element("path", class_="edge", d="".join(f"M{x:g} 0V{HEIGHT}" for x in _edges(frame))),
        *(element("path", class_="dashed", d=path) for path in (_through(chart.dashed, frame, scale),) if path),
        *_told(chart, frame),
    )


def _y(scale: Scale, value: float) -> float:
    return round((1 - scale.place(value)) * HEIGHT, 1)


def _scale(chart: Chart) -> Scale:
    beside = [value for _, value in chart.dashed]
    if chart.shape is Shape.LINES:
        values = [value for layer in chart.layers for value in layer.values if not math.isnan(value)]
        return logarithmic(min(values, default=1), max(values, default=1))
    return linear(max([*map(sum, zip(*(layer.values for layer in chart.layers), strict=True)), *beside, 0]))


def _layers(chart: Chart, frame: Frame, scale: Scale) -> Iterator[Markup]:
    below = [0.0] * (len(frame.times) - 1)
    for layer in chart.layers:
        if chart.shape is Shape.LINES:
            yield element("path", class_=f"line {layer.kind}", d=_line(layer.values, frame, scale))
            continue
        above = [low + value for low, value in zip(below, layer.values, strict=True)]
        draw = _area if chart.shape is Shape.AREAS else _bars
        if path := draw(below, above, frame, scale):
            yield element("path", class_=f"area {layer.kind}", d=path)
        below = above


def _area(below: Sequence[float], above: Sequence[float], frame: Frame, scale: Scale) -> str:
    """Around all parts where there is something: along the top, and back along the bottom."""
    found, at = [], 0
    while at < len(above):
        end = at
        while end < len(above) and above[end] > below[end]:
            end += 1
        if end > at:
            top = _steps(range(at, end), above, frame, scale)
            bottom = _steps(range(end - 1, at - 1, -1), below, frame, scale, back=True)
            found.append(f"M{top[1:]}L{bottom[1:]}Z")
        at = end + 1
    return "".join(found)


def _steps(parts: Iterable[int], values: Sequence[float], frame: Frame, scale: Scale, *, back: bool = False) -> str:
    """A level from part to part; equal ones are one."""
    path, last = "", math.nan
    for part in parts:
        first, second = frame.x(frame.times[part]), frame.x(frame.times[part + 1])
        begin, end = (second, first) if back else (first, second)
        height = _y(scale, values[part])
        if height == last:
            path = path.rpartition("H")[0] + f"H{end:g}"
        else:
            path += (f"V{height:g}" if path else f"M{begin:g} {height:g}") + f"H{end:g}"
        last = height
    return path


def _bars(below: Sequence[float], above: Sequence[float], frame: Frame, scale: Scale) -> str:
    found = []
    width = frame.x(frame.times[1])
    for part, (low, high) in enumerate(zip(below, above, strict=True)):
        if high > low:
            left, right = frame.x(frame.times[part]), frame.x(frame.times[part]) + width * _BAR
            found.append(f"M{left:g} {_y(scale, low):g}V{_y(scale, high):g}H{right:.5g}V{_y(scale, low):g}Z")
    return "".join(found)


def _line(values: Sequence[float], frame: Frame, scale: Scale) -> str:
    """Levels of parts, joined where they are neighbours."""
    found, runs = "", [part for part, value in enumerate(values) if not math.isnan(value)]
    while runs:
        size = next((at for at in range(1, len(runs)) if runs[at] != runs[at - 1] + 1), len(runs))
        found += _steps(runs[:size], values, frame, scale)
        runs = runs[size:]
    return found


def _through(points: Sequence[tuple[float, float]], frame: Frame, scale: Scale) -> str:
    """From point to point, with gaps where one follows much later than they usually do."""
    found, before = "", -math.inf
    for time, value in points:
        verb = "L" if time - before < 2.5 * (points[-1][0] - points[0][0]) / max(len(points) - 1, 1) else "M"
        found += f"{verb}{frame.x(time):g} {_y(scale, value):g}"
        before = time
    return found


def _in_words(chart: Chart) -> str:
    """What an eye would take from it: of each row the least and the most."""
    said = []
    for layer in chart.layers:
        values = [value for value in layer.values if not math.isnan(value)]
        span = f"{number(min(values))} to {number(max(values))}" if values else "nothing"
        said.append(f"{layer.name} {span}")
    return f"{chart.name}, {chart.unit}: {'; '.join(said)}."


def _rows(chart: Chart, frame: Frame) -> Iterator[tuple[str, list[str]]]:
    digits = max(0, -math.floor(math.log10(frame.times[1])))
    for part, time in enumerate(frame.times[:-1]):
        yield f"{time:.{digits}f} s", [number(layer.values[part]) for layer in chart.layers]


def _told(chart: Chart, frame: Frame) -> Iterator[Markup]:
    """For the mouse: what each part has, which browsers show without any script."""
    names = [layer.name for layer in chart.layers]
    width = frame.x(frame.times[1])
    for part, (time, values) in enumerate(_rows(chart, frame)):
        words = ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True) if value)
        yield element(
            "rect",
            element("title", f"{time}: {words}"),
            class_="touch",
            x=frame.x(frame.times[part]),
            width=width,
            height=HEIGHT,
        )


def _legend(chart: Chart) -> Markup:
    shown = [(layer.name, f"key {chart.shape} {layer.kind}") for layer in chart.layers]
    shown += [(chart.dashed_name, "key dashes")] if chart.dashed else []
    return element(
        "ul", *(element("li", element("i", class_=kind), name) for name, kind in shown if name), class_="legend"
    )


def _numbers(chart: Chart, frame: Frame) -> Markup:
    """The same as a table, closed until it is wanted."""
    heads = ("from", *(layer.name for layer in chart.layers))
    rows = (
        element("tr", element("th", time, scope="row"), *(element("td", value) for value in values))
        for time, values in _rows(chart, frame)
    )
    table = element(
        "table",
        element("caption", f"{chart.name}, {chart.unit}"),
        element("thead", element("tr", *(element("th", head, scope="col") for head in heads))),
        element("tbody", joined(rows)),
    )
    name = element("span", f" of {chart.name}", class_="unseen")
    return element("details", element("summary", "Numbers", name), element("div", table, class_="wide numbers"))
