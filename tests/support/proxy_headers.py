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


def summed(payload: bytes, more: bytes = b"") -> bytes:
    """Version 2 with a checksum and more TLVs behind it."""
    blank = binary(payload + vector(0x03, bytes(4)) + more)
    at = 16 + len(payload) + 3
    return blank[:at] + checksum(blank).to_bytes(4, "big") + blank[at + 4 :]


def checksum(data: bytes) -> int:
    """CRC-32C, bit by bit (RFC 3720 §12.1: polynomial 0x1EDC6F41, reflected)."""
    found = 0xFFFFFFFF
    for octet in data:
        found ^= octet
        for _ in range(8):
            found = (found >> 1) ^ (0x82F63B78 if found & 1 else 0)
    return found ^ 0xFFFFFFFF


LOCAL = binary(b"", command=0x20, family=0)
UNKNOWN = b"PROXY UNKNOWN\r\n"

# Headers, and what is none

LONGEST_LINE = line("ffff:" * 7 + "ffff", "ffff:" * 7 + "ffff", "65535 65535")
LONGEST_UNKNOWN = b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n"
VECTORS = vector(0x04, b"") + vector(0x20, b"\x01" + b"\0" * 4 + vector(0x21, b"TLSv1.3")) + vector(0xEA, b"\x01vpce-1")

VALID = {
    line(): "198.51.100.7",
    line("0.0.0.0", "255.255.255.255", "0 65535"): "0.0.0.0",
    line("2001:db8::7", "::1"): "2001:db8::7",
    line("2001:0DB8:0:0:0:0:0:7", "::1"): "2001:db8::7",
    line("::ffff:198.51.100.7", "::1"): "198.51.100.7",
    LONGEST_LINE: "ffff:" * 7 + "ffff",
    UNKNOWN: "",
    b"PROXY UNKNOWN \r\n": "",
    b"PROXY UNKNOWN ffff::1 nonsense \x00\xff\r\n": "",
    LONGEST_UNKNOWN: "",
    binary(): "198.51.100.7",
    from_client("2001:db8::7"): "2001:db8::7",
    from_client("::ffff:198.51.100.7"): "198.51.100.7",
    binary(addresses() + VECTORS): "198.51.100.7",
    summed(addresses(), vector(0x04, b"ab")): "198.51.100.7",
    binary(addresses("::2", "::1") + VECTORS, family=TCP6): "::2",
    binary(addresses(), family=0x12): "",  # UDP: nobody this connection could be from
    binary(addresses("::2", "::1"), family=0x22): "",
    binary(b"/run/app".ljust(216, b"\0"), family=UNIX): "",
    binary(b"/run/app".ljust(216, b"\0") + VECTORS, family=0x32): "",
    binary(b"", family=0x00): "",
    binary(b"whatever stands here", family=0x00): "",
    binary(b"", family=0x10): "",
    binary(b"", family=0x02): "",
    binary(addresses() + vector(0x04, b"\0" * 4065)): "198.51.100.7",
    LOCAL: "",
    binary(command=0x20): "",
    binary(b"\xff" * 7, command=0x20, family=0xFF): "",  # its family is ignored
}

INVALID = {
    "no PROXY header": [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"P ",
        b"PROXY\r\n",
        b"proxy TCP4",
        b" PROXY ",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\0",
    ],
    "CRLF": [line()[:-2] + b"\n", b"PROXY \n", b"PROXY UNKNOWN\n", b"PROXY UNKNOWN \r\r\n", b"PROXY \r TCP4\r\n"],
    "no valid": [
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP5 198.51.100.7 192.0.2.1 1 2\r\n",
        b"PROXY UDP4 198.51.100.7 192.0.2.1 1 2\r\n",
        b"PROXY tcp4 198.51.100.7 192.0.2.1 1 2\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY  TCP4 198.51.100.7 192.0.2.1 1 2\r\n",
        b"PROXY TCP4  198.51.100.7 192.0.2.1 1 2\r\n",
        b"PROXY TCP4\t198.51.100.7 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 1 2 \r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 1 2 3\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 1\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 01 2\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 +1 2\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 1 -2\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 1 0x2\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 1 100000\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP6 [::2] ::1 1 2\r\n",
        b"PROXY TCP4 localhost 192.0.2.1 1 2\r\n",
    ],
    "port above 65535": [line(ports="65536 1"), line(ports="1 99999")],
    "not both IPv4": [line("198.51.100.256"), line("198.51.100.07"), line("198.51.7"), line("1.2.3.4", "::1")],
    "not both IPv6": [line("::2", "192.0.2.1"), line("::2::", "::1"), line(":::", "::1"), line("::12345", "::1")],
    "version and command": [SIGNATURE + b"\x11", SIGNATURE + b"\x22", SIGNATURE + b"\x2f\x11\0", SIGNATURE + b"\x01"],
    "family and transport": [SIGNATURE + b"\x21" + bytes([each]) for each in (0x13, 0x41, 0x03, 0x33, 0xF0, 0xFF)],
    "do not hold its addresses": [
        binary(b"", length=0),
        binary(b"", length=11),
        binary(b"", family=TCP6, length=35),
        binary(addresses(), family=TCP6),
        binary(b"", family=UNIX, length=215),
    ],
    "wrong checksum": [
        binary(addresses() + vector(0x03, bytes(4))),
        binary(addresses() + vector(0x03, b"")),
        binary(addresses() + vector(0x03, bytes(5))),
        summed(addresses(), vector(0x04, b"ab")).replace(b"ab", b"ba"),
        summed(addresses(), vector(0x03, bytes(4))),
    ],
    "TLVs": [
        binary(addresses() + b"\x04"),
        binary(addresses() + b"\x04\0"),
        binary(addresses() + b"\x04\0\x01"),
        binary(addresses() + VECTORS[:-1]),
        binary(addresses() + b"\x04\xff\xff"),
        binary(addresses(), length=12 + 16) + b"GET / HTTP/1.1\r\n",
    ],
}
TOO_LARGE = [
    b"PROXY " + b"x" * 101,
    b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",
    binary(b"", length=0xFFFF),
    binary(b"", length=4081),
    binary(b"", command=0x20, family=0, length=0xFFFF),
]


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
    if len(payload) < most or not _whole(raw[: 16 + length], 16 + most):
        return None
    return Meaning(_written(payload[: SIZES[family]]) if transport == 1 and family < 3 else "", 16 + length)


def _whole(header: bytes, at: int) -> bool:
    """Whether TLVs fill the rest of it, and those that are checksums are right."""
    while at < len(header):
        if len(header) < at + 3:
            return False
        kind, length = struct.unpack("!BH", header[at : at + 3])
        value = header[at + 3 : at + 3 + length]
        blank = header[: at + 3] + bytes(length) + header[at + 3 + length :]
        if len(value) < length or (kind == 3 and value != checksum(blank).to_bytes(4, "big")):
            return False
        at += 3 + length
    return True


def _written(address: bytes) -> str:
    if address.startswith(bytes(10) + b"\xff\xff") and len(address) == 16:
        address = address[12:]
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)
