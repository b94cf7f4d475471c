"""Header fields as they stand on the wire, and what an intermediary takes from and adds to them.

Pure: which bytes make a valid field is judged in `heads`; what a route sets on top is `rewriting`'s work.
"""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Final, overload

import attrs

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

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

_DASHES: Final = (b"-", b"_")
FORWARDED = frozenset({b"forwarded"}).union(
    (
        b"x%bforwarded%b%b" % (*dashes, what)
        for what in (b"for", b"proto", b"host")
        for dashes in product(_DASHES, repeat=2)
    ),
    (b"x%breal%bip" % dashes for dashes in product(_DASHES, repeat=2)),
)
"""Fields that say who asked; lower case. CGI, WSGI and the like know no `-` from `_` (RFC 3875 §4.1.18)."""

NEVER_IN_TRAILERS: Final = (
    HOP_BY_HOP
    | FORWARDED
    | frozenset(
        b"content-length host via"  # framing, routing
        b" cache-control expect if-match if-modified-since if-none-match if-range if-unmodified-since"  # what is asked
        b" max-forwards pragma range"
        b" authorization cookie set-cookie www-authenticate"  # who asks
        b" age date expires location retry-after vary warning"  # what an answer is good for
        b" content-encoding content-range content-type".split()  # how content is read
    )
)
"""Fields that must not stand behind a body, where who has decided by the head meets them too late; lower case.

RFC 9110 §6.5.1 says of what kinds they are, RFC 7230 §4.1.2 names most of them. A recipient that merges trailers into
the head's fields would believe them (CVE-2013-5704).
"""

MAX_REMEMBERED: Final = 256
"""Bytes of what a peer sent that may stay in a cache, so that all it can make us keep is this times the entries.

The caches are of pure functions, keyed by every byte: what they give is what would be read again."""


@attrs.define
class Field:
    """One field: its name in lower case, to compare; name and value as they came; the line that goes out again.

    Not to be changed; not frozen all the same, as attrs then takes three times as long to make one, and each head makes
    many. None holds a line end: `make_field` and `heads.read_field` see to that.
    """

    key: bytes
    name: bytes
    value: bytes
    line: bytes


def make_field(name: bytes, value: bytes) -> Field:
    """The field of that name and value. Raises ValueError for a line end inside, wherever it came from."""
    line = b"%b: %b\r\n" % (name, value)
    if line.count(b"\n") != 1 or line.count(b"\r") != 1:
        raise ValueError("line end inside a field")  # from a configuration file or a bug: never on the wire
    return Field(name.lower(), name, value, line)


