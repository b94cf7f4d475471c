"""The headlines as one SVG: a small bar chart each, readable in light and in dark, without any script.

The same figures as text are `table`; which they are is `headlines`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import attrs

from bench.headlines import HEADLINES
from bench.table import conditions, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.headlines import Headline
    from bench.results import Results

COLUMNS = 3
PANEL_WIDTH = 340
BAR_LEFT, BAR_RIGHT = 76, 268  # inside a panel: names to the left, figures to the right
ROW_HEIGHT = 19
PANEL_HEAD, PANEL_FOOT = 44, 22
PAGE_MARGIN, PAGE_HEAD = 24, 84
CHARACTERS_A_LINE = 150

STYLE = """
  svg { color-scheme: light dark; background: #ffffff; }
  text { font: 12px system-ui, sans-serif; fill: #24292f; }
  .page { fill: #ffffff; } .head { font-size: 19px; font-weight: 600; } .title { font-weight: 600; font-size: 13px; }
  .quiet { fill: #57606a; font-size: 11px; } .own { font-weight: 700; } .value { text-anchor: end; }
  .bar { fill: #9aa4b0; } .bar.own { fill: #1f6feb; } .bar.relay { fill: #d0d7de; } .range { stroke: #24292f; }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117; } .page { fill: #0d1117; } text { fill: #e6edf3; } .quiet { fill: #9198a1; }
    .bar { fill: #656d78; } .bar.own { fill: #4493f8; } .bar.relay { fill: #3d444d; } .range { stroke: #e6edf3; }
  }
"""


def text(x: float, y: float, content: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{named}>{escape(content)}</text>'


def kind_of(peer: str) -> str:
    return {"trioproxy": " own", "naive": " relay", "messages": " relay"}.get(peer, "")


@attrs.frozen
class Panel:
    """One headline's chart with its upper left corner at x, y."""

    results: Results
    headline: Headline
    case: str
    x: float
    y: float

    def draw(self) -> Iterator[str]:
        yield text(self.x, self.y + 14, self.headline.title, "title")
        yield text(self.x, self.y + 30, f"{self.headline.unit}, {self.headline.better} is better", "quiet")
        names = list(self.results.about["peers"])
        spreads = [self.results.spread(self.case, name, self.headline.figure) for name in names]
        # A median fills the panel at most; the range of an outlier is cut at the edge.
        scale = (BAR_RIGHT - BAR_LEFT) / (max((s.median for s in spreads if s), default=1) * 1.08 or 1)
        for row, (name, spread) in enumerate(zip(names, spreads, strict=True)):
            middle = self.y + PANEL_HEAD + ROW_HEIGHT * (row + 0.5)
            kind = kind_of(name)
            yield text(self.x, middle + 4, name, kind.strip())
            yield text(self.x + 328, middle + 4, number(spread.median) if spread else "-", f"value{kind}")
            if spread:
                left, width, bar_top = self.x + BAR_LEFT, spread.median * scale, middle - 6.5
                yield f'<rect class="bar{kind}" x="{left}" y="{bar_top:g}" width="{width:.1f}" height="13" rx="2"/>'
                ends = [min(left + value * scale, self.x + BAR_RIGHT) for value in (spread.least, spread.greatest)]
                yield f'<path class="range" d="M{ends[0]:.1f} {middle:g}H{ends[1]:.1f}"/>'


def caption(results: Results) -> list[str]:
    """Machine, versions and how to read it, in lines that fit."""
    words = (
        f"Bar: median; line: least to greatest. {conditions(results)} "
        "naive: two Trio tasks a tunnel; messages: trio-websocket on both sides."
    ).split()
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > CHARACTERS_A_LINE:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def draw(results: Results) -> str:
    """The whole picture as SVG text. Headlines that were not measured are left out."""
    shown = [(headline, case) for headline in HEADLINES if (case := results.find(headline.case))]
    height = PANEL_HEAD + ROW_HEIGHT * len(results.about["peers"]) + PANEL_FOOT
    lines = caption(results)
    top = PAGE_HEAD + 14 * (len(lines) - 2)
    page = (2 * PAGE_MARGIN + COLUMNS * PANEL_WIDTH, top + height * -(-len(shown) // COLUMNS) + PAGE_MARGIN)
    size = f'viewBox="0 0 {page[0]} {page[1]}" width="{page[0]}" height="{page[1]}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>',
        "<title>trioproxy beside other proxies</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{page[0]}" height="{page[1]}"/>',
        text(PAGE_MARGIN, 34, "trioproxy beside other proxies", "head"),
        *(text(PAGE_MARGIN, 54 + 14 * row, line, "quiet") for row, line in enumerate(lines)),
    ]
    for index, (headline, case) in enumerate(shown):
        x = PAGE_MARGIN + PANEL_WIDTH * (index % COLUMNS)
        y = top + height * (index // COLUMNS)
        parts += Panel(results, headline, case, x, y).draw()
    return "\n".join([*parts, "</svg>", ""])
