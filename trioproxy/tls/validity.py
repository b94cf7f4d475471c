"""Until when a certificate is valid, read out of its file: Python's ssl tells that of authorities and of peers alone.

Whether the file can be used at all was found out before, by OpenSSL; here only one field of it is looked for.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_FIRST: Final = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.*?)-----END", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_BEFORE_VALIDITY: Final = 3  # serial number, algorithm, issuer (RFC 5280 §4.1)


def expiry_of(path: str) -> float | None:
    """The Unix time from which the first certificate of a PEM file is not valid any more; None where it is not said.

    Blocks. Raises OSError.
    """
    found = _FIRST.search(Path(path).read_bytes())
    try:
        return None if found is None else _not_after(base64.b64decode(found[1]))
    except (ValueError, IndexError):
        return None


def _not_after(certificate: bytes) -> float:
    _, at, _ = _element(certificate, 0, _SEQUENCE)
    _, at, _ = _element(certificate, at, _SEQUENCE)
    kind, _, end = _element(certificate, at)
    if kind == _VERSION:
        at = end
    for _ in range(_BEFORE_VALIDITY):
        _, _, at = _element(certificate, at)
    _, at, _ = _element(certificate, at, _SEQUENCE)
    _, _, at = _element(certificate, at)
    kind, at, end = _element(certificate, at)
    text = certificate[at:end].decode("ascii")
    if kind == _UTC_TIME:  # two digits of the year: 50 is 1950 (RFC 5280 §4.1.2.5.1)
        text = ("19" if text >= "5" else "20") + text
    elif kind != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(data: bytes, at: int, wanted: int | None = None) -> tuple[int, int, int]:
    """The type of the element at `at` (DER), where its content begins, and where it ends."""
    kind, length = data[at], data[at + 1]
    at += 2
    if length & 0x80:
        size = length & 0x7F
        length = int.from_bytes(data[at : at + size], "big")
        at += size
    if at + length > len(data) or wanted not in {None, kind}:
        raise ValueError("not as expected")
    return kind, at, at + length
