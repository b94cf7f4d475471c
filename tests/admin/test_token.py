"""The token as it stands in its file, and as requests carry it."""

from __future__ import annotations

import pytest

from trioproxy.admin.token import Token, read_token, token_matches


@pytest.mark.parametrize(
    ("authorization", "matches"),
    [
        ("Bearer secret", True),
        ("bearer secret", True),
        ("Bearer  secret ", True),
        ("Bearer secret2", False),
        ("Bearer secre", False),
        ("Bearer ", False),
        ("Bearer", False),
        ("Basic secret", False),
        ("secret", False),
        ("", False),
        ("Bearer s\xe9cret", False),
    ],
)
def test_the_token_has_to_be_the_very_one(authorization, matches):
    assert token_matches(authorization, b"secret") is matches


def test_a_token_is_read_without_its_newline(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    assert read_token(str(tmp_path / "token")) == b"secret"


def test_without_a_file_there_is_no_token():
    assert read_token("") is None


def test_an_empty_file_is_no_token(tmp_path):
    (tmp_path / "token").write_text(" \n")
    with pytest.raises(ValueError, match="no token"):
        read_token(str(tmp_path / "token"))


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(OSError, match="token"):
        read_token(str(tmp_path / "token"))


def test_without_a_token_everybody_is_admitted():
    assert Token(None).admits("") and Token(b"secret").admits("Bearer secret") and not Token(b"secret").admits("")
