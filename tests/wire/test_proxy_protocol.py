"""PROXY headers: what each says, where it ends, and that what is none is refused before more is asked for."""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import examples
from support.proxy_headers import (
    LOCAL,
    SIGNATURE,
    TCP6,
    UNIX,
    UNKNOWN,
    addresses,
    binary,
    from_client,
    line,
    vector,
)

from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.wire.proxy_protocol import MAX_HEADER, MAX_LINE, read_proxy_header

LONGEST_LINE = line("ffff:" * 7 + "ffff", "ffff:" * 7 + "ffff", "65535 65535")
LONGEST_UNKNOWN = b"PROXY UNKNOWN " + b"f" * (MAX_LINE - 16) + b"\r\n"
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
    binary(addresses("::2", "::1") + VECTORS, family=TCP6): "::2",
    binary(addresses(), family=0x12): "",  # UDP: nobody this connection could be from
    binary(addresses("::2", "::1"), family=0x22): "",
    binary(b"/run/app".ljust(216, b"\0"), family=UNIX): "",
    binary(b"/run/app".ljust(216, b"\0") + VECTORS, family=0x32): "",
    binary(b"", family=0x00): "",
    binary(b"whatever stands here", family=0x00): "",
    binary(b"", family=0x10): "",
    binary(b"", family=0x02): "",
    binary(addresses() + vector(0x04, b"\0" * (MAX_HEADER - 31))): "198.51.100.7",
    LOCAL: "",
    binary(command=0x20): "",
    binary(b"\xff" * 7, command=0x20, family=0xFF): "",  # its family is ignored
}
LOCALS = [header for header in VALID if header[:12] == SIGNATURE and header[12] == 0x20]

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
    b"PROXY " + b"x" * (MAX_LINE - 6),
    b"PROXY UNKNOWN " + b"f" * (MAX_LINE - 15) + b"\r\n",
    binary(b"", length=0xFFFF),
    binary(b"", length=MAX_HEADER - 15),
    binary(b"", command=0x20, family=0, length=0xFFFF),
]

BEHIND = (b"", b"G", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", line(), b"\r\n", b"\xff" * 5000)

each_valid = pytest.mark.parametrize("header", VALID, ids=range(len(VALID)))


@each_valid
def test_a_header_says_whose_connection_it_is_and_takes_nothing_behind_it(header):
    for behind in BEHIND:
        found = read_proxy_header(header + behind)
        assert (found.source, found.local, found.size) == (VALID[header], header in LOCALS, len(header))


@each_valid
def test_cut_anywhere_it_needs_more(header):
    assert all(read_proxy_header(header[:end]) is None for end in range(len(header)))
    assert read_proxy_header(bytearray(header)) == read_proxy_header(header)


@pytest.mark.parametrize(("why", "raw"), [(why, raw) for why, all_of in INVALID.items() for raw in all_of])
def test_what_is_no_header_is_refused_and_stays_so(why, raw):
    for behind in BEHIND:
        with pytest.raises(ProxyError, match=re.escape(why)) as caught:
            read_proxy_header(raw + behind)
        assert (caught.value.source, caught.value.phase) == (Source.CLIENT, Phase.ACCEPT)
        assert caught.value.reason is Reason.INVALID


@pytest.mark.parametrize("raw", TOO_LARGE, ids=range(len(TOO_LARGE)))
def test_what_is_too_long_is_refused_before_it_has_come(raw):
    for behind in BEHIND:
        with pytest.raises(ProxyError) as caught:
            read_proxy_header(raw + behind)
        assert caught.value.reason is Reason.TOO_LARGE


def test_the_longest_ones_are_as_long_as_the_specification_says():
    assert len(line("255.255.255.255", "255.255.255.255", "65535 65535")) == 56
    assert len(LONGEST_LINE) == 104
    assert len(LONGEST_UNKNOWN) == MAX_LINE == 107


IPV4 = st.ip_addresses(v=4)
IPV6 = st.ip_addresses(v=6)


@given(st.one_of(st.tuples(IPV4, IPV4), st.tuples(IPV6, IPV6)), st.integers(0, 65535), st.integers(0, 65535))
@examples(300)
def test_every_address_is_read_as_it_was_meant(pair, source_port, destination_port):
    source, destination = pair
    mapped = source.ipv4_mapped if isinstance(source, IPv6Address) else None
    version_1 = line(str(source), str(destination), f"{source_port} {destination_port}")
    ports = struct.pack("!HH", source_port, destination_port)
    family = 0x11 if isinstance(source, IPv4Address) else 0x21
    version_2 = binary(source.packed + destination.packed + ports, family=family)
    for header in (version_1, version_2):
        assert read_proxy_header(header + b"rest").source == str(mapped or source)
        assert read_proxy_header(header).size == len(header)


@st.composite
def bent(draw):
    """A header with some bytes changed, left out or put in."""
    raw = bytearray(draw(st.sampled_from(sorted(VALID))))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, min(len(raw), 120)))
        raw[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(raw)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=80).map(SIGNATURE.__add__), bent()))
@examples(1000)
def test_whatever_comes_is_read_or_refused_and_more_bytes_change_neither(raw):
    def outcome(data):
        try:
            return read_proxy_header(data)
        except ProxyError as error:
            return error.reason, error.detail

    settled = None
    for end in range(len(raw) + 1):
        found = outcome(raw[:end])
        if settled is None:
            settled = found
            if found is not None and not isinstance(found, tuple):
                assert found.size == end
        assert found == settled
