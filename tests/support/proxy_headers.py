"""PROXY headers, made by the words of the specification and not by the proxy's own code."""

from __future__ import annotations

import re
import socket
import struct

import attrs

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


# A second opinion


@attrs.frozen
class Meaning:
    """What the first octets of a connection say: its client ("" is none that is named), and how many they are."""

    client: str
    size: int
    local: bool = False


PORT = rb"(0|[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
LINE = re.compile(rb"PROXY (?:TCP4 (\S+) (\S+)|TCP6 (\S+) (\S+)) " + PORT + b" " + PORT + rb"\r\n", re.ASCII)
SIZES = {1: 4, 2: 16, 3: 108}


def meaning(raw: bytes) -> Meaning | None:
    """As the specification has it; None for what is no header, or not yet. At most 4,096 octets are one."""
    if raw.startswith(SIGNATURE) and len(raw) >= 16:
        return _meaning_2(raw)
    end = raw.find(b"\r\n", 0, 107) + 2
    if not raw.startswith(b"PROXY ") or end < 2 or b"\r" in raw[: end - 2] or b"\n" in raw[: end - 2]:
        return None
    if re.match(rb"PROXY UNKNOWN[ \r]", raw):
        return Meaning("", end)
    found = LINE.fullmatch(raw[:end])
    if found is None:
        return None
    family = socket.AF_INET if found[1] else socket.AF_INET6
    try:
        source, _ = (socket.inet_pton(family, each.decode("ascii")) for each in found.groups()[:4] if each)
    except (OSError, ValueError):
        return None
    return Meaning(_written(source), end)


def _meaning_2(raw: bytes) -> Meaning | None:
    command, kind, length = struct.unpack("!BBH", raw[12:16])
    payload, family, transport = raw[16 : 16 + length], kind >> 4, kind & 15
    if command not in {0x20, 0x21} or len(payload) < length or length > 4080:
        return None
    if command == 0x20:
        return Meaning("", 16 + length, local=True)
    if family > 3 or transport > 2:
        return None
    if not family or not transport:
        return Meaning("", 16 + length)
    most = 2 * SIZES[family] + (4 if family < 3 else 0)
    if len(payload) < most or not _whole(payload[most:]):
        return None
    return Meaning(_written(payload[: SIZES[family]]) if transport == 1 and family < 3 else "", 16 + length)


def _whole(vectors: bytes) -> bool:
    while vectors:
        size = 3 + int.from_bytes(vectors[1:3], "big")
        if len(vectors) < size:
            return False
        vectors = vectors[size:]
    return True


def _written(address: bytes) -> str:
    if address.startswith(bytes(10) + b"\xff\xff") and len(address) == 16:
        address = address[12:]
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
