import re
import tomllib
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzz import examples

from trioproxy import config as module
from trioproxy.config import LATER, Config, UpstreamConfig
from trioproxy.config_file import ConfigError, key_path, load_config, parse_config

EXAMPLE = Path(__file__).parent.with_name("config.toml")
EXAMPLE_TEXT = EXAMPLE.read_text("utf-8")
MINIMAL = """
[[listeners]]
address = "0.0.0.0:8080"

[[routes]]
path = "/"
pool = "backend"

[pools.backend]
upstreams = ["localhost:3000"]
"""
MISTAKES = """\
[admin]
chaos = 1
[timeouts]
heed = 3
connect = "3"
[[listeners]]
address = "0.0.0.0:80800"
[[routes]]
path = "websocket"
pool = "bakend"
set_headers = { "X-Env" = "a\\nb" }
[pools.backend]
balance = "round_robin"
upstreams = [
  "192.168.3.1:3000",

  { address = "192.168.3.2:300", weight = 0 },
]
[pools.backend.health]
timeout = 3
on_down = "close"
"""


def problems_of(text):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "config.toml")
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_the_smallest_file_is_ten_lines():
    config = parse_config(MINIMAL, "config.toml")
    assert config.pools["backend"].upstreams == (UpstreamConfig(address="localhost:3000"),)
    assert len(MINIMAL.strip().splitlines()) <= 10


def test_every_problem_is_shown_at_once_in_the_order_of_lines():
    assert problems_of(MISTAKES) == [
        "config.toml:2: admin.chaos: expected true or false, got 1",
        "config.toml:4: timeouts.heed: expected a key this table has, got an unknown one (did you mean head?)",
        'config.toml:5: timeouts.connect: expected a number of seconds above 0, got "3"',
        (
            "config.toml:7: listeners[0].address: expected host:port, [ipv6]:port, unix:/path or fd:NAME, ports 0 to 65535, "
            'got "0.0.0.0:80800"'
        ),
        (
            'config.toml:9: routes[0].path: expected a path that starts with "/", without query, blanks or dot segments, '
            'got "websocket"'
        ),
        (
            'config.toml:10: routes[0].pool: expected a pool of this file, got "bakend", which no one defines '
            '(did you mean "backend"?)'
        ),
        (
            "config.toml:11: routes[0].set_headers.X-Env: expected a header field value: no control characters, no blanks "
            "around it, got something else (3 characters, not shown)"
        ),
        (
            'config.toml:13: pools.backend.balance: expected "round-robin", "least-connections", "random-two" or "hash", '
            'got "round_robin" (did you mean "round-robin"?)'
        ),
        "config.toml:17: pools.backend.upstreams[1].weight: expected a whole number, 1 or more, got 0",
        "config.toml:20: pools.backend.health.timeout: expected at most health.interval (2), got 3",
        "config.toml:21: pools.backend.health.on_down: not yet supported",
    ]


def test_an_empty_file_lacks_listeners_routes_and_pools():
    assert problems_of("") == [
        f"config.toml:1: {key}: expected at least one, got nothing" for key in ("listeners", "routes", "pools")
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = 1\nb = \n", "config.toml:2: not valid TOML: Invalid value (column 5)"),
        ("a = 1\n\n[b", "config.toml:3: not valid TOML: Expected ']' at the end of a table declaration (end of file)"),
        ("a = 1\na = 2\n", "config.toml:2: not valid TOML: Cannot overwrite a value (column 6)"),
        ("a = " + "[" * 100_000, "config.toml:1: expected less nesting, got more than can be read"),
    ],
)
def test_a_syntax_error_is_one_problem_with_its_line(text, problem):
    assert problems_of(text) == [problem]


@pytest.mark.parametrize("item", ["[", "{ a = "])
def test_nesting_of_any_depth_is_one_problem(item):
    for depth in range(100, 1000, 50):
        close = {"[": "]", "{ a = ": "}"}[item]
        assert all(
            problem.startswith("config.toml:1: ") for problem in problems_of(f"a = {item * depth}1{close * depth}")
        )


def test_a_number_of_thousands_of_digits_is_one_problem():
    (problem,) = problems_of("a = " + "9" * 5000)
    assert problem.startswith("config.toml:1: not valid TOML: ")


def test_a_file_that_cannot_be_read_is_one_problem(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_config(tmp_path / "none.toml")
    assert caught.value.problems == [f"{tmp_path}/none.toml: cannot be read: No such file or directory"]
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)


def test_a_file_that_is_not_utf_8_is_one_problem(tmp_path):
    file = tmp_path / "config.toml"
    file.write_bytes(b"# a\n# \xfc\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert caught.value.problems == [f"{file}:2: expected UTF-8, got byte 0xfc"]


def test_a_byte_order_mark_does_not_matter(tmp_path):
    file = tmp_path / "config.toml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_config(str(file)) == parse_config(MINIMAL, str(file))


def test_paths_are_relative_to_the_file(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text(MINIMAL.replace("0.0.0.0:8080", "unix:x.sock") + '[log]\nfile = "../a.log"\n')
    config = load_config(file)
    assert config.listeners[0].address == f"unix:{tmp_path}/x.sock"
    assert config.log.file == f"{tmp_path.parent}/a.log"


def test_routes_are_effective():
    config = parse_config("timeouts.head = 7\nroutes = [{ path = '/', pool = 'backend', timeouts = { close = 1 } }]\n"
                          + MINIMAL.replace('[[routes]]\npath = "/"\npool = "backend"', ""), "config.toml")  # fmt: skip
    assert config.routes[0].timeouts == attrs.evolve(config.timeouts, close=1.0)
    assert config.routes[0].timeouts.head == 7.0


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("routes", 0, "pool"), "routes[0].pool"),
        (("pools", "a b", "upstreams", 1), 'pools."a b".upstreams[1]'),
        (("a\nb",), "'a\\nb'"),
        (("",), '""'),
    ],
)
def test_paths_are_written_as_people_write_them(path, words):
    assert key_path(path) == words


