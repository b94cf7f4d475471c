import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.config_lines import line_index, line_of


def test_keys_tables_and_arrays_of_tables():
    index = line_index('a = 1\n\n[t]\nb = "x"\n[[r]]\nc = 1\n[[r]]\n[r.sub]\nd = 2\n[[r.list]]\n[[r.list]]\ne = 1\n')
    assert index == {
        ("a",): 1,
        ("t",): 3,
        ("t", "b"): 4,
        ("r",): 5,
        ("r", 0): 5,
        ("r", 0, "c"): 6,
        ("r", 1): 7,
        ("r", 1, "sub"): 8,
        ("r", 1, "sub", "d"): 9,
        ("r", 1, "list"): 10,
        ("r", 1, "list", 0): 10,
        ("r", 1, "list", 1): 11,
        ("r", 1, "list", 1, "e"): 12,
    }


def test_dotted_and_quoted_keys():
    index = line_index('a.b . "c d" = 1\n\'x.y\'."\\u00e4\\"" = 2\n[ p . "q r" ]\n3.14 = 1\n')
    assert index[("a", "b", "c d")] == index[("a", "b")] == 1
    assert index[("x.y", 'ä"')] == 2
    assert index[("p", "q r", "3", "14")] == 4


def test_inline_tables_and_lists_over_several_lines():
    text = """upstreams = [ # a comment with ] and "
  "a:1", # another, with , in it

  { address = "b:2", weight = 0, deep = { x = [ 1,
    2 ] } },
  [],
  {},
]
next = 1
"""
    index = line_index(text)
    assert index[("upstreams", 0)] == 2
    assert index[("upstreams", 1, "weight")] == 4
    assert index[("upstreams", 1, "deep", "x", 0)] == 4
    assert index[("upstreams", 1, "deep", "x", 1)] == 5
    assert index[("upstreams", 2)] == 6 and index[("upstreams", 3)] == 7
    assert index[("next",)] == 9


@pytest.mark.parametrize(
    "value",
    [
        '"""\n[no]\nx = 1\n"""',
        "'''\n# \"\"\"\n'''",
        '"""a\\"""\n b"""""',
        "'''\na'''''",
        '"\\"]#"',
        "'\\'",
        '""',
        "1979-05-27 07:32:00 # x = 1",
        "-inf",
        "[\"\"\"\n]\"\"\", '''\n}''']",
    ],
)
def test_strings_and_scalars_are_passed_over(value):
    text = f"k = {value}\nnext = 1"
    tomllib.loads(text)
    assert line_index(text)[("next",)] == text.count("\n") + 1


def test_carriage_returns_do_not_count():
    assert line_index("a = 1\r\n[b]\r\nc = 2\r\n")[("b", "c")] == 3


def test_tables_named_before_their_parents_stand_where_they_were_named_first():
    assert line_index("[a.b]\n[a]\nc = 1\n") == {("a",): 1, ("a", "b"): 1, ("a", "c"): 3}


def test_a_path_that_does_not_stand_in_the_text_is_at_its_nearest_parent():
    index = line_index("\n[a]\nb = 1\n")
    assert line_of(index, ("a", "b", 0, "x")) == 3
    assert line_of(index, ("a", "missing")) == 2
    assert line_of(index, ("missing",)) == line_of(index, ()) == 1


def test_an_empty_text_has_no_keys():
    assert line_index("") == line_index("\n# only this") == {}


KEYS = st.sampled_from(["a", "b-1", "_", "3", '"x y"', "'.'", '"\\n#["', '""'])
GAPS = st.lists(st.sampled_from(["", "# [x] = { \" '''", "\t"]), max_size=2)
SCALARS = st.sampled_from(
    ["1", "true", "1.5e3", "2024-01-01", '"]"', "'#'", '"""\n[x]\ny = 1\n"""', "'''\n\n'''", '"\\\\"']
)


def unquoted(key):
    return next(iter(tomllib.loads(f"{key} = 1")))


class Writer:
    """Writes TOML at random and notes the line of each key as it goes."""

    def __init__(self, data):
        self.draw = data.draw
        self.text = ""
        self.index = {}

    def here(self, path):
        self.index.setdefault(path, self.text.count("\n") + 1)

    def gap(self):
        self.text += "\n".join(["", *self.draw(GAPS), ""]) if self.draw(st.booleans()) else "\n"

    def value(self, path, depth=2):
        kind = self.draw(st.sampled_from(["scalar", "list", "table"])) if depth else "scalar"
        if kind == "scalar":
            self.text += self.draw(SCALARS)
        elif kind == "list":
            self.text += "["
            for item in range(self.draw(st.integers(0, 3))):
                self.text += self.draw(st.sampled_from(["", " ", "\n", " # ],\n\n"]))
                self.here((*path, item))
                self.value((*path, item), depth - 1)
                self.text += self.draw(st.sampled_from([",", " ,", "\n,", ", # ]\n"]))
            self.text += "]"
        else:
            keys = self.draw(st.lists(KEYS, unique_by=unquoted, max_size=3))
            self.text += "{"
            for number, key in enumerate(keys):
                self.text += ", " if number else " "
                self.pair(path, key, depth - 1)
            self.text += "}"

    def pair(self, path, key, depth=2):
        path = (*path, unquoted(key))
        self.here(path)
        self.text += f"{key} = "
        self.value(path, depth)

    def pairs(self, path):
        for key in self.draw(st.lists(KEYS, unique_by=unquoted, max_size=3)):
            self.pair(path, key)
            self.gap()


@given(st.data())
def test_any_valid_text_is_indexed_as_it_was_written(data):
    writer = Writer(data)
    writer.pairs(())
    for number in range(data.draw(st.integers(0, 3))):
        key = data.draw(KEYS)
        path = (f"table{number}",)
        if data.draw(st.booleans()):
            for item in range(data.draw(st.integers(1, 3))):
                writer.here(path)
                writer.here((*path, item))
                writer.text += f"[[ table{number}]]"
                writer.gap()
                if data.draw(st.booleans()):
                    inner = (*path, item, "in", unquoted(key))
                    writer.here(inner[:-1])
                    writer.here(inner)
                    writer.text += f"[table{number}.in.{key}]"
                    writer.gap()
                    writer.pairs(inner)
        else:
            writer.here(path)
            writer.here((*path, unquoted(key)))
            writer.text += f"[table{number} . {key}]"
            writer.gap()
            writer.pairs((*path, unquoted(key)))
    tomllib.loads(writer.text)
    assert line_index(writer.text) == writer.index
