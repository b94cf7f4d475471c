"""A run as one HTML file that needs nothing besides: no script, no other file, no network.

Pure, but for reading its own style sheet. Its charts are `timeline`'s, its tables `tables`'.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy._version import __version__
from trioproxy.chaos.report import tables
from trioproxy.chaos.report.chart import PATTERNS
from trioproxy.chaos.report.markup import Markup, element, joined
from trioproxy.chaos.report.timeline import timeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trioproxy.chaos.expectations import Verdict
    from trioproxy.chaos.records import Outcome

# Nothing is asked for and nothing runs, whatever a scenario or a log may have brought in.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_MOST_LINES: Final = 50  # of the proxy's log
_LONGEST: Final = 1000  # characters of one


@attrs.frozen(kw_only=True)
class About:
    """What is said of a run besides what came of it."""

    name: str  # of the scenario
    title: str
    seed: int
    source: str  # the text of its file
    proxy: str  # which, and its version
    command: str  # that repeats it
    begun: str  # when


def page(about: About, outcome: Outcome, verdicts: Sequence[Verdict]) -> str:
    """The whole file; what UTF-8 cannot say is a question mark in it."""
    style = files(__package__).joinpath("page.css").read_text("utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="robots", content="noindex"),
        element("title", f"{_verdict(verdicts)}: {about.name}"),
        element("style", Markup(style)),
    )
    footer = element("footer", f"Written by trioproxy chaos {__version__}.")
    main = element("main", *_sections(about, outcome, verdicts))
    body = element("body", PATTERNS, _header(about, outcome, verdicts), main, footer)
    whole = f"<!doctype html>\n{element('html', head, body, lang='en')}\n"
    return whole.encode("utf-8", "replace").decode("utf-8")


def _verdict(verdicts: Sequence[Verdict]) -> str:
    return "Passed" if all(verdict.held for verdict in verdicts) else "Failed"


def _header(about: About, outcome: Outcome, verdicts: Sequence[Verdict]) -> Markup:
    failed = sum(not verdict.held for verdict in verdicts)
    said = f"{failed} of {len(verdicts)} expectations not met" if failed else f"all {len(verdicts)} expectations met"
    clients = len({tunnel.client for tunnel in outcome.tunnels})
    facts = (
        ("Scenario", about.name),
        ("Seed", str(about.seed)),
        ("Load", f"{clients:,} clients, {outcome.duration:g} s"),
        ("Upstreams", str(outcome.upstreams)),
        ("Proxy", about.proxy),
        ("Begun", about.begun),
    )
    return element(
        "header",
        element("p", "trioproxy chaos", class_="quiet"),
        element("h1", about.title or about.name),
        element(
            "p",
            element("strong", _verdict(verdicts), class_="mark bad" if failed else "mark good"),
            f" {said}" if verdicts else " nothing was expected",
            class_="verdict",
        ),
        element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in facts)),
        element("p", "Again: ", element("code", about.command), class_="again"),
    )


def _sections(about: About, outcome: Outcome, verdicts: Sequence[Verdict]) -> Iterator[Markup]:
    yield _section("Expectations", tables.expectations(verdicts))
    yield _section("What the clients saw", tables.measures(outcome))
    yield _section("Over time", timeline(outcome), kind="charts")
    yield _section("How tunnels ended", tables.endings(outcome))
    yield _section("Why handshakes failed", tables.failures(outcome))
    yield _section("The proxy's metrics beside the clients", tables.comparisons(outcome.comparisons))
    yield _section("The proxy's own errors", *_errors(outcome))
    yield _section("The scenario", element("pre", element("code", about.source), tabindex="0"))


def _section(name: str, *content: str, kind: str = "card") -> Markup:
    return element("section", element("h2", name), element("div", joined(content), class_=kind))


def _errors(outcome: Outcome) -> Iterator[Markup]:
    if outcome.exit_status:
        yield element("p", element("span", f"It ended with status {outcome.exit_status}.", class_="mark bad"))
    if not outcome.errors:
        yield element("p", "None in its log.", class_="quiet")
        return
    lines = [line[:_LONGEST] for line in outcome.errors[:_MOST_LINES]]
    if left := len(outcome.errors) - len(lines):
        lines.append(f"and {left} more")
    yield element("pre", element("code", "\n".join(lines)), tabindex="0")
