"""What the peer programs share: their command line, and the JSON lines by which they tell what they see."""

from __future__ import annotations

import argparse
import json
import ssl
import sys

PROTOCOLS = ["chat.v2", "chat.v1"]
MEGABYTES_16 = 16 * 1024 * 1024
LIMIT = 2 * MEGABYTES_16  # the largest message a peer takes

REFUSALS = {
    "401": (401, "who are you", [("WWW-Authenticate", 'Basic realm="peers"'), ("X-Reason", "no password")]),
    "403": (403, "not you", [("X-Reason", "on the list")]),
    "426": (426, "speak 13", [("Sec-WebSocket-Version", "13"), ("X-Reason", "old")]),
    "302": (302, "", [("Location", "/elsewhere?a=b"), ("X-Reason", "moved")]),
}


def tell(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)  # noqa: T201 - stdout is the channel to the test


def server_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="one")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    return parser.parse_args()


def server_tls(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    """What the server shakes hands with, if it is to."""
    if arguments.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(arguments.certificate, arguments.key)
    return context


def client_arguments() -> tuple[str, str]:
    """`URL SCENARIO`: a scenario is "all" or "until-cut"."""
    return sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "all"


def report(value: object) -> None:
    print(json.dumps(value), flush=True)  # noqa: T201
