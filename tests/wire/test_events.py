import pytest

from trioproxy.wire.events import BodyKind, ResponseHead
from trioproxy.wire.headers import Headers


@pytest.mark.parametrize(("status", "interim"), [(100, True), (101, False), (103, True), (199, True), (200, False)])
def test_a_head_is_interim_when_another_follows(status, interim):
    head = ResponseHead(status, b"", b"1.1", Headers(), BodyKind.NONE, None, keep_alive=True)
    assert head.interim is interim
