"""Runs the corpus through each proxy that is installed, all of them side by side, and writes the tables."""

from __future__ import annotations

import argparse
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from beside.exchange import Between
from beside.table import put, tables
from beside.verdicts import FAULTS, Verdict, judge_answer, judge_request
from support import corpus

from bench.peers import PEERS, start

if TYPE_CHECKING:
    from bench.peers import Peer

PAGE = Path(__file__).parents[2] / "docs" / "discussion" / "http-correctness.md"
NAMES = ("trioproxy", "nginx", "haproxy", "caddy")
ASKED = {
    "GET": b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "HEAD": b"HEAD /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
    "POST": b"POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
    "trailers": b"GET /x HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
}
"""Requests whose answers are compared; upgrades and 1.0 depend on what a proxy is set up for."""


def main() -> int:
    """Run all, say what was found, write the page."""
    parser = argparse.ArgumentParser(prog="python tests/beside", description=__doc__)
    parser.add_argument("--only", help="comma-separated: some of " + ", ".join(NAMES))
    parser.add_argument("--no-docs", action="store_true", help="leave the page as it is")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else NAMES
    peers = [peer for name in names for peer in PEERS if peer.name == name]
    missing = [peer.name for peer in peers if not peer.find()]
    found = run_all([peer for peer in peers if peer.name not in missing])
    requests, answers = ({name: each[kind] for name, each in found.items()} for kind in (0, 1))
    versions = {peer.name: peer.version(peer.find() or "") for peer in peers if peer.name in found}
    whys = {case.name: case.why for case in (*corpus.load_cases(), *_answers())}
    text = tables(versions, requests, answers, whys)
    _say(text + (f"\nnot installed: {', '.join(missing)}" if missing else ""))
    if not arguments.no_docs and not missing:
        put(PAGE, text)
    ours = [verdict for kind in found.get("trioproxy", ()) for verdict, _ in kind.values()]
    return 1 if FAULTS & set(ours) else 0


def run_all(peers: list[Peer]) -> dict[str, tuple[dict, dict]]:
    """Verdicts on requests and on answers by proxy."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(peers)) as pool:
        results = pool.map(lambda peer: run_one(peer, Path(folder)), peers)
        return {peer.name: result for peer, result in zip(peers, results, strict=True)}


def run_one(peer: Peer, folder: Path) -> tuple[dict[str, tuple[Verdict, str]], dict[str, tuple[Verdict, str]]]:
    """All cases, one after the other, through one proxy that is started for them."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        running = start(peer, upstream=listener.getsockname()[1], folder=folder, cpus=None, access_log="without")
        try:
            between = Between(listener, ("127.0.0.1", running.port))
            requests = {}
            for case in corpus.load_cases():
                outcome = between.send_request(case.raw, expected=len(case.readings), half_close=case.half_close)
                requests[case.name] = judge_request(case, outcome)
            answers = {}
            for case in _answers():
                outcome = between.send_answer(ASKED[case.asked], case.raw, ends=case.ends)
                answers[case.name] = judge_answer(case, outcome)
            running.process.check()
            return requests, answers
        finally:
            running.process.stop()


def _answers() -> list:
    return [case for case in corpus.load_answers() if case.asked in ASKED]


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 -- the command's output
