"""The tables of docs/discussion/http-correctness.md: they stand between two marks and are written by this alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beside.verdicts import FAULTS, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Found = "Mapping[str, Mapping[str, tuple[Verdict, str]]]"  # proxy → case → verdict and what was seen

BEGIN, END = "<!-- beside: begin -->\n", "<!-- beside: end -->\n"
WORDS = {
    Verdict.RIGHT: "",
    Verdict.FORWARDED: "forwards",
    Verdict.CHANGED: "changes",
    Verdict.REFUSED: "refuses",
    Verdict.PASSED: "passes on",
}


def tables(versions: Mapping[str, str], requests, answers, whys: Mapping[str, str]) -> str:
    """The sums, then a row for each case in which any proxy is at fault."""
    proxies = list(versions)
    lines = [
        "| | " + " | ".join(f"{name} {version}" for name, version in versions.items()) + " |",
        "|---|" + "---|" * len(proxies),
        _sum("requests forwarded, or changed, that must be refused", proxies, requests, FAULTS),
        _sum("valid requests refused", proxies, requests, {Verdict.REFUSED}),
        _sum("answers passed on, or changed, that must be refused", proxies, answers, FAULTS),
        _sum("valid answers refused", proxies, answers, {Verdict.REFUSED}),
    ]
    for title, found in (("Requests", requests), ("Answers", answers)):
        lines += ["", f"### {title} that a proxy lets through", "", *_rows(proxies, found, whys, FAULTS)]
        lines += [
            "",
            f"### Valid {title.lower()} that a proxy refuses",
            "",
            *_rows(proxies, found, whys, {Verdict.REFUSED}),
        ]
    return "\n".join(lines) + "\n"


def _sum(what: str, proxies: Sequence[str], found, kinds) -> str:
    counts = (sum(verdict in kinds for verdict, _ in found[proxy].values()) for proxy in proxies)
    return f"| {what} (of {len(found[proxies[0]])}) | " + " | ".join(map(str, counts)) + " |"


def _rows(proxies: Sequence[str], found, whys: Mapping[str, str], kinds) -> list[str]:
    others = [proxy for proxy in proxies if any(verdict in kinds for verdict, _ in found[proxy].values())]
    cases = sorted({case for proxy in others for case, (verdict, _) in found[proxy].items() if verdict in kinds})
    if not cases:
        return ["None."]
    lines = ["| case | rule | " + " | ".join(others) + " |", "|---|---|" + "---|" * len(others)]
    for case in cases:
        cells = (_cell(found[proxy].get(case), kinds) for proxy in others)
        lines.append(f"| `{case}` | {_plain(whys[case])} | " + " | ".join(cells) + " |")
    return lines


def _cell(verdict: tuple[Verdict, str] | None, kinds) -> str:
    if verdict is None or verdict[0] not in kinds:
        return ""
    return f"{WORDS[verdict[0]]}: {_plain(verdict[1])}" if verdict[1] else WORDS[verdict[0]]


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def put(page: Path, text: str) -> None:
    """Replace what stands between the marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, behind = rest.partition(END)
    page.write_text(before + BEGIN + "\n" + text + "\n" + END + behind)
