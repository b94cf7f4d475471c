"""What is shown while a run goes on, on a terminal and elsewhere."""

import io
import re
import signal

import pyte
import trio
from rich.console import Console
from support.terminals import terminal
from support.waiting import wait_until

from trioproxy.chaos.load import Load
from trioproxy.chaos.records import Tunnel
from trioproxy.chaos.scenario import LoadConfig, Scenario
from trioproxy.cli._chaos.showing import Drawn, Silent, Written, showing

SCENARIO = Scenario(duration=10.0)


def new_load():
    load = Load(LoadConfig(), "127.0.0.1", 1, seed=1, duration=10.0)
    load.tunnels.append(Tunnel("0-0", 0, 0.0, opened=0.1, upstream=1))
    return load


async def watched(shown, seconds):
    """What is said after two seconds scrolls by while it is watched."""
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shown.watch, new_load())
            await trio.sleep(2.1)
            shown.say("it begins")
            await trio.sleep_forever()


async def test_a_file_gets_a_line_now_and_then(autojump_clock, capsys):
    shown = showing(SCENARIO, 1)
    assert isinstance(shown, Written)
    await watched(shown, 11)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-2].strip() for line in lines if line != "it begins"] == [
        f"{at}.00 s" for at in range(1, 10)
    ]
    assert lines.index("it begins") == 2
    assert "1 tunnels (0, 1)" in lines[0]


async def test_nothing_is_shown_where_nothing_is_wanted(capsys):
    Silent().say("it begins")
    await Silent().watch(new_load())
    assert capsys.readouterr().out == ""


def seen(text, columns=60, lines=20):
    screen = pyte.Screen(columns, lines)
    pyte.Stream(screen).feed(text.replace("\n", "\r\n"))
    return [line.rstrip() for line in screen.display if line.strip()], screen.cursor.hidden


async def test_a_terminal_is_drawn_on_in_place_below_what_has_happened():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=60, height=20, highlight=False, legacy_windows=False)
    shown = Drawn(SCENARIO, 1, console)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(shown.watch, new_load())
        await wait_until(lambda: "tunnels" in out.getvalue(), "the first lines")
        shown.say("it begins")
        await wait_until(lambda: "none now" in out.getvalue().partition("it begins")[2], "what has happened")
        lines, hidden = seen(out.getvalue())
        nursery.cancel_scope.cancel()
    assert hidden
    assert lines[0] == "it begins"
    assert re.match(r"\d+\.\d s of 10 s", lines[1])
    assert lines[2] == "tunnels     1 open   upstream 0: 0, upstream 1: 1"
    assert len(lines) == 7
    assert seen(out.getvalue()) == (["it begins"], False)


async def test_a_terminal_that_is_interrupted_is_as_before(tmp_path):
    path = tmp_path / "long.toml"
    path.write_text(
        'title = "Long"\nduration = 600\n[load]\nclients = 2\n[[faults]]\nfault = "latency"\n[expect]\ntunnels = 2\n'
    )
    async with terminal("chaos", str(path), columns=38, lines=24, NO_COLOR="1") as shown:
        await shown.until("tunnels     2 open", "two tunnels")
        await shown.until("faults      latency", "the rest of what is drawn at once")
        at = {
            word: next(number for number, line in enumerate(shown.lines) if word in line)
            for word in ("begins", "tunnels ")
        }
        assert at["begins"] < at["tunnels "]
        assert sum("tunnels " in line for line in shown.lines) == 1
        assert "faults      latency of upstream 0, 1," in shown.line("faults ")
        assert shown.view.cursor.hidden
        shown.process.send_signal(signal.SIGINT)
        assert await shown.end() == 1
        assert shown.raw.rfind(b"\x1b[?25h") > shown.raw.rfind(b"\x1b[?25l") > 0
        assert shown.raw.endswith(b"trioproxy: interrupted: everything that was started has been ended\r\n")
        assert not re.search(rb"\x1b\[[0-9;]*3[0-7]", shown.raw)
