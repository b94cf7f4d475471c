"""The command line of the hostile run; exit status 0 if nothing is wrong."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from hostile.attack import attack


def main() -> int:
    """Read the arguments, attack, tell."""
    parser = argparse.ArgumentParser(prog="python tests/hostile", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed sends the same bytes (default: %(default)s)")
    parser.add_argument("--tls", action="store_true", help="by TLS, which some of the clients break at every stage")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asked = {"requests": arguments.requests, "seed": arguments.seed, "tls": arguments.tls}
        verdict = attack(**asked, folder=Path(folder), say=_say)
    _say(verdict.describe())
    return 1 if verdict.problems else 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 -- the command's output
