"""A real process whose listener has TLS: the clients people use, attacks, certificates that are renewed, its end."""

from __future__ import annotations

import shutil
import socket
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
from support.attacks import Bystander, serve_anything
from support.browser import run_chromium
from support.certificates import authority
from support.frames import CLOSE, WebSocket, close_payload, upgrade_answer, upgraded
from support.http_client import dial, get_request, split_address
from support.peers import run_client, run_server
from support.ports import free_address
from support.proxy import run_proxy
from support.serving import echo
from support.settings import settings
from support.tls_client import client_context, hello, secured
from support.upstream import reply, scripted_upstream
from support.waiting import wait_until

if TYPE_CHECKING:
    import ssl

HALF_OPEN = 1000
MOST_KILOBYTES = 120  # of a handshake that stands still; OpenSSL takes 50, and what is freed in between has its gaps
PAGE = b"""<!doctype html><title>...</title><script>
const socket = new WebSocket(`wss://${location.host}/`);
socket.onopen = () => socket.send("from a page");
socket.onmessage = async (event) => { document.title = event.data; socket.close(1000); };
</script>"""


@attrs.frozen
class Site:
    """An authority, a certificate of its for localhost, in files that may be written anew, and who trusts it."""

    authority: object
    folder: Path
    context: ssl.SSLContext

    def renew(self, *names, **how):
        """Another certificate in the same files."""
        files = self.authority.issue("localhost", "127.0.0.1", *names, **how)
        Path(files.key).replace(self.folder / "key.pem")
        Path(files.certificate).replace(self.folder / "cert.pem")

    def tls(self, **more):
        return {"certificate": str(self.folder / "cert.pem"), "key": str(self.folder / "key.pem"), **more}

    def curl(self, *words):
        return run("curl", "--silent", "--show-error", "--cacert", self.authority.file, *words)


@pytest.fixture
def site(tmp_path):
    made = authority(tmp_path / "ca")
    site = Site(made, tmp_path, client_context(made.file))
    site.renew()
    return site


async def run(program, *words, stdin=b""):
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"needs {program} (apt install {program})")
    with trio.fail_after(60):
        return await trio.run_process(
            [path, *words], stdin=stdin, capture_stdout=True, capture_stderr=True, check=False
        )


async def serve(http):
    """A page that opens a tunnel, what was heard of the client, an echo."""
    while True:
        head = await http.head()
        if head.get(b"upgrade"):
            await http.send(upgrade_answer(head))
            await echo(WebSocket(http, head, mask=None))
            return
        page = head.start.split(b" ")[1] == b"/page"
        kind = "Content-Type: text/html" if page else "Content-Type: text/plain"
        await http.send(reply(PAGE if page else head.get(b"x-forwarded-proto"), "200 OK", kind))


async def open_tunnel(proxy, site):
    return await upgraded(await secured(await dial(proxy.address), site.context))


async def shown(proxy, site):
    """How many names the certificate has that a new connection is shown."""
    http = await secured(await dial(proxy.address), site.context)
    async with http.stream.transport_stream:
        return len(http.stream.getpeercert()["subjectAltName"])


async def test_the_clients_that_people_use_come_through(programs, site):
    server = await run_server(programs, "websockets_echo.py")
    proxy = await run_proxy(programs, settings([server.address], listener={"tls": site.tls()}))
    port = split_address(proxy.address)[1]
    url, file = f"wss://localhost:{port}/", site.authority.file
    assert await run_client(programs, "wss_clients.py", url, file) == [[[True] * 3, 1000]] * 2
    assert await run_client(programs, "wss_client.js", url, file) == [[True] * 3, 1000]
    assert {line["tls"] for line in proxy.log if line["event"] == "tunnel_end"} == {"TLSv1.3"}
    assert [line["reason"] for line in proxy.log if line["event"] == "tunnel_end"] == ["done"] * 3
    assert (await proxy.status())["listeners"][0]["tls"] is True


