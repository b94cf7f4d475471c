"""Asks the admin of a running proxy, over HTTP: what the commands that talk to one have in common. Blocks.

What is asked and how it is shown is each command's (`cli`), what is answered `admin`'s.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import attrs

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

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
        after = ""
        left = most
        while left is None or left > 0:
            limit = PAGE if left is None else min(left, PAGE)
            total, rows = self.page(after, limit, where)
            yield total, rows
            if len(rows) < limit:
                return
            after = rows[-1]["id"]
            left = None if left is None else left - len(rows)

    def page(self, after: str, limit: int, where: Mapping[str, str] | None = None) -> tuple[int, list[Any]]:
        """How many open tunnels have these values, and `limit` of them behind the id `after` ("": the first)."""
        query = {**(where or {}), **({"after": after} if after else {}), "limit": limit}
        headers, rows = self._ask("GET", "/api/tunnels?" + urlencode(query))
        if not isinstance(rows, list):
            raise RemoteError(f"what answers at {self.address} is no admin of a trioproxy")
        return int(headers.get("X-Total-Count", len(rows))), rows

    def live(self) -> Generator[tuple[str, Any], None, None]:
        """What happens from second to second: `history`, `sample` or `event`, and what it says; until it ends.

        To be closed. Silence for SECONDS is a RemoteError, too.
        """
        with self._asking("GET", "/api/live") as answer:
            if answer.status != HTTPStatus.OK:
                self._read(answer)
            kind = ""
            while line := answer.readline(_MOST_BYTES):
                name, _, value = line.decode().rstrip("\r\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    yield kind, json.loads(value)

    def drain(self, pool: str, upstream: str, times: Mapping[str, float]) -> Any:
        """Drain an upstream; `times` has `spread` and `timeout`, or what the proxy is configured with is taken."""
        return self._ask("POST", f"{_upstream(pool, upstream)}/drain", times)[1]

    def resume(self, pool: str, upstream: str) -> Any:
        """Take an upstream back."""
        return self._ask("POST", f"{_upstream(pool, upstream)}/resume", {})[1]

    def close(self, tunnel: str, code: int) -> Any:
        """Close a tunnel."""
        return self._ask("POST", f"/api/tunnels/{quote(tunnel, safe='')}/close", {"code": code})[1]

    def inject(self, verb: str, pool: str, upstream: str, settings: Mapping[str, object]) -> Any:
        """Inject a fault; `settings` are the keys of the verb's body."""
        return self._ask("POST", f"/api/chaos{_upstream(pool, upstream).removeprefix('/api')}/{verb}", settings)[1]

    def faults(self) -> Any:
        """The injected faults that are on."""
        return self._ask("GET", "/api/chaos")[1]

    def stop_faults(self) -> Any:
        """End them all."""
        return self._ask("DELETE", "/api/chaos")[1]

    def _ask(self, method: str, target: str, body: object = None) -> tuple[HTTPMessage, Any]:
        with self._asking(method, target, body) as answer:
            return answer.headers, self._read(answer)

    @contextmanager
    def _asking(self, method: str, target: str, body: object = None) -> Iterator[HTTPResponse]:
        """Within the block, its answer can be read; what goes wrong with that is a RemoteError."""
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
            yield connection.getresponse()
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
        if answer.status == HTTPStatus.OK:
            return document
        hint = "; --token-file says where it is" if answer.status == HTTPStatus.UNAUTHORIZED else ""
        raise RemoteError(f"{document['error']}{hint}", answer.status)


def _upstream(pool: str, upstream: str) -> str:
    return f"/api/pools/{quote(pool, safe='')}/upstreams/{quote(upstream, safe='')}"
