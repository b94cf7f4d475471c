from collections.abc import Mapping

import pytest
from cattrs import BaseValidationError, transform_error

from trioproxy.config import Config, PoolConfig, RouteConfig, Seconds, UpstreamConfig
from trioproxy.config_converter import StandIn, make_converter, origin_of, rule_of
from trioproxy.config_rules import Unfit

CONVERTER = make_converter("/etc/trioproxy")
MINIMAL = {
    "listeners": [{"address": "127.0.0.1:80"}],
    "routes": [{"path": "/", "pool": "p"}],
    "pools": {"p": {"upstreams": ["localhost:3000"]}},
}


def with_listener(**settings):
    return {**MINIMAL, "listeners": [{"address": "127.0.0.1:80", **settings}]}


def with_route(**settings):
    return {**MINIMAL, "routes": [{"path": "/", "pool": "p", **settings}]}


def unfit(raw):
    """The one leaf in cattrs' tree of errors."""
    with pytest.raises(BaseValidationError) as caught:
        CONVERTER.structure(raw, Config)
    error = caught.value
    while isinstance(error, BaseValidationError):
        (error,) = error.exceptions
    assert isinstance(error, Unfit)
    return error


def test_the_smallest_configuration_is_read():
    config = CONVERTER.structure(MINIMAL, Config)
    assert config.pools == {"p": PoolConfig(name="p", upstreams=(UpstreamConfig(address="localhost:3000"),))}
    assert config.routes == (RouteConfig(path="/", pool="p"),)


@pytest.mark.parametrize(
    "raw",
    [
        {**MINIMAL, "timeouts": {"head": "3"}},
        {**MINIMAL, "timeouts": {"head": True}},
        {**MINIMAL, "limits": {"max_headers": True}},
        {**MINIMAL, "limits": {"max_headers": 1.0}},
        {**MINIMAL, "log": {"access": "true"}},
        {**MINIMAL, "log": {"access": 1}},
        {**MINIMAL, "log": {"format": ["text"]}},
        with_route(listeners="public"),
        with_route(listeners={"public": 1}),
        with_route(set_headers=["X"]),
        with_route(set_headers={"X": 1}),
        with_route(host=3),
        with_route(timeouts=3),
        with_listener(tls="cert.pem"),
        {**MINIMAL, "pools": {"p": []}},
        {**MINIMAL, "pools": {"p": {"upstreams": "localhost:3000"}}},
        {**MINIMAL, "pools": {"p": {"upstreams": [3]}}},
    ],
)
def test_nothing_is_coerced(raw):
    unfit(raw)


def test_hosts_are_one_name_or_a_list():
    assert CONVERTER.structure(with_route(host="A.example"), Config).routes[0].host == ("a.example",)
    assert CONVERTER.structure(with_route(host=["a", "*.b"]), Config).routes[0].host == ("a", "*.b")
    assert unfit(with_route(host=3)).expected == "a name or a list of names"


def test_a_pool_has_no_key_called_name():
    with pytest.raises(BaseValidationError) as caught:
        CONVERTER.structure({**MINIMAL, "pools": {"p": {"name": "q"}}}, Config)
    assert "name" in str(transform_error(caught.value))


def test_paths_are_relative_to_the_file():
    raw = with_listener(address="unix:run/../x.sock", tls={"certificate": "cert.pem", "key": "/key.pem"})
    listener = CONVERTER.structure(raw, Config).listeners[0]
    assert listener.address == "unix:/etc/trioproxy/x.sock"
    assert (listener.tls.certificate, listener.tls.key, listener.tls.client_ca) == (
        "/etc/trioproxy/cert.pem",
        "/key.pem",
        "",
    )


def test_a_socket_path_that_becomes_too_long_is_refused():
    assert "short enough" in unfit(with_listener(address="unix:" + "x" * 100)).expected


def test_stand_ins_pass_every_rule():
    stand_in = StandIn("anything")
    assert CONVERTER.structure(with_listener(address=stand_in), Config).listeners[0].address is stand_in


def test_types_tell_their_rules_and_origins():
    assert rule_of(Seconds).expected == "a number of seconds above 0"
    assert rule_of(int) is None
    assert origin_of(Mapping[str, int]) is Mapping
    assert origin_of(int) is None
