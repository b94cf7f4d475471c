"""Real servers of many kinds that tell each request they read: what got through to them, as they understood it."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import attrs
import pytest
from support.http_client import dial
from support.ports import free_address
from support.processes import PEERS, PYTHON
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from support.processes import Program, Programs

FOLDER = PEERS / "recorders"
GUNICORN = [PYTHON, "-m", "gunicorn", "-k", "gthread", "--threads", "16", "--no-control-socket"]
UVICORN = [PYTHON, "-m", "uvicorn", "--log-level", "warning", "--no-access-log", "--ws", "none"]
COMMANDS = {
    "nginx": ["nginx", "-p", "{folder}", "-c", "{folder}/nginx.conf"],
    "haproxy": ["haproxy", "-f", "{folder}/haproxy.cfg"],
    "gunicorn": [*GUNICORN, "-b", "{host}:{port}", "wsgi:app"],
    "uvicorn-h11": [*UVICORN, "--host", "{host}", "--port", "{port}", "--http", "h11", "asgi:app"],
    "uvicorn-httptools": [*UVICORN, "--host", "{host}", "--port", "{port}", "--http", "httptools", "asgi:app"],
    "aiohttp": [PYTHON, str(FOLDER / "with_aiohttp.py"), "{host}", "{port}"],
    "node": ["node", str(FOLDER / "with_node.js"), "{host}", "{port}"],
}
FILES = ("nginx.conf", "haproxy.cfg")
PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy", "node": "nodejs"}  # of Debian


@attrs.frozen
class Seen:
    """One whole request as a server read it. Octets that are no UTF-8 are replaced."""

    id: str  # its X-Request-Id
    method: str
    target: str
    body: str


@attrs.define(eq=False)
class RecorderProcess:
    """A server of one kind."""

    address: str
    program: Program

    @property
    def seen(self) -> list[Seen]:
        """In the order in which they were told."""
        told = [json.loads(line) for line in self.program.out.seen]
        return [Seen(each["id"], each["method"], each["target"], each["body"]) for each in told]


async def run_recorder(programs: Programs, kind: str) -> RecorderProcess:
    """One that listens. The test is skipped where its program is missing."""
    if kind == "haproxy":
        server = await _start(programs, "aiohttp")
        haproxy = await _start(programs, "haproxy", server=server.address)
        return RecorderProcess(haproxy.address, server.program)
    return await _start(programs, kind)


async def _start(programs: Programs, kind: str, server: str = "") -> RecorderProcess:
    address = free_address()
    folder = programs.folder / f"{kind}-{len(programs.started)}"
    folder.mkdir()
    host, port = address.split(":")
    values = {"address": address, "host": host, "port": port, "folder": str(folder), "server": server}
    values["user"] = "user root;" if os.geteuid() == 0 else ""
    for name in FILES:
        (folder / name).write_text(_filled((FOLDER / name).read_text(), values))
    program, *words = COMMANDS[kind]
    path = shutil.which(program) or shutil.which(f"/usr/sbin/{program}")
    if path is None:
        pytest.skip(f"needs {program} (apt install {PACKAGES[kind]})")
    words = [_filled(word, values) for word in words]
    process = await programs.start(kind, [path, *words], env={"PYTHONPATH": str(FOLDER)})

    async def answers() -> bool:
        try:
            await (await dial(address)).aclose()
        except OSError:
            return False
        return True

    await wait_until(answers, f"{kind} listens")
    return RecorderProcess(address, process)


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text
