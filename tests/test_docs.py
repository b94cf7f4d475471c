"""The reference pages name what there is: of the logs every event, field and value, of the API every path and field."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import attrs
import pytest
from support.counts import FakeTunnel
from support.frames import websocket
from support.serving import POOL, serving_unix

from trioproxy.access_log import log_end
from trioproxy.config import HealthConfig
from trioproxy.errors import Ending, Phase, Reason, Source
from trioproxy.logs import Log
from trioproxy.metrics.table import ALL_METRICS
from trioproxy.record import Record

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference" / "logs.md").read_text()
LEVELS = {"debug", "info", "warning", "error", "exception", "tell"}


def names_in_first_cells(text):
    cells = re.findall(r"^\| ([^|]*) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def section(title):
    return re.split(r"^#+ ", PAGE.partition(f"# {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize(("title", "enum"), [("by", Source), ("phase", Phase), ("reason", Reason)])
def test_every_value_of_an_ending_has_its_row_and_no_other(title, enum):
    assert names_in_first_cells(section(title)) == {member.value for member in enum}


def test_every_field_of_a_line_has_its_row():
    log = Log.memory()
    record = Record(
        **{field.name: {"str": "x", "int": 1, "float": 1.0}[field.type] for field in attrs.fields(Record)[:-2]}
    )
    record.tunnel = FakeTunnel(sent_code=1001)
    record.ending = Ending(Source.PROXY, Phase.TUNNEL, Reason.DRAINING, "detail")
    log_end(log, record)
    fields = set(log.events[0]) - {"event", "level", "timestamp"}
    events = {"request", "tunnel_open", "tunnel_end"}
    assert names_in_first_cells(section("Events of requests and tunnels")) - events == fields


def logged_events():
    """The first argument of every call of a log's method, where it is a literal."""
    for path in (ROOT / "trioproxy").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=target, attr=name), args=[ast.Constant(value=str(event)), *_]
                ) if name in LEVELS and ast.unparse(target).endswith(("log", "_logger")):
                    yield event
                case ast.Call(func=ast.Name(id="tell"), args=[ast.Constant(value=str(event)), *_]):
                    yield event


def test_every_event_has_its_row():
    events = set(logged_events())
    assert "listening" in events and "probe_failed" in events
    assert events <= names_in_first_cells(PAGE)


# The threat model


def test_the_threat_model_names_tests_settings_and_metrics_that_there_are():
    text = (ROOT / "docs" / "discussion" / "threat-model.md").read_text()
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    rows = [cells for cells in lines if len(cells) == 5]
    assert len(rows) > 20
    known = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = {name for row in rows for name in re.findall(r"`(test_\w+)`", row[4])}
    assert named and named <= known
    files = {name for row in rows for name in re.findall(r"`([\w/]*test_\w+\.py)`", row[4])}
    assert all(list((ROOT / "tests").rglob(name.removeprefix("tests/"))) for name in files)
    example = (ROOT / "config.toml").read_text()
    settings = {name.rpartition(".")[2] for row in rows[1:] for name in re.findall(r"`([a-z_.]+)`", row[2])}
    assert settings and all(re.search(rf"^#? ?{name} = ", example, re.MULTILINE) for name in settings), settings
    metrics = {name for row in rows for name in re.findall(r"`(trioproxy_\w+)`", row[3])}
    assert metrics <= {metric.name for metric in ALL_METRICS}
    ends = {name for row in rows[1:] for name in re.findall(r"`([a-z_ ]+)`", row[3])} - metrics
    assert {name.rpartition(" ")[2] for name in ends} <= set(Reason)


# The reference of the admin endpoints


API_PAGE = (ROOT / "docs" / "reference" / "admin-api.md").read_text()


def example(title):
    """The JSON that is shown under a heading."""
    return json.loads(re.search(r"```json\n(.*?)```", API_PAGE.partition(f"\n## {title}\n")[2], re.DOTALL)[1])


def shape(value):
    """The keys of a document, at any depth; of a list those of its first entry."""
    match value:
        case dict():
            return {key: shape(inner) for key, inner in value.items()}
        case list():
            return [shape(each) for each in value[:1]]
    return None


async def test_the_examples_of_the_api_have_the_fields_of_its_answers(tmp_path):
    async with (
        serving_unix(tmp_path, health=HealthConfig(probe="tcp")) as proxy,
        websocket(proxy.listeners[0].address) as end,
    ):
        await end.echo(b"hello")
        control = proxy.control
        page = await control.tunnels(after="", limit=1, where={})
        assert shape(example("GET /api/tunnels")) == shape(page["tunnels"])
        (address,) = (each.address for each in proxy.context.pools[POOL].upstreams)
        path = "POST /api/pools/{pool}/upstreams/{address}"
        drained = await control.drain_upstream(POOL, address, spread=1, timeout=10)
        assert shape(example(f"{path}/drain")) == shape(drained)
        assert shape(example("GET /api/status")) == shape(await control.status())
        assert shape(example(f"{path}/resume")) == shape(await control.resume_upstream(POOL, address))
        (name,) = proxy.context.tunnels
        closed = await control.close_tunnel(name, 1012)
        assert shape(example("POST /api/tunnels/{id}/close")) == shape(closed)


def test_the_reference_of_the_api_has_every_path():
    """As the routes are written in the source."""
    source = (ROOT / "trioproxy" / "admin" / "app.py").read_text()
    upstream = re.search(r' at = "([^"]+)"', source)[1]
    routes = re.findall(r'Route\(f?"([^"]+)".*methods=\["(\w+)"\]', source)
    served = {(method, path.replace("{at}", upstream).replace(":path", "")) for path, method in routes}
    assert served
    assert set(re.findall(r"^\| (GET|POST|DELETE) `([^`]+)` \|", API_PAGE, re.MULTILINE)) == served
