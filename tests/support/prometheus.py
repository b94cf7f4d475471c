"""Debian's Prometheus as a real process on loopback: what it scrapes, and its answers to queries as plain values.

What is scraped, and what the answers should be, is the tests' business.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import yaml
from support.ports import free_address
from support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

CONFIGURATION = ROOT / "grafana" / "prometheus" / "prometheus.yml"
PATIENCE_SECONDS = 30.0  # a guard against hanging for ever, not a measurement
POLL_SECONDS = 0.05
Labels = frozenset[tuple[str, str]]


def program(name: str) -> str:
    """Where `prometheus` or `promtool` is; the test is skipped where it is missing."""
    path = shutil.which(name) or shutil.which(f"/usr/bin/{name}")
    if path is None:
        pytest.skip(f"needs {name} (apt install prometheus)")
    return path


@attrs.frozen
class Series:
    """Labels, and (moment, value) of each sample, ascending; an instant query has one."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]

    @classmethod
    def parse(cls, result: Mapping[str, Any]) -> Series:
        points = result.get("values") or [result["value"]]
        return cls(result["metric"], tuple((float(moment), float(value)) for moment, value in points))

    @property
    def value(self) -> float:
        return self.points[-1][1]

    @property
    def growth(self) -> float:
        """From the first sample to the last."""
        return self.points[-1][1] - self.points[0][1]

    def named(self, *names: str) -> tuple[str, ...]:
        """The values of these labels; "" where there is none."""
        return tuple(self.labels.get(name, "") for name in names)


class QueryError(AssertionError):
    """Prometheus would not answer; its words."""


@attrs.define(eq=False)
class Prometheus:
    """A running one. All questions block for milliseconds."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer of its API."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise QueryError(f"{parameters}: {error.read().decode(errors='replace')}") from error

    def query(self, expression: str, at: float | None = None) -> list[Series]:
        """An instant query; a scalar is a series without labels, a range selector gives all its samples."""
        moment = {} if at is None else {"time": f"{at:.3f}"}
        found = self.ask("query", query=expression, **moment)
        if found["resultType"] == "scalar":
            return [Series.parse({"metric": {}, "value": found["result"]})]
        return [Series.parse(result) for result in found["result"]]

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """What a graph shows from `start` to `end`."""
        found = self.ask("query_range", query=expression, start=f"{start:.3f}", end=f"{end:.3f}", step=f"{step:.3f}")
        return [Series.parse(result) for result in found["result"]]

    def raw(self, selector: str, start: float, end: float) -> list[Series]:
        """The very samples of a selector within these moments, both included."""
        # A millisecond more, because from version 3 on the beginning of a range is no longer part of it.
        return self.query(f"{selector}[{milliseconds(end - start) + 1}ms]", end)

    def scraped(self, instance: str) -> float:
        """When it last scraped this target with success; minus infinity where it never did."""
        # Of anything but a bare selector, timestamp() gives the moment of the question.
        seen = self.query(f'timestamp(up{{instance="{instance}"}}) and up == 1')
        return seen[0].value if seen else -math.inf


def milliseconds(seconds: float) -> int:
    """As durations in queries are written, so that they are exact."""
    return round(seconds * 1000)


def configuration(targets: Sequence[str], *, interval: float, rule_files: Sequence[str]) -> dict[str, Any]:
    """The prometheus.yml of this repository for other targets and rules, every `interval` seconds."""
    settings: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text())
    every = f"{milliseconds(interval)}ms"
    settings["global"] = {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
    settings["rule_files"] = list(rule_files)
    (job,) = settings["scrape_configs"]
    job["static_configs"] = [{"targets": list(targets)}]
    return settings


@contextmanager
def running_prometheus(folder: Path, settings: Mapping[str, Any]) -> Iterator[Prometheus]:
    """One that is ready, on a free address, with all it stores in `folder`; ended, by its process id, with the block."""
    path = program("prometheus")
    address, file, log = free_address(), folder / "prometheus.yml", folder / "prometheus.log"
    file.write_text(yaml.safe_dump(dict(settings), sort_keys=False))
    argv = [
        path,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with log.open("wb") as sink, subprocess.Popen(argv, cwd=folder, stdout=sink, stderr=sink) as process:
        try:
            prometheus = Prometheus(address, process, log)
            _wait_until_ready(prometheus)
            yield prometheus
        finally:
            process.kill()


def _wait_until_ready(prometheus: Prometheus) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and prometheus.process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{prometheus.address}/-/ready", timeout=PATIENCE_SECONDS):
                return
        except OSError:  # refused, or 503 while it starts
            time.sleep(POLL_SECONDS)
    raise AssertionError(f"Prometheus does not come up:\n{prometheus.log.read_text()}")
