"""A strict reading of RFC 9110 and RFC 9112: what bytes mean, said from the documents' grammar alone.

The judge beside h11 and llhttp. It shares nothing with the program under test, knows whole inputs only and takes its time.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

Fields = tuple[tuple[bytes, bytes], ...]

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
REQUEST_LINE = re.compile(rb"(" + TOKEN + rb") ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
STATUS_LINE = re.compile(rb"HTTP/([0-9])\.([0-9]) ([0-9]{3}) ([\t \x21-\x7e\x80-\xff]*)")
FIELD = re.compile(rb"(" + TOKEN + rb"):[ \t]*([\t \x21-\x7e\x80-\xff]*)")
CHUNK = re.compile(rb"([0-9A-Fa-f]+)((?:;" + TOKEN + rb"(?:=(?:" + TOKEN + rb"|" + QUOTED + rb"))?)*)")
LAX_CHUNK = re.compile(rb"([0-9A-Fa-f]+)([ \t]*(?:;[\t \x21-\x7e\x80-\xff]*)?)")
PCHAR = rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})"
ORIGIN = re.compile(rb"/(?:" + PCHAR + rb"|/)*(?:\?(?:" + PCHAR + rb"|[/?])*)?")
ABSOLUTE = re.compile(rb"(?i:https?)://([A-Za-z0-9\-._~!$&'()*+,;=%:\[\]]+)((?:[/?][^#]*)?)")
PLAIN_HOST = re.compile(rb"[A-Za-z0-9.\-_]+(?::[0-9]{1,4})?|\[::1\](?::[0-9]{1,4})?")
HOST_OCTETS = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=%:\[\]]*")

SURE_METHODS = frozenset(b"GET HEAD POST PUT DELETE OPTIONS PATCH PROPFIND REPORT".split())
SURE_CHUNK_LINE = 200
MOST_FIELDS, MOST_HEAD = 100, 30_000
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection te trailer transfer-encoding upgrade proxy-authenticate"
    b" proxy-authorization http2-settings".split()
)
"""What RFC 9110 §7.6.1 and §11.7 and RFC 7540 §3.2.1 keep to one connection."""

NOT_IN_TRAILERS = HOP_BY_HOP | frozenset(
    b"content-length host cache-control expect max-forwards pragma range if-match if-none-match if-modified-since"
    b" if-unmodified-since if-range authorization www-authenticate cookie set-cookie age expires date location retry-after"
    b" vary warning content-encoding content-type content-range via".split()
)
"""What RFC 7230 §4.1.2 wants in no trailer: framing, routing, controls, conditionals, authentication, control data."""

BODILESS = frozenset({204, 304})


class Rest(Enum):
    """What stands behind the last message that was read."""

    NOTHING = auto()
    EMPTY = auto()  # line ends, more than must be ignored or not all of them right: no request has begun
    CUT = auto()  # a message that is not all there, or not yet known to be wrong
    WRONG = auto()  # one that must be refused
    UNREAD = auto()  # whatever it is: the message before was the connection's last


@attrs.frozen
class Request:
    """A request as it must be understood. Unless `sure`, a careful recipient may refuse it as well."""

    method: bytes
    target: bytes
    version: bytes
    fields: Fields
    body: bytes
    sure: bool
    host: bytes
    last: bool  # nothing behind it on this connection is a request
    upgrade: bool  # to websocket
    chunked: bool = False
    trailers: Fields = ()

    @property
    def wants_trailers(self) -> bool:
        """Whether it says so in TE (RFC 9110 §10.1.4), and it can."""
        return self.version == b"1.1" and not self.upgrade and b"trailers" in tokens(self.fields, b"te")

    @property
    def key(self) -> tuple[bytes, bytes, bytes]:
        return self.method, self.target, self.body


@attrs.frozen
class Response:
    """An answer as it must be understood. Unless `sure`, a careful recipient may refuse it as well."""

    status: int
    reason: bytes
    fields: Fields
    body: bytes
    sure: bool
    interim: tuple[int, ...] = ()
    trailers: Fields = ()

    @property
    def key(self) -> tuple[int, bytes, Fields]:
        return self.status, self.body, self.trailers


class WrongError(Exception):
    """Against a MUST, or readable in two ways."""


class CutError(Exception):
    """More bytes are needed."""


@attrs.define
class Cursor:
    """Where one is in the bytes, and whether all so far was beyond doubt."""

    raw: bytes
    at: int = 0
    sure: bool = True
    trailers: Fields = ()  # of the last message

    def doubt(self, reason: object) -> None:
        """Say that what has just been read may be refused, if there is a `reason`."""
        self.sure = self.sure and not reason

    def line(self) -> bytes:
        """The next line, without its CRLF."""
        end = self.raw.find(b"\r\n", self.at)
        line = self.raw[self.at :] if end < 0 else self.raw[self.at : end]
        if re.search(rb"\n|\r(?!\Z)", line) or (end >= 0 and b"\r" in line):
            raise WrongError("bare CR or LF")
        if end < 0:
            raise CutError
        self.at = end + 2
        return line

    def take(self, size: int) -> bytes:
        if len(self.raw) - self.at < size:
            raise CutError
        self.at += size
        return self.raw[self.at - size : self.at]

    def fields(self) -> Fields:
        """Field lines up to the empty one."""
        start, found = self.at, []
        while line := self.line():
            match = FIELD.fullmatch(line)
            if match is None:
                raise WrongError("no field")
            found.append((match[1], match[2].strip(b" \t")))
        self.doubt(len(found) > MOST_FIELDS or self.at - start > MOST_HEAD)
        return tuple(found)

    def chunks(self) -> bytes:
        """A chunked body (RFC 9112 §7.1); its trailers stand in `trailers`."""
        body = b""
        while True:
            line = self.line()
            match = LAX_CHUNK.fullmatch(line)
            if match is None:
                raise WrongError("no chunk")
            self.doubt(not CHUNK.fullmatch(line) or len(line) > SURE_CHUNK_LINE or len(match[1]) > 8)
            size = int(match[1], 16)
            if not size:
                break
            body += self.take(size)
            if self.raw[self.at : self.at + 2] != b"\r\n"[: len(self.raw) - self.at]:
                raise WrongError("chunk longer than its size")
            self.take(2)
        self.trailers = self.fields()
        names = {name.lower() for name, _ in self.trailers}
        self.doubt(names & {b"content-length", b"transfer-encoding", b"host", b"connection", b"upgrade"})
        return body


def read_requests(raw: bytes) -> tuple[list[Request], Rest]:
    """The requests of one connection, in order, and what stands behind them."""
    found, rest, _ = split_requests(raw)
    return found, rest


def split_requests(raw: bytes) -> tuple[list[Request], Rest, bytes]:
    """The same, and the bytes behind them."""
    found: list[Request] = []
    cursor = Cursor(raw)
    while True:
        start, empty = cursor.at, 0
        while raw.startswith(b"\r\n", cursor.at):
            cursor.at += 2
            empty += 1
        if cursor.at == len(raw) and empty <= 1:
            return found, Rest.NOTHING, b""
        if not raw[cursor.at :].strip(b"\r\n"):
            return found, Rest.EMPTY, raw[start:]
        cursor.sure = empty <= 1  # one must be ignored, more may be (RFC 9112 §2.2)
        try:
            found.append(_request(cursor))
        except CutError:
            return found, Rest.CUT, raw[start:]
        except WrongError:
            return found, Rest.WRONG, raw[start:]
        if found[-1].last:
            return found, Rest.UNREAD, raw[cursor.at :]


def read_response(raw: bytes, method: bytes, *, ended: bool = True) -> tuple[Response | None, Rest, bytes]:
    """The final answer to `method`, what became of it if there is none, and the bytes behind it.

    `ended` says that the sender has closed behind `raw`.
    """
    cursor = Cursor(raw)
    interim: list[int] = []
    try:
        while True:
            answer = _response(cursor, method, ended=ended)
            if answer.status >= 200 or answer.status == 101:
                break
            interim.append(answer.status)
    except CutError:
        return None, Rest.CUT, b""
    except WrongError:
        return None, Rest.WRONG, b""
    rest = raw[cursor.at :]
    return attrs.evolve(answer, interim=tuple(interim)), Rest.UNREAD if rest else Rest.NOTHING, rest


def tokens(fields: Fields, name: bytes) -> list[bytes]:
    """The members of a list field over all its lines, lower case."""
    lines = [value for field, value in fields if field.lower() == name]
    return [member for line in lines for part in line.split(b",") if (member := part.strip(b" \t").lower())]


def end_to_end(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """What an intermediary must pass on (RFC 9110 §7.6.1)."""
    fields = tuple(fields)
    dropped = (HOP_BY_HOP | set(tokens(fields, b"connection"))) - {b"host", b"content-length"}
    return tuple((name, value) for name, value in fields if name.lower() not in dropped)


def passing_trailers(answer: Response) -> Fields:
    """What an intermediary may pass on behind the content, to who asked: all that needs not stand in a head."""
    dropped = NOT_IN_TRAILERS | set(tokens(answer.fields, b"connection"))
    return tuple((name, value) for name, value in answer.trailers if name.lower() not in dropped)


def _values(fields: Fields, name: bytes) -> list[bytes]:
    return [value for field, value in fields if field.lower() == name]


def _request(cursor: Cursor) -> Request:
    match = REQUEST_LINE.fullmatch(cursor.line())
    if match is None:
        raise WrongError("no request line")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in b"01":
        raise WrongError("another version")
    version = major + b"." + minor
    cursor.doubt(method not in SURE_METHODS)
    fields = cursor.fields()
    host = _host(cursor, fields, version)
    target, host = _target(cursor, method, target, host)
    connection = tokens(fields, b"connection")
    cursor.doubt(set(tokens(fields, b"expect")) - {b"100-continue"})
    upgrade = version == b"1.1" and b"upgrade" in connection and b"websocket" in tokens(fields, b"upgrade")
    chunked, length = _framing(cursor, fields, version)
    cursor.trailers = ()
    if upgrade:
        cursor.doubt(True)
        body = b""
    else:
        body = cursor.chunks() if chunked else cursor.take(length or 0)
    last = upgrade or version == b"1.0" or b"close" in connection
    return Request(method, target, version, fields, body, cursor.sure, host, last, upgrade, chunked, cursor.trailers)


def _host(cursor: Cursor, fields: Fields, version: bytes) -> bytes:
    hosts = _values(fields, b"host")
    if len(hosts) > 1 or (not hosts and version == b"1.1"):
        raise WrongError("not one Host")
    host = hosts[0] if hosts else b""
    if not HOST_OCTETS.fullmatch(host):
        raise WrongError("no host")
    cursor.doubt(hosts and not PLAIN_HOST.fullmatch(host))
    return host


def _target(cursor: Cursor, method: bytes, target: bytes, host: bytes) -> tuple[bytes, bytes]:
    if target == b"*" and method == b"OPTIONS":
        return target, host
    if target.startswith(b"/"):
        if b"#" in target:
            raise WrongError("a fragment")
        cursor.doubt(not ORIGIN.fullmatch(target) or len(target) > 8000)
        return target, host
    match = ABSOLUTE.fullmatch(target)
    if match is None:
        cursor.doubt(True)
        return target, host
    path = match[2] or (b"*" if method == b"OPTIONS" else b"/")
    path = b"/" + path if path.startswith(b"?") else path
    cursor.doubt(not ORIGIN.fullmatch(path) or not PLAIN_HOST.fullmatch(match[1]))
    return path, match[1]


def _framing(cursor: Cursor, fields: Fields, version: bytes) -> tuple[bool, int | None]:
    """Whether there are chunks, and Content-Length (RFC 9112 §6). Both together are an attack, whatever is allowed."""
    lengths, codings = _values(fields, b"content-length"), _values(fields, b"transfer-encoding")
    if codings:
        if lengths or version == b"1.0" or [coding.lower() for coding in codings] != [b"chunked"]:
            raise WrongError("framing that can be read in two ways")
        return True, None
    if not lengths:
        return False, None
    members = {member.strip(b" \t") for line in lengths for member in line.split(b",")}
    if len(members) > 1 or not re.fullmatch(rb"[0-9]+", length := members.pop()):
        raise WrongError("no length")
    cursor.doubt(len(lengths) > 1 or lengths[0] != length or (length != b"0" and length[:1] == b"0"))
    cursor.doubt(len(length) > 15)
    return False, int(length)


def _response(cursor: Cursor, method: bytes, *, ended: bool) -> Response:
    line = cursor.line()
    match = STATUS_LINE.fullmatch(line) or STATUS_LINE.fullmatch(line + b" ")
    if match is None:
        raise WrongError("no status line")
    cursor.doubt(not STATUS_LINE.fullmatch(line))  # the space before no reason is missing
    major, minor, digits, reason = match.groups()
    if major != b"1" or minor not in b"01" or digits[:1] == b"0":
        raise WrongError("another version, or no status")
    status, fields = int(digits), cursor.fields()
    cursor.doubt(status > 599)
    chunked, length = _framing(cursor, fields, major + b"." + minor)
    cursor.trailers = ()
    if method == b"HEAD" or status < 200 or status in BODILESS:
        body = b""
        cursor.doubt(status < 200 and (chunked or length is not None))
    elif chunked:
        body = cursor.chunks()
    elif length is not None:
        body = cursor.take(length)
    elif ended:
        body = cursor.take(len(cursor.raw) - cursor.at)
    else:
        raise CutError
    return Response(status, reason, fields, body, cursor.sure, trailers=cursor.trailers)
