"""On a real terminal, as `pyte` reads it, with a real proxy that lives in the test's own Trio run."""

from __future__ import annotations

import signal
import termios
from contextlib import AsyncExitStack

import trio
from support.commands import commanded
from support.ports import free_address
from support.serving import make_config, talk_both, unix_upstream
from support.terminals import terminal

from trioproxy.config import AdminConfig, HealthConfig
from trioproxy.server import serve

ENTERED = b"\x1b[?1049h"
LEFT = (b"\x1b[?1049l", b"\x1b[?25h")  # the other screen; the cursor is to be seen
PROBED = HealthConfig(probe="tcp", interval=0.2, timeout=0.2, rise=1, fall=1)


def figure(shown, name):
    """What stands behind its name, 0 where it does not stand there."""
    return float((shown.line(name).replace(",", "").split() or [0, 0])[1])


async def test_what_passes_shows_and_an_upstream_is_drained_and_taken_back(tmp_path):
    async with (
        commanded(tmp_path) as proxy,
        terminal("top", "--admin", proxy.proxy.admin_address, columns=200) as shown,
    ):
        before = termios.tcgetattr(shown.theirs)
        await shown.until("requests/s", "the figures")
        assert "running" in shown.lines[0] and figure(shown, "tunnels") == 0
        end = await proxy.open()
        async with trio.open_nursery() as nursery:

            async def talk():
                while True:
                    await end.echo(b"hello")
                    await trio.lowlevel.checkpoint()

            nursery.start_soon(talk)  # a figure of one second is there for a second
            await shown.until(lambda: figure(shown, "messages/s") > 10, "messages and their echoes")
            nursery.cancel_scope.cancel()
        await shown.until(lambda: figure(shown, "tunnels") == 1, "the tunnel")
        await shown.until(lambda: shown.line("client"), "the list of tunnels")
        (name,) = proxy.proxy.context.tunnels
        assert name in shown.line(name) and "/s" in shown.line(name)
        shown.press("s")
        await shown.until("*messages", "another order")
        shown.press("d")
        await shown.until("which upstream to drain?", "that none is selected")
        shown.press("\x1b[Bd")
        await shown.until("y: yes, else no", "the question")
        assert not proxy.upstream.draining
        shown.press("y")
        await shown.until(lambda: "draining" in shown.lines[-1], "the answer")
        assert proxy.upstream.draining
        await shown.until("upstream_drain ", "the event")
        shown.press("ry")
        await shown.until(lambda: shown.lines[-1].endswith(": up"), "the answer")
        assert not proxy.upstream.draining
        shown.press("q")
        assert await shown.end() == 0
        assert all(sequence in shown.raw for sequence in LEFT)
        assert termios.tcgetattr(shown.theirs) == before


async def test_an_upstream_that_dies_turns_red_and_a_proxy_that_is_restarted_is_found_again(tmp_path):
    admin = free_address()
    config = make_config(f"unix:{tmp_path}/echo", health=PROBED, admin=AdminConfig(address=admin))
    async with unix_upstream(tmp_path / "echo", talk_both), AsyncExitStack() as first:
        await first.enter_async_context(serve(config))
        async with terminal("top", "--admin", admin, columns=200) as shown:
            await shown.until(lambda: shown.colour("up  ", "  backend  ") == "green", "that it is up")
            (tmp_path / "echo").unlink()
            await shown.until(lambda: shown.colour("down  ", "  backend  ") == "red", "that it is down")
            await shown.until("upstream_down", "the event")
            await first.aclose()
            await shown.until("connection lost, retrying", "that the proxy is gone")
            assert "down" in shown.line("backend")  # as far as is known
            async with serve(config):
                await shown.until(lambda: "running" in shown.lines[0], "that it is back")
                shown.process.send_signal(signal.SIGTERM)
                assert await shown.end() == 0
        assert all(sequence in shown.raw for sequence in LEFT)


async def test_the_smallest_terminal_will_do_and_any_size_it_is_given_later(tmp_path):
    async with (
        commanded(tmp_path) as proxy,
        terminal("top", "--admin", proxy.proxy.admin_address, columns=12, lines=3) as shown,
    ):
        await shown.until("q quit", "the keys")
        shown.resize(1, 1)
        await shown.until(lambda: shown.lines == ["…"], "that there is no room")
        shown.resize(300, 60)
        await shown.until("last probe", "all columns")
        shown.resize(30, 10)
        await shown.until(lambda: shown.lines[-1].startswith("q quit"), "the keys at the end again")
        assert shown.line("events")
        shown.press("\x1a")  # stops a job of a shell; here nobody could continue it, so the kernel lets it go on
        await shown.until(lambda: shown.raw.count(ENTERED) == 2, "that the terminal was given back, and taken again")
        shown.press("\x03")
        assert await shown.end() == 0
        assert all(sequence in shown.raw for sequence in LEFT)


async def test_without_a_keyboard_and_without_bars_it_shows_what_it_can_until_it_is_interrupted(tmp_path):
    async with commanded(tmp_path) as proxy:
        command = ("top", "--admin", proxy.proxy.admin_address)
        async with terminal(*command, keyboard=False, PYTHONIOENCODING="ascii") as shown:
            await shown.until(lambda: "?????" in shown.line("requests/s"), "question marks for bars")
            shown.process.send_signal(signal.SIGINT)
            assert await shown.end() == 0
        assert all(sequence in shown.raw for sequence in LEFT)
