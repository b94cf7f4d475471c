"""What a client may put on the wire where TLS is due: real clients of many kinds, their octets spoilt, and plain garbage."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import attrs
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.certificates import Authority

ALERT, HANDSHAKE, DATA = 21, 22, 23
KINDS = (20, ALERT, HANDSHAKE, DATA)
VERSIONS = (b"\3\1", b"\3\3", b"\3\4", b"\3\0", b"\2\0", b"\x7f\x1c", b"\0\0", b"\xfe\xfd")


def record(content: bytes, kind: int = HANDSHAKE, version: bytes = b"\3\3", length: int | None = None) -> bytes:
    """One TLS record (RFC 8446 §5.1), of any length one says."""
    size = len(content) if length is None else length
    return bytes([kind]) + version + size.to_bytes(2, "big") + content


def records(octets: bytes) -> Iterator[bytes]:
    """The records of what a client sent; the rest, where it is none, as one."""
    while octets:
        end = 5 + int.from_bytes(octets[3:5], "big") if len(octets) > 4 else len(octets)
        yield octets[:end]
        octets = octets[end:]


@attrs.frozen
class Spoiling:
    """One thing done to a client's octets, at a share of their length."""

    what: str
    at: float = 0.0
    much: int = 1
    octets: bytes = b""

    def __call__(self, sent: bytes) -> bytes:
        at = int(self.at * len(sent))
        behind = at + self.much
        done = {
            "flip": lambda: sent[:at] + bytes(octet ^ self.much for octet in sent[at : at + 1]) + sent[at + 1 :],
            "drop": lambda: sent[:at] + sent[behind:],
            "double": lambda: sent[:behind] + sent[at:],
            "insert": lambda: sent[:at] + self.octets + sent[at:],
            "end": lambda: sent[:at],
            # So that what was done inside is read as far as it goes.
            "relength": lambda: b"".join(_relengthed(each) for each in records(sent)),
            # A handshake message may stand in several records.
            "split": lambda: b"".join(_split(each, self.much) for each in records(sent)),
            "between": lambda: self._between(list(records(sent))),
        }
        return done[self.what]()

    def _between(self, whole: list[bytes]) -> bytes:
        place = int(self.at * (len(whole) + 1))
        return b"".join([*whole[:place], self.octets * self.much, *whole[place:]])


def _relengthed(sent: bytes) -> bytes:
    if sent[:1] != bytes([HANDSHAKE]) or len(sent) < 10:
        return sent
    body = sent[9:]
    return record(sent[5:6] + len(body).to_bytes(3, "big") + body, version=sent[1:3])


def _split(sent: bytes, size: int) -> bytes:
    if sent[:1] != bytes([HANDSHAKE]):
        return sent
    content = sent[5:]
    return b"".join(record(content[at : at + size], version=sent[1:3]) for at in range(0, len(content), size))


kinds = st.sampled_from((20, 21, 22, 23, 24, 0, 255))
odd_records = st.one_of(
    st.builds(record, st.binary(max_size=40), kinds, st.sampled_from(VERSIONS)),
    st.builds(record, st.binary(max_size=40), kinds, st.sampled_from(VERSIONS), st.sampled_from((0, 1, 18433, 0xFFFF))),
    st.sampled_from((b"", b"\0" * 40)).map(lambda content: record(content, DATA)),
    st.builds(lambda level, what: record(bytes([level, what]), ALERT), st.integers(0, 3), st.integers(0, 120)),
)
shares = st.floats(0, 0.999)
spoilings = st.one_of(
    st.builds(Spoiling, st.just("flip"), shares, st.integers(1, 255)),
    st.builds(Spoiling, st.sampled_from(("drop", "double")), shares, st.integers(1, 60)),
    st.builds(Spoiling, st.just("insert"), shares, st.just(1), st.binary(max_size=30)),
    st.builds(Spoiling, st.just("between"), shares, st.integers(1, 40), odd_records),
    st.builds(Spoiling, st.just("end"), shares),
    st.builds(Spoiling, st.just("split"), st.just(0.0), st.integers(1, 300)),
    st.just(Spoiling("relength")),
)

SSL_2_HELLO = b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80\x03\x00\x80" + bytes(28)
NO_TLS = (
    b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    b"get / HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"\r\n\r\n",
    SSL_2_HELLO,
    b"\0",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    record(b"", HANDSHAKE) * 300,
    record(b"\1\0\0\0") * 20,
    record(b"\1\xff\xff\xff" + bytes(16000)),
)
garbage = st.one_of(
    st.sampled_from(NO_TLS),
    st.binary(max_size=80),
    st.lists(odd_records, min_size=1, max_size=4).map(b"".join),
    st.binary(max_size=60).map(lambda inside: record(b"\1" + len(inside).to_bytes(3, "big") + inside)),
)


@attrs.frozen
class Clients:
    """Kinds of clients; those of `willing` come to an agreement with any server of the authority that asks for nothing."""

    willing: dict[str, ssl.SSLContext]
    others: dict[str, ssl.SSLContext]

    @classmethod
    def of(cls, authority: Authority) -> Clients:
        """For a server with a certificate of that authority for localhost."""
        willing = {name: authority.client() for name in ("usual", "1.2", "1.3", "h2", "no alpn", "one group", "known")}
        willing["1.2"].maximum_version = ssl.TLSVersion.TLSv1_2
        willing["1.3"].minimum_version = ssl.TLSVersion.TLSv1_3
        willing["h2"].set_alpn_protocols(["h2", "http/1.1"])
        willing["no alpn"] = ssl.create_default_context(cafile=authority.file)
        willing["one group"].set_ecdh_curve("secp521r1")  # so the server asks for another share, or takes it
        own = authority.issue("client.test")
        willing["known"].load_cert_chain(own.certificate, own.key)
        others = {"trusts nobody": ssl.create_default_context(), "odd ciphers": authority.client()}
        others["odd ciphers"].maximum_version = ssl.TLSVersion.TLSv1_2
        others["odd ciphers"].set_ciphers("DHE-RSA-AES128-GCM-SHA256")
        return cls(willing, others)
