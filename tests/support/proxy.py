"""`trioproxy run` as a real process: its addresses, metrics, log and end, said as the tests want to say it."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from prometheus_client.parser import text_string_to_metric_families
from support.http_client import ask, get_request
from support.processes import PYTHON
from support.settings import toml
from support.waiting import PATIENCE_SECONDS, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from support.processes import Program, Programs


@attrs.frozen
class Samples:
    """One scrape: (name, labels) → value."""

    rows: tuple[tuple[str, Mapping[str, str], float], ...]

    @classmethod
    def parse(cls, text: str) -> Samples:
        families = text_string_to_metric_families(text)
        return cls(tuple((row.name, row.labels, row.value) for family in families for row in family.samples))

    def matching(self, name: str, **labels: str) -> list[tuple[Mapping[str, str], float]]:
        full = name if name.startswith(("trioproxy_", "process_", "python_")) else f"trioproxy_{name}"
        return [(own, v) for n, own, v in self.rows if n == full and labels.items() <= own.items()]

    def total(self, name: str, **labels: str) -> float:
        """The sum over every series with at least these labels; 0 where there is none."""
        return sum(value for _, value in self.matching(name, **labels))

    def by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """One label's values → their sums."""
        sums: dict[str, float] = {}
        for own, value in self.matching(name, **labels):
            sums[own[label]] = sums.get(own[label], 0) + value
        return sums


@attrs.define(eq=False)
class ProxyProcess:
    """A running proxy. `address` is its first listener's, `addresses` all by name, the admin one under "admin"."""

    program: Program
    config: str  # the file
    addresses: dict[str, str] = attrs.Factory(dict)

    @property
    def address(self) -> str:
        return next(address for name, address in self.addresses.items() if name != "admin")

    @property
    def admin(self) -> str:
        return self.addresses["admin"]

    @property
    def log(self) -> list[dict[str, Any]]:
        """The JSON lines of stderr so far; another kind of line is given as the event "not json"."""
        return [log_entry(line) for line in self.program.err.seen]

    def log_contains(self, event: str, **fields: Any) -> bool:
        wanted = {"event": event, **fields}
        return any(wanted.items() <= entry.items() for entry in self.log)

    async def logged(self, event: str, seconds: float = PATIENCE_SECONDS, **fields: Any) -> dict[str, Any]:
        """The first log line, past or future, of this event with these fields."""
        wanted = {"event": event, **fields}
        line = await self.program.err.first(
            lambda line: wanted.items() <= log_entry(line).items(), f"log line {wanted}", seconds
        )
        return log_entry(line)

    async def metrics(self) -> Samples:
        return Samples.parse((await self.ask_admin("/metrics")).decode())

    async def status(self) -> Any:
        return json.loads(await self.ask_admin("/api/status"))

    async def ask_admin(self, path: str, *, status: int = 200) -> bytes:
        answer = await ask(self.admin, get_request(path, "Connection: close", host=self.admin))
        assert answer.status == status, answer
        return answer.body

    async def wait_until(
        self, condition: Callable[[Samples], Any], what: str = "metrics", *, seconds: float = PATIENCE_SECONDS
    ) -> Samples:
        """The first scrape for which `condition` holds."""

        async def scrape() -> Samples | None:
            samples = await self.metrics()
            return samples if condition(samples) else None

        found = await wait_until(scrape, what, seconds=seconds)
        assert found is not None
        return found

    async def wait_for_state(self, upstream: str, state: str, *, seconds: float = PATIENCE_SECONDS) -> Samples:
        return await self.wait_until(
            lambda seen: seen.total("upstream_state", upstream=upstream, state=state) == 1,
            f"{upstream} {state}",
            seconds=seconds,
        )

    def write(self, tables: Mapping[str, Any]) -> None:
        """Another configuration, at once and in whole, as an editor or a tool does it."""
        new = Path(self.config + ".new")
        new.write_text(toml(tables))
        new.replace(self.config)

    async def reload(self, tables: Mapping[str, Any], result: str = "applied") -> None:
        """Another configuration and SIGHUP; returns when that has come to this result."""
        before = (await self.metrics()).total("config_reloads_total", result=result)
        self.write(tables)
        self.program.signal(signal.SIGHUP)
        await self.wait_until(
            lambda seen: seen.total("config_reloads_total", result=result) == before + 1, f"a reload {result}"
        )

    def terminate(self) -> None:
        self.program.signal(signal.SIGTERM)

    async def stop(self, *, status: int = 0) -> None:
        """SIGTERM, and the exit status it must lead to."""
        self.terminate()
        assert await self.program.wait() == status, self.program.err.text


def log_entry(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        entry = None
    return entry if isinstance(entry, dict) else {"event": "not json", "line": line}


def write_config(programs: Programs, tables: Mapping[str, Any]) -> str:
    number = len(list(programs.folder.glob("config-*.toml")))  # proxies may be started at once
    path = programs.folder / f"config-{number}.toml"
    path.write_text(toml(tables))
    return str(path)


async def launch_proxy(programs: Programs, tables: Mapping[str, Any], **how: Any) -> ProxyProcess:
    """Starts `trioproxy run` and returns at once; `run_proxy` is for proxies that are expected to come up."""
    path = write_config(programs, tables)
    argv = [PYTHON, "-m", "trioproxy", "run", "-c", path]
    return ProxyProcess(await programs.start("trioproxy", argv, **how), path)


async def run_proxy(programs: Programs, tables: Mapping[str, Any], **how: Any) -> ProxyProcess:
    """A proxy that listens everywhere it was told to."""
    proxy = await launch_proxy(programs, tables, **how)
    names = [listener["name"] for listener in tables["listeners"]]
    for name in [*names, "admin"]:
        entry = await proxy.logged("listening", listener=name)
        proxy.addresses[name] = entry["address"]
    return proxy
