"""`server` of an `upstream` block: an upstream of a pool, and what it says of failures for the whole pool.

How the block's servers are balanced is `pools`' work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trioproxy.config_syntax import canonical
from trioproxy.nginx_import.document import Item
from trioproxy.nginx_import.notes import Meaning
from trioproxy.nginx_import.statements import named
from trioproxy.nginx_import.values import looks_like_address, number, seconds, split_address, whole

if TYPE_CHECKING:
    from trioproxy.nginx_import.document import Scalar, Table
    from trioproxy.nginx_import.notes import Notes
    from trioproxy.nginx_import.statements import Statement

_WINDOW: Final = 10.0  # nginx's fail_timeout
_ODD: Final = {
    "resolve": "",  # names are always resolved again
    "slow_start": "see slow_start of the pool",
    "drain": "see the drain command",
    "service": "see discover of the pool",
    "route": "see sticky_cookie of the pool",
}
_FLAGS: Final = frozenset({"backup", "down", "resolve", "drain"})


@attrs.define(eq=False)
class Member:
    """One server, its parameters read."""

    statement: Statement
    address: str
    weight: int = 1
    max_connections: int = 0
    backup: bool = False
    down: bool = False
    max_fails: int | None = None
    fail_timeout: float | None = None

    @property
    def item(self) -> Item:
        """As it stands in `upstreams`."""
        settings: dict[str, Scalar] = {"address": self.address}
        if self.weight != 1:
            settings["weight"] = self.weight
        if self.max_connections:
            settings["max_connections"] = self.max_connections
        if self.backup:
            settings["backup"] = True
        return Item(settings if len(settings) > 1 else self.address, self.statement)


def read_servers(upstream: Statement, table: Table, notes: Notes) -> list[Member]:
    """The block's servers that are not down, in order, each once; `table` gets what they say of failures."""
    members: dict[str, Member] = {}
    for statement in named(upstream.inner, "server"):
        member = _member(statement, notes)
        if member is None:
            continue
        if member.down:
            notes.harmless(statement, "it is marked down, so it is left out")
        elif (earlier := members.get(canonical(member.address))) is not None:
            earlier.weight += member.weight
            notes.converted(statement)
            said = f"{member.address} stands here twice: its weights are added"
            notes.difference(statement, Meaning.BALANCE, said)
        else:
            members[canonical(member.address)] = member
            notes.converted(statement)
    _passive(list(members.values()), table, notes)
    return list(members.values())


def check_servers(upstream: Statement, notes: Notes) -> None:
    """Note what nginx refuses: servers without the word `server`, or none at all."""
    for statement in upstream.inner:
        if looks_like_address(statement.name):
            notes.mistake(statement, f'servers of an upstream are listed as "server {statement};"')
    if not named(upstream.inner, "server") and not any(looks_like_address(each.name) for each in upstream.inner):
        notes.mistake(upstream, f"upstream {upstream.value} has no servers")


def with_port(address: str, default: int = 80) -> str:
    """The address with its port, as trioproxy wants it."""
    if address.startswith("unix:") or split_address(address)[1] is not None:
        return address
    return f"{address}:{default}"


def _member(statement: Statement, notes: Notes) -> Member | None:
    if not statement.args or statement.block is not None:
        return None  # `checking` has said what is wrong
    member = Member(statement, with_port(statement.value))
    for parameter in statement.args[1:]:
        name, equals, value = parameter.partition("=")
        if name in _ODD and bool(equals) != (name in _FLAGS):
            if _ODD[name]:
                notes.left_over(statement, f"{parameter}: {_ODD[name]}")
        elif not _read_parameter(member, name, value if equals else None):
            notes.mistake(statement, f'{statement}: invalid parameter "{parameter}"')
    return member


def _read_parameter(member: Member, name: str, value: str | None) -> bool:
    """Whether this is a parameter with a value nginx takes."""
    if value is None:
        member.backup |= name == "backup"
        member.down |= name == "down"
        return name in _FLAGS
    count = whole(value)
    match name:
        case "weight" if count:
            member.weight = count
        case "max_conns" if count is not None:
            member.max_connections = count
        case "max_fails" if count is not None:
            member.max_fails = count
        case "fail_timeout" if seconds(value) is not None:
            member.fail_timeout = seconds(value)
        case _:
            return False
    return True


def _passive(members: list[Member], table: Table, notes: Notes) -> None:
    """max_fails and fail_timeout: of the whole pool here, so that the first server that says something counts."""
    saying = [each for each in members if each.max_fails is not None or each.fail_timeout is not None]
    if not saying:
        return
    first = saying[0]
    failures = 1 if first.max_fails is None else first.max_fails
    window = _WINDOW if first.fail_timeout is None else first.fail_timeout
    if not window:
        failures = 0  # nginx takes a server back at once then
    for other in members:
        same = (other.max_fails, other.fail_timeout) == (first.max_fails, first.fail_timeout)
        if not same:
            said = "max_fails and fail_timeout are the whole pool's here: those of the first server that has some"
            notes.difference(other.statement, Meaning.SHARED, said)
    if failures:
        said = "here it is out for twice as long each time, up to 300 s, and never more than half of the pool is"
        notes.difference(first.statement, Meaning.PASSIVE, said)
        also = tuple(each.statement for each in saying[1:])
        table.add("max_failures", failures, first.statement, essential=True, also=also)
        for key in ("window", "eject"):
            table.add(key, number(window), first.statement, essential=True)
