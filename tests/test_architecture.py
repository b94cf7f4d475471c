"""The rules of the source as a whole: who imports whom, what only one module may touch, and that each file is tested.

Where the program deviates from its design on purpose, a comment here says why.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "trioproxy"
MOST_LINES = 400

# From the bottom to the top; a module imports from lower ranks only, or from its own package or family.
RANKS = (
    {"_version", "errors"}  # errors: below wire, whose parsers raise them
    | {"addresses", "origins"},  # below config, whose lists they are
    {"sockets", "readiness"},  # beside the pure ones, and nothing but Trio below them
    {"tls"},  # sockets' other half: what goes over them
    {"wire", "config", "config_rules", "config_syntax"},  # config's rules and syntax: files of their own, for size
    {"balancing", "health", "routing", "board", "config_file"}
    | {"shared_board"}  # board's other half: what is not pure about several processes
    | {
        "config_lines",
        "config_structure",
        "config_converter",
        "config_checks",
        "config_show",
        "config_reload",
    }  # parts of config_file
    | {"waits", "accepting"}  # with nothing but Trio below it
    | {"rights"}  # what handover and control_channel have in common
    | {
        "rewriting",
        "counts",
        "ejection",
        "line",
        "pace",
        "verbs",
    },  # pure, too: a request's fields on their way; what a tunnel has counted
    {"certificates"}  # above config_file, in whose words it tells of what is wrong
    | {"record", "transport", "systemd", "upstreams", "metrics", "logs", "queueing"}
    | {"per_client", "handshake_rate"}  # counts over all processes, as queueing's
    | {"sparing"}  # above Trio alone: how seldom what is said over and over gets into the log
    | {"streaming"}  # transport's other half: what is connected
    | {"changes"}  # pure: what a reload comes to
    | {"nginx_import"},  # above config_file, which it asks what it takes
    # client, exchange, context: what a connection's modules have in common, so that they need not know one another.
    # handover: transport's other use, for processes.
    {"handover"} | {"dialing", "relay", "client", "exchange", "context"},
    # answer: the half of a plain exchange that a refused upgrade needs, too.
    {"access_log", "answer"},
    # tunnels: upgrade's other half; probes: the prober's kinds of check, one file each.
    # live: what the admin sends of what sampling finds.
    {"forward", "upgrade", "tunnels", "probes", "live"},
    {"arrival"},  # connection's first step, which counts endings as tunnels does
    {"connection", "prober", "admin", "resolver"},
    # listening, status, housekeeping, drains, binding: taken out of server, which would be too long with them.
    {"listening", "status", "housekeeping", "drains", "tunnel_list"} | {"binding"},
    {"sampling", "passive"} | {"injecting"},
    {"control"},
    {"injections"},
    {"reloading"},
    {"server"} | {"control_messages"},
    # What several processes need besides.
    {"control_channel"},
    {"slots", "worker"},
    {"supervisor_control", "supervisor_injecting", "sharing"},
    {"reloading_workers"},
    {"supervisor"},
    {"reloader"},
    # lifecycle: above server, not below. It runs a proxy as a process; a proxy in a library knows no process.
    {"lifecycle", "demo"} | {"remote"},  # for commands alone; it needs nothing of the proxy
    {"chaos"},  # above lifecycle only in that it starts the whole program, as a process
    {"cli", "__init__"},
    {"__main__"},
)
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names}

PURE = {"errors", "config", "config_rules", "config_syntax", "wire", "routing", "balancing", "health", "board"} | {
    "counts",
    "control_messages",
    "rewriting",
    "changes",
    "config_reload",
    "ejection",
    "line",
    "addresses",
    "origins",
    "pace",
    "verbs",
}
IMPURE = {"trio", "socket", "ssl", "time", "os", "logging"}

# What only these may import while running.
ONLY = {
    "prometheus_client": {"metrics", "admin"},
    # Raw sockets. relay.ports is the pump's other half, and relay.streams prepares resets.
    "socket": {"transport", "sockets", "streaming", "systemd", "handover", "relay.pump", "relay.ports", "relay.streams"}
    | {"chaos"}  # whose faults are those of sockets
    | {"control_channel", "rights"},  # sockets as such are what it passes on
    "mmap": {"board", "shared_board"},
    # A worker ignores them, as they are the supervisor's. Who has changed a terminal has to restore it. Chaos sends them.
    "signal": {"lifecycle", "worker", "cli._top.screen", "chaos"},
    "trio_websocket": {"probes", "demo", "chaos"},
    "httptools": {"wire"},
    "structlog": {"logs"},
    "logging": {"logs"},
    "hypercorn": {"admin"},
    "starlette": {"admin"},
    "click": {"cli"},
    "crossplane": {"nginx_import"},
    "rich": {"cli"},
    "pytest": {"chaos.pytest_plugin"},
    "asyncio": set(),
}

# Around one connection, one tunnel's turn in the pump, one round of a background job (probe, reload). The last is around one
# connection of an operator: hypercorn lets out whatever it cannot digest of a client's bytes.
CATCH_ALL = {"connection", "relay.pump", "prober", "reloader", "admin.serve"}

MUTABLE_CALLS = {"dict", "list", "set", "bytearray", "defaultdict", "Counter", "deque", "OrderedDict"}


def name_of(path):
    """`relay.pump` for its file; `relay` for the package's own, `__init__` for the outermost."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


SOURCES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in SOURCES.items()}
each_module = pytest.mark.parametrize("name", SOURCES)


def outermost(name):
    return name.partition(".")[0]


def family(name):
    """Modules that belong together may import one another: a package's, and config's."""
    if name in {"board", "shared_board"}:
        return "board"
    return "config" if name.startswith("config") else outermost(name)


