import inspect
import re

import attrs
import pytest

from trioproxy import config as module
from trioproxy.config import (
    DOC,
    LATER,
    Config,
    ListenerConfig,
    PoolConfig,
    RouteConfig,
    TimeoutsConfig,
    UpstreamConfig,
)
from trioproxy.config_converter import rule_of

CLASSES = [
    item
    for _, item in inspect.getmembers(module, inspect.isclass)
    if attrs.has(item) and item.__module__ == module.__name__
]
FIELDS = [pytest.param(cls, field, id=f"{cls.__name__}.{field.name}") for cls in CLASSES for field in attrs.fields(cls)]


def test_only_what_has_no_default_must_be_given():
    config = Config(
        listeners=(ListenerConfig(address="127.0.0.1:8080"),),
        routes=(RouteConfig(path="/ws", pool="backend"),),
        pools={"backend": PoolConfig(name="backend", upstreams=(UpstreamConfig(address="127.0.0.1:3000"),))},
    )
    assert config.listeners[0].name == "127.0.0.1:8080"
    assert config.routes[0].name == "/ws"
    assert config.timeouts == config.routes[0].timeouts == TimeoutsConfig()
    assert config.pools["backend"].health.interval == 2.0


def test_a_route_is_called_by_its_hosts_and_path_unless_it_has_a_name():
    assert RouteConfig(host=("a.example", "b.example"), path="/ws", pool="p").name == "a.example,b.example/ws"
    assert RouteConfig(path="/ws", pool="p", name="chat").name == "chat"


def test_settings_are_values_that_can_be_compared_hashed_and_not_changed():
    one, other = (RouteConfig(path="/", pool="p", set_headers={"X": "1"}) for _ in range(2))
    assert one == other and hash(one) == hash(other)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        one.pool = "q"  # type: ignore[misc]


def test_lists_are_made_ready_once_and_for_as_long_as_the_configuration_they_stand_in():
    listener = ListenerConfig(address="127.0.0.1:0", deny=("192.0.2.0/24",), trusted_proxies=("10.0.0.1",))
    assert listener.admission is listener.admission and not listener.admission.admits("192.0.2.1")
    assert listener.trusted is listener.trusted and "10.0.0.1" in listener.trusted
    assert attrs.evolve(listener, deny=()).admission is None
    route = RouteConfig(path="/", pool="p", allow=("192.0.2.0/24",), allowed_origins=("https://a.test",))
    assert route.admission is route.admission and not route.admission.admits("198.51.100.1")
    assert route.origins is route.origins and b"https://a.test:443" in route.origins


@pytest.mark.parametrize(("cls", "field"), FIELDS)
def test_every_setting_has_a_sentence(cls, field):
    assert re.search(r"\.$", field.metadata[DOC])


def has_scalar_default(case):
    _, field = case.values
    return rule_of(field.type) is not None and isinstance(field.default, str | int | float)


@pytest.mark.parametrize(("cls", "field"), list(filter(has_scalar_default, FIELDS)))
def test_every_scalar_default_keeps_its_own_rule(cls, field):
    assert rule_of(field.type).read(field.default) == field.default


@pytest.mark.parametrize(("cls", "field"), FIELDS)
def test_what_is_not_built_yet_is_off_by_default(cls, field):
    later = field.metadata.get(LATER, False)
    assert later in {True, False} or field.default not in later
