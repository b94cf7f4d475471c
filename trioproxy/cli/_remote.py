"""What the commands that talk to a running proxy share: which one is meant, how it is asked, how answers are shown.

Asking is `remote`'s work; what is asked for stands in each command.
"""

from __future__ import annotations

import functools
import io
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trioproxy.cli import WRONG, ConfigProblems
from trioproxy.config import AdminConfig
from trioproxy.config_file import ConfigError, load_config
from trioproxy.config_syntax import is_upstream_address
from trioproxy.remote import Remote, RemoteError, reachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_DEFAULT: Final = "config.toml"
_USAGE: Final = (400, 404)  # what was named does not exist, or cannot be
_UNLIMITED: Final = 10_000  # columns: whatever is not a terminal gets whole lines


class _Mistaken(click.ClickException):
    exit_code = WRONG


@attrs.frozen
class Asked:
    """The proxy a command talks to, and whether it answers with JSON."""

    remote: Remote
    as_json: bool

    @contextmanager
    def asking(self, *, usage: Sequence[int] = _USAGE) -> Iterator[None]:
        """Turn what goes wrong into one line and an exit status: 2 where the proxy answers with one of `usage`."""
        try:
            yield
        except RemoteError as error:
            raise (_Mistaken if error.status in usage else click.ClickException)(str(error)) from None
        except (LookupError, TypeError, ValueError):
            message = f"what answers at {self.remote.address} is no admin of a trioproxy, or of another version"
            raise click.ClickException(message) from None

    def tell(self, document: Any, words: str) -> None:
        """The answer: as JSON, or in words."""
        click.echo(json.dumps(document, indent=2, ensure_ascii=False) if self.as_json else printable(words))


def talks_to_a_proxy(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which proxy is meant, and hand it what they amount to as `asked`."""

    @click.option(
        "-c", "--config", "path", help="The configuration file of the proxy.  [default: config.toml, if there is one]"
    )
    @click.option("--admin", metavar="ADDRESS", help="Its admin address instead, as host:port.")
    @click.option("--token-file", help="The file with its token.  [default: the configuration's]")
    @click.option("--json", "as_json", is_flag=True, help="Answer with JSON.")
    @functools.wraps(command)
    def wrapped(
        *args: Any, path: str | None, admin: str | None, token_file: str | None, as_json: bool, **options: Any
    ) -> Any:
        return command(*args, asked=Asked(_find(path, admin, token_file), as_json), **options)

    return wrapped


def _find(path: str | None, admin: str | None, token_file: str | None) -> Remote:
    if admin is not None:
        if path is not None:
            raise click.UsageError("--config and --admin both say which proxy is meant: give one of them.")
        if not is_upstream_address(admin) or admin.startswith("unix:"):
            raise click.UsageError(f"--admin: expected host:port or [ipv6]:port, got {admin!r}.")
        return Remote(admin, _token(token_file or ""))
    found = AdminConfig()
    if path is not None or Path(_DEFAULT).exists():
        path = path or _DEFAULT
        try:
            found = load_config(path).admin
        except ConfigError as error:
            raise ConfigProblems(str(error)) from None
    if not found.address or found.address.endswith(":0"):
        what = "there is no admin address" if not found.address else "the admin has any free port"
        raise click.UsageError(f"{path}: {what}; --admin says which proxy is meant.")
    return Remote(reachable(found.address), _token(token_file or found.token_file))


def _token(path: str) -> bytes:
    return Path(path).read_bytes().strip() if path else b""


def printable(text: str) -> str:
    """The text without what a terminal might take for a command; much of it came from clients."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns in line under their heads, as wide as the terminal allows; a head that starts with ">" is for numbers."""
    console = Console(file=io.StringIO(), color_system=None, width=_width())
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in columns:
        justify: Any = "right" if head.startswith(">") else "left"
        grid.add_column(Text(head.removeprefix(">")), justify=justify, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(printable(cell).replace("\n", "\N{REPLACEMENT CHARACTER}")) for cell in row))
    with console.capture() as captured:
        console.print(grid)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _width() -> int:
    return Console().width if sys.stdout.isatty() else _UNLIMITED


def duration(seconds: float) -> str:
    """Seconds as people say it, the two largest units: 0.3 s, 12 s, 5 min 3 s, 2 d 4 h."""
    if seconds < 10:  # noqa: PLR2004 - where tenths still say something
        return f"{seconds:.1f} s"
    left = int(seconds)
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size or parts:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])


def octets(count: float) -> str:
    """Octets as people say it: 512 B, 1.5 KiB, 20 MiB."""
    unit, size = "B", count
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:  # noqa: PLR2004 - the unit's definition
            break
        unit, size = larger, size / 1024
    return f"{size:.1f} {unit}" if unit != "B" and size < 10 else f"{size:.0f} {unit}"  # noqa: PLR2004


def counted(count: int, word: str) -> str:
    """`1 tunnel`, `2 tunnels`."""
    return f"{count} {word}{'' if count == 1 else 's'}"
