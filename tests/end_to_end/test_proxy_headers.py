"""What nginx and HAProxy make of the same PROXY headers: what both take is taken here, as the same client's, and no more.

They are stricter or laxer than the specification in different places; the few that both take against its letter are named.
"""

from __future__ import annotations

import ipaddress
import os
import shutil
from contextlib import suppress

import pytest
import trio
from support.attacks import GONE
from support.http_client import connection, dial, get_request
from support.ports import free_address
from support.proxy import run_proxy
from support.proxy_headers import INVALID, TOO_LARGE, VALID, line
from support.settings import settings
from support.upstream import reply, scripted_upstream, serve_http
from support.waiting import wait_until

PEER = "127.0.0.1"
REQUEST = get_request("/", "Connection: close")
HEADERS = [*VALID, *(raw for each in INVALID.values() for raw in each), *TOO_LARGE]
# "Heading zeroes are not permitted in front of numbers" (§2.1).
LAX = {b"PROXY TCP4 198.51.100.7 192.0.2.1 01 2\r\n", line("198.51.100.07")}
AT_ONCE = 20

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {address} proxy_protocol;
        set_real_ip_from 127.0.0.1;
        real_ip_header proxy_protocol;
        location / {{ return 200 $remote_addr; }}
    }}
}}
"""
HAPROXY = """
defaults
    mode http
    timeout client 20s
    timeout connect 20s
    timeout server 20s
frontend public
    bind {address} accept-proxy
    http-request return status 200 content-type text/plain lf-string %[src]
"""


async def start(programs, name, package, config, *words):
    """The address of one that expects PROXY headers and answers with whom it takes for its client."""
    path = shutil.which(name) or shutil.which(f"/usr/sbin/{name}")
    if path is None:
        pytest.skip(f"needs {name} (apt install {package})")
    folder, address = programs.folder / name, free_address()
    folder.mkdir()
    text = config.format(folder=folder, address=address)
    (folder / "config").write_text(f"user root;\n{text}" if name == "nginx" and os.geteuid() == 0 else text)
    await programs.start(name, [path, *words, str(folder / "config")])

    async def answers():
        with suppress(OSError):
            await (await dial(address)).aclose()
            return True
        return False

    await wait_until(answers, f"{name} listens")
    return address


async def client_of(address, header):
    """Whom it takes for the client of a request behind this header; "" where it serves nobody."""
    async with connection(address) as http:
        with suppress(*GONE):
            await http.send(header + REQUEST)
            answer = await http.answer()
            if answer.status == 200:
                found = ipaddress.ip_address(answer.body.decode().strip())
                return str(getattr(found, "ipv4_mapped", None) or found)
    return ""


@pytest.mark.rule("proxy-header")
async def test_what_others_take_is_taken_and_nothing_else(programs):
    async def tell(head, _):
        return reply(head.get(b"x-real-ip"))

    async with scripted_upstream(lambda http: serve_http(http, tell)) as upstream:
        listener = {"proxy_protocol": True, "trusted_proxies": [PEER]}
        proxy = await run_proxy(programs, settings([upstream.address], listener=listener))
        receivers = {
            "nginx": await start(programs, "nginx", "nginx-light", NGINX, "-p", str(programs.folder), "-c"),
            "haproxy": await start(programs, "haproxy", "haproxy", HAPROXY, "-f"),
            "trioproxy": proxy.address,
        }
        found, room = {header: {} for header in HEADERS}, trio.CapacityLimiter(AT_ONCE)

        async def ask(header, name):
            async with room:
                found[header][name] = await client_of(receivers[name], header)

        async with trio.open_nursery() as nursery:
            for header in HEADERS:
                for name in receivers:
                    nursery.start_soon(ask, header, name)
        await proxy.stop()
    for header, taken in found.items():
        own, others = taken["trioproxy"], {taken["nginx"], taken["haproxy"]}
        assert own == (VALID[header] or PEER if header in VALID else ""), header
        if header in LAX:
            assert others == {"198.51.100.7"}, header
        elif own:
            assert own in others and others <= {own, ""}, (header, taken)  # one of them refuses where it is free to
        else:
            assert "" in others or len(others) == 2, (
                header,
                taken,
            )  # what one reads as the other does not is no header
