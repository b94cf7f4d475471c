"""The ledger of docs/reference/protocol.md: its rules, and the cases and tests that show them.

`PYTHONPATH=.:tests python -m support.protocol` writes the end of the page anew. Whether the page and they agree is tested
beside the corpus.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import attrs
from support.corpus import load_answers, load_cases
from support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs" / "reference" / "protocol.md"
WRITTEN = "## The corpus\n"  # from here on the page is written by this module

_END = f"""{WRITTEN}
%d cases: %d requests in `tests/corpus/http` and %d answers of upstreams in `tests/corpus/answers`. Each is delivered to a
running proxy over TCP as a whole, octet by octet, and in two pieces; the reaction has to be the same. `.ci/full` cuts each at
every position, and so do the tests of the parsers always.

To add one, add a file ([how it is written](../../tests/corpus/README.md)), then run
`PYTHONPATH=.:tests python -m support.protocol`, which writes the list below. A test names the rules it shows as
`@pytest.mark.rule("host")`.

### What shows each rule

"""

_ROW = re.compile(r"^\| `([a-z0-9-]+)` \| (.*) \|$", re.MULTILINE)
_CVE = re.compile(r"CVE-\d{4}-\d+")


@attrs.frozen
class Row:
    """One rule of the page, with the CVEs it names."""

    rule: str
    cves: frozenset[str]


@attrs.frozen
class Witness:
    """A case or a test, what it shows, and the CVEs it names."""

    name: str
    kind: str  # "request", "answer" or "test"
    rules: tuple[str, ...]
    cves: frozenset[str]


def rows() -> list[Row]:
    """The page's, in its order."""
    return [Row(match[1], frozenset(_CVE.findall(match[2]))) for match in _ROW.finditer(PAGE.read_text())]


def witnesses() -> list[Witness]:
    """All cases of the corpus, and all tests that name a rule."""
    requests = [Witness(each.name, "request", each.rules, frozenset(_CVE.findall(each.why))) for each in load_cases()]
    answers = [Witness(each.name, "answer", each.rules, frozenset(_CVE.findall(each.why))) for each in load_answers()]
    return [*requests, *answers, *_tests()]


def end_of_page() -> str:
    """How many cases there are, how to add one, and what shows each rule."""
    everything = witnesses()
    requests, answers = (sum(each.kind == kind for each in everything) for kind in ("request", "answer"))
    shown = [f"- `{row.rule}`: {'; '.join(_shown(row.rule, everything))}" for row in rows()]
    return _END % (requests + answers, requests, answers) + "\n".join(shown) + "\n"


def written_page() -> str:
    """The page as it has to be."""
    return PAGE.read_text().partition(WRITTEN)[0] + end_of_page()


def _shown(rule: str, everything: list[Witness]) -> Iterator[str]:
    for kind in ("request", "answer"):
        names = [each.name for each in everything if each.kind == kind and rule in each.rules]
        if names:
            yield f"{len(names)} {kind}{'s' if len(names) > 1 else ''} (" + ", ".join(names) + ")"
    tests = [each.name for each in everything if each.kind == "test" and rule in each.rules]
    for path in sorted({name.partition("::")[0] for name in tests}):
        yield f"`{path}`: " + ", ".join(name.partition("::")[2] for name in tests if name.startswith(f"{path}::"))


def _tests() -> Iterator[Witness]:
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text()
        if "mark.rule(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                named = [word for mark in node.decorator_list for word in _words(mark)]
                if named:
                    cves = frozenset(word for word in named if _CVE.fullmatch(word))
                    said = frozenset(each.replace("_", "-") for each in re.findall(r"cve_\d{4}_\d+", node.name))
                    where = path.relative_to(ROOT).as_posix()
                    shown = tuple(word for word in named if word not in cves)
                    yield Witness(f"{where}::{node.name}", "test", shown, cves | {each.upper() for each in said})


def _words(mark: ast.expr) -> Iterator[str]:
    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.rule":
        yield from (str(ast.literal_eval(argument)) for argument in mark.args)


if __name__ == "__main__":
    PAGE.write_text(written_page())
