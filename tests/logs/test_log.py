"""The log as its callers see it."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import structlog
from support.descriptors import open_descriptors

from trioproxy.config import LogConfig
from trioproxy.logs import Log


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log"


def opened(path, **settings):
    return Log.open(LogConfig(file=str(path), **settings))


def test_text_lines_have_time_level_event_and_fields(path):
    log = opened(path)
    log.warning("upstream_down", pool="backend", reason="no answer")
    log.close()
    time, rest = path.read_text().split(" ", 1)
    assert time.endswith("Z") and "T" in time
    assert rest == 'warning upstream_down pool=backend reason="no answer"\n'


def test_json_lines_are_objects(path):
    log = opened(path, format="json")
    log.info("listening", address="127.0.0.1:80")
    log.close()
    event = json.loads(path.read_text())
    assert event.pop("timestamp").endswith("Z")
    assert event == {"level": "info", "event": "listening", "address": "127.0.0.1:80"}


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_what_is_below_the_level_is_not_written(path, level, written):
    log = opened(path, level=level)
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)(name)
    log.close()
    assert [line.split()[2] for line in path.read_text().splitlines()] == written


def test_an_exception_is_one_event_with_its_traceback(path):
    log = opened(path, format="json")
    try:
        raise ValueError("what was wrong")
    except ValueError:
        log.exception("internal_error", id="7")
    log.close()
    event = json.loads(path.read_text())
    assert event["level"] == "error" and event["id"] == "7"
    assert "Traceback" in event["exception"] and "what was wrong" in event["exception"]


def test_a_group_of_exceptions_is_one_event_too():
    log = Log.memory()
    log.error("internal_error", exc_info=ExceptionGroup("several", [ValueError("one"), KeyError("two")]))
    (event,) = log.events
    assert "one" in event["exception"] and "two" in event["exception"]


def test_a_percent_sign_in_an_event_is_nothing_special():
    log = Log.memory()
    log.info("100% done")
    assert log.events[0]["event"] == "100% done"


def test_lines_that_were_dropped_are_spoken_of_when_there_is_room_again(path):
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    log = opened(path, format="json")
    while not log.dropped:
        log.info("filler", x="x" * 100_000)
    received = b""
    while not log._sink.has_room:
        received += os.read(reader, 65536)
    log.info("after")
    with ThreadPoolExecutor() as threads:
        rest = threads.submit(Path(f"/dev/fd/{reader}").read_bytes)
        log.close()
        received += rest.result()
    os.close(reader)
    *_, told, after = map(json.loads, received.splitlines())
    assert (told["event"], told["lines"], told["level"]) == ("log_lines_dropped", 1, "warning")
    assert after["event"] == "after"
    assert log.dropped == 1


def test_the_configuration_of_structlog_stays_as_it_was(path):
    before = structlog.get_config()
    log = opened(path)
    log.info("x")
    log.close()
    assert structlog.get_config() == before
    assert not structlog.is_configured()


def test_memory_keeps_events_of_every_level_as_dicts():
    log = Log.memory()
    log.debug("looked", at="it")
    log.error("failed")
    assert [(e["level"], e["event"], e.get("at")) for e in log.events] == [
        ("debug", "looked", "it"),
        ("error", "failed", None),
    ]
    log.reopen()
    log.close()
    assert log.dropped == 0


def test_null_keeps_nothing_and_does_nothing(capfd):
    log = Log.null()
    log.error("failed")
    log.close()
    assert not log.access
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("access", [True, False])
def test_whether_requests_are_logged_is_the_configurations(path, access):
    log = opened(path, access=access)
    log.close()
    assert log.access is access


def test_reopening_follows_a_rotation(path):
    log = opened(path)
    log.info("old")
    path.rename(path.with_suffix(".1"))
    log.reopen()
    log.info("new")
    log.close()
    assert "new" in path.read_text() and "old" not in path.read_text()


# Other settings while it runs


def test_other_settings_come_into_force_at_once(path, tmp_path):
    log = opened(path, format="text", level="info", access=True)
    log.debug("unheard")
    change = log.prepare(LogConfig(file=str(tmp_path / "other"), format="json", level="debug", access=False))
    log.info("before")
    change.commit()
    log.debug("after")
    assert not log.access
    log.close()
    assert "before" in path.read_text() and len(path.read_text().splitlines()) == 1
    assert json.loads((tmp_path / "other").read_text())["event"] == "after"


def test_settings_that_are_not_put_in_force_leave_no_trace(path, tmp_path):
    log = opened(path)
    before = open_descriptors()
    log.prepare(LogConfig(file=str(tmp_path / "other"), format="json", level="error")).abandon()
    log.prepare(LogConfig(file=str(path), format="json")).abandon()
    assert open_descriptors() == before
    log.info("as before")
    log.close()
    assert "as before" in path.read_text()


def test_the_same_file_stays_open(path):
    log = opened(path)
    before = open_descriptors()
    change = log.prepare(LogConfig(file=str(path), format="json"))
    assert open_descriptors() == before
    change.commit()
    log.info("now")
    log.close()
    assert json.loads(path.read_text())["event"] == "now"


def test_a_file_that_cannot_be_opened_changes_nothing(path, tmp_path):
    log = opened(path)
    with pytest.raises(OSError, match="nowhere"):
        log.prepare(LogConfig(file=str(tmp_path / "nowhere" / "log")))
    log.info("as before")
    log.close()
    assert "as before" in path.read_text()


def test_a_log_in_memory_goes_on_there(tmp_path):
    log = Log.memory()
    before = open_descriptors()
    log.prepare(LogConfig(file=str(tmp_path / "other"), level="error", access=False)).commit()
    log.debug("here")
    assert [event["event"] for event in log.events] == ["here"] and log.access
    assert open_descriptors() == before


def test_who_asks_hears_of_some_events_whatever_is_written():
    heard = []
    log = Log.null()

    def hear(event, level, fields):
        heard.append((event, level, fields))

    with log.heard_by(hear, {"upstream_down", "reload"}):
        log.warning("upstream_down", pool="backend")
        log.info("request", path="/")
        try:
            raise ValueError
        except ValueError:
            log.exception("reload", result="failed")
    log.info("reload", result="applied")
    assert heard == [
        ("upstream_down", "warning", {"pool": "backend"}),
        ("reload", "error", {"exc_info": True, "result": "failed"}),
    ]


def test_several_hear_of_the_same_event_and_leave_in_any_order():
    first, second = [], []
    log = Log.memory()
    with log.heard_by(lambda *told: second.append(told), {"drain"}):
        other = log.heard_by(lambda *told: first.append(told), {"drain", "cut"})
        other.__enter__()
        log.info("drain")
    log.info("cut")
    other.__exit__(None, None, None)
    log.info("drain")
    assert [told[0] for told in first] == ["drain", "cut"]
    assert [told[0] for told in second] == ["drain"]
    assert [event["event"] for event in log.events] == ["drain", "cut", "drain"]
