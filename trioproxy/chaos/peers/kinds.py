"""The kinds of proxies that a scenario can be run against, by their names.

A new one is a module here that has what `proxies.UnderTest` asks for, and a row in the table.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs

from trioproxy._version import __version__
from trioproxy.chaos.faults import VERBS
from trioproxy.chaos.peers import envoy, haproxy, nginx
from trioproxy.chaos.proxies import NO_VERBS, Trioproxy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from trioproxy.chaos.proxies import UnderTest


@attrs.frozen
class Kind:
    """A kind of proxy: how one is made for a run, and what is known of it before."""

    name: str
    make: Callable[[Path, Mapping[str, Any]], UnderTest]  # with a folder of its own and the scenario's settings
    version: Callable[[], str]  # blocks; raises ProxyError where it is not installed
    lacks: Mapping[str, str] = MappingProxyType({})  # faults that it has no means for, and why
    remarks: Callable[[Mapping[str, Any]], Sequence[str]] = lambda _: ()  # what of settings it does not do as asked


_NONE: Final[Mapping[str, str]] = MappingProxyType({fault.name: NO_VERBS for fault in VERBS})
OURS: Final = "trioproxy"
KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind(OURS, Trioproxy, lambda: __version__),
            Kind("nginx", nginx.Nginx, nginx.PROGRAM.version, _NONE, remarks=nginx.nginx_remarks),
            Kind(
                "haproxy", haproxy.HAProxy, haproxy.PROGRAM.version, {**_NONE, **haproxy.LACKS}, haproxy.haproxy_remarks
            ),
            Kind("envoy", envoy.Envoy, envoy.PROGRAM.version, {**_NONE, **envoy.LACKS}, envoy.envoy_remarks),
        )
    }
)
