"""A WebSocket load balancer on Trio that knows the frames it relays.

The words, used everywhere in this sense: a *client* is whoever connects to a *listener*; an *upstream* is one server
behind the proxy, a *pool* a named set of them with one balancing policy; a *route* leads from host and path to a pool;
a *head* is start line and fields of a request or response; a *tunnel* is an upgraded client/upstream pair with two
*directions*; a *lease* is a counted claim of one request or tunnel on an upstream; an *ending* says who ended a
connection, in which phase, why; to *drain* is to take no new work and let the old end.

The map, from the outside in; imports go downwards only:

    cli, demo           commands
    lifecycle           signals, the service manager, the process before and after   (handover: how they meet)
    supervisor          several worker processes as one proxy   (slots, sharing: their places and sockets; worker: one)
    server              which nursery owns what; starting and draining   (binding: addresses, certificates)
    control             what operators may see and command   (drains, injections, status, sampling, live: how)
    reloading           another configuration for the running proxy   (changes: what differs; reloader: from the file)
    listening, admin    clients accepted; operators answered
    connection          the story of one client connection   (arrival: what comes before its first request)
    forward, upgrade    a plain exchange; a WebSocket handshake   (answer: an upstream's answer on its way back)
    dialing             pick, lease, connect, perhaps another upstream
    relay               bytes of open tunnels: `pump` on Linux, `streams` anywhere, `tunnel` decides for both
    prober, resolver    health and addresses of upstreams, in the background
    upstreams, metrics, logs, transport, accepting, streaming, waits, systemd
    sockets, readiness  what connections are made of, and how those used again and again wait
    tls                 what goes over them encrypted   (certificates: all of a configuration, read together)
    nginx_import        an nginx file as a configuration, for the command of that name
    balancing, health, routing, rewriting, board, config_file     pure, or nearly
    wire, config, errors                                          pure

As a library:

    async with trioproxy.serve(trioproxy.load_config("config.toml")) as proxy:
        print(proxy.listeners[0].address)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trioproxy._version import __version__
from trioproxy.config import Config
from trioproxy.config_file import ConfigError, load_config

if TYPE_CHECKING:
    from trioproxy.server import Proxy, serve

__all__ = ["Config", "ConfigError", "Proxy", "__version__", "load_config", "serve"]


def __getattr__(name: str) -> Any:
    # The proxy itself is imported when it is asked for: checking a file needs none of it.
    if name in {"Proxy", "serve"}:
        from trioproxy import server  # noqa: PLC0415

        return getattr(server, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
