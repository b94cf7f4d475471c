"""The examples of deploy/ for containers, Kubernetes and keepalived: that what they name exists, and that their times fit."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml
from support.processes import ROOT

from trioproxy import metrics
from trioproxy.config_file import load_config

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"


@pytest.fixture(scope="module")
def objects():
    """All of Kubernetes' objects by kind; there is one of each."""
    files = sorted(KUBERNETES.glob("*.yaml"))
    found = [each for path in files for each in yaml.safe_load_all(path.read_text())]
    assert len({each["kind"] for each in found}) == len(found) == 6
    return {each["kind"]: each for each in found}


@pytest.fixture
def config(objects, tmp_path):
    (tmp_path / "config.toml").write_text(objects["ConfigMap"]["data"]["config.toml"])
    return load_config(str(tmp_path / "config.toml"))


def container(objects):
    (found,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    return found


def port_of(address):
    return int(address.rpartition(":")[2])


def test_objects_name_one_another(objects):
    pod = objects["Deployment"]["spec"]["template"]
    labels = pod["metadata"]["labels"]
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert objects["Service"]["spec"]["selector"] == labels
    for kind in ("PodMonitor", "PodDisruptionBudget"):
        assert objects[kind]["spec"]["selector"]["matchLabels"] == labels
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    for key in ("apiVersion", "kind"):
        assert target[key] == objects["Deployment"][key]
    assert target["name"] == objects["Deployment"]["metadata"]["name"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert volumes.keys() == {mount["name"] for mount in container(objects)["volumeMounts"]}
    assert volumes["config"]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]


def test_ports_are_the_configurations(objects, config):
    ports = {port["name"]: port["containerPort"] for port in container(objects)["ports"]}
    assert ports == {"public": port_of(config.listeners[0].address), "admin": port_of(config.admin.address)}
    assert {port["targetPort"] for port in objects["Service"]["spec"]["ports"]} == {"public"}
    assert {end["port"] for end in objects["PodMonitor"]["spec"]["podMetricsEndpoints"]} == {"admin"}
    for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
        assert container(objects)[probe]["httpGet"] == {"path": path, "port": "admin"}


def test_paths_are_where_the_program_looks(objects, config):
    mounts = {mount["name"]: mount["mountPath"] for mount in container(objects)["volumeMounts"]}
    assert container(objects)["args"] == ["run", "-c", f"{mounts['config']}/config.toml"]
    assert config.admin.token_file == f"{mounts['token']}/token"


def test_a_pod_is_given_the_time_of_its_drain(objects, config):
    spec, drain = objects["Deployment"]["spec"]["template"]["spec"], config.server.drain
    seconds = float(container(objects)["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert spec["terminationGracePeriodSeconds"] > seconds + drain.lame_duck + drain.timeout + 10
    readiness = container(objects)["readinessProbe"]
    assert drain.lame_duck > readiness["periodSeconds"] * readiness["failureThreshold"]


def test_the_pods_are_scaled_by_a_metric_that_exists(objects):
    (metric,) = objects["HorizontalPodAutoscaler"]["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert name == metrics.TUNNELS_ACTIVE.name
    assert metric["pods"]["target"]["type"] == "AverageValue"


# The container


def instructions():
    text = (DEPLOY / "container" / "Containerfile").read_text().replace("\\\n", "")
    return [line.split(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]


def test_the_container_runs_the_program_itself_and_not_as_root(objects):
    found = instructions()
    known = {
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "USER",
        "EXPOSE",
        "STOPSIGNAL",
        "ENV",
        "ENTRYPOINT",
        "CMD",
        "HEALTHCHECK",
    }
    assert {name for name, _ in found} == known
    last = dict(found)
    user = last["USER"].split(":")[0]
    assert int(user) == objects["Deployment"]["spec"]["template"]["spec"]["securityContext"]["runAsUser"] > 0
    # No shell in between: process 1 is the program, and the signal reaches it.
    assert json.loads(last["ENTRYPOINT"]) == ["/opt/trioproxy/bin/trioproxy"] and last["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(last["CMD"]) == container(objects)["args"]
    health = json.loads(last["HEALTHCHECK"].partition(" CMD ")[2])
    compile(health[2], "HEALTHCHECK", "exec")
    assert "/healthz" in health[2]


def test_what_the_container_is_built_of_exists_and_is_let_through():
    let_through = {
        line.removeprefix("!") for line in (ROOT / ".containerignore").read_text().splitlines() if line[0] == "!"
    }
    for name, value in instructions():
        if name == "COPY" and "--from" not in value:
            for source in shlex.split(value)[:-1]:
                assert (ROOT / source).exists() and source in let_through


# keepalived


def test_keepalived_tracks_readiness():
    text = re.sub(r"#.*", "", (DEPLOY / "keepalived" / "keepalived.conf").read_text())
    assert text.count("{") == text.count("}")
    (script,) = re.findall(r"vrrp_script (\w+)", text)
    (tracked,) = re.findall(r"track_script \{\s*(\w+)\s*\}", text)
    assert script == tracked
    assert f"http://{load_config(ROOT / 'config.toml').admin.address}/readyz" in text
    weight, priority = int(re.findall(r"weight -(\d+)", text)[0]), int(re.findall(r"priority (\d+)", text)[0])
    assert priority - weight < 100 < priority  # below and above the other machine's
