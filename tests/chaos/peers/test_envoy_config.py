"""Envoy's configuration: what it takes, and what stands in it."""

import json
import subprocess

from support.rivals import BARE, RICH, SETTINGS, UPSTREAMS, needs

from trioproxy.chaos.peers.envoy import PROGRAM
from trioproxy.chaos.peers.envoy_config import bootstrap, path_of, resources
from trioproxy.chaos.peers.settings import understood


def written(settings, folder, drained=()):
    return resources(understood("127.0.0.1:3000", UPSTREAMS, settings), folder, drained)


def resource(settings, folder, name, drained=()):
    (found,) = written(settings, folder, drained)[name]["resources"]
    return found


def test_envoy_takes_what_is_written(tmp_path):
    envoy = needs(PROGRAM)
    for name, settings in SETTINGS.items():
        folder = tmp_path / name
        folder.mkdir()
        files = written(settings, folder, UPSTREAMS[:1])
        for file, content in files.items():
            path_of(folder, file).write_text(json.dumps(content))
        # What it watches it reads when it runs only: for its validation the same as one static file.
        static = {kind: [dict(files[kind]["resources"][0])] for kind in ("listeners", "clusters")}
        for (resource,) in static.values():
            del resource["@type"]
        (folder / "all.json").write_text(json.dumps({**bootstrap(folder, 3900), "static_resources": static}))
        words = [envoy, "--mode", "validate", "-c", str(folder / "all.json"), "--log-level", "error"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_what_a_scenario_asks_stands_in_envoy_s_words(tmp_path):
    cluster = resource(RICH, tmp_path, "clusters")
    assert (cluster["lb_policy"], cluster["connect_timeout"]) == ("LEAST_REQUEST", "0.500s")
    assert cluster["least_request_lb_config"]["slow_start_config"]["slow_start_window"] == "2.000s"
    assert cluster["outlier_detection"]["consecutive_5xx"] == 3
    (check,) = cluster["health_checks"]
    assert (check["interval"], check["healthy_threshold"], check["unhealthy_threshold"]) == ("1.500s", 1, 2)
    assert check["http_health_check"]["path"] == "/up"
    (host,) = resource(RICH, tmp_path, "routes")["virtual_hosts"]
    route = host["routes"][0]["route"]
    assert (route["timeout"], route["retry_policy"]["num_retries"]) == ("2.500s", 2)
    assert route["retry_policy"]["retry_on"] == "connect-failure,reset,5xx"


def test_what_is_not_asked_for_is_not_there(tmp_path):
    cluster = resource(BARE, tmp_path, "clusters")
    assert not {"health_checks", "outlier_detection", "upstream_connection_options"} & set(cluster)
    (host,) = resource(BARE, tmp_path, "routes")["virtual_hosts"]
    assert "retry_policy" not in host["routes"][0]["route"]


def test_a_drained_upstream_gets_nothing_new(tmp_path):
    (place,) = resource({}, tmp_path, "endpoints", UPSTREAMS[:1])["endpoints"]
    assert [each["health_status"] for each in place["lb_endpoints"]] == ["DRAINING", "UNKNOWN"]


def test_a_probe_that_is_a_handshake_is_written_in_bytes(tmp_path):
    (check,) = resource({}, tmp_path, "clusters")["health_checks"]
    sent = bytes.fromhex(check["tcp_health_check"]["send"]["text"])
    assert sent.startswith(b"GET / HTTP/1.1\r\nHost: backend\r\nConnection: Upgrade\r\n")
    assert sent.endswith(b"\r\n\r\n")
    assert check["reuse_connection"] is False
