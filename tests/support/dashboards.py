"""The dashboard as it is committed, and its queries as Grafana would ask them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import attrs
from support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PATH = ROOT / "grafana" / "dashboards" / "trioproxy.json"
EVERYTHING = {
    "instance": ".*",
    "pool": ".*",
    "upstream": ".*",
    "interval": "15s",
    "__rate_interval": "1m",
    "__range": "1h",
}


@attrs.frozen
class Asked:
    """One query of the dashboard; `where` says which, for people."""

    where: str
    expr: str
    instant: bool
    row: str = ""
    panel: str = ""
    number: int = 0  # among those of its panel

    def filled(self, variables: Mapping[str, str] = EVERYTHING) -> str:
        """With the variables put in, as PromQL."""
        return re.sub(r"\$(\w+)|\$\{(\w+)\}", lambda name: variables[name[1] or name[2]], self.expr)


def chosen(*values: str) -> str:
    """What Grafana puts in for the values chosen of a variable that may have several: a regular expression, in a string."""
    escaped = [re.sub(r"[$^*{}\[\]'+?.()|]", r"\\\\\g<0>", value) for value in values]
    return f"({'|'.join(escaped)})" if len(escaped) > 1 else escaped[0]


def dashboard() -> dict[str, Any]:
    """The JSON of the file."""
    found: dict[str, Any] = json.loads(PATH.read_text())
    return found


def panels() -> Iterator[dict[str, Any]]:
    """All but the headlines of rows."""
    return (panel for panel in dashboard()["panels"] if panel["type"] != "row")


def panel_queries() -> Iterator[Asked]:
    """Every query of every panel."""
    row = ""
    for panel in dashboard()["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
            continue
        for number, target in enumerate(panel["targets"]):
            where = f"{panel['title']} {target['refId']}"
            yield Asked(where, target["expr"], target["instant"], row, panel["title"], number)


def annotation_queries() -> Iterator[Asked]:
    """Those that mark moments on all graphs."""
    for annotation in dashboard()["annotations"]["list"]:
        yield Asked(annotation["name"], annotation["target"]["expr"], instant=False)
