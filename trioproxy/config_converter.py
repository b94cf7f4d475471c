"""The cattrs converter behind `config_structure`: nothing coerced, every key known, every value read by its rule.

Only how one value of a type is read; collecting what went wrong, and where, is `config_structure`'s work.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from types import GenericAlias
from typing import Annotated, Any, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, make_mapping_structure_fn, override

from trioproxy.config import Config, HostPattern, PoolConfig, UpstreamConfig
from trioproxy.config_rules import Rule, Unfit

Hook = Callable[[object, Any], Any]

_POOL_NAME = "(name)"  # where a pool's key is put for cattrs; `name` itself is no key of a pool's table


class StandIn(str):
    """Stands where a value that must be there was missing or wrong, so that all the rest can still be checked."""

    __slots__ = ()


def make_converter(folder: str) -> Converter:
    """A converter from what `tomllib` makes to `Config`; relative paths are resolved against `folder`.

    Wrong values raise `Unfit`, wrapped in cattrs' errors with notes of the places. `StandIn`s pass every rule.
    """
    converter = Converter(detailed_validation=True, forbid_extra_keys=True)
    factories: tuple[tuple[Callable[[Any], bool], Callable[[Any], Hook]], ...] = (
        (lambda wanted: rule_of(wanted) is not None, partial(_rule_hook, folder)),
        (lambda wanted: origin_of(wanted) is tuple, partial(_list_hook, converter)),
        (lambda wanted: origin_of(wanted) is Mapping, partial(_mapping_hook, converter)),
        (attrs.has, partial(_class_hook, converter)),
    )
    for concerns, make_hook in factories:
        converter.register_structure_hook_factory(concerns, make_hook)
    return converter


def rule_of(wanted: Any) -> Rule | None:
    """The rule in an annotated type, if there is one."""
    if origin_of(wanted) is Annotated:
        return next((item for item in get_args(wanted) if isinstance(item, Rule)), None)
    return None


def origin_of(wanted: Any) -> Any:
    """What a generic type is made of: `tuple` for `tuple[int, ...]`; None for any other."""
    return get_origin(wanted)


def _rule_hook(folder: str, wanted: Any) -> Hook:
    rule: Any = rule_of(wanted)

    def read(value: object, _: Any) -> Any:
        return value if isinstance(value, StandIn) else _read(rule, value, folder)

    return read


def _read(rule: Rule, value: object, folder: str) -> Any:
    found = rule.read(value)
    if rule.path_after is None or not found or not found.startswith(rule.path_after):
        return found
    path = os.path.normpath(os.path.join(folder, found.removeprefix(rule.path_after)))  # noqa: PTH118 - text to text
    resolved = rule.path_after + path
    try:
        return rule.read(resolved)
    except Unfit:
        raise Unfit("a path short enough for a Unix socket", resolved) from None


def _list_hook(converter: Converter, wanted: Any) -> Hook:
    item = get_args(wanted)[0]
    items: Any = GenericAlias(list, (item,))

    def read(value: object, _: Any) -> tuple[Any, ...]:
        values = [value] if item is HostPattern and isinstance(value, str) else value
        if not isinstance(values, list):
            raise Unfit("a name or a list of names" if item is HostPattern else "a list", value)
        return tuple(converter.structure(values, items))

    return read


def _mapping_hook(converter: Converter, wanted: Any) -> Hook:
    base = make_mapping_structure_fn(wanted, converter, dict, detailed_validation=True)
    of_pools = wanted == attrs.fields(Config).pools.type

    def read(value: object, _: Any) -> Any:
        table = _require_table(value)
        if of_pools:
            table = {key: {**pool, _POOL_NAME: key} if isinstance(pool, dict) else pool for key, pool in table.items()}
        return base(table, wanted)

    return read


def _class_hook(converter: Converter, wanted: Any) -> Hook:
    renamed: dict[str, Any] = {"name": override(rename=_POOL_NAME)} if wanted is PoolConfig else {}
    base = make_dict_structure_fn(
        wanted, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True, **renamed
    )

    def read(value: object, _: Any) -> Any:
        if wanted is UpstreamConfig:
            entry = {"address": value} if isinstance(value, str) else value
            return base(_require_table(entry, "an address or a table"), wanted)
        return base(_require_table(value), wanted)

    return read


def _require_table(value: object, expected: str = "a table") -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unfit(expected, value)
    return value
