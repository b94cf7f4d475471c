"""HTTP/1.1 messages for Hypothesis: valid by construction, with what they mean; the same bytes mutated; any cuts."""

from __future__ import annotations

import re
from itertools import pairwise

import attrs
from hypothesis import strategies as st
from support.strict_http import NOT_IN_TRAILERS

Lines = list[tuple[bytes, bytes]]

TCHAR = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
VALUE = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])
PATH = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@//??"
METHODS = b"GET GET HEAD POST POST PUT DELETE OPTIONS PATCH PROPFIND".split()
SPECIAL = {
    *b"host content-length transfer-encoding connection upgrade expect keep-alive proxy-connection te trailer via".split(),
    *b"proxy-authenticate proxy-authorization http2-settings forwarded x-forwarded-for x-forwarded-proto".split(),
    *b"x-forwarded-host x-real-ip x-request-id".split(),
}
USUAL_NAMES = (b"Accept", b"Cookie", b"Set-Cookie", b"User-Agent", b"X-A", b"x-a", b"ETag", b"Content-Type")
HOPS = (
    (),
    (),
    ((b"Connection", b"keep-alive"),),
    ((b"Connection", b"X-Gone, TE"), (b"X-Gone", b"1"), (b"TE", b"trailers")),
    ((b"Keep-Alive", b"timeout=5"), (b"Proxy-Connection", b"keep-alive")),
    ((b"Upgrade", b"h2c"), (b"Connection", b"upgrade"), (b"HTTP2-Settings", b"AAA"), (b"Trailer", b"X")),
    ((b"Proxy-Authorization", b"Basic YTpi"), (b"X-Forwarded-For", b"1.2.3.4"), (b"Forwarded", b"for=1.2.3.4")),
)
"""Fields that must go no further than the proxy; of TE `trailers` alone, as the proxy's own."""
LOST_TRAILERS = (
    (),
    (),
    ((b"Set-Cookie", b"a=1"), (b"Cookie", b"a=1"), (b"Authorization", b"Basic YTpi")),
    ((b"X-Forwarded-For", b"1.2.3.4"), (b"x_real_ip", b"1.2.3.4"), (b"Via", b"1.1 a")),
    ((b"Content-Type", b"text/html"), (b"Location", b"/"), (b"Cache-Control", b"no-store"), (b"If-Match", b"*")),
    ((b"Trailer", b"X-A"), (b"Keep-Alive", b"timeout=1"), (b"TE", b"trailers")),
)
"""Fields that must not stand in trailers, none of them about framing."""
PIECES = (
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b"\x0b", b":", b",", b"0", b"5", b";", b"=", b"\xff", b"\r\n\r\n"),
    *(b"chunked", b"close", b"identity", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0"),
    b"GET / HTTP/1.1\r\n",
    b"Host: b\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b" chunked\r\n",
    b"Connection: close, X-A\r\n",
    b"Upgrade: websocket\r\nConnection: upgrade\r\n",
    b"Expect: 100-continue\r\n",
    b"0\r\n\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
)

LINES = tuple(piece for piece in PIECES if piece.endswith(b"\r\n"))


def octets(allowed: bytes, least: int = 0, most: int = 12) -> st.SearchStrategy[bytes]:
    """Any of the allowed octets, in one draw."""
    table = bytes(allowed[octet % len(allowed)] for octet in range(256))
    return st.binary(min_size=least, max_size=most).map(lambda drawn: drawn.translate(table))


names = st.one_of(st.sampled_from(USUAL_NAMES), octets(TCHAR, 1).filter(lambda name: name.lower() not in SPECIAL))
values = octets(VALUE, 0, 20).map(lambda value: value.strip(b" \t"))
field_lists = st.lists(st.tuples(names, values), max_size=5)
paths = octets(PATH, 0, 16).map(lambda rest: b"/" + rest)
bodies = st.one_of(st.none(), st.binary(max_size=40), st.lists(st.binary(min_size=1, max_size=20), max_size=4))
extensions = st.sampled_from((b"", b"", b";a", b";a=b", b';a="b c";d'))
trailer_names = names.filter(lambda name: name.lower() not in NOT_IN_TRAILERS)
blanks = st.sampled_from((b" ", b" ", b"", b"\t", b"  "))


@attrs.frozen
class Message:
    """One valid message: its bytes, and what they mean. `fields` are those that must arrive, in order."""

    raw: bytes
    start: tuple[bytes, bytes]  # method and target, or status and reason
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    trailers: tuple[tuple[bytes, bytes], ...] = ()  # that must arrive where they are wanted


