"""`trioproxy import-nginx`: an nginx configuration as one of trioproxy, and an account of what became of every line.

Converting is `nginx_import`'s work.
"""

from pathlib import Path

import click

from trioproxy import nginx_import
from trioproxy.cli import FAILED, WRONG, ConfigProblems
from trioproxy.nginx_import import FIRST_WORDS, Kind

# Of a file that nginx refuses nothing is converted, so that only what is wrong with it is worth saying.
_OF_REFUSED = (Kind.MISTAKE, Kind.WARNING)
_QUIET = (Kind.MISTAKE, Kind.WARNING, Kind.LEFT_OVER)


@click.command("import-nginx")
@click.argument("source", metavar="NGINX.CONF")
@click.option("-o", "--output", metavar="CONFIG.TOML", help="The file to write; without it, stdout.")
@click.option("--force", is_flag=True, help="Write the file even if something else is in it.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of differences and of what nobody will miss.")
def import_nginx(source: str, output: str | None, *, force: bool, quiet: bool) -> int:
    """Convert an nginx reverse-proxy configuration.

    What has no counterpart, what means something else and what nobody will miss is told on stderr, each with its line.
    The exit status is 0 if nothing is left over, 1 if something is (the rest is written), 2 if the file cannot be read
    or nginx itself would refuse it (nothing is written).
    """
    if output is not None and not force and _is_someones(Path(output)):
        raise click.UsageError(f"{output} exists already, and was not written by this command; --force overwrites it")
    try:
        found = nginx_import.import_nginx(source)
    except nginx_import.ReadError as error:
        raise ConfigProblems(str(error)) from None
    kinds = _OF_REFUSED if found.refused else _QUIET if quiet else tuple(Kind)
    for note in found.notes.all:
        if note.kind in kinds:
            click.echo(str(note), err=True)
    click.echo(found.summary, err=True)
    if found.text and output is None:
        click.echo(found.text, nl=False)
    elif found.text and output is not None:
        Path(output).write_text(found.text, encoding="utf-8")
    return WRONG if found.refused else 0 if found.complete else FAILED


def _is_someones(path: Path) -> bool:
    """Whether there is something at the path that this command has not written itself."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return bool(content) and not content.startswith(f"# {FIRST_WORDS}".encode())
