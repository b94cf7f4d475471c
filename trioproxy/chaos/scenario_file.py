"""From a TOML file to a `Scenario`, or to every problem of it at once, as `config_file` does for config.toml."""

from __future__ import annotations

import os
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any

import attrs
from cattrs import AttributeValidationNote, BaseValidationError, ClassValidationError

from trioproxy import config_rules as rules
from trioproxy.chaos.faults import BY_ADMIN, FAULTS, PROCESS, PROXY, Fault
from trioproxy.chaos.scenario import Scenario, UpstreamsConfig
from trioproxy.config_converter import make_converter
from trioproxy.config_file import folder_of, located, nesting_bounded, parse_toml, read_text
from trioproxy.config_rules import Unfit
from trioproxy.config_structure import Problem, structure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cattrs import Converter

_KIND = "fault"  # the key that says which
_BY_HOPS = "by hops at known ports the proxy at proxy.address reaches its upstreams"
_FaultName = Annotated[str, rules.choice(*FAULTS)]


def shipped() -> Mapping[str, str]:
    """The text of every scenario that comes with the package, by its name."""
    folder = resources.files(__package__) / "library"
    files = sorted((file.name, file) for file in folder.iterdir() if file.name.endswith(".toml"))
    return {name.removesuffix(".toml"): file.read_text("utf-8") for name, file in files}


def load_scenario(name: str | os.PathLike[str]) -> Scenario:
    """A file, or one that comes with the package, by its name; blocks. Raises ConfigError."""
    filename = os.fspath(name)
    return parse_scenario(scenario_text(name), f"{filename}.toml" if filename in shipped() else filename)


def scenario_text(name: str | os.PathLike[str]) -> str:
    """What stands in that file, as `load_scenario` takes it; blocks. Raises ConfigError."""
    return read_text(name) if (text := shipped().get(os.fspath(name))) is None else text


def parse_scenario(text: str, filename: str) -> Scenario:
    """Check the text of a file; `filename` is for messages. Raises ConfigError."""
    with nesting_bounded(filename):
        raw = parse_toml(text, filename)
        scenario, problems = structure(raw, Scenario, _converter(folder_of(filename)))
        problems += [] if problems else _check(scenario)
        if problems:
            raise located(problems, text, filename)
        return scenario


def _converter(folder: str) -> Converter:
    converter = make_converter(folder)
    plain = converter.get_structure_hook(Fault)
    converter.register_structure_hook_factory(lambda wanted: wanted is Fault, lambda _: _fault_hook(converter, plain))
    converter.register_structure_hook_func(lambda wanted: wanted is Any, lambda value, _: value)
    return converter


def _fault_hook(converter: Converter, plain: Any) -> Callable[[object, Any], Fault]:
    """How a fault is read: by the class that its table names. `plain` reads what all faults have."""

    def read(value: object, _: Any) -> Fault:
        if not isinstance(value, dict):
            raise Unfit("a table", value)
        settings = dict(value)
        try:
            kind = converter.structure(settings.pop(_KIND), _FaultName)
        except (KeyError, Unfit) as error:
            error.add_note(AttributeValidationNote("", _KIND, _FaultName))  # where it stands, as for a class's key
            raise ClassValidationError("", [error, *_common_problems(settings, plain)], Fault) from None
        known = FAULTS.get(kind)  # none for what stands in for a wrong name
        fault: Fault = converter.structure(settings, known) if known else plain(_common(settings), Fault)
        return fault

    return read


def _common(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of a fault's settings, those that every fault has."""
    return {field.name: settings[field.name] for field in attrs.fields(Fault) if field.name in settings}


def _common_problems(settings: Mapping[str, Any], plain: Any) -> Sequence[Exception]:
    try:
        plain(_common(settings), Fault)
    except BaseValidationError as error:
        return error.exceptions
    return ()


def _check(scenario: Scenario) -> Iterator[Problem]:
    duration = scenario.duration
    count = scenario.upstreams.number
    if scenario.load.ramp > duration:
        yield Problem.mismatch(("load", "ramp"), f"at most duration ({duration:g})", f"{scenario.load.ramp:g}")
    yield from _server_problems(scenario.upstreams)
    yield from _running_problems(scenario)
    for number, fault in enumerate(scenario.faults):
        for key, message in (*_fault_problems(fault, count, duration), *_out_of_reach(fault, scenario)):
            yield Problem(("faults", number, key), message)


def _server_problems(upstreams: UpstreamsConfig) -> Iterator[Problem]:
    hops, servers = len(upstreams.hops), len(upstreams.addresses)
    if not servers and upstreams.count != attrs.fields(UpstreamsConfig).count.default:
        servers = upstreams.count
    if hops and servers and hops != servers:
        yield Problem.mismatch(("upstreams", "hops"), f"as many as servers ({servers})", str(hops))


def _running_problems(scenario: Scenario) -> Iterator[Problem]:
    """What does not go with a proxy that runs already, or only with one."""
    proxy, upstreams = scenario.proxy, scenario.upstreams
    if not proxy.address:
        for key in ("admin", "token_file"):
            if getattr(proxy, key):
                yield Problem(("proxy", key), "expected proxy.address, too: it is of a proxy that runs already")
        return
    if proxy.settings:
        yield Problem(("proxy", "settings"), "expected none: the proxy at proxy.address has its own")
    for key in ("command", "addresses"):
        if getattr(upstreams, key) and not upstreams.hops:
            yield Problem(("upstreams", key), f"expected upstreams.hops, too: {_BY_HOPS}")
    for name in scenario.expect:
        if name.endswith("proxy_errors"):
            yield Problem(("expect", name), "the log of a proxy that runs already is not read")
        if name.endswith("disagreements") and not proxy.admin:
            yield Problem(("expect", name), "expected proxy.admin, too: it is asked for the numbers")


def _out_of_reach(fault: Fault, scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Why a fault cannot be had where servers, or the proxy, were not started here."""
    proxy, upstreams = scenario.proxy, scenario.upstreams
    if type(fault) in PROCESS and upstreams.addresses:
        yield _KIND, f"{fault.name} is for servers that are started here, not for those at upstreams.addresses"
    if not proxy.address:
        return
    if not upstreams.hops:
        yield _KIND, f"{fault.name} needs upstreams.hops: {_BY_HOPS}"
    if isinstance(fault, BY_ADMIN):
        if not proxy.admin:
            yield _KIND, f"{fault.name} needs proxy.admin"
    elif type(fault) in PROXY:
        yield _KIND, f"{fault.name} is for a proxy that is started here, not for the one at proxy.address"


def _fault_problems(fault: Fault, upstreams: int, duration: float) -> Iterator[tuple[str, str]]:
    if any(number >= upstreams for number in fault.upstreams):
        yield "upstreams", f"expected numbers from 0 to {upstreams - 1}, got {max(fault.upstreams)}"
    if fault.pick > upstreams:
        yield "pick", f"expected at most {upstreams}, got {fault.pick}"
    if fault.at >= duration:
        yield "at", f"expected less than duration ({duration:g}), got {fault.at:g}"
    if fault.times > 1 and not fault.every:
        yield "every", "expected a number of seconds above 0, as times is above 1"
    if fault.times > 1 and fault.lasts > fault.every:
        yield "lasts", f"expected at most every ({fault.every:g}), got {fault.lasts:g}"
