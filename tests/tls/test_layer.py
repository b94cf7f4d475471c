"""TLS without I/O: two layers joined by hand, with each version, read in pieces, ended and broken in every way."""

from __future__ import annotations

import itertools
import ssl
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.certificates import authority

from trioproxy.tls.layer import RECORD, TlsError, TlsLayer

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server_side(trusted):
    return trusted.server("localhost")


def shake(client, server):
    """Carry the handshake to its end."""
    ready = [False, False]
    while not all(ready):
        ready[0] = ready[0] or client.handshake()
        server.feed(client.take_outgoing())
        ready[1] = ready[1] or server.handshake()
        client.feed(server.take_outgoing())
    return client, server


@pytest.fixture
def server_side_of(trusted):
    """With so many tickets for later sessions."""

    def server_side_of(tickets):
        context = trusted.server("localhost")
        context.num_tickets = tickets
        return context

    return server_side_of


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def pair(request, trusted, server_side):
    context = trusted.client()
    context.minimum_version = context.maximum_version = request.param
    return shake(TlsLayer.client(context, "localhost"), TlsLayer.server(server_side))


def taken(layer, data=b""):
    """All that `decrypt_into` finds in what was fed and in `data`, which comes behind what was left of the last."""
    room = memoryview(bytearray(600_000))
    return bytes(room[: layer.decrypt_into(memoryview(layer.tail + data), room)])


def test_what_is_sent_arrives_both_ways(pair):
    client, server = pair
    server.feed(client.encrypt(b"to the server"))
    client.feed(server.encrypt(memoryview(b"to the client")))
    assert server.decrypt(100) == b"to the server"
    assert server.decrypt(100) is None
    assert taken(client) == b"to the client"
    assert taken(client) == b""
    assert client.version == server.version in {"TLSv1.2", "TLSv1.3"}
    assert client.cipher == server.cipher != ""


def test_nothing_is_known_of_a_session_before_its_handshake(trusted):
    layer = TlsLayer.client(trusted.client(), "localhost")
    assert not layer.version
    assert not layer.cipher


