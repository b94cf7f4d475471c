"""`allow` and `deny` as the lists of a route: nginx takes the first that fits, trioproxy the smallest network.

What becomes of a location that lets nobody in is `leaving`'s work.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.nginx_import.statements import named

if TYPE_CHECKING:
    from trioproxy.nginx_import.model import Levels
    from trioproxy.nginx_import.notes import Notes
    from trioproxy.nginx_import.statements import Statement

_ALL: Final = ("0.0.0.0/0", "::/0", "unix:")


@attrs.frozen
class Access:
    """The lists of a route, and what they come from."""

    allow: list[str]
    deny: list[str]
    allowing: Statement | None
    denying: Statement | None


def read_access(levels: Levels, notes: Notes) -> Access:
    """The rules of the nearest level that has any; nginx never merges levels. What nginx would refuse is noted."""
    rules = next((found for level in levels.chain if (found := named(level, "allow", "deny"))), [])
    seen: list[IPv4Network | IPv6Network | str] = []
    lists: dict[str, list[str]] = {"allow": [], "deny": []}
    otherwise = ""  # what happens to whom no rule names
    for rule in rules:
        if len(rule.args) != 1:
            notes.mistake(rule, f"expected {rule.name} ADDRESS, CIDR, unix: or all")
            continue
        notes.converted(rule)
        if rule.value == "all":
            otherwise = otherwise or rule.name
        if otherwise:  # nothing behind it is ever asked
            continue
        try:
            network = rule.value if rule.value == "unix:" else ip_network(rule.value, strict=False)
        except ValueError:
            notes.mistake(rule, f'invalid parameter "{rule.value}"')
            continue
        if not any(_covers(earlier, network) for earlier in seen):  # else it is never asked
            seen.append(network)
            lists[rule.name].append(_written(network))
    if otherwise == "deny" and not lists["allow"]:
        lists["deny"] = list(_ALL)
    elif otherwise != "deny" and lists["allow"]:
        # An allowed one is an exception from those that are denied: all others may come, too.
        others = (word for word in _ALL if word not in lists["deny"])
        lists["allow"] = [*lists["allow"], *others] if lists["deny"] else []
    first = {name: next(iter(named(rules, name)), None) for name in lists}
    return Access(lists["allow"], lists["deny"], first["allow"] or first["deny"], first["deny"] or first["allow"])


def _covers(earlier: IPv4Network | IPv6Network | str, network: IPv4Network | IPv6Network | str) -> bool:
    if isinstance(earlier, IPv4Network) and isinstance(network, IPv4Network):
        return network.subnet_of(earlier)
    if isinstance(earlier, IPv6Network) and isinstance(network, IPv6Network):
        return network.subnet_of(earlier)
    return earlier == network


def _written(network: IPv4Network | IPv6Network | str) -> str:
    return str(network).removesuffix("/32" if isinstance(network, IPv4Network) else "/128")
