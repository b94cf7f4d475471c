"""The server and client programs of `tests/peers` as real processes: they say in JSON lines what they see."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from support.processes import PEERS, PYTHON
from support.waiting import PATIENCE_SECONDS

from trioproxy.chaos.servers import keep_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.certificates import Files
    from support.processes import Program, Programs


@attrs.define(eq=False)
class PeerServer:
    """A server process of one kind on a fixed port; killed, it can be started again on the same port."""

    programs: Programs
    kind: str
    name: str
    program: Program
    port: int
    tls: Files | None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.program.out.seen]

    async def event(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """The first line on its stdout, past or future, that is wanted."""
        line = await self.program.out.first(lambda line: wanted(json.loads(line)), f"{self.name}: {what}")
        return json.loads(line)

    def kill(self) -> None:
        self.program.kill()

    async def restart(self) -> None:
        """On the same port, after a kill."""
        await self.program.process.wait()
        self.program, _ = await _start(self.programs, self.kind, self.name, self.port, self.tls)


def command(kind: str) -> list[str]:
    """The start of the command line of a peer; the test is skipped where Node or its `ws` is missing."""
    if not kind.endswith(".js"):
        return [PYTHON, str(PEERS / kind)]
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node (apt install nodejs)")
    if not (PEERS / "node_modules" / "ws").is_dir():
        pytest.skip("needs Node's ws: npm install --prefix tests/peers")
    return [node, str(PEERS / kind)]


async def _start(programs: Programs, kind: str, name: str, port: int, tls: Files | None) -> tuple[Program, int]:
    files = ["--certificate", tls.certificate, "--key", tls.key] if tls else []
    program = await programs.start(name, [*command(kind), "--name", name, "--port", str(port), *files])
    line = await program.out.first(lambda line: '"listening"' in line, f"port of {name}")
    return program, json.loads(line)["port"]


async def run_server(
    programs: Programs, kind: str, name: str = "one", *, port: int = 0, tls: Files | None = None
) -> PeerServer:
    """On a port that stays its own also while it is down: others' connections would get it meanwhile."""
    if not port:
        programs.kept.append(keep_port())
        port = programs.kept[-1].getsockname()[1]
    program, port = await _start(programs, kind, name, port, tls)
    return PeerServer(programs, kind, name, program, port, tls)


async def run_client(programs: Programs, kind: str, *words: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Runs a client program to its end; what it reports on stdout, one JSON value."""
    client = await programs.start(kind, [*command(kind), *words])
    status = await client.wait(seconds)
    assert status == 0, client.err.text
    return json.loads(client.out.seen[-1])
