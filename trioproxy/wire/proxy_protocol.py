"""The PROXY header, versions 1 and 2, sans I/O: what a load balancer in front says of a connection it passes on.

Strict, by HAProxy's doc/proxy-protocol.txt. Whether it is believed, and what follows from it, is decided in `arrival`.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.wire.checksum import crc32c

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_LINE: Final = 107
"""Bytes of a header of version 1, CRLF included (§2.1)."""

MAX_HEADER: Final = 4096
"""Bytes of one of version 2, where its length could say 65,551: room for a client's certificate, as in nginx."""

_LINE_START: Final = b"PROXY "
_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED: Final = 16  # signature, version and command, family and transport, length
_VERSION: Final = 0x20
_CHECKSUM: Final = 0x03
_LOCAL: Final = 0
_PROXY: Final = 1

_PORT: Final = rb"(0|[1-9][0-9]{0,4})"
_LINE: Final = re.compile(rb"TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) " + _PORT + b" " + _PORT)
_UNKNOWN: Final = re.compile(rb"UNKNOWN(?: .*)?", re.DOTALL)  # whatever it says behind that is to be ignored
_MAX_PORT: Final = 65535

_TCP4: Final = 0x11
_TCP6: Final = 0x21
_ADDRESSES: Final[Mapping[int, int]] = {
    **dict.fromkeys((0x00, 0x01, 0x02, 0x10, 0x20, 0x30), 0),
    **dict.fromkeys((_TCP4, 0x12), 12),
    **dict.fromkeys((_TCP6, 0x22), 36),
    **dict.fromkeys((0x31, 0x32), 216),
}
"""Bytes of the addresses by family (none, IPv4, IPv6, Unix) and transport (none, stream, datagram); with none of either
they are to be ignored. Others must be refused (§2.2)."""


@attrs.frozen
class ProxyHeader:
    """One whole header.

    `source` is the client's IP address, an IPv4-mapped one as IPv4; "" where there is none to be taken from it: a
    client its sender does not know, of a Unix socket, or of anything but TCP. `local` says that nobody's connection is
    passed on, the sender itself has connected, as for a health check. `size` is how many bytes it has.
    """

    size: int
    source: str = ""
    local: bool = False


def refuse_proxy_header(detail: str, reason: Reason = Reason.INVALID) -> ProxyError:
    """The error of bytes that are no PROXY header; there is nobody to answer to."""
    return ProxyError(Source.CLIENT, Phase.ACCEPT, reason, 400, detail)


def read_proxy_header(data: bytes | bytearray) -> ProxyHeader | None:
    """The header that a connection's first bytes are, or begin with; None where it needs more of them.

    Raises ProxyError as soon as they cannot become one: none is asked for more than it has to be refused for.
    """
    if data.startswith(_LINE_START):
        return _read_line(data)
    if data.startswith(_SIGNATURE):
        return _read_binary(data)
    if _LINE_START.startswith(data) or _SIGNATURE.startswith(data):
        return None
    raise refuse_proxy_header("no PROXY header")


def _read_line(data: bytes | bytearray) -> ProxyHeader | None:
    """Version 1."""
    end = data.find(b"\n", 0, MAX_LINE)
    if end < 0:
        if len(data) >= MAX_LINE:
            raise refuse_proxy_header(f"a PROXY line of more than {MAX_LINE} bytes", Reason.TOO_LARGE)
        return None
    line = bytes(data[len(_LINE_START) : end - 1])
    if data[end - 1] != ord("\r") or b"\r" in line:
        raise refuse_proxy_header("a PROXY line that does not end in CRLF")
    if _UNKNOWN.fullmatch(line):
        return ProxyHeader(end + 1)
    match = _LINE.fullmatch(line)
    if match is None:
        raise refuse_proxy_header("no valid PROXY line")
    kind, source, destination, *ports = match.groups()
    if any(int(port) > _MAX_PORT for port in ports):
        raise refuse_proxy_header("a PROXY line with a port above 65535")
    make = IPv4Address if kind == b"4" else IPv6Address
    try:
        address = make(source.decode("ascii"))
        make(destination.decode("ascii"))
    except AddressValueError:
        raise refuse_proxy_header(f"a PROXY line whose addresses are not both IPv{kind.decode()}") from None
    return ProxyHeader(end + 1, _written(address))


def _read_binary(data: bytes | bytearray) -> ProxyHeader | None:
    """Version 2: what is fixed, addresses, TLVs; its first bytes are checked before the last have come."""
    if len(data) < _FIXED:
        _check_command(data[len(_SIGNATURE) :])
        return None
    command, family = _check_command(data[len(_SIGNATURE) :])
    length = int.from_bytes(data[14:_FIXED])
    size, addresses = _FIXED + length, 0 if command == _LOCAL else _ADDRESSES[family]
    if length < addresses:
        raise refuse_proxy_header(f"a PROXY header whose {length} bytes do not hold its addresses")
    if size > MAX_HEADER:
        raise refuse_proxy_header(f"a PROXY header of {size} bytes, more than {MAX_HEADER}", Reason.TOO_LARGE)
    if len(data) < size:
        return None
    if command == _LOCAL:  # all of it is to be discarded, whatever family it names
        return ProxyHeader(size, local=True)
    if addresses:
        _check_vectors(bytes(data[:size]), _FIXED + addresses)
    if family == _TCP4:
        return ProxyHeader(size, _written(IPv4Address(bytes(data[_FIXED : _FIXED + 4]))))
    if family == _TCP6:
        return ProxyHeader(size, _written(IPv6Address(bytes(data[_FIXED : _FIXED + 16]))))
    return ProxyHeader(size)


def _check_command(data: bytes | bytearray) -> tuple[int, int]:
    """The command, and of PROXY family and transport, as far as these bytes behind the signature have them."""
    if not data:
        return _LOCAL, 0
    command = data[0] - _VERSION
    if command not in {_LOCAL, _PROXY}:
        raise refuse_proxy_header(f"a PROXY header of version and command {data[0]:#04x}")
    if len(data) < 2 or command == _LOCAL:  # noqa: PLR2004
        return command, 0
    if data[1] not in _ADDRESSES:
        raise refuse_proxy_header(f"a PROXY header of family and transport {data[1]:#04x}")
    return command, data[1]


def _check_vectors(header: bytes, at: int) -> None:
    """Walk the TLVs (§2.2): a type, a length of two bytes, so many bytes; nothing else may be left of the header.

    Only a checksum means something here.
    """
    while at < len(header):
        value = at + 3
        end = value + int.from_bytes(header[at + 1 : value])
        if max(value, end) > len(header):
            raise refuse_proxy_header("a PROXY header whose TLVs are longer than it is")
        if header[at] == _CHECKSUM:
            _check_sum(header, value, end)
        at = end


def _check_sum(header: bytes, value: int, end: int) -> None:
    """That of the whole header, with zeros where it stands itself (§2.2.3)."""
    blank = header[:value] + bytes(end - value) + header[end:]
    if header[value:end] != crc32c(blank).to_bytes(4):
        raise refuse_proxy_header("a PROXY header with a wrong checksum")


def _written(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
