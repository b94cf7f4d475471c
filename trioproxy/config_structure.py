"""From what `tomllib` made to a `Config`, by cattrs with strict hooks: every key known, every value as its rule says.

One value at a time: what must hold between settings is `config_checks`' work, line numbers are `config_file`'s.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from types import GenericAlias
from typing import Annotated, Any, TypeVar, get_args, get_origin

import attrs
from cattrs import (
    AttributeValidationNote,
    BaseValidationError,
    Converter,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, make_mapping_structure_fn, override

from trioproxy.config import (
    Config,
    HostPattern,
    PoolConfig,
    TimeoutsConfig,
    UpstreamConfig,
    WebSocketConfig,
)
from trioproxy.config_lines import KeyPath
from trioproxy.config_rules import Rule, Unfit, closest

_Table = TypeVar("_Table", TimeoutsConfig, WebSocketConfig)

_POOL_NAME = "(name)"  # where a pool's key is put for cattrs; `name` itself is no key of a pool's table


@attrs.frozen
class Problem:
    """What is wrong at a key path."""

    path: KeyPath
    message: str

    @classmethod
    def mismatch(cls, path: KeyPath, expected: str, got: str, meant: str | None = None) -> "Problem":
        """The usual one, in the words `expected X, got Y (did you mean Z?)`."""
        hint = f" (did you mean {meant}?)" if meant else ""
        return cls(path, f"expected {expected}, got {got}{hint}")


class StandIn(str):
    """Stands where a value that must be there was missing or wrong, so that all the rest can still be checked."""

    __slots__ = ()


@attrs.frozen
class _Fault:
    """A problem with the type that was wanted at its path; None for a key that has no business there."""

    problem: Problem
    wanted: Any


def structure(raw: Mapping[str, Any], folder: str) -> tuple[Config, list[Problem]]:
    """The configuration and what is wrong with its values; with problems it is fit for further checks only.

    Wrong values were replaced by their defaults, or by a `StandIn` where there is none. Relative paths are resolved
    against `folder`. Routes have their own timeouts and websocket settings: see `inherit`.
    """
    converter = _make_converter(folder)
    healed: Any = deepcopy(dict(raw))
    problems: list[Problem] | None = None
    while True:  # ends: each round removes what is wrong or fills in what is missing, one level deeper at most
        try:
            return converter.structure(healed, Config), problems or []
        except BaseValidationError as error:
            faults = list(_faults(error, (), healed))
            if problems is None:
                problems = [fault.problem for fault in faults]
            for fault in faults:
                _heal(healed, fault)


def inherit(config: Config, raw: Mapping[str, Any]) -> Config:
    """The same configuration with effective routes: the global timeouts and websocket settings below the routes'."""
    routes = []
    for route, own in zip(config.routes, raw["routes"], strict=True):
        timeouts = _laid_over(config.timeouts, route.timeouts, own.get("timeouts", {}))
        websocket = _laid_over(config.websocket, route.websocket, own.get("websocket", {}))
        routes.append(attrs.evolve(route, timeouts=timeouts, websocket=websocket))
    return attrs.evolve(config, routes=tuple(routes))


def _laid_over(below: _Table, above: _Table, keys: Iterable[str]) -> _Table:
    return attrs.evolve(below, **{key: getattr(above, key) for key in keys})


def rule_of(wanted: Any) -> Rule | None:
    """The rule in an annotated type, if there is one."""
    if _origin(wanted) is Annotated:
        return next((item for item in get_args(wanted) if isinstance(item, Rule)), None)
    return None


def _origin(wanted: Any) -> Any:
    return get_origin(wanted)


