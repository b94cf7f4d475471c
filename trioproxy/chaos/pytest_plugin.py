"""The faults as pytest fixtures, for the tests of other projects: `pytest_plugins = ["trioproxy.chaos.pytest_plugin"]`.

What the fixtures give is `testing`'s. Nothing of the program imports this, and it is no entry point of pytest's: most
who install trioproxy test nothing with it, and every start of their pytest would load it.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from trioproxy.chaos import testing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from trioproxy.chaos.anywhere import Anywhere

_FIXTURES: Final = frozenset({"chaos_hop", "chaos_proxy", "chaos_run"})
_SEED: Final = "chaos_seed"
_RANDOM: Final = -1  # stands for a seed that is yet to be chosen
_MOST_SEED: Final = 1_000_000  # short enough to be typed again


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take --chaos-seed."""
    parser.getgroup("chaos", "trioproxy's faults").addoption(
        "--chaos-seed",
        type=_seed,
        metavar="N",
        help='What chance does in chaos_hop, chaos_proxy and chaos_run: a number, or "random".'
        " Without it, 1, and a scenario's own.",
    )


def _seed(text: str) -> int:
    return _RANDOM if text == "random" else int(text)


def pytest_configure(config: pytest.Config) -> None:
    """Choose a random seed once: where pytest-xdist has several processes, the first does it for all."""
    if config.option.chaos_seed == _RANDOM:
        given = getattr(config, "workerinput", {})
        config.option.chaos_seed = given.get(_SEED, secrets.randbelow(_MOST_SEED))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell another process of pytest-xdist's."""
    node.workerinput[_SEED] = node.config.option.chaos_seed


def pytest_report_header(config: pytest.Config) -> str | None:
    """The seed, where it was given."""
    seed = config.option.chaos_seed
    return None if seed is None else f"chaos seed: {seed}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a failure, how to have the same again."""
    report = yield
    seed = item.config.option.chaos_seed
    if report.failed and seed is not None and _FIXTURES.intersection(getattr(item, "fixturenames", ())):
        report.sections.append(("chaos", f"the same again: --chaos-seed={seed}"))
    return report


@pytest.fixture(scope="session")
def chaos_hop(pytestconfig: pytest.Config) -> Callable[..., Anywhere[testing.ChaosHop]]:
    """A maker of hops in front of servers, for `with` and `async with`: `testing.chaos_hop`, seeded."""
    return partial(testing.chaos_hop, seed=_seed_of(pytestconfig))


@pytest.fixture(scope="session")
def chaos_proxy(pytestconfig: pytest.Config) -> Callable[..., Anywhere[testing.ChaosProxy]]:
    """A maker of proxies in front of servers behind hops, for the same: `testing.chaos_proxy`, seeded."""
    return partial(testing.chaos_proxy, seed=_seed_of(pytestconfig))


@pytest.fixture
def chaos_run(request: pytest.FixtureRequest) -> Callable[..., testing.Result]:
    """What runs a scenario, a file beside the test or one that ships: `testing.chaos_run`, seeded."""
    return partial(testing.chaos_run, seed=request.config.option.chaos_seed, folder=request.path.parent)


def _seed_of(config: pytest.Config) -> int:
    return 1 if config.option.chaos_seed is None else config.option.chaos_seed
