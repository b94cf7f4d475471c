"""The reference page of the logs names every event, field and value there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import attrs
import pytest
from support.counts import FakeTunnel

from trioproxy.access_log import log_end
from trioproxy.errors import Ending, Phase, Reason, Source
from trioproxy.logs import Log
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