def _make_converter(folder: str) -> Converter:
    converter = Converter(detailed_validation=True, forbid_extra_keys=True)

    def for_rule(wanted: Any) -> Any:
        rule = rule_of(wanted)
        assert rule is not None  # noqa: S101 - the predicate beside this factory; for the type checker
        return lambda value, _: value if isinstance(value, StandIn) else _read(rule, value, folder)

    def for_list(wanted: Any) -> Any:
        item = get_args(wanted)[0]

        def read(value: object, _: Any) -> tuple[Any, ...]:
            values = [value] if item is HostPattern and isinstance(value, str) else value
            if not isinstance(values, list):
                raise Unfit("a list", value)
            items: Any = GenericAlias(list, (item,))
            return tuple(converter.structure(values, items))

        return read

    def for_mapping(wanted: Any) -> Any:
        base = make_mapping_structure_fn(wanted, converter, dict, detailed_validation=True)

        def read(value: object, _: Any) -> Any:
            tables = _require_table(value)
            if wanted == attrs.fields(Config).pools.type:
                tables = {
                    name: {**entry, _POOL_NAME: name} if isinstance(entry, dict) else entry
                    for name, entry in tables.items()
                }
            return base(tables, wanted)

        return read

    def for_class(wanted: Any) -> Any:
        renamed: dict[str, Any] = {"name": override(rename=_POOL_NAME)} if wanted is PoolConfig else {}
        base = make_dict_structure_fn(
            wanted, converter, _cattrs_forbid_extra_keys=True, _cattrs_detailed_validation=True, **renamed
        )

        def read(value: object, _: Any) -> Any:
            if wanted is UpstreamConfig:
                value = {"address": value} if isinstance(value, str) else value
                return base(_require_table(value, "an address or a table"), wanted)
            return base(_require_table(value), wanted)

        return read

    converter.register_structure_hook_factory(lambda wanted: rule_of(wanted) is not None, for_rule)
    converter.register_structure_hook_factory(lambda wanted: _origin(wanted) is tuple, for_list)
    converter.register_structure_hook_factory(lambda wanted: _origin(wanted) is Mapping, for_mapping)
    converter.register_structure_hook_factory(attrs.has, for_class)
    return converter


def _require_table(value: object, expected: str = "a table") -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unfit(expected, value)
    return value


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


def _faults(error: BaseException, path: KeyPath, raw: Any, wanted: Any = None) -> Iterator[_Fault]:
    """The leaves of cattrs' tree of errors; the places are in the notes on each branch."""
    match error:
        case BaseValidationError():
            for inner in error.exceptions:
                note = _place(inner)
                step = () if note is None else (note.name if isinstance(note, AttributeValidationNote) else note.index,)
                yield from _faults(inner, path + step, raw, None if note is None else note.type)
        case ForbiddenExtraKeysError():
            known = [field.name for field in attrs.fields(error.cl) if (error.cl, field.name) != (PoolConfig, "name")]
            for key in error.extra_fields:
                meant = closest(key, known)
                yield _Fault(Problem.mismatch((*path, key), "a key this table has", "an unknown one", meant), None)
        case KeyError():
            rule = rule_of(wanted)
            yield _Fault(Problem.mismatch(path, rule.expected if rule else "at least one", "nothing"), wanted)
        case Unfit():
            path = _written(path, raw)
            yield _Fault(Problem.mismatch(path, error.expected, error.got, error.meant), wanted)
        case _:
            raise error  # a mistake in this program, not in the file


def _place(error: BaseException) -> AttributeValidationNote | IterableValidationNote | None:
    places = (AttributeValidationNote, IterableValidationNote)
    return next((note for note in getattr(error, "__notes__", ()) if isinstance(note, places)), None)


def _written(path: KeyPath, raw: Any) -> KeyPath:
    """The path without steps that stand in no text: an upstream written as a string has no `address` key."""
    for length, step in enumerate(path):
        if isinstance(raw, str):
            return path[:length]
        raw = raw[step]
    return path


def _heal(raw: Any, fault: _Fault) -> None:
    *parents, last = fault.problem.path
    container: Any = raw
    for step in parents:
        container = container[step]
    if isinstance(container, dict) and last in container:
        del container[last]
    else:
        container[last] = _stand_in(fault.wanted, fault.problem.path)


def _stand_in(wanted: Any, path: KeyPath) -> Any:
    if rule_of(wanted) is not None:
        return StandIn(f"({path})")
    return [] if _origin(wanted) is tuple else {}
