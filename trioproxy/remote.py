"""Asks the admin of a running proxy, over HTTP: what the commands that talk to one have in common. Blocks.

What is asked and how it is shown is each command's (`cli`), what is answered `admin`'s.
"""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECONDS: Final = 10.0  # for the connect, and for each read
PAGE: Final = 1000  # tunnels asked for at once, the most the admin gives
_MOST_BYTES: Final = 64 * 1024 * 1024  # of one answer: far above a page, or thousands of upstreams


class RemoteError(Exception):
    """It did not do what was asked, in one line for people; `status` is the one it answered, 0 for none."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


def reachable(address: str) -> str:
    """Where to connect for an admin that is bound to `address`: a wildcard takes connections to loopback, too."""
    host, port = address.rsplit(":", 1)
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"


@attrs.frozen
class Remote:
    """The admin at an address (`host:port`), asked with a token if one is given. Its methods raise RemoteError."""

    address: str
    token: bytes = b""

    def status(self) -> Any:
        """How all of it stands."""
        return self._ask("GET", "/api/status")[1]

    def tunnels(self, most: int | None, where: Mapping[str, str]) -> Iterator[tuple[int, list[Any]]]:
        """The open tunnels that have these values, `most` at most, page by page; with each, how many there are."""
        after: dict[str, str] = {}
        left = most
        while left is None or left > 0:
            limit = PAGE if left is None else min(left, PAGE)
            headers, rows = self._ask("GET", "/api/tunnels?" + urlencode({**where, **after, "limit": limit}))
            if not isinstance(rows, list):
                raise RemoteError(f"what answers at {self.address} is no admin of a trioproxy")
            yield int(headers.get("X-Total-Count", len(rows))), rows
            if len(rows) < limit:
                return
            after = {"after": rows[-1]["id"]}
            left = None if left is None else left - len(rows)

    def drain(self, pool: str, upstream: str, times: Mapping[str, float]) -> Any:
        """Drain an upstream; `times` has `spread` and `timeout`, or what the proxy is configured with is taken."""
        return self._ask("POST", f"{_upstream(pool, upstream)}/drain", times)[1]

    def resume(self, pool: str, upstream: str) -> Any:
        """Take an upstream back."""
        return self._ask("POST", f"{_upstream(pool, upstream)}/resume", {})[1]

    def close(self, tunnel: str, code: int) -> Any:
        """Close a tunnel."""
        return self._ask("POST", f"/api/tunnels/{quote(tunnel, safe='')}/close", {"code": code})[1]

    def _ask(self, method: str, target: str, body: object = None) -> tuple[HTTPMessage, Any]:
        headers: dict[str, str | bytes] = {"Content-Type": "application/json"} if method == "POST" else {}
        if not all(b"!" <= self.token[at : at + 1] <= b"~" for at in range(len(self.token))):
            raise RemoteError("the token has characters that no header can carry")
        if self.token:
            headers["Authorization"] = b"Bearer " + self.token
        host, _, port = self.address.rpartition(":")
        connection = HTTPConnection(host.strip("[]"), int(port), timeout=SECONDS)
        try:
            content = json.dumps(body) if method == "POST" else None
            connection.request(method, target, content, headers)
            answer = connection.getresponse()
            return answer.headers, self._read(answer)
        except OSError as error:
            hint = " (is it running?)" if isinstance(error, ConnectionRefusedError) else ""
            reason = (error.strerror or str(error)).lower()
            raise RemoteError(f"cannot reach the admin at {self.address}: {reason}{hint}") from None
        except (HTTPException, ValueError, KeyError, TypeError):
            raise RemoteError(f"what answers at {self.address} is no admin of a trioproxy") from None
        finally:
            connection.close()

    def _read(self, answer: HTTPResponse) -> Any:
        document = json.loads(answer.read(_MOST_BYTES))
        if answer.status == 200:  # noqa: PLR2004 - OK
            return document
        hint = "; --token-file says where it is" if answer.status == 401 else ""  # noqa: PLR2004 - Unauthorized
        raise RemoteError(f"{document['error']}{hint}", answer.status)


def _upstream(pool: str, upstream: str) -> str:
    return f"/api/pools/{quote(pool, safe='')}/upstreams/{quote(upstream, safe='')}"
