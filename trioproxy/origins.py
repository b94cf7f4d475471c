"""Which sites' pages may open a tunnel: a request's Origin against the list of a route (RFC 6454, RFC 6455 §10.2).

Pure. That the list is well-formed is `config_syntax`' business, and what a page of another site is told `upgrade`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

# A browser leaves them out (RFC 6454 §6.2); other clients, and people who write lists, may not.
DEFAULT_PORTS: Final = (("http://", ":80"), ("https://", ":443"), ("ws://", ":80"), ("wss://", ":443"))
MAX_ORIGIN: Final = 512  # bytes: a name has 253 at most


@attrs.frozen(eq=False)
class Origins:
    """A list of origins; `*` may stand for the first labels of a name, one at least."""

    exact: frozenset[str]
    below: tuple[tuple[str, str], ...]  # what stands before the `*`, and behind it

    @classmethod
    def of(cls, words: Iterable[str]) -> Origins:
        """Those of a setting."""
        normal = [normal_origin(word) for word in words]
        wildcards = [word.partition("*") for word in normal if "*" in word]
        return cls(frozenset(normal), tuple((before, behind) for before, _, behind in wildcards))

    def __contains__(self, origin: bytes) -> bool:
        """Whether a request's Origin is among them, in whatever case, and with or without the scheme's usual port."""
        if len(origin) > MAX_ORIGIN:
            return False
        said = normal_origin(origin.decode("latin-1"))
        return "*" not in said and (
            said in self.exact
            or any(
                said.startswith(before) and said.endswith(behind) and len(said) > len(before) + len(behind)
                for before, behind in self.below
            )
        )


def normal_origin(origin: str) -> str:
    """One spelling for all spellings of an origin."""
    origin = origin.lower()
    for scheme, port in DEFAULT_PORTS:
        if origin.startswith(scheme):
            return origin.removesuffix(port)
    return origin
