"""The dashboard as a whole: its rows and where panels stand, its variables, annotations and links.

What the panels show stands in the rows' own modules.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from grafana import endings, handshakes, overview, process, tunnels, upstreams
from grafana.panels import BLUE, GREEN, ORANGE, PURPLE, RED, SOURCE
from grafana.queries import RATE, each, select
from trioproxy import metrics as m

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH: Final = Path(__file__).parent / "dashboards" / "trioproxy.json"
UID: Final = "trioproxy"
COLUMNS: Final = 24  # of Grafana's grid
ROWS: Final = {
    "Overview": overview.PANELS,
    "Tunnels and frames": tunnels.PANELS,
    "Handshakes": handshakes.PANELS,
    "Upstreams": upstreams.PANELS,
    "Endings and closes": endings.PANELS,
    "Process and workers": process.PANELS,
}
# For the import by hand: Grafana asks which data source is meant, and puts its uid for ${DS_PROMETHEUS}.
INPUT: Final = {
    "name": "DS_PROMETHEUS",
    "label": "Prometheus",
    "description": "The Prometheus that scrapes trioproxy",
    "type": "datasource",
    "pluginId": "prometheus",
    "pluginName": "Prometheus",
}


def text() -> str:
    """The JSON to import or provision."""
    made = json.loads(json.dumps(_dashboard().build(), cls=JSONEncoder))
    return json.dumps({"__inputs": [INPUT], "__requires": _requires(made), **made}, indent=1) + "\n"


def _dashboard() -> dashboard.Dashboard:
    whole = (
        dashboard.Dashboard("trioproxy")
        .uid(UID)
        .description("WebSocket tunnels and plain HTTP through trioproxy. Made by `python -m grafana`.")
        .tags(["trioproxy", "websocket", "proxy"])
        .editable()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
    )
    for variable in _variables():
        whole.with_variable(variable)
    for annotation in _annotations():
        whole.annotation(annotation)
    for panel in _placed():
        whole.with_row(panel) if isinstance(panel, dashboard.Row) else whole.with_panel(panel)
    return whole


def _placed() -> Iterator[Any]:
    """Rows and panels in order, each at its place; ids stay as they are when another row gets a panel more."""
    y = 0
    for number, (title, panels) in enumerate(ROWS.items(), 1):
        yield dashboard.Row(title).id(number * 100).grid_pos(model.GridPos(h=1, w=COLUMNS, x=0, y=y))
        x, y, height = 0, y + 1, 0
        for place, panel in enumerate(panels, 1):
            size = panel.build().grid_pos
            if x + size.w > COLUMNS:
                x, y, height = 0, y + height, 0
            yield panel.id(number * 100 + place).grid_pos(model.GridPos(h=size.h, w=size.w, x=x, y=y))
            x, height = x + size.w, max(height, size.h)
        y += height


def _variables() -> Iterator[Any]:
    asked = model.VariableOption(text="${DS_PROMETHEUS}", value="${DS_PROMETHEUS}")
    yield dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus").current(asked)
    every = model.VariableOption(selected=True, text=["All"], value=["$__all"])
    for name, query, about in (
        ("instance", select_all(m.BUILD_INFO, "instance"), "The proxies, as Prometheus calls them"),
        (
            "pool",
            select_all(m.UPSTREAM_UP, "pool"),
            "As in the configuration; All has those requests, too, that found none",
        ),
        ("upstream", f'label_values({m.UPSTREAM_UP.name}{{pool=~"$pool"}}, upstream)', "Those of the pools chosen"),
    ):
        yield (
            dashboard.QueryVariable(name)
            .label(name.capitalize())
            .description(about)
            .datasource(SOURCE)
            .query({"qryType": 1, "query": query, "refId": f"PrometheusVariableQueryEditor-{name}"})
            .definition(query)
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(model.VariableSort.ALPHABETICAL_ASC)
            .multi(multi=True)
            .include_all(include_all=True)
            .all_value(".*")
            .current(every)
        )
    yield (
        dashboard.IntervalVariable("interval")
        .label("Interval")
        .description("The least step of all graphs: a longer one smooths")
        .values(",".join(_INTERVALS))
        .options([model.VariableOption(selected=each == _INTERVALS[0], text=each, value=each) for each in _INTERVALS])
        .current(model.VariableOption(selected=True, text=_INTERVALS[0], value=_INTERVALS[0]))
    )


_INTERVALS: Final = ("15s", "1m", "5m", "15m", "1h", "6h")


def select_all(metric: m.Metric, label: str) -> str:
    """What Grafana asks for the values of a label."""
    return f"label_values({metric.name}, {label})"


def _annotations() -> Iterator[Any]:
    up, step = select(m.UPSTREAM_UP), "15s"
    refused = select(m.CONFIG_RELOADS, 'result!="applied"')
    for name, color, expr, title, texts in (
        (
            "Upstream down",
            RED,
            f"max by (pool, upstream) ({up} == bool 0)",
            "down",
            "{{pool}} {{upstream}}",
        ),
        (
            "Upstream up",
            GREEN,
            f"min by (pool, upstream) ({up}) == 1 and min by (pool, upstream) (min_over_time({up}[{RATE}])) == 0",
            "up again",
            "{{pool}} {{upstream}}",
        ),
        (
            "Upstream drained",
            PURPLE,
            each("max", m.UPSTREAM_STATE, 'state="draining"', by="pool, upstream"),
            "draining",
            "{{pool}} {{upstream}}",
        ),
        (
            "Upstream ejected",
            ORANGE,
            each("max", m.UPSTREAM_STATE, 'state="ejected"', by="pool, upstream"),
            "ejected",
            "{{pool}} {{upstream}}",
        ),
        (
            "Chaos",
            PURPLE,
            each("max", m.CHAOS_ACTIVE, by="pool, upstream, verb"),
            "injected: {{verb}}",
            "{{pool}} {{upstream}}",
        ),
        ("Drain", ORANGE, each("max", m.DRAINING, by="instance"), "proxy draining", "{{instance}}"),
        (
            "Reload failed",
            RED,
            f"sum by (instance, result) (increase({refused}[{RATE}])) > 0",
            "reload {{result}}",
            "{{instance}}",
        ),
    ):
        yield _annotation(name, color, expr, title, texts, step)
    in_force = f"{select(m.CONFIG_LAST_RELOAD_SUCCESS)} * 1000"
    reload = _annotation("Reload", BLUE, in_force, "configuration in force", "{{instance}}", "1m")
    yield reload.use_value_for_time(use_value_for_time=True)


def _annotation(name: str, color: str, expr: str, title: str, texts: str, step: str) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(enable=True)
        .icon_color(color)
        .target(Dataquery().ref_id("Anno").datasource(SOURCE).expr(expr).interval(step).range())
        .title_format(title)
        .text_format(texts)
        .tag_keys("pool,upstream,instance")
    )


def _requires(made: dict[str, Any]) -> list[dict[str, str]]:
    """What the dashboard is made of, as Grafana lists it before an import."""
    kinds = sorted({panel["type"] for panel in made["panels"]} - {"row"})
    panels = [{"type": "panel", "id": kind, "name": kind, "version": ""} for kind in kinds]
    grafana = {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "11.0.0"}
    return [grafana, {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"}, *panels]
