"""`python -m bench`: measure, print the tables, write JSON and picture."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import attrs
import click
import trio

from bench import load, peers, table
from bench.cases import CASES, Case
from bench.picture import draw
from bench.processes import ProcessError, raise_descriptor_limit
from bench.results import Results
from bench.run import Bench
from bench.table import report

OUT = Path(__file__).parent / "out"


def machine() -> dict[str, object]:
    """What the figures depend on besides the programs."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = next((line.split(": ", 1)[1] for line in cpuinfo.splitlines() if line.startswith("model name")), "?")
    return {
        "cpu": model,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "trio": trio.__version__,
        "load_before": os.getloadavg()[0],
        "when": time.strftime("%Y-%m-%d %H:%M"),
    }


def chosen_peers(names: str) -> tuple[list[peers.Peer], list[str]]:
    """Those asked for and found, and the names of those asked for and missing."""
    wanted = names.split(",") if names else [peer.name for peer in peers.PEERS]
    known = {peer.name: peer for peer in peers.PEERS}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise click.UsageError(f"no such proxy: {', '.join(unknown)}; there are {', '.join(known)}")
    found = [known[name] for name in wanted if known[name].find() and known[name].version(str(known[name].find()))]
    return found, [name for name in wanted if known[name] not in found]


def chosen_cases(only: tuple[str, ...], *, quick: bool) -> list[Case]:
    cases = [case.shortened() for case in CASES if case.quick or only] if quick else list(CASES)
    names = {case.name for case in cases}
    cases = [case for case in cases if not only or any(_selects(name, case.name, names) for name in only)]
    if not cases:
        raise click.UsageError(f"no such case; there are {', '.join(case.name for case in CASES)}")
    return cases


def _selects(asked: str, name: str, names: set[str]) -> bool:
    """A whole name selects that case alone, though others begin with it."""
    return asked == name if asked in names else name.startswith(asked)


def processors(*, pin: bool) -> tuple[set[int] | None, set[int] | None]:
    """For the proxies, and for load and echo; None leaves it to the kernel."""
    available = sorted(os.sched_getaffinity(0))
    return ({available[0]}, set(available[1:])) if pin and len(available) > 1 else (None, None)


@attrs.define(eq=False)
class Progress:
    """What is being measured, on stderr: one changing line on a terminal, else a line for each case."""

    case: str = ""

    def __call__(self, case: str, detail: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{case}{detail}", end="", file=sys.stderr, flush=True)
        elif case != self.case:
            print(case, file=sys.stderr, flush=True)
        self.case = case

    def end(self) -> None:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def write(results: Results, json_file: Path, picture: Path) -> None:
    results.save(json_file)
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(draw(results))
    print("\n".join(report(results)))
    print(f"\nfigures: {json_file}, picture: {picture}")


@click.command()
@click.option("--quick", is_flag=True, help="The main cases only, shorter and in three rounds.")
@click.option("--only", multiple=True, metavar="NAME", help="A case, or those whose name begins so (again for more).")
@click.option("--rounds", type=click.IntRange(1, 100), help="Default: 5, with --quick 3.")
@click.option("--proxies", default="", metavar="A,B", help=f"Of {', '.join(peer.name for peer in peers.PEERS)}.")
@click.option("--pin", is_flag=True, help="Proxies on the first processor, load and echo on the others.")
@click.option("--access-log", is_flag=True, help="Every proxy writes one, to a file. Default: none does.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=OUT / "bench.json")
@click.option("--picture", type=click.Path(path_type=Path), default=OUT / "bench.svg")
@click.option("--markdown", is_flag=True, help="With --show: the headlines as the README has them.")
@click.option("--show", type=click.Path(path_type=Path, exists=True), help="Measure nothing: the tables of this JSON.")
def main(
    *,
    quick: bool,
    only: tuple[str, ...],
    rounds: int | None,
    proxies: str,
    pin: bool,
    access_log: bool,
    json_file: Path,
    picture: Path,
    markdown: bool,
    show: Path | None,
) -> None:
    """Measure trioproxy beside other proxies, each in one process, before the same echo server, on loopback."""
    if show:
        results = Results.load(show)
        if markdown:
            print("\n".join(table.markdown(results)))
            return
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_text(draw(results))
        print("\n".join(report(results)))
        return
    cases = chosen_cases(only, quick=quick)
    found, skipped = chosen_peers(proxies)
    rounds = rounds or (3 if quick else 5)
    about: dict[str, object] = {
        "machine": machine(),
        "peers": {peer.name: peer.version(str(peer.find())) for peer in found if peer.workers == 1},
        "skipped": skipped,
        "settings": {"rounds": rounds, "quick": quick, "pin": pin, "access_log": access_log},
        "descriptors": raise_descriptor_limit(),
    }
    results = Results(about, {case.name: case.title for case in cases})
    began, progress = time.monotonic(), Progress()
    with tempfile.TemporaryDirectory(prefix="trioproxy-bench-") as name:
        folder, (proxy_cpus, load_cpus) = Path(name), processors(pin=pin)
        measure(
            Bench(
                folder=folder,
                peers=found,
                proxy_cpus=proxy_cpus,
                load_cpus=load_cpus,
                access_log="with" if access_log else "without",
                say=progress,
            ),
            cases,
            rounds,
            results,
        )
    progress.end()
    about["took_seconds"] = round(time.monotonic() - began)
    write(results, json_file, picture)


def measure(bench: Bench, cases: list[Case], rounds: int, results: Results) -> None:
    """Run it to the end, or to Ctrl-C; every process is ended either way."""
    try:
        load.compile_programs(bench.folder)
        bench.run(cases, rounds, results)
    except ProcessError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        print("\nstopped; what was measured so far:\n", file=sys.stderr)
    finally:
        bench.stop()


if __name__ == "__main__":
    main(prog_name="python -m bench")
