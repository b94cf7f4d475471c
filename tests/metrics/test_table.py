"""The table of metrics keeps the rules of Prometheus and of the interface."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from trioproxy import metrics
from trioproxy.board import OVERFLOW_CELLS
from trioproxy.metrics import ALL_METRICS, Kind, Metric
from trioproxy.metrics.table import Buckets

# What users' dashboards and alerts ask for: names, types and labels that stay. It is written out on purpose, so that
# nothing changes here because it was changed there; what is new is added.
PROMISED = """
gauge trioproxy_build_info version python trio
gauge trioproxy_connections_active listener
counter trioproxy_connections_total listener
gauge trioproxy_certificate_expiry_timestamp_seconds listener
counter trioproxy_connections_rejected_total listener reason
gauge trioproxy_connections_limit
counter trioproxy_accept_failures_total listener reason
counter trioproxy_requests_total route pool kind code
histogram trioproxy_request_duration_seconds route pool
counter trioproxy_http_bytes_total pool upstream direction
counter trioproxy_handshakes_total route pool upstream result
histogram trioproxy_handshake_duration_seconds pool
gauge trioproxy_tunnels_active route pool upstream
counter trioproxy_tunnels_total route pool upstream
histogram trioproxy_tunnel_duration_seconds pool
counter trioproxy_bytes_total pool upstream direction
counter trioproxy_frames_total pool upstream direction opcode
counter trioproxy_messages_total pool upstream direction
histogram trioproxy_message_size_bytes pool direction
counter trioproxy_injected_frames_total pool side opcode
counter trioproxy_closes_total pool upstream by code
counter trioproxy_endings_total by phase reason
histogram trioproxy_ping_rtt_seconds pool side
gauge trioproxy_upstream_up pool upstream
gauge trioproxy_upstream_state pool upstream state
gauge trioproxy_upstream_active pool upstream
gauge trioproxy_upstream_weight pool upstream
counter trioproxy_upstream_failures_total pool upstream reason
counter trioproxy_upstream_ejections_total pool upstream reason
counter trioproxy_chaos_injected_total pool upstream verb
gauge trioproxy_chaos_active pool upstream verb
counter trioproxy_probes_total pool upstream result
histogram trioproxy_probe_duration_seconds pool upstream
counter trioproxy_connect_failures_total pool upstream reason
histogram trioproxy_connect_duration_seconds pool
counter trioproxy_retries_total pool reason
gauge trioproxy_queue_length pool
counter trioproxy_config_reloads_total result
gauge trioproxy_config_last_reload_successful
gauge trioproxy_config_last_reload_success_timestamp_seconds
histogram trioproxy_event_loop_lag_seconds worker
counter trioproxy_worker_restarts_total reason
counter trioproxy_worker_cpu_seconds_total worker
gauge trioproxy_worker_resident_memory_bytes worker
gauge trioproxy_worker_open_fds worker
counter trioproxy_log_lines_dropped_total
counter trioproxy_series_dropped_total
gauge trioproxy_draining
"""


@pytest.mark.parametrize("promise", PROMISED.strip().splitlines())
def test_what_is_promised_stays(promise):
    assert promise in {" ".join((each.kind.value, each.name, *each.labels)) for each in ALL_METRICS}


@pytest.fixture(params=ALL_METRICS, ids=lambda metric: metric.name)
def metric(request):
    return request.param


def test_a_name_follows_the_conventions(metric):
    assert re.fullmatch(r"trioproxy(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    measured = metric.name.endswith(("_seconds", "_size_bytes")) and not metric.name.endswith("_timestamp_seconds")
    assert measured == (metric.kind is Kind.HISTOGRAM)


def test_a_help_text_is_a_sentence(metric):
    assert metric.help.endswith(".") and not metric.help.startswith(" ") and "\n" not in metric.help


def test_labels_are_plain_names_without_repetition(metric):
    assert len(set(metric.labels)) == len(metric.labels)
    assert all(re.fullmatch(r"[a-z]+", label) and label != "le" for label in metric.labels)


def test_buckets_ascend_and_say_why(metric):
    if metric.kind is not Kind.HISTOGRAM:
        assert metric.buckets == Buckets((), "") and metric.width == 1
        return
    assert all(a < b for a, b in pairwise(metric.buckets.bounds))
    assert metric.buckets.why.endswith(".")
    assert metric.width == len(metric.buckets.bounds) + 2 <= OVERFLOW_CELLS


def test_the_table_is_complete_and_each_name_stands_once():
    constants = {value for value in vars(metrics).values() if isinstance(value, Metric)}
    assert constants == set(ALL_METRICS)
    assert len({metric.name for metric in ALL_METRICS}) == len(ALL_METRICS)
