"""Which client's connection goes over which hop: two header fields that only a chaos run writes.

Pure. The client names its connection in the upgrade request, the hop its upstream in the 101; so losses can be held
against the faults that touched a connection, with real upstreams and any proxy in between.
"""

from __future__ import annotations

import re
from typing import Final

CONNECTION: Final = "X-Chaos-Connection"  # in requests: the connection's name
UPSTREAM: Final = "X-Chaos-Upstream"  # in answers: the number of the upstream

_CONNECTION: Final = re.compile(rb"(?im)^x-chaos-connection:[ \t]*([\w.-]{1,64})[ \t]*\r$")


def connection(head: bytes) -> str:
    """The name in a request's head; empty where there is none."""
    found = _CONNECTION.search(head)
    return found[1].decode() if found else ""


def with_upstream(head: bytes, number: int) -> bytes:
    """The head of an answer with the upstream's number in it."""
    return head[:-2] + f"{UPSTREAM}: {number}\r\n\r\n".encode()
