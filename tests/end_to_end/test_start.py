"""Starting: what stops it says so in a line each; listeners of every kind; no traffic before the first probe round."""

from __future__ import annotations

import resource
import socket

import pytest
import trio
from support.frames import websocket
from support.http_client import ask, connection, dial, get, get_request
from support.peers import run_server
from support.processes import PYTHON
from support.proxied import proxied_http
from support.proxy import launch_proxy, run_proxy, write_config
from support.settings import settings
from support.upstream import reply, scripted_upstream, serve_http
from support.waiting import wait_until


async def fine(http):
    await serve_http(http, lambda head, body: reply(b"fine"))


async def trioproxy(programs, *words):
    program = await programs.start("trioproxy", [PYTHON, "-m", "trioproxy", *words])
    return await program.wait(), program


async def test_ten_mistakes_are_ten_lines_and_exit_2(programs, tmp_path):
    config = tmp_path / "wrong.toml"
    config.write_text(
        """
[server]
workers = "1"
[limits]
max_connection = 10
max_headers = true
[timeouts]
connect = "3"
[[listeners]]
address = "127.0.0.1"
[[routes]]
path = "chat"
pool = "backed"
[pools.backend]
balance = "round"
attempts = 0
upstreams = "127.0.0.1:1"
"""
    )
    for command in ("run", "check"):
        status, program = await trioproxy(programs, command, "-c", str(config))
        assert status == 2
        lines = [line for line in program.err.seen if line]
        assert len(lines) == 10, program.err.text
        assert all("wrong.toml:" in line for line in lines)


async def test_a_missing_config_file_is_one_line_and_exit_2(programs, tmp_path):
    status, program = await trioproxy(programs, "run", "-c", str(tmp_path / "none.toml"))
    assert status == 2
    assert "none.toml" in program.err.text
    assert len(program.err.seen) == 1


@pytest.mark.parametrize("what", ["listener", "admin"])
async def test_a_port_in_use_is_an_error_that_names_it(programs, what):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        tables = settings(["127.0.0.1:1"])
        if what == "listener":
            tables["listeners"][0]["address"] = address
        else:
            tables["admin"]["address"] = address
        proxy = await launch_proxy(programs, tables)
        assert await proxy.program.wait() in {1, 2}
    lines = [line for line in proxy.program.err.seen if address in line]
    assert len(lines) == 1, proxy.program.err.text
    assert "in use" in lines[0]


async def test_a_second_proxy_on_the_same_port_is_refused_while_the_first_goes_on(programs):
    async with scripted_upstream(fine) as upstream:
        first = await run_proxy(programs, settings([upstream.address]))
        tables = settings([upstream.address], listener={"address": first.address})
        second = await launch_proxy(programs, tables)
        assert await second.program.wait() in {1, 2}
        assert (await get(first.address)).status == 200


async def test_unix_sockets_serve_both_sides(programs, tmp_path):
    path = tmp_path / "public.sock"
    async with scripted_upstream(fine) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address], listener={"address": f"unix:{path}"}))
        answer = await ask(f"unix:{path}", get_request())
        assert (answer.status, answer.body) == (200, b"fine")
        assert proxy.address == f"unix:{path}"
        behind = await run_proxy(programs, settings([f"unix:{path}"]))
        assert (await get(behind.address)).body == b"fine"
        await proxy.stop()
    assert not path.exists()


async def test_a_unix_socket_left_by_a_killed_proxy_is_taken_over(programs, tmp_path):
    path = tmp_path / "public.sock"
    async with scripted_upstream(fine) as upstream:
        tables = settings([upstream.address], listener={"address": f"unix:{path}"})
        first = await run_proxy(programs, tables)
        first.program.kill()
        await first.program.wait()
        await run_proxy(programs, tables)
        assert (await ask(f"unix:{path}", get_request())).status == 200


async def test_inherited_sockets_serve_and_stay_open_across_a_restart(programs):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        async with scripted_upstream(fine) as upstream:
            tables = settings([upstream.address], listener={"address": "fd:web"})
            first = await run_proxy(programs, tables, sockets={"web": sock.fileno()})
            assert (await get(f"127.0.0.1:{port}")).status == 200
            await first.stop()
            waiting = await dial(f"127.0.0.1:{port}")  # queued by the kernel: nobody is refused in between
            async with waiting:
                await run_proxy(programs, tables, sockets={"web": sock.fileno()})
                await waiting.send_all(get_request())
                assert (await waiting.receive_some(12)) == b"HTTP/1.1 200"


async def test_a_missing_inherited_socket_is_an_error_that_names_it(programs):
    proxy = await launch_proxy(programs, settings(["127.0.0.1:1"], listener={"address": "fd:web"}))
    assert await proxy.program.wait() in {1, 2}
    assert "fd:web" in proxy.program.err.text


