"""From what `tomllib` made to a `Config` and to every problem with a value in it.

One value at a time: how one is read stands in `config_converter`, what must hold between them in `config_checks`.
"""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, TypeVar

import attrs
from cattrs import (
    AttributeValidationNote,
    BaseValidationError,
    Converter,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)

from trioproxy.config import Config, PoolConfig, TimeoutsConfig, WebSocketConfig
from trioproxy.config_converter import StandIn, origin_of, rule_of
from trioproxy.config_lines import KeyPath
from trioproxy.config_rules import Unfit, closest

_Settings = TypeVar("_Settings")
_Table = TypeVar("_Table", TimeoutsConfig, WebSocketConfig)


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


@attrs.frozen
class _Fault:
    """A problem with the type that was wanted at its path; None for a key that has no business there."""

    problem: Problem
    wanted: Any


def structure(raw: Mapping[str, Any], wanted: type[_Settings], converter: Converter) -> tuple[_Settings, list[Problem]]:
    """Settings of the wanted class and what is wrong with their values; with problems fit for further checks only.

    Wrong values were replaced by their defaults, or by a `StandIn` where there is none. `converter` is one of
    `make_converter`. The routes of a `Config` have their own timeouts and websocket settings: see `inherit`.
    """
    healed: Any = deepcopy(dict(raw))
    problems: list[Problem] | None = None
    while True:  # ends: each round removes what is wrong or fills in what is missing, one level deeper at most
        try:
            return converter.structure(healed, wanted), problems or []
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
            for key in sorted(error.extra_fields):
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
    return [] if origin_of(wanted) is tuple else {}
