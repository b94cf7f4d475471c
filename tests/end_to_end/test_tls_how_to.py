"""docs/how-to/tls.md does what it says: its commands are run, its configurations are used, its hook renews a certificate."""

from __future__ import annotations

import grp
import os
import re
import shutil
import ssl
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
import trio
import yaml
from support import arriving
from support.certificates import authority
from support.frames import WebSocket, upgrade_request
from support.http_client import dial
from support.processes import PYTHON, ROOT
from support.proxy import run_proxy
from support.serving import talk_both
from support.settings import settings
from support.tls_client import client_context, fail, secured
from support.upstream import scripted_upstream

from trioproxy.config import ListenerTlsConfig
from trioproxy.config_file import parse_config

HOW_TO = ROOT / "docs" / "how-to"
PAGE = (HOW_TO / "tls.md").read_text()
NAME = "chat.example.com"


def blocks(language, words=""):
    """The code blocks in a language that hold these words, in order."""
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [block for block in found if words in block]


def only(language, words):
    [block] = blocks(language, words)
    return block


def shell(folder, script, **env):
    """What a block of commands says; the test is skipped where openssl or curl is missing."""
    for program in ("openssl", "curl"):
        if program in script and shutil.which(program) is None:
            pytest.skip(f"needs {program} (apt install {program})")
    return subprocess.run(
        ["sh", "-e"],
        input=script,
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def said(folder, script, **env):
    """The same where it has to succeed, without keeping the test's own servers waiting."""
    done = await trio.to_thread.run_sync(lambda: shell(folder, script, **env))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def at(script, address):
    """The commands with the port where the proxy of the test listens."""
    port = address.rpartition(":")[2]
    return script.replace(":443", f":{port}").replace(f"https://{NAME}/", f"https://{NAME}:{port}/")


def served(upstream, **tls):
    """The first configuration of the page, before this upstream, on a free port."""
    page = tomllib.loads(blocks("toml")[0])
    [listener], [route] = page["listeners"], page["routes"]
    tables = settings([upstream], listener={**listener, "address": "127.0.0.1:0", **tls}, route=route)
    assert page["pools"].keys() == tables["pools"].keys()
    return tables


async def wss(address, context):
    """A tunnel by TLS."""
    http = await secured(await dial(address), context, NAME)
    await http.send(upgrade_request())
    return WebSocket(http, await http.head())


async def shown(address, context):
    """The serial number of the certificate that a client gets to see."""
    stream = trio.SSLStream(await dial(address), context, server_hostname=NAME)
    async with stream:
        await stream.do_handshake()
        return stream.getpeercert()["serialNumber"]


async def test_a_certificate_is_made_served_and_renewed_and_no_tunnel_ends(programs):
    folder = programs.folder
    making = only("sh", "Our own authority")
    renewing = making[making.index("openssl req -newkey") :]
    await said(folder, making)
    await said(folder, only("sh", "-checkend"))
    async with scripted_upstream(talk_both) as upstream:
        proxy = await run_proxy(programs, served(upstream.address))
        curl, s_client = only("sh", "curl -sS --cacert ca.pem --resolve").split("openssl", 1)
        assert await said(folder, at(curl, proxy.address)) == "fine"
        assert "Verification: OK" in await said(folder, at(f"openssl{s_client}", proxy.address))
        context = client_context(str(folder / "ca.pem"))
        tunnel, first = await wss(proxy.address, context), await shown(proxy.address, context)

        await said(folder, renewing)
        config = Path(proxy.config)
        checking = only("sh", "trioproxy check").split("&&")[0].replace("config.toml", config.name)
        checking = checking.replace("trioproxy ", f"{PYTHON} -m trioproxy ")
        assert ": ok (" in await said(folder, checking, PYTHONPATH=str(ROOT))
        await proxy.reload(served(upstream.address))
        assert await shown(proxy.address, context) != first
        assert await tunnel.echo(b"still here") == b"still here"

        second = await shown(proxy.address, context)
        shutil.copy(folder / "ca.key", folder / "privkey.pem")
        done = await trio.to_thread.run_sync(lambda: shell(folder, checking, PYTHONPATH=str(ROOT)))
        assert done.returncode == 2 and "expected the private key of" in done.stderr
        await proxy.reload(served(upstream.address), "refused")
        assert await shown(proxy.address, context) == second
        assert await tunnel.echo(b"still here") == b"still here"
        await tunnel.close()
        await tunnel.http.stream.transport_stream.aclose()


async def test_clients_have_to_show_a_certificate_where_it_says_so(programs):
    folder = programs.folder
    ours, theirs = authority(folder / "ours"), authority(folder / "theirs")
    for made, names in (
        (ours.issue(NAME), ("fullchain.pem", "privkey.pem")),
        (theirs.issue("c"), ("client.pem", "client.key")),
    ):
        shutil.copy(made.certificate, folder / names[0])
        shutil.copy(made.key, folder / names[1])
    shutil.copy(ours.file, folder / "ca.pem")
    shutil.copy(theirs.file, folder / "clients.pem")
    tls = tomllib.loads(only("toml", "client_ca"))
    async with scripted_upstream(talk_both) as upstream:
        proxy = await run_proxy(programs, served(upstream.address, **tls))
        curl = at(only("sh", "--cert client.pem"), proxy.address)
        assert await said(folder, curl) == "fine"
        refused = await trio.to_thread.run_sync(
            lambda: shell(folder, curl.replace("--cert client.pem --key client.key", ""))
        )
        assert refused.returncode == 56 and "alert certificate required" in refused.stderr
        assert "curl: (56) ... alert certificate required" in PAGE
        failed = await proxy.logged("arrival_failed", reason="tls")
        assert failed["detail"] == "peer did not return a certificate" and f"`{failed['detail']}`" in PAGE


TROUBLES = {
    "unknown ca": {},  # knows another authority alone
    "unsupported protocol": {"maximum_version": ssl.TLSVersion.TLSv1_1, "minimum_version": ssl.TLSVersion.TLSv1},
    "no shared cipher": {"maximum_version": ssl.TLSVersion.TLSv1_2},
}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
@pytest.mark.parametrize("words", TROUBLES)
async def test_the_words_that_it_explains_are_those_of_the_log(tmp_path, words, autojump_clock):
    assert f"`{words}`" in PAGE
    ours, theirs = authority(tmp_path / "ours"), authority(tmp_path / "theirs")
    files = ours.issue("localhost")
    settings = ListenerTlsConfig(certificate=files.certificate, key=files.key)
    context = client_context((theirs if words == "unknown ca" else ours).file, **TROUBLES[words])
    context.set_ciphers("AES256-SHA:AES128-SHA:@SECLEVEL=0" if words != "unknown ca" else "DEFAULT")
    async with arriving.running(tmp_path, tls=settings) as proxy:
        await fail(await proxy.dial(), context)
        await proxy.context.no_connections()
        [said] = proxy.lines("arrival_failed")
        assert said["reason"] == "tls" and words in said["detail"]


def test_every_way_to_trust_an_upstream_is_one_the_configuration_takes():
    rows = re.findall(r"^\| [^|]+ \| `(\{[^`]*\})`", PAGE, re.MULTILINE)
    assert len(rows) == 5
    page = only("toml", "backend.internal:8443")
    for row in rows:
        tls = row.replace("...", '"ca.pem"')
        text = re.sub(r"^tls = .*$", f"tls = {tls}", page, flags=re.MULTILINE)
        config = parse_config(
            f'[[listeners]]\naddress = "127.0.0.1:0"\n[[routes]]\npath = "/"\npool = "backend"\n{text}', "c"
        )
        assert config.pools["backend"].tls is not None


def test_the_hook_of_certbot_puts_the_files_where_the_service_can_read_them(tmp_path):
    hook, lineage, installed = tmp_path / "hook", tmp_path / "live", tmp_path / "tls"
    programs = tmp_path / "bin"
    for folder in (lineage, installed, programs):
        folder.mkdir()
    group = grp.getgrgid(os.getegid()).gr_name
    text = only("sh", "RENEWED_LINEAGE")
    hook.write_text(text.replace("/etc/trioproxy/tls", str(installed)).replace("trioproxy-tls", group))
    systemctl = programs / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/told\n')
    systemctl.chmod(0o755)
    hook.chmod(0o755)
    made = authority(tmp_path / "authority").issue(NAME)
    shutil.copy(made.certificate, lineage / "fullchain.pem")
    shutil.copy(made.key, lineage / "privkey.pem")
    (lineage / "privkey.pem").chmod(0o600)
    env = {**os.environ, "RENEWED_LINEAGE": str(lineage), "PATH": f"{programs}:{os.environ['PATH']}"}
    for _ in range(2):
        subprocess.run([hook], env=env, check=True)
    for name in ("fullchain.pem", "privkey.pem"):
        found = installed / name
        assert stat.S_IMODE(found.stat().st_mode) == 0o640 and found.read_bytes() == (lineage / name).read_bytes()
    assert (tmp_path / "told").read_text() == "reload trioproxy\n"
    assert only("sh", "groupadd").count("trioproxy-tls") == 3


def test_the_addition_to_the_pod_fits_the_deployment():
    added = yaml.safe_load(only("yaml", "kubernetes/trioproxy.yaml"))
    objects = yaml.safe_load_all((ROOT / "deploy/kubernetes/trioproxy.yaml").read_text())
    pod = next(each for each in objects if each["kind"] == "Deployment")["spec"]["template"]["spec"]
    [mine], [theirs] = added["containers"], pod["containers"]
    assert mine["name"] == theirs["name"] and added["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"]
    assert {each["name"] for each in mine["volumeMounts"]} == {each["name"] for each in added["volumes"]}


def test_its_links_lead_somewhere():
    for target, anchor in re.findall(r"\]\(([\w/.-]+\.md)(#[\w-]+)?\)", PAGE):
        text = (HOW_TO / target).read_text()
        headings = {
            re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-")
            for line in re.findall(r"^#+ (.*)", text, re.MULTILINE)
        }
        assert not anchor or anchor[1:] in headings
