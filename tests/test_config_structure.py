import tomllib
from copy import deepcopy
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.config import Config
from trioproxy.config_checks import check
from trioproxy.config_converter import StandIn, make_converter
from trioproxy.config_structure import Problem, inherit, structure

MINIMAL = {
    "listeners": [{"address": "127.0.0.1:80"}],
    "routes": [{"path": "/", "pool": "p"}],
    "pools": {"p": {"upstreams": ["localhost:3000"]}},
}
EXAMPLE = tomllib.loads(Path(__file__).parent.with_name("config.toml").read_text("utf-8"))
ANYTHING = st.recursive(
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.dates()
    | st.sampled_from(["a:1", "/", "p", "x", {}, []]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "address", "path", "pool", "x", "(name)", "timeouts"]), inner, max_size=3
        )
    ),
)


def problems(**changes):
    _, found = structure({**MINIMAL, **changes}, Config, make_converter("/"))
    return [(problem.path, problem.message) for problem in found]


def test_a_good_file_has_no_problems():
    assert problems() == []


def test_unknown_keys_come_with_a_suggestion():
    assert problems(listenrs=[], routes=[{"path": "/", "pool": "p", "Host-Header": 1, "zzz": 1}]) == [
        (("routes", 0, "Host-Header"), "expected a key this table has, got an unknown one (did you mean host_header?)"),
        (("routes", 0, "zzz"), "expected a key this table has, got an unknown one"),
        (("listenrs",), "expected a key this table has, got an unknown one (did you mean listeners?)"),
    ]


def test_missing_keys_say_what_belongs_there():
    assert problems(routes=[{"path": "/"}], pools={}, listeners=[{}]) == [
        (
            ("listeners", 0, "address"),
            "expected host:port, [ipv6]:port, unix:/path or fd:NAME, ports 0 to 65535, got nothing",
        ),
        (("routes", 0, "pool"), 'expected a pool\'s name: letters, digits, "_", "-", ".", not "none", got nothing'),
    ]
    assert structure({}, Config, make_converter("/"))[1] == [
        Problem((key,), "expected at least one, got nothing") for key in ("listeners", "routes", "pools")
    ]


def test_a_problem_within_a_shorthand_is_at_the_shorthand():
    assert [path for path, _ in problems(pools={"p": {"upstreams": ["a:1", "b"]}})] == [("pools", "p", "upstreams", 1)]
    assert [path for path, _ in problems(routes=[{"path": "/", "pool": "p", "host": "a b"}])] == [("routes", 0, "host")]


def test_a_bad_pool_name_is_at_its_table():
    assert [path for path, _ in problems(pools={"a b": {"upstreams": ["a:1"]}})] == [("pools", "a b")]


def test_wrong_values_are_replaced_so_that_the_rest_can_be_checked():
    config, found = structure(
        {
            "timeouts": {"head": "x", "close": 7},
            "listeners": [{"name": "public"}, 3],
            "routes": [{"path": 3, "pool": "p"}],
            "pools": {"p": {"upstreams": ["b", "a:1"]}, "q": 3},
        },
        Config,
        make_converter("/"),
    )
    assert len(found) == 6
    assert (config.timeouts.head, config.timeouts.close) == (10.0, 7.0)
    assert config.listeners[0].name == "public" and len(config.listeners) == 2
    assert isinstance(config.routes[0].path, StandIn) and config.routes[0].pool == "p"
    assert config.pools["p"].upstreams[1].address == "a:1"


def test_the_given_settings_are_left_alone():
    raw = {"routes": 3}
    structure(raw, Config, make_converter("/"))
    assert raw == {"routes": 3}


def test_routes_inherit_key_by_key():
    raw = {
        **MINIMAL,
        "timeouts": {"head": 7, "connect": 8},
        "websocket": {"strict": False},
        "routes": [
            {"path": "/a", "pool": "p", "timeouts": {"connect": 1}},
            {"path": "/b", "pool": "p", "websocket": {"strict": True}},
        ],
    }
    config = inherit(structure(raw, Config, make_converter("/"))[0], raw)
    one, other = config.routes
    assert one.timeouts == attrs.evolve(config.timeouts, connect=1.0)
    assert one.websocket == config.websocket and not one.websocket.strict
    assert other.timeouts == config.timeouts
    assert other.websocket.strict


def test_a_mistake_of_this_program_is_not_taken_for_one_in_the_file(monkeypatch):
    class Broken(dict):
        def items(self):
            raise ZeroDivisionError

        def __deepcopy__(self, memo):
            return self

    with pytest.raises(ZeroDivisionError):
        structure({**MINIMAL, "pools": Broken()}, Config, make_converter("/"))


def places(raw, path=()):
    yield path
    if isinstance(raw, dict | list):
        for step, inner in raw.items() if isinstance(raw, dict) else enumerate(raw):
            yield from places(inner, (*path, step))


PLACES = [path for path in places(EXAMPLE) if path]


@given(st.lists(st.tuples(st.sampled_from(PLACES), ANYTHING | st.none()), min_size=1, max_size=5))
def test_any_change_of_the_example_is_read_to_the_end(changes):
    raw = deepcopy(EXAMPLE)
    for path, value in changes:
        container = raw
        try:
            for step in path[:-1]:
                container = container[step]
            if value is None:
                del container[path[-1]]
            else:
                container[path[-1]] = value
        except (KeyError, IndexError, TypeError):  # an earlier change took the place away
            continue
    config, found = structure(raw, Config, make_converter("/"))
    assert isinstance(config, Config)
    assert all(isinstance(problem, Problem) for problem in check(config, found))