class Headers:
    """An ordered list of `(name, value)` pairs of bytes: names keep their case, look-ups ignore it.

    Lines of the same name stay apart and in order (`Set-Cookie` cannot be merged, RFC 9110 §5.3). Not to be changed:
    heads that say the same may share one.
    """

    __slots__ = ("_end_to_end", "fields", "keys")
    __hash__ = None  # type: ignore[assignment]  # nobody needs it

    fields: tuple[Field, ...]

    keys: dict[bytes, Field]
    """The lines' names in lower case, each with the last line of that name."""

    def __init__(self, fields: Iterable[Field] = ()) -> None:
        self.fields = fields = tuple(fields)
        self.keys = {field.key: field for field in fields}
        self._end_to_end: tuple[Field, ...] | None = None

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Those of such names and values."""
        return cls([make_field(name, value) for name, value in pairs])

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return ((field.name, field.value) for field in self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, bytes) and name.lower() in self.keys

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return [(field.key, field.value) for field in self.fields] == [(one.key, one.value) for one in other.fields]

    def __repr__(self) -> str:
        return f"Headers.from_pairs({list(self)!r})"

    @overload
    def get(self, name: bytes) -> bytes | None: ...
    @overload
    def get(self, name: bytes, default: bytes) -> bytes: ...
    def get(self, name: bytes, default: bytes | None = None) -> bytes | None:
        """The value of the first line of that name, or `default`."""
        values = self.get_all(name)
        return values[0] if values else default

    def get_all(self, name: bytes) -> list[bytes]:
        """The values of all lines of that name, in order."""
        key = name.lower()
        last = self.keys.get(key)
        if last is None:  # most that are asked for
            return []
        if len(self.keys) == len(self.fields):  # most heads have no name twice
            return [last.value]
        return [field.value for field in self.fields if field.key == key]

    def tokens(self, name: bytes) -> tuple[bytes, ...]:
        """The comma-separated members of all lines of that name, lower case, without empty ones (RFC 9110 §5.6.1)."""
        values = self.get_all(name)
        if not values:
            return ()
        line = values[0] if len(values) == 1 else b",".join(values)
        return _remembered_members(line) if len(line) <= MAX_REMEMBERED else _members(line)

    def end_to_end(self) -> tuple[Field, ...]:
        """What does not concern this connection alone (RFC 9110 §7.6.1).

        Left out is every field of `HOP_BY_HOP` and every field `Connection` names, but for Host and Content-Length. To
        be called before our own fields are added, so that a peer's Connection cannot name those (CVE-2021-32813,
        CVE-2024-45410).
        """
        if self._end_to_end is None:
            self._end_to_end = self._without_hop_by_hop()
        return self._end_to_end

    def _without_hop_by_hop(self) -> tuple[Field, ...]:
        if HOP_BY_HOP.isdisjoint(self.keys):  # so there is no Connection that names others
            return self.fields
        nominated = self.tokens(b"connection")
        if HOP_BY_HOP.issuperset(nominated):
            return tuple(without(self.fields, HOP_BY_HOP))
        return tuple(without(self.fields, HOP_BY_HOP.union(nominated) - NEVER_NOMINATED))


def _members(line: bytes) -> tuple[bytes, ...]:
    return tuple([member for part in line.lower().split(b",") if (member := part.strip(b" \t"))])


_remembered_members = lru_cache(maxsize=256)(_members)


def without(fields: Iterable[Field], keys: Container[bytes]) -> list[Field]:
    """The fields whose lower-case name is not among `keys`."""
    return [field for field in fields if field.key not in keys]


def put(fields: list[Field], name: bytes, value: bytes) -> None:
    """Make this the only line of that name, in the place of the first one; without one it goes to the end."""
    new = make_field(name, value)
    for place, field in enumerate(fields):
        if field.key == new.key:
            fields[place:] = [new, *without(fields[place:], (new.key,))]
            return
    fields.append(new)


def add_forwarded(
    fields: list[Field], *, client: str, scheme: str, host: bytes, trusted: bool, real_client: str | None = None
) -> list[Field]:
    """Say who asked, and how: X-Forwarded-For, -Proto, -Host and X-Real-IP, behind `fields`.

    A trusted peer's values are kept and its address `client` is appended to the chain; any other peer's (and its
    Forwarded, RFC 7239) are replaced by what we saw. An empty `client` (a Unix socket) or `host` adds no line.
    Where a trusted peer does not say X-Real-IP itself, it is `real_client`, or `client` where that is None.
    """
    seen = (_remembered_seen if len(host) <= MAX_REMEMBERED else _seen)(client, scheme, host)
    said = [field for field in fields if field.key in FORWARDED]
    if not said:  # the usual request
        return [*fields, *seen]
    if not trusted:
        return [*without(fields, FORWARDED), *seen]
    chain = [field.value for field in said if field.key == b"x-forwarded-for"]
    if chain := [value for value in (*chain, client.encode("ascii")) if value]:
        put(fields, b"X-Forwarded-For", b", ".join(chain))
    if real_client and real_client != client:
        seen = (*without(seen, (b"x-real-ip",)), make_field(b"X-Real-IP", real_client.encode("ascii")))
    known = {field.key for field in fields}
    return [*fields, *without(seen, known)]


def _seen(client: str, scheme: str, host: bytes) -> tuple[Field, ...]:
    address = client.encode("ascii")
    lines = (
        (b"X-Forwarded-For", address),
        (b"X-Forwarded-Proto", scheme.encode("ascii")),
        (b"X-Forwarded-Host", host),
        (b"X-Real-IP", address),
    )
    return tuple([make_field(name, value) for name, value in lines if value])


_remembered_seen = lru_cache(maxsize=256)(_seen)


@lru_cache(maxsize=2)
def date_field(second: int) -> Field:
    """A Date line (RFC 9110 §6.6.1) of that second of Unix time."""
    return make_field(b"Date", formatdate(second, usegmt=True).encode("ascii"))


@lru_cache(maxsize=8)
def via_field(received_version: bytes, name: str) -> Field:
    """A Via line (RFC 9110 §7.6.3): the version the message came in (`b"1.1"`) and our pseudonym."""
    return make_field(b"Via", received_version + b" " + name.encode("ascii"))
