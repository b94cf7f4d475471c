"""Header fields as they stand on the wire, and what an intermediary takes from and adds to them.

Pure: which bytes make a valid field is judged in `heads`; what a route sets on top is `forward`'s and `upgrade`'s work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"http2-settings",
    }
)
"""Fields that concern one connection alone (RFC 9110 §7.6.1); lower case."""

NEVER_NOMINATED = frozenset({b"host", b"content-length"})
"""Fields a `Connection` token cannot take away: routing and framing hang on them."""


FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip"})
"""Fields that say who asked; lower case."""


class Headers:
    """An ordered list of `(name, value)` pairs of bytes: names keep their case, look-ups ignore it.

    Lines of the same name stay apart and in order (`Set-Cookie` cannot be merged, RFC 9110 §5.3). Mutable, so not
    hashable.
    """

    __slots__ = ("_fields", "_keys")
    __hash__ = None  # type: ignore[assignment]  # mutable

    def __init__(self, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._fields = list(fields)
        self._keys = [name.lower() for name, _ in self._fields]

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, bytes) and name.lower() in self._keys

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return self._keys == other._keys and [value for _, value in self] == [value for _, value in other]

    def __repr__(self) -> str:
        return f"Headers({self._fields!r})"

    @property
    def keys(self) -> list[bytes]:
        """The lines' names in lower case, in order; not to be changed."""
        return self._keys

    @overload
    def get(self, name: bytes) -> bytes | None: ...
    @overload
    def get(self, name: bytes, default: bytes) -> bytes: ...
    def get(self, name: bytes, default: bytes | None = None) -> bytes | None:
        """The value of the first line of that name, or `default`."""
        key = name.lower()
        keys = self._keys
        return self._fields[keys.index(key)][1] if key in keys else default

    def get_all(self, name: bytes) -> list[bytes]:
        """The values of all lines of that name, in order."""
        key = name.lower()
        keys = self._keys
        if key not in keys:  # most that are asked for
            return []
        if keys.count(key) == 1:
            return [self._fields[keys.index(key)][1]]
        return [field[1] for field, other in zip(self._fields, self._keys, strict=True) if other == key]

    def tokens(self, name: bytes) -> list[bytes]:
        """The comma-separated members of all lines of that name, lower case, without empty ones (RFC 9110 §5.6.1)."""
        values = self.get_all(name)
        if not values:
            return []
        line = b",".join(values).lower()
        if b"," not in line:  # the usual one: `close`, `upgrade`
            member = line.strip(b" \t")
            return [member] if member else []
        return [member for part in line.split(b",") if (member := part.strip(b" \t"))]

    def append(self, name: bytes, value: bytes) -> None:
        """Add a line behind the others."""
        self._fields.append((name, value))
        self._keys.append(name.lower())

    def extend(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        """Add lines behind the others."""
        for field in fields:
            self._fields.append(field)
            self._keys.append(field[0].lower())

    def set(self, name: bytes, value: bytes) -> None:
        """Make this the only line of that name, in the place of the first one; without one it goes to the end."""
        key = name.lower()
        if key not in self._keys:
            self.append(name, value)
            return
        first = self._keys.index(key)
        self._fields[first] = (name, value)
        if self._keys.count(key) > 1:
            self._drop({index for index, other in enumerate(self._keys) if other == key and index != first})

    def remove(self, name: bytes) -> None:
        """Take away every line of that name; none is no error."""
        key = name.lower()
        if key in self._keys:
            self._drop({index for index, other in enumerate(self._keys) if other == key})

    def copy(self) -> Headers:
        """The same lines in a list of their own."""
        return Headers(self._fields)

    def without(self, names: frozenset[bytes]) -> Headers:
        """A copy without the lines whose lower-case name is among `names`."""
        kept = Headers()
        if names.isdisjoint(self._keys):
            kept._fields, kept._keys = self._fields.copy(), self._keys.copy()
        else:
            lines = zip(self._fields, self._keys, strict=True)
            kept._fields = [field for field, key in lines if key not in names]
            kept._keys = [key for key in self._keys if key not in names]
        return kept

    def _drop(self, indices: Collection[int]) -> None:
        self._fields = [field for index, field in enumerate(self._fields) if index not in indices]
        self._keys = [key for index, key in enumerate(self._keys) if index not in indices]


def end_to_end(headers: Headers) -> Headers:
    """A copy without what concerns this connection alone (RFC 9110 §7.6.1).

    That is every field of `HOP_BY_HOP` and every field `Connection` names, but for Host and Content-Length. To be
    called before our own fields are added, so that a peer's Connection cannot name those (CVE-2021-32813,
    CVE-2024-45410).
    """
    nominated = headers.tokens(b"connection")
    if HOP_BY_HOP.issuperset(nominated):
        return headers.without(HOP_BY_HOP)
    return headers.without(HOP_BY_HOP.union(nominated) - NEVER_NOMINATED)


def add_forwarded(headers: Headers, *, client: str, scheme: str, host: bytes, trusted: bool) -> None:
    """Say who asked, and how: X-Forwarded-For, -Proto, -Host and X-Real-IP.

    A trusted peer's values are kept and its address `client` is appended to the chain; any other peer's (and its
    Forwarded, RFC 7239) are replaced by what we saw. An empty `client` (a Unix socket) or `host` adds no line.
    """
    address = client.encode("ascii")
    seen = (
        (b"X-Forwarded-For", address),
        (b"X-Forwarded-Proto", scheme.encode("ascii")),
        (b"X-Forwarded-Host", host),
        (b"X-Real-IP", address),
    )
    if FORWARDED.isdisjoint(headers.keys):  # the usual request
        headers.extend([field for field in seen if field[1]])
        return
    if not trusted:
        for name in FORWARDED:
            headers.remove(name)
    elif chain := [value for value in (*headers.get_all(b"X-Forwarded-For"), address) if value]:
        headers.set(b"X-Forwarded-For", b", ".join(chain))
    headers.extend([field for field in seen if field[1] and field[0] not in headers])


def add_via(headers: Headers, received_version: bytes, name: str) -> None:
    """Append a Via line (RFC 9110 §7.6.3): the version the message came in (`b"1.1"`) and our pseudonym."""
    headers.append(b"Via", received_version + b" " + name.encode("ascii"))
