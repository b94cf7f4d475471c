"""The token that the admin's API may need: read from its file, compared with what a request carries.

Which requests need it is `guard`'s business.
"""

from __future__ import annotations

import hmac
from pathlib import Path

import attrs


def read_token(path: str) -> bytes | None:
    """The token in a file, or None for no file; raises OSError, and ValueError for a file without one."""
    if not path:
        return None
    token = Path(path).read_bytes().strip()
    if not token:
        raise ValueError(f"{path}: no token in it")
    return token


@attrs.define(eq=False)
class Token:
    """The token that is asked for, None for none; a reload may put another in force."""

    value: bytes | None

    def admits(self, authorization: str) -> bool:
        """Whether an Authorization header carries it, if it is asked for."""
        return self.value is None or token_matches(authorization, self.value)


def token_matches(authorization: str, token: bytes) -> bool:
    """Whether an Authorization header carries the token; takes as long for a near miss as for any other."""
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), token)
