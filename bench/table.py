"""The figures as text: a table per case, one of the headlines, one of the goals.

The headlines are chosen in `headlines`; the same figures as a picture are `picture`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.headlines import GOALS, HEADLINES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.results import Results, Spread

# figure → heading; a case shows those it has
COLUMNS = {
    "proxy_cpu_us": "proxy CPU, us each",
    "per_second": "per second",
    "mb_per_second": "MB/s both ways",
    "p50_us": "p50, us",
    "p99_us": "p99, us",
    "kb_per_tunnel": "KB per tunnel",
    "base_mb": "MB before",
    "held_ms": "loop held, ms",
    "held_cpu_ms": "of it CPU, ms",
    "scrape_cpu_ms": "CPU, ms",
    "scrape_kb": "KB",
    "series": "series",
    "failed": "failed",
    "proxy_busy_percent": "proxy %",
    "load_busy_percent": "load %",
    "echo_busy_percent": "echo %",
}
BARE = {"failed", "proxy_busy_percent", "load_busy_percent", "echo_busy_percent"}  # shown without least and greatest


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def cell(spread: Spread | None, figure: str) -> str:
    if spread is None:
        return "-"
    if figure in BARE:
        return f"{spread.median:.0f}"
    return f"{number(spread.median)} ({number(spread.least)}-{number(spread.greatest)})"


def columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of equal length as lines; the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))]
        yield "  ".join(cells).rstrip()


def case_table(results: Results, case: str) -> Iterator[str]:
    peers = results.peers(case)
    shown = [figure for figure in COLUMNS if any(results.spread(case, peer, figure) for peer in peers)]
    yield f"{case}: {results.titles[case]}"
    rows = [["", *(COLUMNS[figure] for figure in shown)]]
    rows += [[peer, *(cell(results.spread(case, peer, figure), figure) for figure in shown)] for peer in peers]
    yield from ("  " + line for line in columns(rows))


def headline_table(results: Results) -> Iterator[str]:
    names = ["direct", *results.about["peers"]]
    rows = [["median", *names]]
    for headline in HEADLINES:
        case = results.find(headline.case)
        if case:
            spreads = [results.spread(case, name, headline.figure) for name in names]
            rows.append([headline.title, *(number(spread.median) if spread else "-" for spread in spreads)])
    yield from columns(rows)


def goal_table(results: Results) -> Iterator[str]:
    rows = [["goal", "trioproxy", "wanted", "ratio", ""]]
    for goal in GOALS:
        found = goal.judge(results)
        if found:
            verdict = "met" if found.met else "MISSED"
            ratio = f"{found.ratio:.2f}" if found.ratio is not None else "-"
            rows.append([goal.title, number(found.value), number(found.bound), ratio, verdict])
    yield from columns(rows)


def markdown(results: Results) -> Iterator[str]:
    """The headlines for a page of the documentation; the machine and versions in a sentence below."""
    names = [name for name in results.about["peers"] if name != "trioproxy"]
    yield "| median | trioproxy | " + " | ".join(names) + " |"
    yield "|---|" + "---:|" * (len(names) + 1)
    for headline in HEADLINES:
        case = results.find(headline.case)
        if case:
            spreads = [results.spread(case, name, headline.figure) for name in ("trioproxy", *names)]
            own, *others = [number(spread.median) if spread else "-" for spread in spreads]
            yield f"| {headline.title}, {headline.unit} | **{own}** | " + " | ".join(others) + " |"
    yield ""
    yield conditions(results)


def conditions(results: Results) -> str:
    """What the figures hold for: machine, versions, rounds."""
    machine, settings = results.about["machine"], results.about["settings"]
    versions = ", ".join(f"{name} {version}" for name, version in results.about["peers"].items())
    return (
        f"Medians of {settings['rounds']} alternating rounds, {machine['when']}: one process each, loopback, "
        f"{machine['cpus']} processors ({machine['cpu']}), Linux {machine['kernel']}, Python {machine['python']}. "
        f"{versions}."
    )


def report(results: Results) -> Iterator[str]:
    """Everything, line by line."""
    for case in results.samples:
        yield from case_table(results, case)
        yield ""
    yield from headline_table(results)
    yield ""
    yield from goal_table(results)
    if results.errors:
        yield ""
        yield from (f"not measured: {e['case']}, {e['peer']}: {e['problem']}" for e in results.errors)
    if unfit := [reason for goal in GOALS if (reason := goal.skipped(results))]:
        yield ""
        yield from (f"not judged: {reason}" for reason in unfit)
    if results.about["skipped"]:
        yield ""
        yield f"skipped, not installed: {', '.join(results.about['skipped'])}"
