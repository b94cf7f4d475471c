"""`trioproxy demo`: the proxy with upstreams and clients of its own, to see it work."""

import math

import click
import trio

from trioproxy.demo import Tally, run_demo


@click.command()
@click.option("--duration", type=click.FloatRange(min=0, min_open=True), help="Seconds to run; without, until Ctrl-C.")
def demo(duration: float | None) -> int:
    """Two echo upstreams, the proxy in front, live traffic through it, and a failover to watch."""
    tally = Tally()
    try:
        trio.run(run_demo, duration or math.inf, tally, click.echo)
    except* KeyboardInterrupt:
        click.echo("stopped")
    return 1 if tally.failed_handshakes or tally.wrong_answers else 0