async def test_curl_and_a_page_in_a_browser_and_a_unix_socket(programs, site, tmp_path):
    async with scripted_upstream(serve) as upstream:
        tables = settings([upstream.address], listener={"tls": site.tls()})
        tables["listeners"].append({"name": "local", "address": f"unix:{tmp_path}/public", "tls": site.tls()})
        proxy = await run_proxy(programs, tables)
        port = split_address(proxy.address)[1]
        for versions in ((), ("--tls-max", "1.2"), ("--http2",)):
            assert (await site.curl(*versions, f"https://localhost:{port}/")).stdout == b"https"
        assert (await site.curl("--unix-socket", f"{tmp_path}/public", "https://localhost/")).stdout == b"https"
        old = await site.curl(
            "--tlsv1.0", "--tls-max", "1.1", "--ciphers", "ALL@SECLEVEL=0", f"https://localhost:{port}/"
        )
        assert old.returncode == 35 and old.stdout == b""
        plain = await run("curl", "--silent", f"http://localhost:{port}/")
        assert plain.stdout == b"400 Bad Request\n"
        with run_chromium() as browser:
            async with browser.page(f"https://localhost:{port}/page", any_certificate=True) as page:
                await page.until('document.title === "from a page"')


@pytest.mark.rule("tls-records")
async def test_openssl_may_resume_and_may_not_renegotiate(programs, site):
    async with scripted_upstream(serve) as upstream:
        tables = settings([upstream.address], listener={"tls": site.tls()}, timeouts={"head": 1})
        proxy = await run_proxy(programs, tables)
        s_client = partial(
            run, "openssl", "s_client", "-connect", proxy.address, "-CAfile", site.authority.file, "-tls1_2"
        )
        again = await s_client("-reconnect", stdin=b"Q\n")
        assert again.stdout.count(b"\nNew, TLSv1.2") == 1
        assert again.stdout.count(b"\nReused, TLSv1.2") == 5
        refused = await s_client(stdin=b"R\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert b"no renegotiation" in refused.stderr and b"HTTP/1.1" not in refused.stdout


@pytest.mark.rule("tls-certificate")
async def test_who_has_to_show_a_certificate_shows_one_that_is_good_now(programs, site):
    known, expired = site.authority.issue("client"), site.authority.issue("client", expired=True)
    async with scripted_upstream(serve) as upstream:
        listener = {"tls": site.tls(client_ca=site.authority.file)}
        proxy = await run_proxy(programs, settings([upstream.address], listener=listener))
        url = f"https://localhost:{split_address(proxy.address)[1]}/"
        good = await site.curl("--cert", known.certificate, "--key", known.key, url)
        assert good.stdout == b"https"
        bad = await site.curl("--cert", expired.certificate, "--key", expired.key, url)
        assert bad.returncode and b"certificate expired" in bad.stderr and bad.stdout == b""
        none = await site.curl(url)
        assert none.returncode and b"certificate required" in none.stderr
        await proxy.wait_until(lambda seen: seen.total("endings_total", by="client", phase="accept", reason="tls") == 2)
        details = [line["detail"] for line in proxy.log if line["event"] == "arrival_failed"]
        assert details[0] == "certificate not accepted: certificate has expired"


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_renewed_certificate_is_for_new_connections_and_a_bad_one_for_none(programs, site, workers):
    async with scripted_upstream(serve) as upstream, AsyncExitStack() as stack:
        tables = settings([upstream.address], listener={"tls": site.tls()})
        tables["server"]["workers"] = workers
        proxy = await run_proxy(programs, tables)
        tunnels = [await open_tunnel(proxy, site) for _ in range(2 * workers)]
        for tunnel in tunnels:
            await stack.enter_async_context(tunnel.http.stream.transport_stream)
        expiry = (await proxy.metrics()).total("certificate_expiry_timestamp_seconds", listener="public")
        site.renew("renewed.test")
        await proxy.reload(tables)
        assert (await proxy.metrics()).total("certificate_expiry_timestamp_seconds", listener="public") == expiry > 0
        assert {await shown(proxy, site) for _ in range(3 * workers)} == {3}
        (site.folder / "key.pem").write_text("no key")
        await proxy.reload(tables, result="refused")
        assert "PEM form" in (await proxy.logged("reload", result="refused"))["reason"]
        assert {await shown(proxy, site) for _ in range(3 * workers)} == {3}
        for tunnel in tunnels:
            assert await tunnel.echo(b"still here") == b"still here"


async def test_a_ticket_of_one_worker_is_no_harm_at_another(programs, site):
    async with scripted_upstream(serve) as upstream:
        tables = settings([upstream.address], listener={"tls": site.tls()})
        tables["server"]["workers"] = 2
        proxy = await run_proxy(programs, tables)
        session, reused = None, []
        for _ in range(16):
            http = await secured(await dial(proxy.address), site.context, session=session)
            await http.send(get_request())
            assert (await http.answer()).body == b"https"
            reused.append(http.stream.session_reused)
            session = session or http.stream.session  # of the worker that was met first
            await http.stream.transport_stream.aclose()
        assert not reused[0]


@pytest.mark.rule("tls-handshake", "slow")
async def test_handshakes_that_stand_still_take_little_and_cost_others_nothing(programs, site):
    async with scripted_upstream(serve_anything) as upstream, AsyncExitStack() as stack:
        proxy = await run_proxy(
            programs, settings([upstream.address], listener={"tls": site.tls()}, timeouts={"head": 3})
        )
        tunnel = await open_tunnel(proxy, site)
        plain = await secured(await dial(proxy.address), site.context)
        other = Bystander(tunnel, plain)
        await other.rounds(1)
        before, first = proxy.program.rss, hello(site.context)
        streams = []
        for number in range(HALF_OPEN):
            streams.append(await stack.enter_async_context(await dial(proxy.address)))
            with suppress(trio.BrokenResourceError):  # it is not looked at before its time is over
                await streams[-1].send_all(first if number % 2 else first[:1])
        await other.rounds(20)
        assert (proxy.program.rss - before) / HALF_OPEN < MOST_KILOBYTES * 1024
        await proxy.wait_until(
            lambda seen: seen.total("endings_total", by="client", phase="accept", reason="timeout") == HALF_OPEN
        )
        await other.rounds(20)
        for http in (tunnel.http, plain):
            await http.stream.transport_stream.aclose()


async def test_the_next_process_goes_on_with_the_listener_it_was_given_or_takes_over(programs, site):
    async with scripted_upstream(serve) as upstream:
        address = free_address()
        tables = settings([upstream.address], listener={"address": address, "tls": site.tls()})
        tables["server"]["handover"] = str(site.folder / "door")
        old = await run_proxy(programs, tables)
        tunnel = await open_tunnel(old, site)
        site.renew("renewed.test")
        new = await run_proxy(programs, tables)
        await new.logged("took_over")
        assert new.address == address
        assert await shown(new, site) == 3
        assert (await tunnel.receive()).close_code == 1001
        await tunnel.send(CLOSE, close_payload(1001))
        assert await tunnel.http.at_end()
        await tunnel.http.stream.transport_stream.aclose()
        assert await old.program.wait() == 0
        with socket.create_server(("127.0.0.1", 0)) as sock:
            tables = settings([upstream.address], listener={"address": "fd:web", "tls": site.tls()})
            activated = await run_proxy(programs, tables, sockets={"web": sock.fileno()})
            assert await shown(activated, site) == 3


@pytest.mark.rule("tls-end")
async def test_it_ends_with_close_frames_and_a_word_of_tls(programs, site):
    async with scripted_upstream(serve) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address], listener={"tls": site.tls()}))
        tunnel = await open_tunnel(proxy, site)
        half = await dial(proxy.address)
        await half.send_all(hello(site.context)[:100])
        await wait_until(proxy.status, "its status")
        proxy.terminate()
        assert (await tunnel.receive()).close_code == 1001
        await tunnel.send(CLOSE, close_payload(1001))
        assert await tunnel.http.at_end()  # SSLStream raises where no close_notify came
        assert await half.receive_some() == b""
        assert await proxy.program.wait() == 0
        assert proxy.log_contains("drained")
        await half.aclose()
        await tunnel.http.stream.transport_stream.aclose()
