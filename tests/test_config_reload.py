"""Every setting says when a change of it is heeded, and the reference page says the same."""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path

import attrs
import pytest

from trioproxy import config as module
from trioproxy import config_reload
from trioproxy.config import LATER, Config, ListenerConfig, ServerConfig
from trioproxy.config_reload import _WHEN, Reload, _tables, heeded, reload_page, statements

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "reload.md"
CLASSES = [
    item
    for _, item in inspect.getmembers(module, inspect.isclass)
    if attrs.has(item) and item.__module__ == module.__name__
]


def built(settings):
    """The classes of settings that can be had now."""
    yield settings
    for field in attrs.fields(settings):
        if field.metadata.get(LATER) is not True:
            for table in _tables(field.type):
                yield from built(table)


BUILT = {
    (settings, field.name)
    for settings in built(Config)
    for field in attrs.fields(settings)
    if field.metadata.get(LATER) is not True and not list(_tables(field.type))
}


@pytest.mark.parametrize(("settings", "name"), sorted(BUILT, key=str))
def test_every_setting_has_a_statement(settings, name):
    assert heeded(settings, name) is not None


def test_no_statement_is_of_nothing_or_of_a_table_and_none_has_two():
    stated = [(settings, name) for settings in _WHEN for names in _WHEN[settings].values() for name in names.split()]
    assert len(stated) == len(set(stated))
    assert {settings for settings, _ in stated} <= set(CLASSES)
    for settings, name in stated:
        (field,) = (field for field in attrs.fields(settings) if field.name == name)
        assert not list(_tables(field.type))


def test_a_setting_nobody_speaks_of_has_no_statement():
    assert heeded(ServerConfig, "nothing") is None
    assert heeded(int, "real") is None


def test_what_takes_a_restart_is_what_the_interface_says():
    assert [key for key, when in statements() if when is Reload.RESTART] == [
        "server.workers",
        "server.handover",
        "admin.address",
    ]


def test_keys_are_spelt_as_in_the_file():
    keys = dict(statements())
    assert {"listeners[].address", "routes[].timeouts.close", "pools.NAME.health.probe", "websocket.strict"} <= set(
        keys
    )
    assert "pools.NAME.upstreams[].weight" in keys
    assert heeded(ListenerConfig, "address") is keys["listeners[].address"] is Reload.WAY


def test_the_page_is_printed(capsys):
    runpy.run_path(config_reload.__file__, run_name="__main__")
    assert capsys.readouterr().out == reload_page()


def test_the_page_is_current():
    assert PAGE.read_text() == reload_page(), "run: python -m trioproxy.config_reload > docs/reference/reload.md"
