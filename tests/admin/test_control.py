"""What the seam says of names that are not known."""

from __future__ import annotations

from trioproxy.admin import Unknown


def test_what_is_not_known_is_told_with_what_is():
    assert str(Unknown("pool", "chat", ["backend", "other"])) == "no pool 'chat'; there are: backend, other"


def test_where_nothing_is_listed_only_the_name_is_told():
    assert str(Unknown("open tunnel", "5f3a9c-1")) == "no open tunnel '5f3a9c-1'"
