"""`trioproxy check`: says whether a configuration can be used, like `nginx -t`, and with `--show` what it amounts to.

Reading and checking is `config_file`'s work, writing it out `config_show`'s.
"""

import click

from trioproxy.certificates import Certificates, CertificatesError
from trioproxy.cli import ConfigProblems
from trioproxy.config import Config
from trioproxy.config_file import ConfigError, located, parse_config, read_text
from trioproxy.config_show import show_config


@click.command()
@click.option("-c", "--config", "path", default="config.toml", show_default=True, help="The configuration file.")
@click.option("--show", is_flag=True, help="Print the effective settings, defaults filled in, as TOML.")
def check(path: str, *, show: bool) -> None:
    """Validate a configuration and the certificates it names, and report every problem in them."""
    try:
        text = read_text(path)
        config = parse_config(text, path)
        expired = Certificates.load(config).expired(config)
    except CertificatesError as error:
        raise ConfigProblems(str(error.located(text, path))) from None
    except ConfigError as error:
        raise ConfigProblems(str(error)) from None
    if expired:
        click.echo(str(located(expired, text, path)), err=True)
    if show:
        click.echo(show_config(config), nl=False)
    else:
        click.echo(f"{click.format_filename(path)}: ok ({_summary(config)})")


def _summary(config: Config) -> str:
    upstreams = sum(len(pool.upstreams) for pool in config.pools.values())
    counts = {
        "listener": len(config.listeners),
        "route": len(config.routes),
        "pool": len(config.pools),
        "upstream": upstreams,
    }
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for word, count in counts.items())
