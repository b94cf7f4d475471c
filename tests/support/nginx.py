"""Debian's nginx with the usual WebSocket recipe: the yardstick the same tests may be held against."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import attrs
import pytest
from support.http_client import dial
from support.ports import free_address
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.certificates import Files
    from support.processes import Programs

RECIPE = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    upstream backend {{ {servers} }}
    server {{
        listen {address};
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""


WITH_TLS = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr info;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2;
        location / {{ return 200 "$ssl_protocol $ssl_server_name $ssl_session_reused"; }}
        location /file {{ root {folder}; }}
    }}
}}
"""


async def run_nginx(programs: Programs, upstreams: Sequence[str]) -> str:
    """The address of an nginx in front of `upstreams`; the test is skipped where there is none."""
    return await _run(programs, RECIPE, servers=" ".join(f"server {address};" for address in upstreams))


async def run_nginx_with_tls(programs: Programs, files: Files, content: bytes) -> str:
    """The address of an nginx that speaks TLS 1.2 and nothing newer; `/file` there is `content`."""
    (programs.folder / "served").mkdir()
    (programs.folder / "served" / "file").write_bytes(content)
    return await _run(
        programs, WITH_TLS.replace("root {folder}", f"root {programs.folder}/served"), **attrs.asdict(files)
    )


async def _run(programs: Programs, text: str, **words: str) -> str:
    path = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if path is None:
        pytest.skip("needs nginx (apt install nginx-light)")
    folder = programs.folder / f"nginx-{len(programs.started)}"
    folder.mkdir()
    address = free_address()  # nginx cannot tell which port it chose
    config = folder / "nginx.conf"
    config.write_text(text.format(folder=folder, address=address, **words))
    if os.geteuid() == 0:
        config.write_text(f"user root;\n{config.read_text()}")
    await programs.start("nginx", [path, "-p", str(folder), "-c", str(config)])

    async def answers() -> bool:
        try:
            await (await dial(address)).aclose()
        except OSError:
            return False
        return True

    await wait_until(answers, "nginx listens")
    return address
