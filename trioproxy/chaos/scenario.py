"""Every setting of a scenario file: upstreams, proxy, load, faults, expectations, as frozen values.

Pure. Reading and checking a file is `scenario_file`'s; the faults' own settings stand in `faults`.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import attrs

from trioproxy import config_rules as rules
from trioproxy import config_syntax as syntax
from trioproxy.chaos.expectations import EXPECTATIONS
from trioproxy.chaos.faults import Fault
from trioproxy.config import (
    AdminAddress,
    Count,
    CountOrNone,
    FileOrNone,
    Flag,
    Rate,
    Seconds,
    SecondsOrNone,
    UpstreamAddress,
    setting,
    table,
)


def is_hop_address(address: str) -> bool:
    """Whether a hop can listen there: IPv4, and a port that can be named in a configuration."""
    return not address.startswith(("[", "unix:")) and syntax.is_upstream_address(address)


Text = Annotated[str, rules.text("a string", lambda _: True, empty=True)]
Word = Annotated[str, rules.text("a word of a command", bool)]
Share = Annotated[float, rules.number("a share")]
MessageSize = Annotated[int, rules.size(32)]
HopAddress = Annotated[str, rules.text("host:port, IPv4, such as 127.0.0.1:3001", is_hop_address)]
Path = Annotated[str, rules.text('a path, beginning with "/"', lambda value: value.startswith("/"))]


@attrs.frozen(kw_only=True)
class UpstreamsConfig:
    """[upstreams]: the servers behind the hops. Embedded echo servers, a command of yours, or what runs already."""

    count: Count = setting(2, "How many, where they are started here.")
    command: tuple[Word, ...] = setting(
        (),
        "A server instead of the embedded one; {port} and {number} in it are replaced. Faults reach all its processes.",
    )
    addresses: tuple[UpstreamAddress, ...] = setting((), "Servers that run already and echo; nothing is started then.")
    hops: tuple[HopAddress, ...] = setting(
        (),
        "Where the hops listen, one for each server, for a proxy that runs already to name; empty: anywhere.",
    )

    @property
    def number(self) -> int:
        """How many servers there are."""
        return len(self.addresses) or len(self.hops) or self.count


@attrs.frozen(kw_only=True)
class ProxyConfig:
    """[proxy]: the proxy under test. A trioproxy that is started for the run, or one that runs already."""

    settings: Mapping[str, Any] = table(
        dict,
        "Tables and keys of config.toml, laid over those a run begins with; its admin and its log are the run's.",
    )
    address: AdminAddress = setting("", 'Where clients reach a proxy that runs already; "": one is started.')
    admin: AdminAddress = setting("", 'Where its admin is, if it is a trioproxy; "": nothing is asked of it.')
    token_file: FileOrNone = setting("", "File with the token of its admin.")


@attrs.frozen(kw_only=True)
class LoadConfig:
    """[load]: clients that open tunnels, send numbered messages and check their echoes."""

    clients: Count = setting(10, "How many.")
    ramp: SecondsOrNone = setting(0.5, "Seconds over which they come.")
    arrival: Annotated[str, rules.choice("even", "random", "burst")] = setting(
        "even", 'How they come within it: "even", "random", or in a "burst" at its end.'
    )
    lifetime: SecondsOrNone = setting(0.0, "Seconds a tunnel is kept before its client opens another; 0: to the end.")
    lifetimes: Annotated[str, rules.choice("fixed", "exponential")] = setting(
        "fixed", 'How it varies around that: "fixed" or "exponential".'
    )
    rate: Rate = setting(5.0, "Messages a second of each client.")
    size: MessageSize = setting(64, "Bytes of a message.")
    path: Path = setting("/chaos", "What is asked for.")
    reconnect: Flag = setting(True, "Whether a client whose tunnel ends opens another.")
    pause: SecondsOrNone = setting(0.1, "Seconds it waits before.")
    jitter: Share = setting(0.5, "Up to this part of the pause more, at random.")
    patience: Seconds = setting(5.0, "Seconds for a handshake, and at the end for the last echoes.")


@attrs.frozen(kw_only=True)
class Scenario:
    """A whole file."""

    title: Text = setting("", "What it is about, in a sentence.")
    seed: CountOrNone = setting(1, "Of everything that is left to chance.")
    duration: Seconds = setting(20.0, "Seconds of load.")
    upstreams: UpstreamsConfig = table(UpstreamsConfig, "The servers.")
    proxy: ProxyConfig = table(ProxyConfig, "The proxy.")
    load: LoadConfig = table(LoadConfig, "The clients.")
    faults: tuple[Fault, ...] = table(tuple, "What goes wrong.")
    expect: Mapping[Annotated[str, rules.choice(*EXPECTATIONS)], Annotated[float, rules.number("a number")]] = table(
        dict, "What must hold all the same."
    )

    def stretched(self, factor: float) -> "Scenario":
        """The same with every time of load and timeline multiplied; expectations and the proxy stay."""
        load = attrs.evolve(self.load, ramp=self.load.ramp * factor, lifetime=self.load.lifetime * factor)
        faults = tuple(fault.stretched(factor) for fault in self.faults)
        return attrs.evolve(self, duration=self.duration * factor, load=load, faults=faults)
