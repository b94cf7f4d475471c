"""`trioproxy run`: the proxy in the foreground, until a signal ends it."""

import click
import trio

from trioproxy.certificates import CertificatesError
from trioproxy.cli import ConfigProblems
from trioproxy.config_file import ConfigError, parse_config, read_text
from trioproxy.housekeeping import tune_collector
from trioproxy.lifecycle import run_until_stopped
from trioproxy.logs import Log
from trioproxy.supervisor import WorkersError, worker_count
from trioproxy.transport import ListenError


@click.command()
@click.option("-c", "--config", "path", default="config.toml", show_default=True, help="The configuration file.")
def run(path: str) -> int:
    """Run the proxy in the foreground."""
    try:
        text = read_text(path)
        config = parse_config(text, path)
    except ConfigError as error:
        raise ConfigProblems(str(error)) from None
    tune_collector()
    log = Log.open(config.log, shared=worker_count(config) > 1)
    try:
        return trio.run(run_until_stopped, config, log, path)
    except CertificatesError as error:
        raise ConfigProblems(str(error.located(text, path))) from None
    except (ListenError, WorkersError) as error:
        raise click.ClickException(str(error)) from None
    finally:
        log.close()