def nodes(node):
    """All below `node`, without what is for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for other in child.orelse:
                yield from nodes(other)
        else:
            yield child
            yield from nodes(child)


def imports(name):
    """Full names of the modules imported while running, ours as `trioproxy.NAME`; also inside functions."""
    for node in nodes(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full.removeprefix("trioproxy.") in SOURCES else node.module


def ours(name):
    """Names of our own modules that `name` imports."""
    found = {full.removeprefix("trioproxy.") for full in imports(name) if outermost(full) == "trioproxy"}
    return {"__init__" if each == "trioproxy" else each for each in found}


def test_every_module_has_a_rank_and_every_rank_its_modules():
    assert {outermost(name) for name in SOURCES} == set(RANK)
    assert sum(map(len, RANKS)) == len(RANK)


@each_module
def test_imports_go_downwards(name):
    upwards = [
        each
        for each in sorted(ours(name))
        if RANK[outermost(each)] >= RANK[outermost(name)] and family(each) != family(name)
    ]
    assert not upwards, f"{name} imports {upwards}"


def test_no_imports_go_round_in_a_circle():
    left = {name: ours(name) - {name} for name in SOURCES}
    while left:
        free = [name for name, needs in left.items() if not needs & left.keys()]
        assert free, f"in a circle, or above one: {sorted(left)}"
        for name in free:
            del left[name]


@pytest.mark.parametrize("name", [name for name in SOURCES if outermost(name) in PURE])
def test_pure_modules_import_nothing_of_the_world(name):
    assert not {outermost(full) for full in imports(name)} & IMPURE
    assert {outermost(each) for each in ours(name)} <= PURE


@pytest.mark.parametrize("library", ONLY)
def test_what_only_some_may_import(library):
    users = {name for name in SOURCES if library in {outermost(full) for full in imports(name)}}
    strangers = {name for name in users if not {name, outermost(name)} & ONLY[library]}
    assert not strangers, f"import {library}: {sorted(strangers)}"


def test_sockets_are_made_in_one_place():
    def makes(name):
        calls = (ast.unparse(node.func) for node in nodes(TREES[name]) if isinstance(node, ast.Call))
        return any(call in {"socket.socket", "trio.socket.socket", "socket.create_connection"} for call in calls)

    # systemd wraps what was handed over and sends datagrams; so does handover, which connects to the process before.
    # chaos looks for free ports, and holds a port without listening: nothing that a proxy does.
    proxys = {name for name in SOURCES if makes(name) and outermost(name) != "chaos"}
    assert proxys == {"transport", "systemd", "handover", "control_channel"}


@each_module
def test_no_module_level_state_can_change(name):
    mutable = []
    for node in TREES[name].body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        target = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        annotation = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
        if target != "__all__" and is_mutable(node.value) and not is_mapping(node.value, annotation):
            mutable.append(target)
    assert not mutable, f"{name}: make these tuples, frozensets, or Final mappings: {mutable}"
    assert not any(isinstance(node, ast.Global) for node in nodes(TREES[name]))


def is_mutable(value):
    if isinstance(value, ast.Call):
        return ast.unparse(value.func).rpartition(".")[2] in MUTABLE_CALLS
    return isinstance(value, ast.Dict | ast.DictComp | ast.List | ast.ListComp | ast.Set | ast.SetComp)


def is_mapping(value, annotation):
    return isinstance(value, ast.Dict | ast.DictComp) and ("Mapping" in annotation or "Final" in annotation)


def test_everything_is_caught_in_three_places_and_for_operators():
    def catches_all(name):
        handlers = (node for node in nodes(TREES[name]) if isinstance(node, ast.ExceptHandler))
        return any(handler.type is None or ast.unparse(handler.type) == "Exception" for handler in handlers)

    assert {name for name in SOURCES if catches_all(name)} == CATCH_ALL
    handlers = [node for tree in TREES.values() for node in nodes(tree) if isinstance(node, ast.ExceptHandler)]
    assert sum(handler.type is not None and ast.unparse(handler.type) == "Exception" for handler in handlers) == 5


@each_module
def test_whoever_catches_even_cancellation_raises_it_again(name):
    for node in nodes(TREES[name]):
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            caught = ast.unparse(node.type)
            if caught in {"BaseException", "trio.Cancelled"}:
                assert isinstance(node.body[-1], ast.Raise), f"{name}:{node.lineno}"


@each_module
def test_files_are_small(name):
    assert len(SOURCES[name].read_text().splitlines()) <= MOST_LINES


@each_module
def test_a_module_says_what_it_is_for(name):
    assert ast.get_docstring(TREES[name])
    for node in nodes(TREES[name]):
        text = ast.unparse(node) if isinstance(node, ast.Raise) else ""
        assert "NotImplementedError" not in text, f"{name}:{node.lineno}"


def needs_no_test(name):
    """Files without logic of their own: packages that only gather names, and what `test_package` looks at."""
    defined = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    gathers = SOURCES[name].name == "__init__.py" and not any(isinstance(node, defined) for node in TREES[name].body)
    return gathers or name in {"__init__", "__main__", "_version"}


@pytest.mark.parametrize("name", [name for name in SOURCES if not needs_no_test(name)])
def test_every_file_has_its_test_file(name):
    path = SOURCES[name].relative_to(PACKAGE)
    test = ROOT / "tests" / path.parent / f"test_{path.stem.strip('_')}.py"
    assert test.is_file(), f"{test.relative_to(ROOT)} is missing"
    assert "def test_" in test.read_text(), f"{test.relative_to(ROOT)} is empty"


def test_the_gate_asks_for_every_branch_of_what_is_pure():
    (names,) = re.findall(r"^pure=\((.*)\)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert {"wire", *names.split()} == PURE
