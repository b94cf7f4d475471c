"""How panels look: graphs, single figures, tables, timelines and heatmaps, all in one style.

What they show stands in the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from grafana_foundation_sdk.builders import common as build
from grafana_foundation_sdk.builders import dashboard, heatmap, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmap_model
from grafana_foundation_sdk.models import prometheus as query_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from grafana.queries import Query

    Steps: TypeAlias = Sequence[tuple[float | None, str]]  # from this value on this colour; None is the lowest

SOURCE: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, ORANGE, RED, BLUE, PURPLE, GREY = "green", "orange", "red", "blue", "purple", "#8e8e8e"
NEVER: Final = ((None, GREEN), (1, RED))  # for what should be 0
NO_LIMIT: Final = ((None, BLUE),)  # said aloud: Grafana's own default is red from 80 on, whatever the panel shows


def graph(
    title: str, description: str, unit: str, *queries: Query, width: int = 8, stacked: bool = False, limits: Steps = ()
) -> timeseries.Panel:
    """Lines over time; `limits` are drawn where crossing them means something."""
    panel = (
        timeseries.Panel()
        .unit(unit)
        .span(width)
        .height(8)
        .interval("$interval")
        .min(0)
        .line_width(1)
        .fill_opacity(30 if stacked else 8)
        .show_points(common.VisibilityMode.AUTO)
        .tooltip(build.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .legend(
            build.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs(["lastNotNull", "max"])
        )
    )
    if stacked:
        panel.stacking(build.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if limits:
        panel.thresholds_style(build.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
    return _asking(panel, title, description, queries, limits=limits)


def figure(title: str, description: str, unit: str, query: Query, *, width: int = 3, limits: Steps = ()) -> stat.Panel:
    """One number, of the end of the time shown, coloured by its `limits`."""
    panel = (
        stat.Panel()
        .unit(unit)
        .span(width)
        .height(4)
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .text_mode(common.BigValueTextMode.VALUE)
        .reduce_options(build.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    return _asking(panel, title, description, [query], instant=True, limits=limits)


def timeline(
    title: str, description: str, query: Query, states: Mapping[int, tuple[str, str]], *, width: int = 24
) -> statetimeline.Panel:
    """A band for each series, coloured by its value: `states` are their names and colours."""
    names = {str(value): model.ValueMappingResult(text=text, color=color) for value, (text, color) in states.items()}
    panel = (
        statetimeline.Panel()
        .unit("short")
        .span(width)
        .height(8)
        .interval("$interval")
        .mappings([model.ValueMap(options=names)])
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .show_value(common.VisibilityMode.NEVER)
        .fill_opacity(80)
        .legend(
            build.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
    )
    return _asking(panel, title, description, [query])


def rows(title: str, description: str, unit: str, *queries: Query, width: int = 12) -> table.Panel:
    """What is the case now, a line for each set of labels; each query is a column by the name of its legend."""
    refs = {f"Value #{ref}": query.legend for ref, query in zip("ABCDEFGH", queries, strict=False)}
    names = refs if len(queries) > 1 else {"Value": queries[0].legend}
    panel = (
        table.Panel()
        .unit(unit)
        .span(width)
        .height(8)
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(
            model.DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": {"Time": True}, "renameByName": names},
            )
        )
    )
    return _asking(panel, title, description, queries, instant=True, form=query_model.PromQueryFormat.TABLE)


def heat(title: str, description: str, unit: str, query: Query, *, width: int = 8) -> heatmap.Panel:
    """The buckets of a histogram over time; the query keeps `le`."""
    panel = (
        heatmap.Panel()
        .unit("short")
        .span(width)
        .height(8)
        .interval("$interval")
        .calculate(calculate=False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_model.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .fill("dark-orange")
            .scale(heatmap_model.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
        )
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .cell_gap(1)
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .show_legend()
    )
    return _asking(panel, title, description, [query], form=query_model.PromQueryFormat.HEATMAP)


def _asking(
    panel: Any,
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    instant: bool = False,
    form: query_model.PromQueryFormat | None = None,
    limits: Steps = (),
) -> Any:
    targets = []
    for ref, query in zip("ABCDEFGH", queries, strict=False):
        target = prometheus.Dataquery().ref_id(ref).datasource(SOURCE).expr(query.expr).legend_format(query.legend)
        target = target.instant() if instant else target.range()
        targets.append(target.format(form) if form else target)
    panel.thresholds(_thresholds(limits or NO_LIMIT))
    return panel.title(title).description(description).datasource(SOURCE).targets(targets)


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=color) for value, color in steps])
    )
