"""PROXY headers: what each says, where it ends, and that what is none is refused before more is asked for."""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import examples
from support.proxy_headers import INVALID, LONGEST_LINE, LONGEST_UNKNOWN, SIGNATURE, TOO_LARGE, VALID, binary, line

from trioproxy.errors import Phase, ProxyError, Reason, Source
from trioproxy.wire.proxy_protocol import MAX_LINE, read_proxy_header

LOCALS = [header for header in VALID if header[:12] == SIGNATURE and header[12] == 0x20]
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
@examples(150)
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
@examples(500)
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
