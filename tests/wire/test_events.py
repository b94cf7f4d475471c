import attrs
import pytest

from trioproxy.wire.events import BodyKind, RequestHead, ResponseHead
from trioproxy.wire.headers import Headers


@pytest.mark.parametrize(("status", "interim"), [(100, True), (101, False), (103, True), (199, True), (200, False)])
def test_a_head_is_interim_when_another_follows(status, interim):
    head = ResponseHead(status, b"", b"1.1", Headers(), BodyKind.NONE, None, keep_alive=True)
    assert head.interim is interim


@pytest.mark.parametrize(
    ("kind", "length", "body"),
    [
        (BodyKind.NONE, None, False),
        (BodyKind.LENGTH, 0, False),
        (BodyKind.LENGTH, 1, True),
        (BodyKind.CHUNKED, None, True),
    ],
)
def test_a_body_is_what_follows_a_head(kind, length, body):
    head = RequestHead(b"POST", b"/", b"1.1", Headers(), b"a", kind, length, keep_alive=True, upgrade=False)
    assert head.has_body is body


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ([b"trailers"], True),
        ([b"gzip;q=0.5, Trailers"], True),
        ([b"deflate", b", trailers ,"], True),
        ([], False),
        ([b""], False),
        ([b"gzip"], False),
        ([b"trailers;q=1"], False),
        ([b"xtrailers, trailersx"], False),
    ],
)
@pytest.mark.rule("trailers")
def test_trailers_are_wanted_where_te_has_them_as_a_member(lines, wanted):
    def head(version=b"1.1", *, upgrade=False):
        te = Headers.from_pairs([(b"Te", line) for line in lines])
        return RequestHead(b"GET", b"/", version, te, b"a", BodyKind.NONE, None, keep_alive=True, upgrade=upgrade)

    assert head().wants_trailers is wanted
    assert not head(b"1.0").wants_trailers
    assert not head(upgrade=True).wants_trailers


def test_a_head_that_other_connections_may_share_cannot_be_changed():
    head = ResponseHead(200, b"", b"1.1", Headers(), BodyKind.NONE, None, keep_alive=True)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        head.status = 404