@st.composite
def _trailers(draw, *more) -> tuple[Lines, Lines]:
    """Trailers, and those of them that may pass."""
    passing = draw(st.one_of(st.just([]), st.lists(st.tuples(trailer_names, values), max_size=4)))
    passing += more
    place = draw(st.integers(0, len(passing)))
    return [*passing[:place], *draw(st.sampled_from(LOST_TRAILERS)), *passing[place:]], passing


@st.composite
def _framed(draw, body, trailers=()) -> tuple[list[tuple[bytes, bytes]], bytes, bytes]:
    """Framing fields, the body as it is sent, the body as it is meant."""
    if body is None:
        return [], b"", b""
    if isinstance(body, bytes):
        return [(b"Content-Length", b"%d" % len(body))], body, body
    sent = b"".join(b"%X%b\r\n%b\r\n" % (len(piece), draw(extensions), piece) for piece in body)
    end = b"0\r\n" + draw(_lines(trailers)) + b"\r\n"
    return [(b"Transfer-Encoding", b"chunked")], sent + end, b"".join(body)


@st.composite
def _lines(draw, fields) -> bytes:
    blank = draw(blanks)
    return b"".join(b"%b:%b%b%b\r\n" % (name, blank, value, blank.strip(b" ")) for name, value in fields)


@st.composite
def requests(draw) -> Message:
    """A request that must be forwarded, on a connection that stays open behind it."""
    method, target, fields = draw(st.sampled_from(METHODS)), draw(paths), draw(field_lists)
    framing, sent, body = draw(_framed(draw(bodies), draw(_trailers())[0]))
    hop = draw(st.sampled_from(HOPS))
    if framing and framing[0][0] == b"Content-Length" and body:
        hop = (*hop, *draw(st.sampled_from(((), ((b"Expect", b"100-continue"),)))))
    lines = draw(_lines([(b"Host", b"a.test"), *fields, *framing, *hop]))
    kept = [
        (b"Host", b"a.test"),
        *fields,
        *(line for line in (*framing, *hop) if line[0] in {b"Content-Length", b"Expect"}),
    ]
    return Message(b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, target, lines, sent), (method, target), tuple(kept), body)


@st.composite
def answers(draw, method: bytes, token: bytes) -> Message:
    """An answer to `method` that must be passed on; `token` stands in a field of it and, where there is one, in its body."""
    status = draw(st.sampled_from((200, 200, 201, 204, 206, 301, 304, 404, 409, 418, 599)))
    reason, fields = draw(values), [*draw(field_lists), (b"X-Token", token)]
    body = draw(bodies)
    if isinstance(body, bytes):
        body = token + body
    elif body is not None:
        body = [token, *body]
    trailers, passing = draw(_trailers((b"X-Token", token)))
    framing, sent, meant = draw(_framed(body, trailers))
    if not isinstance(body, list):
        passing = []
    if method == b"HEAD" or status in {204, 304}:
        sent = meant = b""
        passing = []
        if status == 204:
            framing = []
    interim = draw(
        st.sampled_from((b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"))
    )
    raw = b"%bHTTP/1.1 %d %b\r\n%b\r\n%b" % (interim, status, reason, draw(_lines([*fields, *framing])), sent)
    kept = [*fields, *(line for line in framing if line[0] == b"Content-Length")]
    return Message(raw, (b"%d" % status, reason), tuple(kept), meant, tuple(passing))


@st.composite
def cut(draw, raw: bytes) -> list[bytes]:
    """The same bytes in up to seven pieces, some of them empty."""
    places = draw(st.lists(st.integers(0, len(raw)), max_size=6))
    return [raw[start:end] for start, end in pairwise([0, *sorted(places), len(raw)])]


@st.composite
def mutated(draw, seeds) -> bytes:
    """A seed with a few pieces put in, doubled or taken out. `seeds` is a sequence of bytes, or a strategy for them."""
    raw = draw(seeds if isinstance(seeds, st.SearchStrategy) else st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.integers(0, 2)) == 0:  # a whole line, between others
            places = [match.end() for match in re.finditer(b"\r\n", raw)]
            place = draw(st.sampled_from(places or [0]))
            raw = raw[:place] + draw(st.sampled_from(LINES)) + raw[place:]
            continue
        start = draw(st.integers(0, len(raw)))
        end = draw(st.integers(start, min(start + 8, len(raw))))
        middle = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3), st.just(raw[start:end] * 2)))
        raw = raw[:start] + middle + raw[end:]
    return raw
