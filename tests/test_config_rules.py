import datetime as dt
import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy import config_rules as rules
from trioproxy.config_rules import Unfit, closest, describe, hidden, text

SECONDS = rules.number("a number of seconds", above=0)
SECONDS_OR_NONE = rules.number("a number of seconds")
TOML_VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes() | st.dates() | st.times(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
EVERY_RULE = [
    rules.flag(),
    rules.whole(1),
    SECONDS,
    SECONDS_OR_NONE,
    rules.size(0),
    rules.choice("text", "json"),
    rules.text("anything", len),
    rules.lower(rules.text("anything", len)),
    rules.network(),
    rules.close_code(),
]


def unfit(rule, value):
    with pytest.raises(Unfit) as caught:
        rule.read(value)
    return caught.value


@given(TOML_VALUES, st.sampled_from(EVERY_RULE))
def test_a_value_fits_or_is_unfit_and_nothing_else(value, rule):
    with suppress(Unfit):
        rule.read(value)


@given(TOML_VALUES)
def test_any_value_is_described_in_printable_words(value):
    assert describe(value).isprintable()


def test_a_flag_is_true_or_false_alone():
    assert rules.flag().read(True) is True
    assert unfit(rules.flag(), "false").got == '"false"'
    unfit(rules.flag(), 1)


@pytest.mark.parametrize("value", [True, "3", 3.0, -1, 2**31, None, [], {}])
def test_a_whole_number_is_not_coerced_and_bounded(value):
    unfit(rules.whole(0), value)


def test_a_whole_number_names_the_bound_that_matters():
    assert rules.whole(1, 3).read(3) == 3
    assert unfit(rules.whole(1), 0).expected == "a whole number, 1 or more"
    assert unfit(rules.whole(1), 2**40).expected == "a whole number from 1 to 2147483647"
    assert unfit(rules.whole(1, 3), 4).expected == "a whole number from 1 to 3"


def test_seconds_take_whole_numbers_and_become_floats():
    assert type(SECONDS.read(3)) is float
    assert SECONDS_OR_NONE.read(0) == 0.0


@pytest.mark.parametrize("value", [0, 0.0, -1, math.nan, math.inf, -math.inf, True, "3", 10**400, 1e10])
def test_seconds_are_finite_and_above_zero(value):
    unfit(SECONDS, value)


def test_seconds_that_may_be_none_are_not_negative():
    assert unfit(SECONDS_OR_NONE, -0.1).expected == "a number of seconds, 0 or more"


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (0, 0),
        (17, 17),
        ("17", None),
        ("64 KiB", 65536),
        ("64KiB", 65536),
        ("1 MiB", 2**20),
        ("2 GiB", 2**31),
        ("5 B", 5),
    ],
)
def test_sizes_are_whole_numbers_or_strings_with_a_unit(value, size):
    if size is None:
        unfit(rules.size(0), value)
    else:
        assert rules.size(0).read(value) == size


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("64 KB", '"64 KiB"'),
        ("64k", '"64 KiB"'),
        (" 1 mb", '"1 MiB"'),
        ("17", '"17 B"'),
        ("1.5 MiB", None),
        ("x", None),
    ],
)
def test_a_size_with_a_wrong_unit_is_guessed(value, meant):
    assert unfit(rules.size(0), value).meant == meant


@pytest.mark.parametrize("value", [True, 1.5, -1, 2**63, "9999999999999999999 GiB", "1 KiB"])
def test_sizes_are_bounded(value):
    unfit(rules.size(2000), value)


def test_a_choice_suggests_the_nearest_word():
    rule = rules.choice("round-robin", "least-connections", "hash")
    assert rule.read("hash") == "hash"
    assert unfit(rule, "round_robin").meant == '"round-robin"'
    assert unfit(rule, "zzz").meant is None
    assert unfit(rule, 3).expected == '"round-robin", "least-connections" or "hash"'


def test_what_may_be_secret_is_wrong_without_being_shown():
    rule = hidden(text("no blanks", lambda value: " " not in value))
    assert rule.read("fine") == "fine"
    for value, words in (("my secret", "something else (9 characters, not shown)"), (3, "3")):
        with pytest.raises(Unfit) as raised:
            rule.read(value)
        assert (raised.value.expected, raised.value.got) == ("no blanks", words)


def test_text_fits_and_may_be_empty_where_allowed():
    assert rules.text("x", str.isdigit).read("12") == "12"
    unfit(rules.text("x", str.isdigit), "")
    assert rules.text("x", str.isdigit, empty=True).read("") == ""
    unfit(rules.text("x", str.isdigit), 12)


def test_lower_reads_in_lower_case():
    assert rules.lower(rules.text("x", len)).read("ExAmple") == "example"


def test_networks_are_cidr_or_an_address():
    rule = rules.network()
    assert rule.read("10.0.0.0/8") == "10.0.0.0/8"
    assert rule.read("::1") == "::1"
    assert rule.read("unix:") == "unix:"
    unfit(rule, "unix:/run/x")
    assert unfit(rule, "10.0.0.1/8").meant == '"10.0.0.0/8"'
    unfit(rule, "10.0.0.0/33")
    unfit(rule, 10)


@pytest.mark.parametrize("value", [1005, 1006, 1015, 1004, 999, 5000, True, "1001", 1001.0])
@pytest.mark.rule("close-codes")
def test_close_codes_that_may_not_be_sent(value):
    unfit(rules.close_code(), value)


def test_close_codes_that_may_be_sent():
    assert [rules.close_code().read(code) for code in (1000, 1012, 3000, 4999)] == [1000, 1012, 3000, 4999]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "true"),
        (3, "3"),
        (1.5, "1.5"),
        (math.nan, "nan"),
        (int("9" * 30), "a huge number"),
        ('a"b', '"a\\"b"'),
        ("ä", '"ä"'),
        ("a\nb\x7f", '"a\\nb\\u007f"'),
        ("x" * 100, '"' + "x" * 55 + '..."'),
        ([], "an empty list"),
        ([1], "a list"),
        ({}, "a table"),
        (dt.date(2024, 1, 1), "a date or time"),
    ],
)
def test_a_value_in_a_few_words(value, words):
    assert describe(value) == words


def test_a_control_character_is_never_shown_as_it_is():
    assert describe("\x1b[31m\x7f\x9b").isprintable()


def test_the_closest_word_ignores_case():
    assert closest("Liseners", ["listeners", "routes"]) == "listeners"
    assert closest("xyz", ["listeners"]) is None
