"""`trioproxy top`: a running proxy, live, in a terminal."""

import io
import sys
from itertools import chain

import click
from rich.console import Console

from trioproxy.cli._remote import Asked, talks_to_a_proxy
from trioproxy.cli._top.screen import show
from trioproxy.cli._top.state import State
from trioproxy.cli._top.view import report
from trioproxy.remote import PAGE

_PRINTED_COLUMNS = 10_000  # where it is no terminal: whole lines


@click.command()
@click.option("--once", is_flag=True, help="Print it once, as is done where there is no terminal.")
@click.option(
    "--interval", type=click.FloatRange(min=1), default=1, show_default=True, help="Seconds between two looks."
)
@talks_to_a_proxy
def top(asked: Asked, interval: float, *, once: bool) -> None:
    """Show upstreams, tunnels and what happens, second by second.

    Keys: q quits, s sorts the tunnels by something else, the arrows select an upstream, d drains it, r takes it back.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # where there are no bars, question marks will do
    console = Console()
    with asked.asking():
        news = asked.remote.live()
        kind, history = next(news, ("", None))
        if kind != "history":
            raise LookupError
        if not (once or asked.as_json) and console.is_terminal and not console.is_dumb_terminal:
            keyboard = sys.stdin.fileno() if sys.stdin.isatty() else None
            show(asked.remote, chain([(kind, history)], news), console, interval=interval, keyboard=keyboard)
            return
        news.close()
        state = State(asked.remote.address)
        state.take(kind, history)
        total, rows = asked.remote.page("", PAGE)
        state.take("tunnels", (total, rows, True))
        lines = report(state, console.width if console.is_terminal else _PRINTED_COLUMNS)
        asked.tell({**(state.newest or {}), "events": list(state.events)}, "\n".join(line.plain for line in lines))
