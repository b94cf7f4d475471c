"""Who a client is: the networks it is in, and what proxies in front are believed to have seen."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.addresses import ELSEWHERE, MAX_HOPS, UNIX, Admission, Networks, client_key, real_client
from trioproxy.wire.headers import Headers

TRUSTED = Networks.of(("10.0.0.0/8", "2001:db8::/32"))


@pytest.mark.parametrize(
    ("words", "client", "closeness"),
    [
        ((), "10.1.2.3", ELSEWHERE),
        (("10.0.0.0/8",), "10.1.2.3", 8),
        (("10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16"), "10.1.2.3", 16),
        (("10.1.2.3",), "10.1.2.3", 32),
        (("10.1.2.3/8",), "10.9.9.9", 8),  # host bits do not matter
        (("10.0.0.0/8",), "11.0.0.1", ELSEWHERE),
        (("0.0.0.0/0",), "255.255.255.255", 0),
        (("0.0.0.0/0",), "::1", ELSEWHERE),
        (("::/0",), "0.0.0.0", ELSEWHERE),
        (("fe80::/10",), "fe80::1%eth0", 10),
        (("2001:db8::1",), "2001:db8::1", 128),
        (("0.0.0.0/0", "::/0"), UNIX, ELSEWHERE),
        (("unix:",), UNIX, 0),
        (("unix:",), "127.0.0.1", ELSEWHERE),
    ],
)
def test_the_longest_prefix_that_has_an_address_is_found(words, client, closeness):
    assert Networks.of(words).closeness(client) == closeness
    assert (client in Networks.of(words)) is (closeness != ELSEWHERE)


v4_networks = st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(lambda parts: f"{parts[0]}/{parts[1]}")


@given(st.lists(v4_networks), st.ip_addresses(v=4))
def test_it_is_the_one_that_a_look_at_each_finds(words, address):
    each = [ipaddress.ip_network(word, strict=False) for word in words]
    assert Networks.of(words).closeness(str(address)) == max((n.prefixlen for n in each if address in n), default=-1)


def test_what_is_no_network_is_refused():
    with pytest.raises(ValueError, match="not appear to be"):
        Networks.of(("here",))


@pytest.mark.parametrize(
    ("allow", "deny", "client", "may"),
    [
        (("10.0.0.0/8",), (), "10.0.0.1", True),
        (("10.0.0.0/8",), (), "192.0.2.1", False),
        ((), ("10.0.0.0/8",), "10.0.0.1", False),
        ((), ("10.0.0.0/8",), "192.0.2.1", True),
        (("10.0.0.0/8",), ("10.6.6.6",), "10.6.6.6", False),
        (("10.6.6.6",), ("10.0.0.0/8",), "10.6.6.6", True),  # nginx: allow 10.6.6.6; deny 10.0.0.0/8;
        (("10.0.0.0/8",), ("10.0.0.0/8",), "10.0.0.1", False),
        (("10.0.0.0/8",), ("0.0.0.0/0", "::/0"), "::1", False),
        (("10.0.0.0/8",), (), UNIX, False),
        (("10.0.0.0/8", "unix:"), (), UNIX, True),
        ((), ("0.0.0.0/0",), UNIX, True),
        ((), ("unix:",), UNIX, False),
    ],
)
def test_the_smallest_network_decides(allow, deny, client, may):
    assert Admission.of(allow, deny).admits(client) is may


def test_without_lists_there_is_nothing_to_ask():
    assert Admission.of((), ()) is None


def test_a_client_is_an_address_or_a_64():
    assert client_key("192.0.2.1") == "192.0.2.1"
    assert client_key("2001:db8:0:1::1") == "20010db800000001/64" == client_key("2001:db8:0:1:ffff::2")
    assert client_key("2001:db8:0:2::1") != client_key("2001:db8:0:1::1")
    assert client_key("fe80::1%eth0") == client_key("fe80::2")


def client(*lines, peer="10.0.0.1"):
    return real_client(peer, Headers.from_pairs(lines), TRUSTED)


def forwarded_for(*values, **how):
    return client(*[(b"X-Forwarded-For", value) for value in values], **how)


def forwarded(*values, **how):
    return client(*[(b"Forwarded", value) for value in values], **how)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((), "10.0.0.1"),
        ((b"192.0.2.1",), "192.0.2.1"),
        ((b"6.6.6.6, 192.0.2.1",), "192.0.2.1"),  # what a client wrote itself stands on the left
        ((b"192.0.2.1, 10.0.0.2, 10.0.0.3",), "192.0.2.1"),
        ((b"6.6.6.6", b"192.0.2.1,10.0.0.2"), "192.0.2.1"),
        ((b"10.0.0.7,\t10.0.0.2",), "10.0.0.7"),  # all are trusted: the first of them
        ((b"192.0.2.1:4711",), "192.0.2.1"),
        ((b"[2001:db9::1]:4711",), "2001:db9::1"),
        ((b"2001:0DB9:0::1, 2001:db8::5",), "2001:db9::1"),
        ((b'"[2001:db9::1]"',), "2001:db9::1"),
        ((b"::ffff:192.0.2.1",), "192.0.2.1"),
        ((b"192.0.2.1, ,",), "192.0.2.1"),
        ((b"192.0.2.1, unknown",), "10.0.0.1"),
        ((b"192.0.2.1, 10.0.0.2, what?, 10.0.0.3",), "10.0.0.3"),
        ((b"192.0.2.1, 999.0.0.1",), "10.0.0.1"),
        ((b"\xff\xfe", b"10.0.0.3"), "10.0.0.3"),
    ],
)
def test_x_forwarded_for_is_read_from_the_right_over_trusted_proxies(values, found):
    assert forwarded_for(*values) == found


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ((b"for=192.0.2.1",), "192.0.2.1"),
        ((b"for=6.6.6.6, For=192.0.2.1;proto=https;by=10.0.0.1",), "192.0.2.1"),
        ((b'for="[2001:db9::1]:4711"',), "2001:db9::1"),
        ((b'for="[2001:db9::1]" ; host="a,b;for=6.6.6.6"',), "2001:db9::1"),
        ((b"for=192.0.2.1", b'proto=http;for="10.0.0.2:80"'), "192.0.2.1"),
        ((b"for=192.0.2.1, for=unknown",), "10.0.0.1"),
        ((b"for=192.0.2.1, for=_hidden",), "10.0.0.1"),
        ((b"for=192.0.2.1, proto=https",), "10.0.0.1"),
        ((b'for="',), "10.0.0.1"),
        ((b"for=192.0.2.1,",), "10.0.0.1"),
        ((b'by="x", for="6.6.6.6, for=192.0.2.1',), "192.0.2.1"),  # an open quote takes nothing of a proxy's away
        ((b'host="\\", for=192.0.2.1',), "192.0.2.1"),
        ((b"x=" + b"y" * 5000 + b", for=192.0.2.1",), "192.0.2.1"),
        ((b"for=192.0.2.1, for=10.0.0.2;x=" + b"y" * 5000,), "10.0.0.1"),
    ],
)
def test_forwarded_is_read_so_where_there_is_no_x_forwarded_for(values, found):
    assert forwarded(*values) == found


def test_where_both_are_there_x_forwarded_for_counts():
    assert client((b"Forwarded", b"for=6.6.6.6"), (b"X-Forwarded-For", b"192.0.2.1")) == "192.0.2.1"


def test_nobody_else_is_believed():
    assert forwarded_for(b"10.0.0.9", peer="192.0.2.66") == "192.0.2.66"
    assert forwarded_for(b"10.0.0.9", peer=UNIX) == UNIX


def test_a_chain_has_an_end():
    assert forwarded_for(b"192.0.2.1, " + b", ".join([b"10.0.0.2"] * (MAX_HOPS - 1))) == "192.0.2.1"
    assert forwarded_for(b"192.0.2.1, " + b", ".join([b"10.0.0.2"] * MAX_HOPS)) == "10.0.0.2"


@given(st.lists(st.binary(max_size=60).filter(lambda line: not {10, 13} & set(line)), max_size=3))
def test_whatever_stands_there_an_address_is_found(values):
    for find in (forwarded_for, forwarded):
        ipaddress.ip_address(find(*values))
