"""The rules for Prometheus as they are committed: shortened to what a test can wait for, and taken apart.

Whether they are valid and fire when they should is tested by promtool.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs
import promql_parser as promql
import yaml
from support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROMETHEUS = ROOT / "grafana" / "prometheus"
FILES = sorted((PROMETHEUS / "rules").glob("*.yml"))
OF_CONDITIONS = {"==", "!=", ">", "<", ">=", "<=", "and", "or", "unless"}  # what makes an alert of what it is about


@attrs.frozen
class Rule:
    """One alert or recorded series."""

    name: str
    expr: str


def groups(path: Path) -> list[dict[str, Any]]:
    """Of one file."""
    return list(yaml.safe_load(path.read_text())["groups"])


def rules() -> Iterator[Rule]:
    """All of them."""
    for path in FILES:
        for group in groups(path):
            for rule in group["rules"]:
                yield Rule(rule.get("alert") or rule["record"], rule["expr"])


def write_shortened(folder: Path, *, patience: str, offset: str) -> list[str]:
    """Copies whose alerts wait for `patience`, whose groups are judged as often as others, and that look `offset` back."""
    written = []
    for path in FILES:
        short = groups(path)
        for group in short:
            group.pop("interval", None)
            for rule in group["rules"]:
                rule["expr"] = re.sub(r"\boffset \w+", f"offset {offset}", rule["expr"])
                if "for" in rule:
                    rule["for"] = patience
        (folder / path.name).write_text(yaml.safe_dump({"groups": short}))
        written.append(str(folder / path.name))
    return written


def selectors(expr: str) -> set[str]:
    """The vectors an expression selects, without ranges and offsets."""
    found: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, promql.VectorSelector):
            found.add(re.sub(r"\s+offset .*", "", node.prettify()))

    promql.walk(promql.parse(expr), visit)
    return found


def sides(expr: str) -> set[str]:
    """What is compared, and held together by `and` and the like: the expression without its conditions."""
    return set(_sides(promql.parse(expr)))


def _sides(node: Any) -> Iterator[str]:
    if isinstance(node, promql.NumberLiteral):
        return
    if not _has_condition(node):
        yield node.prettify()
        return
    for inner in _children(node):
        yield from _sides(inner)


def _has_condition(node: Any) -> bool:
    found: list[Any] = []

    def visit(inner: Any) -> None:
        if isinstance(inner, promql.BinaryExpr) and str(inner.op) in OF_CONDITIONS:
            found.append(inner)

    promql.walk(node, visit)
    return bool(found)


def _children(node: Any) -> list[Any]:
    if isinstance(node, promql.BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, promql.Call):
        return list(node.args)
    return [node.expr]
