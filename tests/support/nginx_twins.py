"""The same nginx file run twice on loopback: by nginx itself, and converted by trioproxy, before the same upstreams.

The files name addresses of a real network; here each gets a loopback port, everything else stays as it is. What is
compared, and which differences are meant, is the test's business.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from support.frames import KEY, upgrade_answer
from support.http_client import HttpConnection, dial, split_address
from support.ports import free_address, free_ipv6_port
from support.serving import unix_upstream
from support.tls_client import secured
from support.upstream import reply, scripted_upstream
from support.waiting import wait_until

from trioproxy import load_config, serve
from trioproxy.config import AdminConfig
from trioproxy.logs import Log

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from support.processes import Programs

SAW = "X-Upstream-Saw"

_COMMENT = re.compile(r"(?m)^\s*#.*$")
_LISTEN = re.compile(r"\blisten\s+([^\s;]+)")
_SERVER = re.compile(r"\bserver\s+([^\s;{}]+)(?=[^{}]*?;)")
_PASS = re.compile(r"(\bproxy_pass\s+https?://)(unix:[^:;]+|[^/;$]+)")
_SET = re.compile(r"(\bset\s+\$\w+\s+(?:http://)?)([\w.]+:\d+)")
_WITHOUT_LISTEN = re.compile(r"\bserver\s*\{(?![^{}]*\blisten\b)")
_UPSTREAM = re.compile(r"\bupstream\s+(\S+)\s*\{([^{}]*)\}")
_HTTP = re.compile(r"(?m)^http\s*\{")
# What the test says itself, or only a privileged process may say.
_OURS = re.compile(r"(?m)^(?:user|pid|error_log|worker_rlimit_nofile)\s[^;]*;|\baccess_log\s[^;]*;")
_QUIET = (
    "access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi;"
    " uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;"
)


@attrs.define(eq=False)
class Loopback:
    """Where everything of one file went: what the file said → where it is on loopback."""

    folder: Path
    listeners: dict[str, str] = attrs.Factory(dict)
    upstreams: dict[str, str] = attrs.Factory(dict)
    pools: dict[str, set[str]] = attrs.Factory(dict)  # of the `upstream` blocks: what the file said

    @property
    def file(self) -> Path:
        return self.folder / "nginx.conf"

    def listener(self, said: str) -> str:
        if said not in self.listeners:
            address = free_address()
            if said.startswith("unix:"):
                address = f"unix:{self.folder}/public.sock"
            elif said.startswith("["):
                address = f"[::1]:{free_ipv6_port()}"
            self.listeners[said] = address
        return self.listeners[said]

    def upstream(self, said: str) -> str:
        if said not in self.upstreams:
            unix = said.startswith("unix:")
            number = len(self.upstreams)
            self.upstreams[said] = f"unix:{self.folder}/up{number}" if unix else free_address()
        return self.upstreams[said]

    def same_pool(self, one: str, other: str) -> bool:
        return one == other or any({one, other} <= pool for pool in self.pools.values())

    def rewrite(self, text: str) -> str:
        def passed(found: re.Match[str]) -> str:
            return found[1] + (found[2] if found[2] in self.pools else self.upstream(found[2]))

        text = _WITHOUT_LISTEN.sub(lambda found: f"{found[0]} listen 80;", _COMMENT.sub("", text))
        text = _LISTEN.sub(lambda found: f"listen {self.listener(found[1])}", text)
        text = _SERVER.sub(lambda found: f"server {self.upstream(found[1])}", text)
        text = _SET.sub(lambda found: found[1] + self.upstream(found[2]), text)
        return _OURS.sub("", _PASS.sub(passed, text))


def copy_to_loopback(source: Path, folder: Path) -> Loopback:
    """The file, or for a `nginx.conf` its whole folder, rewritten to `folder`, where the main file is `nginx.conf`."""
    whole = source.name == "nginx.conf"
    files = [path for path in sorted(source.parent.rglob("*")) if path.is_file()] if whole else [source]
    loopback = Loopback(folder)
    for path in files:
        for name, block in _UPSTREAM.findall(path.read_text()):
            loopback.pools[name] = set(_SERVER.findall(block))
    for path in files:
        target = folder / (path.relative_to(source.parent) if whole else "nginx.conf")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(loopback.rewrite(path.read_text()))
    (folder / "mime.types").write_text("types { text/html html; }\n")
    return loopback


def nginx_argv(file: Path) -> list[str]:
    """The command that runs nginx with this file, unprivileged where the test is; skips the test without an nginx."""
    path = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if path is None:
        pytest.skip("needs nginx (apt install nginx-light)")
    folder, text = file.parent, file.read_text()
    quiet = _QUIET.format(folder)
    if _HTTP.search(text):
        text = _HTTP.sub(lambda found: f"{found[0]} {quiet}", text)
    else:
        text = f"events {{}} http {{ {quiet} include {file}; }}"
    main = folder / "main.conf"
    main.write_text(text)
    user = "user root;" if os.geteuid() == 0 else ""
    said = f"daemon off; master_process off; pid {folder}/pid; error_log stderr error; {user}"
    return [path, "-p", str(folder), "-c", str(main), "-g", said]


async def check_with_nginx(file: Path) -> tuple[int, str]:
    """The exit status of `nginx -t`, and what it says."""
    done = await trio.run_process([*nginx_argv(file), "-t"], check=False, capture_stderr=True)
    return done.returncode, done.stderr.decode()


async def start_nginx(programs: Programs, loopback: Loopback) -> None:
    """nginx with the file; returns when it listens everywhere."""
    program = await programs.start("nginx", nginx_argv(loopback.file))

    async def listens() -> bool:
        assert program.running, program.err.text
        try:
            for address in loopback.listeners.values():
                await (await dial(address)).aclose()
        except OSError:
            return False
        return True

    await wait_until(listens, "nginx listens")


async def tell(http: HttpConnection, name: str) -> None:
    """An upstream that answers every request with what it saw of it; a WebSocket handshake over HTTP/1.1 with 101."""
    while True:
        head = await http.head()
        await http.body(head)
        method, target, version = head.start.decode().split(" ")
        fields = [(field.decode("latin-1").lower(), value.decode("latin-1")) for field, value in head.fields]
        saw = json.dumps({"upstream": name, "method": method, "target": target, "fields": fields})
        wants = version == "HTTP/1.1" and b"upgrade" in (head.get(b"connection") or b"").lower()
        if wants and (head.get(b"upgrade") or b"").lower() == b"websocket":
            await http.send(upgrade_answer(head, f"{SAW}: {saw}"))
            return
        await http.send(reply(b"", "200 OK", f"{SAW}: {saw}"))


@attrs.define(eq=False)
class Twins:
    """Both running; `addresses` are nginx's and trioproxy's, by what the file says."""

    loopback: Loopback
    addresses: Mapping[str, tuple[str, str]]


async def tell_by_tls(http: HttpConnection, name: str, context: ssl.SSLContext) -> None:
    """The same behind a handshake."""
    await tell(HttpConnection(trio.SSLStream(http.stream, context, server_side=True)), name)


@asynccontextmanager
async def run_twins(
    programs: Programs, loopback: Loopback, converted: Path, tls: Mapping[str, ssl.SSLContext] | None = None
) -> AsyncIterator[Twins]:
    """Upstreams, those in `tls` with it, nginx, and trioproxy with the converted file.

    Only where trioproxy listens is changed, as nginx is there.
    """
    async with AsyncExitStack() as stack:
        for said, address in loopback.upstreams.items():
            context = (tls or {}).get(said)
            serving = partial(tell, name=said) if context is None else partial(tell_by_tls, name=said, context=context)
            if address.startswith("unix:"):
                await stack.enter_async_context(unix_upstream(address.removeprefix("unix:"), serving))
            else:
                host, port = split_address(address)
                await stack.enter_async_context(scripted_upstream(serving, host=host, port=port))
        await start_nginx(programs, loopback)
        config = load_config(converted)
        listeners = tuple(attrs.evolve(each, address=_free(each.address)) for each in config.listeners)
        config = attrs.evolve(config, listeners=listeners, admin=AdminConfig(address=""))
        proxy = await stack.enter_async_context(serve(config, log=Log.null()))
        ours = {each.name: listener.address for each, listener in zip(config.listeners, proxy.listeners, strict=True)}
        yield Twins(loopback, {said: (theirs, ours[theirs]) for said, theirs in loopback.listeners.items()})


def _free(address: str) -> str:
    return f"{address}.ours" if address.startswith("unix:") else f"{address.rpartition(':')[0]}:0"


@attrs.frozen
class Request:
    path: str
    host: str
    upgrade: bool = False
    lines: tuple[str, ...] = ()

    @property
    def raw(self) -> bytes:
        fields = [f"Host: {self.host}", *self.lines]
        if self.upgrade:
            fields += ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {KEY.decode()}"]
            fields.append("Sec-WebSocket-Version: 13")
        return "\r\n".join([f"GET {self.path} HTTP/1.1", *fields, "", ""]).encode("latin-1")


@attrs.frozen
class Outcome:
    """What a client got and what its upstream saw; status 0 is a connection closed without an answer."""

    status: int
    upstream: str = ""
    target: str = ""
    fields: tuple[tuple[str, str], ...] = ()

    def values(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field == name]

    @property
    def x_fields(self) -> dict[str, list[str]]:
        return {name: self.values(name) for name, _ in self.fields if name.startswith("x-")}


async def ask(address: str, request: Request, context: ssl.SSLContext | None = None, name: str = "") -> Outcome:
    """What comes of a request, by TLS where there is a context, to a server that is asked for by that name."""
    stream = await dial(address)
    async with stream:
        try:
            http = HttpConnection(stream) if context is None else await secured(stream, context, name)
            await http.send(request.raw)
            answer = await http.answer()
        except (ConnectionError, trio.BrokenResourceError):
            return Outcome(0)
    saw = answer.get(SAW.encode())
    if saw is None:
        return Outcome(answer.status)
    found = json.loads(saw)
    fields = tuple((name, value) for name, value in found["fields"])
    return Outcome(answer.status, found["upstream"], found["target"], fields)
