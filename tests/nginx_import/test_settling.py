import tomllib

import attrs
import pytest

from trioproxy.config import LATER, PoolConfig
from trioproxy.nginx_import.document import Document, Item, Table
from trioproxy.nginx_import.notes import Fate, Kind, Notes
from trioproxy.nginx_import.settling import settle
from trioproxy.nginx_import.statements import Place, Statement


def statement(line, name="x"):
    return Statement(name, (), Place(0, line, "nginx.conf"))


class Sample:
    """A document that can be used, to be spoilt by each test."""

    def __init__(self):
        self.notes = Notes()
        self.listener, self.route, self.pool = (
            Table("[[listeners]]", statement(1)),
            Table("[[routes]]", statement(2)),
            Table("[pools.up]", statement(3)),
        )
        self.listener.add("address", "127.0.0.1:80", statement(11), essential=True)
        self.route.add("path", "/", statement(12), essential=True)
        self.route.add("pool", "up", statement(13), essential=True)
        self.pool.items["upstreams"] = [Item("a:1", statement(14)), Item("b:1", statement(15))]
        self.document = Document([], [self.listener, self.route, self.pool])

    def settle(self):
        usable = settle(self.document, self.notes, "config.toml")
        return usable, [(note.place.line, note.kind, note.message) for note in self.notes.all]

    @property
    def tables(self):
        return tomllib.loads(self.document.text)


@pytest.fixture
def sample():
    return Sample()


def test_what_can_be_used_is_left_alone_and_counted_as_converted(sample):
    before = sample.document.text
    assert sample.settle() == (True, [])
    assert sample.document.text == before
    assert sample.notes.count(Fate.CONVERTED) == 5


def test_a_setting_that_is_refused_is_taken_out_and_noted(sample):
    odd = statement(7)
    sample.route.add("host_header", "literal:a b", odd)
    usable, said = sample.settle()
    assert usable and "host_header" not in sample.tables["routes"][0]
    assert [(line, kind) for line, kind, _ in said] == [(7, Kind.LEFT_OVER)]
    assert said[0][2].startswith('x: host_header: expected "keep"')


def test_what_one_statement_says_goes_together(sample):
    odd = statement(7)
    sample.pool.add("keep_alive", 5, odd)
    sample.pool.add("attempts", 0, odd)
    usable, said = sample.settle()
    assert usable and set(sample.tables["pools"]["up"]) == {"upstreams"} and len(said) == 1


def test_two_problems_of_one_setting_are_one_removal(sample):
    sample.route.add("set_headers", {"Host": "x", "Upgrade": "y"}, statement(7))
    usable, said = sample.settle()
    assert usable and {line for line, _, _ in said} == {7}


def test_one_of_several_values_goes_alone(sample):
    sample.listener.add("trusted_proxies", ["10.0.0.0/8", "everyone", "::1"], statement(7))
    assert sample.settle()[0]
    assert sample.tables["listeners"][0]["trusted_proxies"] == ["10.0.0.0/8", "::1"]


def test_a_server_that_is_refused_goes_alone(sample):
    sample.pool.items["upstreams"].insert(1, Item("c:99999", statement(7)))
    usable, said = sample.settle()
    assert usable and sample.tables["pools"]["up"]["upstreams"] == ["a:1", "b:1"]
    assert [(line, kind) for line, kind, _ in said] == [(7, Kind.LEFT_OVER)]


def test_without_an_essential_setting_its_table_goes_and_what_leads_there(sample):
    other = Table("[[routes]]", statement(4))
    other.add("path", "no slash", statement(7), essential=True)
    other.add("pool", "up", statement(8), essential=True)
    sample.document.tables.append(other)
    usable, said = sample.settle()
    assert usable and len(sample.tables["routes"]) == 1
    assert {line for line, _, _ in said} == {4, 7}


def test_a_pool_without_servers_takes_its_routes_with_it(sample):
    sample.pool.items["upstreams"] = []
    usable, said = sample.settle()
    assert not usable
    assert (3, Kind.LEFT_OVER, "x: nothing of it is left") in said
    assert (2, Kind.LEFT_OVER, "x: what it leads to is left over") in said


def test_an_inner_table_goes_alone(sample):
    inner = Table("[pools.up.health]")
    inner.add("interval", -1, statement(7), essential=True, also=(statement(8),))
    sample.pool.inner.append(inner)
    usable, said = sample.settle()
    assert usable and "health" not in sample.tables["pools"]["up"]
    assert {line for line, _, _ in said} == {7, 8}


def test_what_is_dispensable_is_harmless(sample):
    table = Table("[server]")
    table.add("workers", -1, statement(7), dispensable="one is enough")
    sample.document.tables.insert(0, table)
    assert sample.settle() == (True, [(7, Kind.HARMLESS, "x: one is enough")])


def test_a_setting_of_ours_without_a_source_is_noted_at_its_table(sample):
    sample.route.add("pool", "x y")
    sample.route.settings.pop(1)
    usable, said = sample.settle()
    assert not usable and said[0][0] == 2


def test_what_no_part_is_to_blame_for_cannot_be_settled(sample):
    sample.document.tables = [Table("[pools.up]", statement(3))]
    assert sample.settle() == (False, [])


def test_what_is_not_built_yet_is_what_the_configuration_says():
    later = [field.name for field in attrs.fields(PoolConfig) if field.metadata.get(LATER) is True]
    values = {"slow_start": 5, "queue": 3, "hash": "path"}
    for name, value in values.items():
        sample = Sample()
        sample.pool.add(name, value, statement(7))
        usable, said = sample.settle()
        assert usable
        refused = any(line == 7 and message.endswith("not yet supported") for line, _, message in said)
        assert refused == (name in later)


def test_a_setting_without_any_source_goes_in_silence(sample):
    table = Table("[server]")
    table.add("workers", -1)
    sample.document.tables.append(table)
    assert sample.settle() == (True, [])
