"""docs/how-to/grafana.md: its commands name what is there, and Prometheus starts the way it says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
import urllib.request

import pytest
import yaml
from support.dashboards import dashboard
from support.ports import free_address
from support.processes import ROOT

from trioproxy.config import AdminConfig

PAGE = (ROOT / "docs" / "how-to" / "grafana.md").read_text()
SHELL = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for block in SHELL for line in block.replace("\\\n", " ").splitlines()]
PATIENCE = 30.0  # seconds; a guard against hanging for ever, not a measurement


def loaded(path):
    return yaml.safe_load((ROOT / path).read_text())


def prometheus_command():
    (command,) = (line for line in COMMANDS if line.startswith("prometheus "))
    return shlex.split(command)


def test_the_commands_are_shell():
    subprocess.run(["sh", "-n"], input="\n".join(SHELL), text=True, check=True)


def test_what_is_copied_and_named_is_there():
    paths = set(re.findall(r"(?<![\w/.])((?:grafana|docs)/[\w./-]+)", PAGE))
    assert len(paths) >= 6
    assert all((ROOT / path.rstrip(".")).exists() for path in paths)
    for target in re.findall(r"\]\((?!http)([^)#]+)", PAGE):
        assert (ROOT / "docs" / "how-to" / target).exists()


def test_every_file_for_prometheus_and_grafana_is_put_in_its_place():
    shipped = [*(ROOT / "grafana").rglob("*.yml"), *(ROOT / "grafana").rglob("*.json")]
    for path in (each.relative_to(ROOT) for each in shipped):
        assert any(str(each) in " ".join(COMMANDS) for each in (path, path.parent)), path


def test_grafana_finds_prometheus_and_the_dashboard_where_they_were_put():
    (source,) = loaded("grafana/provisioning/datasources/trioproxy.yml")["datasources"]
    (listen,) = (word for word in prometheus_command() if word.startswith("--web.listen-address="))
    assert source["url"] == "http://" + listen.partition("=")[2]
    scraping = loaded("grafana/prometheus/prometheus.yml")["global"]
    assert source["jsonData"]["timeInterval"] == scraping["scrape_interval"]
    (provider,) = loaded("grafana/provisioning/dashboards/trioproxy.yml")["providers"]
    assert f"{provider['options']['path']}/trioproxy.json" in PAGE
    assert f"/d/{dashboard()['uid']} " in PAGE


def test_the_job_is_the_one_of_the_file():
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    shown, shipped = yaml.safe_load(block), loaded("grafana/prometheus/prometheus.yml")
    assert shown == {key: shipped[key] for key in ("rule_files", "scrape_configs")}
    assert f"http://{AdminConfig().address}/metrics" in PAGE


@pytest.fixture
def started(tmp_path):
    """Prometheus by the page's own command, on another port and with another folder for its data."""
    if shutil.which("prometheus") is None:
        pytest.skip("needs prometheus (apt install prometheus)")
    address = free_address()
    words = (word.replace("127.0.0.1:9090", address) for word in prometheus_command())
    command = [re.sub(r"^(--storage.tsdb.path=).*", rf"\g<1>{tmp_path}/data", word) for word in words]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log) as process,
    ):
        try:
            deadline = time.monotonic() + PATIENCE
            while not answers(address):
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.05)
            yield f"http://{address}"
        finally:
            process.kill()


def answers(address):
    try:
        return bool(fetched(f"http://{address}/-/ready"))
    except OSError:  # refused, or 503 while it starts
        return False


def fetched(url):
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return answer.read().decode()


def test_prometheus_started_so_has_the_job_the_rules_and_the_runbooks(started):
    assert "job_name: trioproxy\n" in json.loads(fetched(f"{started}/api/v1/status/config"))["data"]["yaml"]
    groups = json.loads(fetched(f"{started}/api/v1/rules"))["data"]["groups"]
    assert sum(len(group["rules"]) for group in groups) > 40
    assert fetched(f"{started}/user/runbooks.md").startswith("# Runbooks\n")
    assert json.loads(fetched(f"{started}/api/v1/status/flags"))["data"]["web.external-url"] == f"{started}/"
