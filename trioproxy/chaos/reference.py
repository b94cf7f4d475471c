"""Writes docs/reference/chaos.md from the settings, faults and measures themselves.

What each means stands where it is; a test holds that the page is current.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from trioproxy.chaos.faults import FAULTS, Fault
from trioproxy.chaos.faults.base import ConnectionFault
from trioproxy.chaos.measures import MEASURES
from trioproxy.chaos.scenario import LoadConfig, ProxyConfig, Scenario, UpstreamsConfig
from trioproxy.chaos.scenario_file import load_scenario, shipped
from trioproxy.config import DOC
from trioproxy.config_show import toml_value

if TYPE_CHECKING:
    from collections.abc import Iterator

_START: Final = """# Chaos scenarios

<!-- Written by `python -m trioproxy.chaos > docs/reference/chaos.md`; the text is in trioproxy/chaos/. -->

`trioproxy chaos SCENARIO` starts upstreams, a trioproxy in front of them and clients in front of that, lets faults
loose on them, and says what the clients lost. `SCENARIO` is a file, or the name of one that ships. A file is TOML, as
strict as config.toml: an unknown key or a wrong type is an error, and all of them are reported at once.

The exit status is 0 where every expectation is met, 1 where one is not or something does not start, 2 where the command
or the file is wrong. `--seed` changes what is left to chance, `--length` multiplies the times of load and faults, while
bounds and the proxy's settings stay; the same seed gives the same faults at the same times to the same upstreams, and
the same clients: when each comes, how long it keeps a tunnel, when it sends. `--json FILE` writes all that was seen,
tunnel by tunnel, `--junit FILE` the expectations as test cases, `--html FILE` a page for browsers: what was expected,
charts of it all over time with the faults in them, what the proxy's metrics said beside what the clients saw. It is one
file without scripts that asks for nothing elsewhere. On a terminal a few lines show how the run stands, elsewhere a
line says it now and then; `--quiet` leaves only whether each expectation is met.

`--proxy nginx`, `haproxy`, `envoy`, or `all` for these and trioproxy, runs the scenario against each of them, one after
the other, with the same upstreams, load and faults, and shows what each lost side by side. Each is configured for what
`[proxy.settings]` asks of any proxy, as one who knows it well would; what it does not do as asked, and what it has no
means for, is said. The exit status is trioproxy's alone. `--all` in the place of `SCENARIO` runs every scenario that
ships. `--json FILE` has the runs of all of them, `--markdown FILE` the tables: between the lines
`<!-- table: begin -->` and `<!-- table: end -->` of a file that has them. With one `--proxy` alone, `--html` and
`--junit` make of its run what they make of any. What came of it is [discussed](../discussion/chaos.md).

Between the proxy and each upstream is a hop of the run's own, where faults of connections sit. Each client names its
connections in a header field, and each hop its upstream in the answer, so it is known which tunnels a fault touched:
the others are *unharmed*, and should not notice anything. Where the proxy speaks TLS to the upstreams a hop sees octets
alone: faults that need heads or frames do nothing, and one that touches any connection may have touched every tunnel.
"""


def reference_page() -> str:
    """The whole page, as Markdown."""
    return "\n".join([_START, *_settings(), *_faults(), *_expectations(), *_library()]) + "\n"


def _settings() -> Iterator[str]:
    yield "## The file\n"
    yield from _keys([field for field in attrs.fields(Scenario) if field.name in _PLAIN], Scenario())
    for name, settings in (("upstreams", UpstreamsConfig), ("proxy", ProxyConfig), ("load", LoadConfig)):
        meaning = _sentence(settings).partition(": ")[2]
        yield f"\n### `[{name}]`\n\n{meaning[0].upper()}{meaning[1:]}\n"
        yield from _keys(attrs.fields(settings), settings())


_PLAIN: Final = ("title", "seed", "duration")


def _keys(fields: Any, defaults: Any) -> Iterator[str]:
    yield "| key | default | |\n|---|---|---|"
    for field in fields:
        yield f"| `{field.name}` | `{toml_value(getattr(defaults, field.name))}` | {field.metadata[DOC]} |"


def _faults() -> Iterator[str]:
    yield f"\n## `[[faults]]`\n\n{_sentence(Fault).partition('. ')[2]}\n"
    yield from _keys(attrs.fields(Fault), Fault())
    yield "\n`fault` says which. Faults of connections have `share` besides: " + _doc_of(ConnectionFault, "share")
    yield "\n| fault | what happens | its own keys |\n|---|---|---|"
    common = {field.name for field in attrs.fields(ConnectionFault)}
    for name, fault in FAULTS.items():
        own = [field for field in attrs.fields(fault) if field.name not in common]
        keys = " ".join(
            f"`{field.name} = {toml_value(getattr(fault(), field.name))}`: {field.metadata[DOC]}" for field in own
        )
        yield f"| `{name}` | {_sentence(fault)}{'' if fault.harms else ' Harms nobody.'} | {keys} |"


def _expectations() -> Iterator[str]:
    yield "\n## `[expect]`\n\nThe name of a measure with `max_` or `min_` in front bounds it, the name alone says what"
    yield "it must be. What could not be measured meets nothing.\n\n| measure | unit | |\n|---|---|---|"
    for name, measure in MEASURES.items():
        yield f"| `{name}` | {measure.unit} | {measure.meaning} |"


def _library() -> Iterator[str]:
    yield "\n## Scenarios that ship\n\n| name | |\n|---|---|"
    for name in shipped():
        yield f"| `{name}` | {load_scenario(name).title} |"


def _sentence(of: type) -> str:
    return " ".join((of.__doc__ or "").split())


def _doc_of(of: Any, name: str) -> str:
    doc: str = attrs.fields_dict(of)[name].metadata[DOC]
    return doc