async def test_an_ipv6_listener_serves(programs):
    async with scripted_upstream(fine) as upstream:
        proxy = await run_proxy(programs, settings([upstream.address], listener={"address": "[::1]:0"}))
        assert proxy.address.startswith("[::1]:")
        assert (await get(proxy.address)).body == b"fine"


async def test_localhost_just_works_as_an_upstream(programs):
    """`localhost` may mean ::1 first, where nothing listens; its addresses are tried in order."""
    async with scripted_upstream(fine) as upstream:
        tables = settings([f"localhost:{upstream.port}"], health={"probe": "tcp"})
        proxy = await run_proxy(programs, tables)
        for _ in range(3):
            assert (await get(proxy.address)).body == b"fine"
        assert (await proxy.metrics()).total("upstream_up", upstream=f"localhost:{upstream.port}") == 1


async def test_accepting_begins_when_the_first_probe_round_is_over(programs):
    """An upstream that was never up gets no request, not even the first one."""
    asked = []

    async def silent(http):
        asked.append(await http.head())
        await http.rest()

    good = await run_server(programs, "fast_echo.py", "good")
    async with scripted_upstream(silent) as upstream:
        health = {"probe": "http", "interval": 2, "timeout": 2}
        proxy = await run_proxy(programs, settings([upstream.address, good.address], health=health))
        for _ in range(6):
            assert (await get(proxy.address, "/request")).get(b"x-server") == b"good"
    assert not [head for head in asked if b"/request" in head.start]


async def test_a_garbage_upstream_fails_its_probe_and_ends_nothing_else(programs):
    async def garbage(http):
        await http.send(b"\x16\x03\x01 no protocol at all\r\n\r\n" * 100)
        await http.rest()

    good = await run_server(programs, "fast_echo.py", "good")
    async with scripted_upstream(garbage) as upstream:
        for probe in ("http", "websocket"):
            health = {"probe": probe, "interval": 1, "timeout": 1}
            proxy = await run_proxy(programs, settings([upstream.address, good.address], health=health))
            async with websocket(proxy.address) as end:
                rounds = (await proxy.metrics()).total("probes_total", upstream=upstream.address) + 2
                seen = await proxy.wait_until(
                    lambda seen: seen.total("probes_total", upstream=upstream.address) >= rounds  # noqa: B023
                )
                assert seen.total("upstream_up", upstream=upstream.address) == 0
                assert seen.total("upstream_up", upstream=good.address) == 1
                assert await end.echo(b"still here") == b"still here"
            assert proxy.log_contains("probe_failed", upstream=upstream.address) or proxy.log_contains(
                "upstream_down", upstream=upstream.address
            )
            await proxy.stop()


async def test_out_of_descriptors_accepting_pauses_and_recovers(programs):
    async with proxied_http(programs) as both:
        pid, proxy = both.proxy.program.pid, both.proxy
        assert (await get(both.address)).status == 200
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (proxy.program.descriptors + 5, hard))
        async with trio.open_nursery():
            held = [await dial(both.address) for _ in range(20)]
            await wait_until(lambda: any("EMFILE" in line or "Too many" in line for line in proxy.program.err.seen))
            for stream in held:
                await stream.aclose()
        with trio.fail_after(30):
            assert (await get(both.address)).status in {200, 503}
        await wait_until_served(both.address)
        assert len([entry for entry in proxy.log if "many open" in str(entry)]) < 20  # once a second, not each time
        assert proxy.program.running
    await proxy.stop()


async def wait_until_served(address):
    async def served():
        return (await get(address)).status == 200

    await wait_until(served, "served again")


async def test_connections_above_the_limit_get_503_and_are_counted(programs):
    async with proxied_http(programs, limits={"max_connections": 3}) as both:
        held = [await dial(both.address) for _ in range(3)]
        for stream in held:
            await stream.send_all(get_request())
            assert (await stream.receive_some(12)) == b"HTTP/1.1 200"
        async with connection(both.address) as http:
            answer = await http.answer()
            assert answer.status == 503
            assert answer.get(b"retry-after")
            assert await http.at_end()
        assert (await both.proxy.metrics()).total("connections_rejected_total", listener="public") == 1
        for stream in held:
            await stream.aclose()
        await wait_until_served(both.address)


async def test_check_accepts_what_run_runs(programs):
    path = write_config(programs, settings(["127.0.0.1:1"]))
    status, program = await trioproxy(programs, "check", "-c", path)
    assert status == 0, program.err.text
    status, shown = await trioproxy(programs, "check", "--show", "-c", path)
    assert status == 0
    assert "keep_alive" in shown.out.text
