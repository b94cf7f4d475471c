"""`trioproxy run`: the proxy in the foreground, until a signal ends it."""

import gc

import click
import trio

from trioproxy.cli import ConfigProblems
from trioproxy.config_file import ConfigError, load_config
from trioproxy.lifecycle import run_until_stopped
from trioproxy.logs import Log
from trioproxy.transport import ListenError


@click.command()
@click.option("-c", "--config", "path", default="config.toml", show_default=True, help="The configuration file.")
def run(path: str) -> int:
    """Run the proxy in the foreground."""
    try:
        config = load_config(path)
    except ConfigError as error:
        raise ConfigProblems(str(error)) from None
    _tune_collector()
    log = Log.open(config.log)
    try:
        return trio.run(run_until_stopped, config, log)
    except ListenError as error:
        raise click.ClickException(str(error)) from None
    finally:
        log.close()


def _tune_collector() -> None:
    """Have the cyclic collector run seldom, and never over what was imported.

    By default it looks at all living tunnels after every 700 new objects: a tenth of the CPU of a burst of handshakes
    (`bench`, handshake-2000). What ended tunnels leave in cycles, some eight objects each, waits: 10 MiB at most.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