def test_the_example_loads_and_has_the_two_upstreams():
    config = load_config(EXAMPLE)
    assert [upstream.address for upstream in config.pools["backend"].upstreams] == [
        "192.168.3.1:3000",
        "192.168.3.2:300",
    ]


def sections():
    """The example's text and values by the class that holds them."""
    raw = tomllib.loads(EXAMPLE_TEXT)
    config = load_config(EXAMPLE)
    names = {
        "server": (raw["server"], config.server),
        "server.drain": (raw["server"]["drain"], config.server.drain),
        **{key: (raw[key], getattr(config, key)) for key in ("admin", "log", "limits", "timeouts", "websocket")},
        "[listeners]": (raw["listeners"][0], config.listeners[0]),
        "[routes]": (raw["routes"][0], config.routes[0]),
        "pools.backend": (raw["pools"]["backend"], config.pools["backend"]),
        "pools.backend.health": (raw["pools"]["backend"]["health"], config.pools["backend"].health),
        "pools.backend.passive": (raw["pools"]["backend"]["passive"], config.pools["backend"].passive),
    }
    bodies = dict(re.findall(r"^\[(.+?)\](?= |$)(.*?)(?=^\[|\Z)", EXAMPLE_TEXT, re.DOTALL | re.MULTILINE))
    for name, (table, value) in names.items():
        for field in attrs.fields(type(value)):
            yield pytest.param(bodies[name], table, value, field, id=f"{name}.{field.name}")


@pytest.mark.parametrize(("body", "table", "value", "field"), list(sections()))
def test_every_setting_stands_in_the_example(body, table, value, field):
    if isinstance(field.default, attrs.Factory) and attrs.has(field.type):
        assert field.name in table or f"# [routes.{field.name}]" in body
    elif field.metadata.get(LATER) is True or field.default is None:
        assert field.name not in table
        assert re.search(rf"^# {field.name} = ", body, re.MULTILINE)
    elif type(value) is module.PoolConfig and field.name == "name":
        assert value.name == "backend"
    else:
        assert field.name in table
        default = (
            field.default.factory()
            if isinstance(field.default, attrs.Factory) and not field.default.takes_self
            else field.default
        )
        own = {"name", "address", "path", "pool", "upstreams"}
        assert field.name in own or getattr(value, field.name) == default


def test_the_settings_not_built_yet_are_shown_at_what_means_off():
    shown = re.findall(r"^# (\w+) = (\S+) .*\(not yet\)$", EXAMPLE_TEXT, re.MULTILINE)
    off = dict(shown)
    for cls in (module.WebSocketConfig, module.ServerConfig, module.PassiveConfig):
        for field in attrs.fields(cls):
            if field.metadata.get(LATER):
                assert float(off[field.name]) == field.default


SNIPPETS = st.sampled_from(
    ["", "=", "[", "]", "[[", "{", "}", '"', "'''", "\n", "#", ",", ".", "-", "0", "true", "nan", "{}", "[]", '""', "name = 3\n",
     "[pools.x]\n", "[[routes]]\n", "\x00", "\\u0000", "é", "1e999", "0x" + "f" * 5000, "2024-01-01"]
)  # fmt: skip


@examples(300)
@given(
    st.lists(
        st.tuples(st.integers(0, len(EXAMPLE_TEXT)), st.integers(0, 60), SNIPPETS | st.text(max_size=5)), max_size=4
    )
)
def test_any_mutation_of_the_example_is_a_config_or_an_error(mutations):
    text = EXAMPLE_TEXT
    for start, length, snippet in mutations:
        text = text[:start] + snippet + text[start + length :]
    assert_config_or_problems(text)


LINES = EXAMPLE_TEXT.splitlines(keepends=True)


@examples(300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(range(len(LINES))), st.sampled_from(["drop", "double", "uncomment", "value"]), SNIPPETS
        ),
        max_size=4,
    )
)
def test_any_change_of_lines_is_a_config_or_an_error(changes):
    lines = list(LINES)
    for at, change, snippet in changes:
        if change == "drop":
            lines[at] = ""
        elif change == "double":
            lines[at] *= 2
        elif change == "uncomment":
            lines[at] = lines[at].removeprefix("# ")
        else:
            lines[at] = re.sub(r"= .*", lambda _, snippet=snippet: f"= {snippet}", lines[at])
    assert_config_or_problems("".join(lines))


def assert_config_or_problems(text):
    try:
        assert isinstance(parse_config(text, "config.toml"), Config)
    except ConfigError as error:
        problems = error.problems
        assert problems
        assert all(re.match(r"config\.toml:[0-9]+: ", problem) and "\n" not in problem for problem in problems)
        numbers = [int(problem.split(":")[1]) for problem in problems]
        assert numbers == sorted(numbers) and numbers[-1] <= text.count("\n") + 1