@pytest.mark.parametrize("size", [1, RECORD - 1, RECORD, RECORD + 1, 500_000])
def test_all_that_came_is_decrypted_at_once_however_many_records_it_is(pair, size):
    client, server = pair
    data = bytes(range(251)) * (size // 251 + 1)
    client.feed(server.encrypt(data[:size]))
    assert client.pending
    assert taken(client) == data[:size]
    assert not client.pending
    for _ in range(2):
        assert taken(client, server.encrypt(data[:size])) == data[:size]
        assert (client.tail, client.pending) == (b"", False)
    assert client.records == -(-size // RECORD)


@pytest.mark.parametrize("begun", [0, 3, 5, 10], ids=["", "inside a header", "behind it", "inside a record"])
def test_it_comes_octet_by_octet(pair, begun):
    client, server = pair
    octets = client.encrypt(b"slowly") + client.encrypt(b" but surely") + client.encrypt(b"x" * 1000)
    found = b""
    if begun:
        server.feed(octets[:begun])
        assert server.decrypt(1) is None
        octets = octets[begun:]
    for octet in octets:
        found += taken(server, bytes([octet]))
    assert found == b"slowly but surely" + b"x" * 1000


@given(sizes=st.lists(st.integers(1, 40_000), max_size=12), cuts=st.lists(st.integers(1, 70_000), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_records_of_any_size_cut_anywhere_give_what_was_sent(pair, sizes, cuts):
    client, server = pair
    sent = b"".join(bytes([number % 251]) * size for number, size in enumerate(sizes))
    octets = b"".join(client.encrypt(bytes([number % 251]) * size) for number, size in enumerate(sizes))
    found, at = b"", 0
    for cut in itertools.cycle(cuts):
        if at >= len(octets):
            break
        found += taken(server, octets[at : at + cut])
        at += cut
    assert found == sent
    assert server.tail == b""


def test_what_was_read_in_part_is_not_lost_when_the_rest_is_taken(pair):
    client, server = pair
    server.feed(client.encrypt(b"0123456789"))
    assert server.decrypt(4) == b"0123"
    assert server.pending
    assert taken(server) == b"456789"


def test_both_ends_are_said_and_heard(pair):
    client, server = pair
    server.feed(client.encrypt(b"last") + client.close())
    assert client.closed
    assert taken(server) == b"last"
    assert server.ended
    assert server.decrypt(10) == b""
    assert taken(server) == b""
    client.feed(server.close())
    assert client.decrypt(10) == b""
    assert client.ended
    assert not client.close()


def test_what_is_unread_when_we_end_our_side_can_still_be_read(pair):
    client, server = pair
    server.feed(client.encrypt(b"x" * 1000))
    assert server.decrypt(10) == b"x" * 10
    later = client.encrypt(b"y" * 20_000)
    server.feed(later[:100])
    client.feed(server.close())
    server.feed(later[100:])
    found = taken(server)
    while data := server.decrypt(700):
        found += data
    assert found == b"x" * 990 + b"y" * 20_000
    server.feed(client.close())
    assert server.decrypt(1) == b""
    assert client.decrypt(1) == b""


def test_a_layer_without_a_session_says_nothing_when_it_is_closed(server_side):
    layer = TlsLayer.server(server_side)
    assert layer.close() == b""
    assert not layer.take_outgoing()


@pytest.mark.parametrize("begun", [False, True], ids=["", "in the middle of a record"])
def test_octets_changed_on_the_way_are_noticed_and_what_came_before_is_not_lost(pair, begun):
    client, server = pair
    good, bad = client.encrypt(b"authentic"), bytearray(client.encrypt(b"forged"))
    bad[-1] ^= 1
    server.feed(good[:begun])
    assert server.decrypt(1) is None
    assert taken(server, good[begun:] + bytes(bad)) == b"authentic"
    assert server.broken in {"bad record mac", "decryption failed or bad record mac"}
    alert = server.take_outgoing()
    assert taken(server, b"x") == b""
    for attempt in (lambda: server.encrypt(b"x"), lambda: server.decrypt(10)):
        with pytest.raises(TlsError):
            attempt()
    assert taken(client, alert) == b""
    assert "alert bad record mac" in client.broken


@pytest.mark.parametrize("tickets", [16, 17])
def test_who_sends_nothing_but_records_of_tls_itself_is_not_served_for_ever(trusted, server_side_of, tickets):
    client, server = TlsLayer.client(trusted.client(), "localhost"), TlsLayer.server(server_side_of(tickets))
    while not client.handshake():
        server.feed(client.take_outgoing())
        server.handshake()
        client.feed(server.take_outgoing())
    server.feed(client.take_outgoing())
    assert server.handshake()
    flood = server.take_outgoing()
    assert taken(client, flood + server.encrypt(b"data")) == (b"data" if tickets == 16 else b"")
    assert client.broken == ("" if tickets == 16 else "too many records without data")
    assert not client.tail


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x17\x03\x03\xff\xff" + bytes(100), b"\x17\x03\x03\x00\x10" + bytes(16), b"\0"],
)
def test_what_is_no_record_is_noticed_at_once(pair, sent):
    client, server = pair
    assert taken(server, client.encrypt(b"x")) == b"x"
    assert taken(server, sent + (b"" if len(sent) > 1 else bytes(10))) == b""
    assert server.broken


def test_nothing_can_be_sent_before_the_handshake_or_behind_the_end(pair, server_side):
    client, _ = pair
    client.close()
    with pytest.raises(TlsError, match="shutdown"):
        client.encrypt(b"more")
    with pytest.raises(TlsError):
        TlsLayer.server(server_side).encrypt(b"early")


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", "http request"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "wrong version number|unexpected|https? proxy request"),
        (b"\x16\x03\x01\x00\x05hello", "unexpected|bad|wrong|length"),
        (b"\x00" * 64, "wrong version number|unexpected|record"),
    ],
)
def test_what_is_no_tls_is_said_to_be_none(server_side, sent, words):
    layer = TlsLayer.server(server_side)
    layer.feed(sent)
    with pytest.raises(TlsError, match=words):
        layer.handshake()


def what_it_hears(layer):
    try:
        layer.handshake()
        layer.decrypt(1)
    except TlsError as error:
        return str(error)
    raise AssertionError("it has heard nothing")


def refused(client, server):
    """Carry the handshake until one of the two refuses; the error, and what the other one says of it."""
    layers = [client, server]
    for _ in range(6):
        for layer, other in (layers, layers[::-1]):
            try:
                layer.handshake()
            except TlsError as error:
                other.feed(layer.take_outgoing())
                return layer, str(error), what_it_hears(other)
            other.feed(layer.take_outgoing())
    raise AssertionError("nobody refused")


def test_an_expired_certificate_is_not_accepted(trusted):
    client = TlsLayer.client(trusted.client(), "localhost")
    who, why, heard = refused(client, TlsLayer.server(trusted.server("localhost", expired=True)))
    assert who is client
    assert why == "certificate not accepted: certificate has expired"
    assert "certificate expired" in heard


def test_a_certificate_for_another_name_is_not_accepted(trusted, server_side):
    who, why, _ = refused(TlsLayer.client(trusted.client(), "example.com"), TlsLayer.server(server_side))
    assert who.closed is False
    assert "Hostname mismatch" in why


def test_a_certificate_of_an_authority_nobody_named_is_not_accepted(trusted, tmp_path):
    stranger = authority(tmp_path / "stranger")
    client = TlsLayer.client(stranger.client(), "localhost")
    _, why, heard = refused(client, TlsLayer.server(trusted.server("localhost")))
    assert "unable to get local issuer certificate" in why
    assert "unknown ca" in heard


def test_an_old_version_is_refused(trusted, server_side):
    context = trusted.client()
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    _, why, _ = refused(TlsLayer.client(context, "localhost"), TlsLayer.server(server_side))
    assert "unsupported protocol" in why or "no protocols available" in why


def test_all_at_once_is_had_where_the_peer_has_broken_off_both_ways(pair):
    """Once both sides have said the end, OpenSSL tells it in another way."""
    client, server = pair
    server.feed(client.close())
    server.close()
    assert taken(server) == b""
    assert server.ended
