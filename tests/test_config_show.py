import tomllib
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioproxy.config import (
    DOC,
    AdminConfig,
    Config,
    HealthConfig,
    ListenerConfig,
    ListenerTlsConfig,
    LogConfig,
    PoolConfig,
    RouteConfig,
    TimeoutsConfig,
    UpstreamConfig,
    WebSocketConfig,
)
from trioproxy.config_file import load_config, parse_config
from trioproxy.config_show import show_config

EXAMPLE = Path(__file__).parent.with_name("config.toml")
FULL = Config(
    admin=AdminConfig(address="0.0.0.0:9464", hosts=("a", "b:1"), token_file="/to ken", ready_pools=("x.y",)),
    log=LogConfig(format="json", file='/var/log/"\\ä\x7f\n.log'),
    timeouts=TimeoutsConfig(head=0.1, close=1e-07, connect=1 / 3),
    listeners=(ListenerConfig(address="[::]:80", tls=ListenerTlsConfig(certificate="/c.pem", key="/k.pem")), ListenerConfig(address="unix:/x", name="local", trusted_proxies=("::/0",))),
    routes=(
        RouteConfig(host=("*.a",), path="/", pool="x.y", set_headers={"X-Env": 'p"\\', "X!": ""}, replace_prefix="/b"),
        RouteConfig(
            path="/c",
            exact=True,
            listeners=("local",),
            pool="b",
            timeouts=TimeoutsConfig(head=9.0),
            websocket=WebSocketConfig(strict=False),
        ),
    ),
    pools={
        "x.y": PoolConfig(name="x.y", upstreams=(UpstreamConfig(address="a:1", weight=3, backup=True),)),
        "b": PoolConfig(
            name="b",
            upstreams=(UpstreamConfig(address="unix:/y"), UpstreamConfig(address="c:1")),
            health=HealthConfig(probe="http", headers={"X": "1"}, expect=()),
            retry_on=(),
        ),
    },
)  # fmt: skip


@pytest.mark.parametrize("config", [load_config(EXAMPLE), FULL], ids=["example", "full"])
def test_what_is_shown_loads_again_to_an_equal_configuration(config):
    assert parse_config(show_config(config), "/etc/trioproxy/config.toml") == config


def test_every_setting_is_shown_with_its_sentence():
    shown = show_config(FULL)
    for field in attrs.fields(HealthConfig):
        assert f"{field.name} = " in shown
        assert f"  # {field.metadata[DOC]}" in shown


def test_the_global_settings_of_a_route_are_its_own():
    route = tomllib.loads(show_config(FULL))["routes"][1]
    assert route["timeouts"]["head"] == 9
    assert route["websocket"]["strict"] is False


def test_a_table_within_a_line_stays_there():
    tls = ListenerTlsConfig(certificate="c.pem", key="k.pem")
    shown = show_config(attrs.evolve(FULL, listeners=(ListenerConfig(address="a:1", tls=tls),)))
    assert 'tls = { certificate = "c.pem", key = "k.pem", client_ca = "" }' in shown


@given(
    st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda name: name.isprintable() and name != "none"),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
    st.floats(min_value=0, max_value=1e9, exclude_min=True),
)
def test_any_text_and_number_survives(name, file, seconds):
    listener = attrs.evolve(FULL.listeners[0], name=name)
    config = Config(
        log=LogConfig(file=file),
        timeouts=TimeoutsConfig(head=seconds),
        listeners=(listener,),
        routes=(RouteConfig(path="/", pool="b", timeouts=TimeoutsConfig(head=seconds)),),
        pools={"b": FULL.pools["b"]},
    )
    shown = tomllib.loads(show_config(config))
    assert shown["listeners"][0]["name"] == name
    assert shown["log"]["file"] == file
    assert shown["timeouts"]["head"] == seconds
