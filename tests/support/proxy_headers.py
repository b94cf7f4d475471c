"""PROXY headers, made by the words of the specification and not by the proxy's own code."""

from __future__ import annotations

import socket
import struct

SIGNATURE = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a"
TCP4, TCP6, UNIX = 0x11, 0x21, 0x31


def line(source: str = "198.51.100.7", destination: str = "192.0.2.1", ports: str = "56324 443") -> bytes:
    """Version 1."""
    kind = "TCP6" if ":" in source else "TCP4"
    return f"PROXY {kind} {source} {destination} {ports}\r\n".encode()


def addresses(source: str = "198.51.100.7", destination: str = "192.0.2.1") -> bytes:
    """Those of version 2, with ports."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    return b"".join(socket.inet_pton(family, each) for each in (source, destination)) + struct.pack("!HH", 56324, 443)


def vector(kind: int, value: bytes) -> bytes:
    """A TLV."""
    return struct.pack("!BH", kind, len(value)) + value


def binary(
    payload: bytes | None = None, *, command: int = 0x21, family: int = TCP4, length: int | None = None
) -> bytes:
    """Version 2; `length` where it shall not be that of what follows."""
    payload = addresses() if payload is None else payload
    said = len(payload) if length is None else length
    return SIGNATURE + struct.pack("!BBH", command, family, said) + payload


def from_client(source: str) -> bytes:
    """Version 2, for a client of that address."""
    return binary(addresses(source, "::1" if ":" in source else "192.0.2.1"), family=TCP6 if ":" in source else TCP4)


LOCAL = binary(b"", command=0x20, family=0)
UNKNOWN = b"PROXY UNKNOWN\r\n"
