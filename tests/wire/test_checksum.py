"""CRC-32C is that of the RFC, and not another one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.proxy_headers import checksum

from trioproxy.wire.checksum import crc32c


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),  # RFC 3720 §B.4, and the next two
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_the_checksum_is_that_of_the_rfc(data, found):
    assert crc32c(data) == found == checksum(data)


@given(st.binary(max_size=300))
def test_the_table_is_as_good_as_one_bit_after_the_other(data):
    assert crc32c(data) == checksum(data)
