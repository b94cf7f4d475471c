"""The command line: `main`, which finds the commands and turns what goes wrong into one line and an exit status.

Each command is a file here, loaded only when it is asked for; what the commands do stands in the modules they call.
"""

import os
import pkgutil
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from trioproxy._version import __version__

FAILED = 1  # while running
WRONG = 2  # usage or configuration


class Commands(click.Group):
    """The commands of this folder: file `import_nginx.py` is `import-nginx`, its function `import_nginx`.

    Files whose name begins with an underscore are no commands.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name, sorted."""
        del ctx
        names = [module.name for module in pkgutil.iter_modules(__path__)]
        return sorted(name.replace("_", "-") for name in names if not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, its file loaded now; None if there is no such file."""
        if cmd_name not in self.list_commands(ctx):
            return None
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(import_module(f"{__name__}.{name}"), name)
        return command

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run one command and exit: with what it returns (None is 0), 1 if it failed, 2 if it was used wrongly.

        Errors go to stderr, one line each. A command raises `click.ClickException`, or an `OSError` that says enough.
        """
        extra["standalone_mode"] = False
        try:
            status = super().main(*args, **extra)
        except ConfigProblems as error:
            _fail(error.message, error.exit_code)
        except click.ClickException as error:
            _fail(f"trioproxy: {' '.join(error.format_message().split())}", error.exit_code)
        except BrokenPipeError:  # whoever reads has had enough (`| head`)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the end
            sys.exit(FAILED)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            _fail(f"trioproxy: {where}{error.strerror or error}", FAILED)
        except click.Abort:
            _fail("trioproxy: interrupted", FAILED)
        sys.exit(status)


class ConfigProblems(click.ClickException):
    """A configuration that cannot be used: its problems as they are, line by line, and exit status 2."""

    exit_code = WRONG


def _fail(message: str, status: int) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(status)


@click.group(cls=Commands, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trioproxy")
def main() -> None:
    """A WebSocket load balancer that knows the frames it relays."""
