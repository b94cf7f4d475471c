"""Who a client is, and which networks it is in: lists of who may come, and proxies whose word on that is believed.

Pure: a peer's address comes from `transport`, the lists from `config`; what a refused client is told is `listening`'s
and `connection`'s work.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from trioproxy.wire.headers import Headers

UNIX: Final = "unix"  # the name of all clients of a Unix socket; in lists it is written "unix:", as nginx writes it
MAX_HOPS: Final = 64  # proxies one behind the other that are believed; each costs 3 µs
CLIENT_PREFIX: Final = 64  # bits of an IPv6 address that are one client's: the least a provider gives out (RFC 6177)
ELSEWHERE: Final = -1  # how much of an address a list fixes that does not have it

# One element at the end of a list of Forwarded (RFC 7239 §4), or what stands there instead.
_PAIR: Final = rb'[!#$%&\'*+.^_`|~0-9A-Za-z-]+=(?:[^\s",;=]+|"(?:[^"\\]|\\.)*+")'
_LAST_ELEMENT: Final = re.compile(rb"(?:^|,)[ \t]*(" + _PAIR + rb"(?:[ \t]*;[ \t]*" + _PAIR + rb")*)[ \t]*$")
_FOR: Final = re.compile(rb'(?:^|[; \t])for=(?:"([^"]*)"|([^\s",;=]+))', re.IGNORECASE)
_MOST_ELEMENT: Final = 1024  # bytes of the end of a Forwarded that are looked at for one element
# An address, as X-Forwarded-For and Forwarded have it: with a port, too, and then IPv6 in brackets.
_NODE: Final = re.compile(
    rb'"?(?:\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?|([0-9.]{7,15})(?::[0-9]{1,5})?|([0-9A-Fa-f:.]{2,45}))"?'
)


@attrs.frozen(eq=False)
class Networks:
    """A list of networks in CIDR form, addresses, and "unix:" for Unix sockets; thousands cost no more than a few."""

    _v4: tuple[tuple[int, frozenset[int]], ...]  # by length of the prefix, the longest first
    _v6: tuple[tuple[int, frozenset[int]], ...]
    _unix: bool

    @classmethod
    def of(cls, words: Iterable[str]) -> Networks:
        """Those of a setting. Raises ValueError for what is none; bits behind the prefix do not matter."""
        found: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        unix = False
        for word in words:
            if word == f"{UNIX}:":
                unix = True
                continue
            network = ip_network(word, strict=False)
            starts = found[network.version].setdefault(network.prefixlen, set())
            starts.add(int(network.network_address) >> (network.max_prefixlen - network.prefixlen))
        return cls(_by_length(found[4]), _by_length(found[6]), unix)

    def closeness(self, client: str) -> int:
        """The length of the longest prefix among those that have this client's address, or ELSEWHERE.

        `client` is an IP address as the kernel or `real_client` writes it, or UNIX.
        """
        if client == UNIX:
            return 0 if self._unix else ELSEWHERE
        address = ip_address(client.partition("%")[0])
        number, bits = int(address), address.max_prefixlen
        for length, starts in self._v4 if address.version == 4 else self._v6:  # noqa: PLR2004
            if number >> (bits - length) in starts:
                return length
        return ELSEWHERE

    def __contains__(self, client: str) -> bool:
        return self.closeness(client) != ELSEWHERE


def _by_length(found: Mapping[int, set[int]]) -> tuple[tuple[int, frozenset[int]], ...]:
    return tuple((length, frozenset(found[length])) for length in sorted(found, reverse=True))


@attrs.frozen(eq=False)
class Admission:
    """Who may come, by a list of networks that may and a list of those that may not."""

    _allowed: Networks
    _denied: Networks
    _others: bool  # whether who is in none of them may

    @classmethod
    def of(cls, allow: Collection[str], deny: Collection[str]) -> Admission | None:
        """That of two settings; None where everybody may."""
        return cls(Networks.of(allow), Networks.of(deny), not allow) if allow or deny else None

    def admits(self, client: str) -> bool:
        """Whether this one may: the smallest network it is in counts, and denying where both lists have that one."""
        allowed, denied = self._allowed.closeness(client), self._denied.closeness(client)
        return allowed > denied if (allowed, denied) != (ELSEWHERE, ELSEWHERE) else self._others


def client_key(client: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 an IPv6 address is in."""
    if ":" not in client:
        return client
    start = int(IPv6Address(client.partition("%")[0])) >> (128 - CLIENT_PREFIX)
    return f"{start:x}/{CLIENT_PREFIX}"


def real_client(peer: str, headers: Headers, trusted: Networks) -> str:
    """The address that the request came from first, as far as it is told by `trusted` ones.

    From the right of X-Forwarded-For (without one: of Forwarded), as each proxy appends whom it saw: the first that is
    not trusted is the client. What stands left of it anybody may have written. Where a trusted one says nothing that is
    an address, it is the client itself.
    """
    client = peer
    hops = _chain(headers)
    for _ in range(MAX_HOPS):
        if client not in trusted or (hop := next(hops, None)) is None:
            break
        client = hop
    return client


def _chain(headers: Headers) -> Iterator[str]:
    """Whom proxies saw, the last one first, up to what is no address."""
    values = headers.get_all(b"x-forwarded-for")
    said = _last_words(b",".join(values)) if values else _last_nodes(b",".join(headers.get_all(b"forwarded")))
    for word in said:
        address = _address(word)
        if address is None:
            return
        yield address


def _last_words(line: bytes) -> Iterator[bytes]:
    for word in reversed(line.split(b",")):
        if word := word.strip(b" \t"):  # empty members mean nothing (RFC 9110 §5.6.1)
            yield word


def _last_nodes(line: bytes) -> Iterator[bytes]:
    """The `for` of each element, b"" for one without; nothing of what is not read as an element."""
    end = len(line)
    while end > 0:
        window = line[max(0, end - _MOST_ELEMENT) : end]
        element = _LAST_ELEMENT.search(window)
        if element is None:
            return
        named = _FOR.search(element[1])
        yield (named[1] or named[2] or b"") if named else b""
        end -= len(window) - element.start()


def _address(node: bytes) -> str | None:
    match = _NODE.fullmatch(node)
    if match is None:
        return None
    try:
        found: IPv4Address | IPv6Address = ip_address((match[1] or match[2] or match[3]).decode("ascii"))
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)
