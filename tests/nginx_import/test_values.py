import pytest

from trioproxy.nginx_import import values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60", 60),
        ("90s", 90),
        ("1m30s", 90),
        ("1h 5m", 3900),
        ("500ms", 0.5),
        ("7d", 604800),
        ("1w", 604800),
        ("1M", 2592000),
        ("1y", 31536000),
        ("0", 0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5h", None),
        ("$t", None),
    ],
)
def test_times_are_read_as_nginx_does(text, seconds):
    assert values.seconds(text) == seconds


@pytest.mark.parametrize(
    ("text", "octets"),
    [("100", 100), ("64k", 65536), ("10M", 10485760), ("1g", 1073741824), ("", None), ("10mb", None), ("-1", None)],
)
def test_sizes_are_read_as_nginx_does(text, octets):
    assert values.size(text) == octets


@pytest.mark.parametrize(
    ("text", "number"), [("3", 3), ("0", 0), ("-3", None), ("3x", None), ("", None), ("9" * 12, None)]
)
def test_counts_have_no_sign_and_no_unit(text, number):
    assert values.whole(text) == number


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a.test", ("a.test", None)),
        ("a.test:80", ("a.test", 80)),
        ("[::1]", ("[::1]", None)),
        ("[::1]:80", ("[::1]", 80)),
        ("a:b", ("a:b", None)),
    ],
)
def test_addresses_are_split(text, parts):
    assert values.split_address(text) == parts


@pytest.mark.parametrize(("text", "does"), [("10.0.0.1", True), ("a:80", True), ("unix:/x", True), ("server", False)])
def test_what_can_only_be_a_server_looks_like_one(text, does):
    assert values.looks_like_address(text) is does


def test_variables_are_found_and_replaced():
    assert values.variables("$host:${server_port}x$1") == ["host", "server_port", "1"]
    assert values.substitute("${scheme}://$host$uri", {"scheme": "http", "host": "a"}) == "http://a$uri"


@pytest.mark.parametrize(
    ("octets", "words"), [(1024, "1 KiB"), (1048576, "1 MiB"), (2**31, "2 GiB"), (1000, 1000), (0, 0)]
)
def test_sizes_are_written_as_the_configuration_likes_them(octets, words):
    assert values.size_words(octets) == words


@pytest.mark.parametrize(("value", "number"), [(60.0, 60), (0.5, 0.5), (0.1 + 0.2, 0.3)])
def test_numbers_have_decimals_only_where_they_need_them(value, number):
    assert values.number(value) == number and isinstance(values.number(value), type(number))
