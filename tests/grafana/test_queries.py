"""PromQL as it is written for the table's metrics."""

from __future__ import annotations

from grafana import queries as q
from trioproxy import metrics as m


def test_a_metric_is_selected_by_the_variables_its_labels_allow():
    assert q.select(m.DRAINING) == 'trioproxy_draining{instance=~"$instance"}'
    assert q.select(m.RETRIES, 'reason="closed"') == (
        'trioproxy_retries_total{instance=~"$instance", pool=~"$pool", reason="closed"}'
    )
    assert 'upstream=~"$upstream"' in q.select(m.CLOSES)


def test_a_quantile_sums_over_all_and_leaves_out_what_is_not_a_number():
    expr = q.quantile(0.5, m.EVENT_LOOP_LAG, by="worker")
    assert expr.startswith("histogram_quantile(0.5, sum by (le, worker) (rate(trioproxy_event_loop_lag_seconds_bucket{")
    assert expr.endswith("[$__rate_interval]))) >= 0")


def test_quantiles_are_named_by_their_share():
    assert [query.legend for query in q.quantiles(m.PING_RTT, "{{side}}", by="side")] == [
        "{{side}} p99",
        "{{side}} p50",
    ]
    assert [query.legend for query in q.quantiles(m.PING_RTT, shares=(0.999,))] == ["p99.9"]


def test_a_ratio_has_no_value_where_the_whole_is_nothing():
    assert q.ratio("a", "b") == "a / (b > 0)"


def test_what_other_programs_have_too_is_asked_of_proxies_alone():
    assert q.of_process("process_max_fds").endswith(" and on (job, instance) trioproxy_build_info")
