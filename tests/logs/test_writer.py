"""The writing thread: order, bounds, stalled and vanished readers, rotation. Nothing here may ever wait long."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from support.descriptors import open_descriptors

from trioproxy.logs.writer import MAX_PENDING_BYTES, LineWriter, open_target

LINE = "x" * 1023 + "\n"
FLUSH = 30.0  # far more than any write here takes


@pytest.fixture
def fifo(tmp_path):
    """A named pipe with a reader's descriptor that reads nothing by itself."""
    path = tmp_path / "log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    yield path, reader
    os.close(reader)


def read_all(reader):
    chunks = []
    while chunk := os.read(reader, 65536):
        chunks.append(chunk)
    return b"".join(chunks)


def test_lines_arrive_in_order(tmp_path):
    writer = LineWriter(tmp_path / "log")
    lines = [f"{number}\n" for number in range(5000)]
    for line in lines:
        writer.write(line)
    writer.close(FLUSH)
    assert (tmp_path / "log").read_text() == "".join(lines)
    assert writer.dropped == 0


def test_a_file_is_appended_to_and_not_for_everyone_to_read(tmp_path):
    path = tmp_path / "log"
    for line in ("first\n", "second\n"):
        writer = LineWriter(path)
        writer.write(line)
        writer.close(FLUSH)
    assert path.read_text() == "first\nsecond\n"
    assert path.stat().st_mode & 0o007 == 0


def test_what_cannot_be_encoded_is_escaped(tmp_path):
    writer = LineWriter(tmp_path / "log")
    writer.write("\udcff\n")
    writer.close(FLUSH)
    assert (tmp_path / "log").read_text() == "\\udcff\n"


def test_a_file_that_cannot_be_opened_is_an_error(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        LineWriter(tmp_path / "nowhere" / "log")


def test_a_pipe_without_a_reader_is_an_error_and_no_wait(tmp_path):
    os.mkfifo(tmp_path / "log")
    with pytest.raises(OSError, match="log"):
        LineWriter(tmp_path / "log")


def test_a_stalled_reader_costs_lines_and_never_time(fifo):
    path, reader = fifo
    writer = LineWriter(path)
    count = 3 * MAX_PENDING_BYTES // len(LINE)
    slowest = 0.0
    for _ in range(count):
        start = time.perf_counter()
        writer.write(LINE)
        slowest = max(slowest, time.perf_counter() - start)
    assert writer.dropped > count // 2
    assert not writer.has_room
    assert slowest < 1
    # It reads again: what was queued arrives whole, and there is room again
    received = []
    thread = threading.Thread(target=lambda: received.append(read_all(reader)))
    thread.start()
    writer.close(FLUSH)
    thread.join()
    assert received[0] == LINE.encode() * (count - writer.dropped)


def test_a_reader_that_stays_stalled_does_not_hold_up_the_end(fifo):
    path, _ = fifo
    writer = LineWriter(path)
    for _ in range(1000):
        writer.write(LINE)
    start = time.perf_counter()
    writer.close(0.05)
    assert time.perf_counter() - start < 5
    assert writer.dropped >= 1000 - 2 * 65536 // len(LINE)


def test_a_reader_that_vanished_costs_lines_alone(tmp_path):
    path = tmp_path / "log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = LineWriter(path)
    os.close(reader)
    for _ in range(10):
        writer.write(LINE)
    writer.close(FLUSH)
    assert writer.dropped == 10


def test_a_full_disk_costs_lines_alone(tmp_path):
    (tmp_path / "log").symlink_to("/dev/full")
    writer = LineWriter(tmp_path / "log")
    writer.write(LINE)
    writer.close(FLUSH)
    assert writer.dropped == 1


def test_a_pipe_somebody_made_non_blocking_is_waited_for(fifo):
    path, reader = fifo
    writer = LineWriter(path)
    # The flag belongs to the open file description, so it is set through a second descriptor of the same one
    numbers = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    own = next(fd for fd in numbers if fd > reader and _is(fd, path))
    os.set_blocking(own, False)
    received = []
    thread = threading.Thread(target=lambda: received.append(read_all(reader)))
    thread.start()
    for _ in range(1000):
        writer.write(LINE)
    writer.close(FLUSH)
    thread.join()
    assert received[0] == LINE.encode() * 1000
    assert writer.dropped == 0


def _is(fd, path):
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except OSError:
        return False


def test_reopening_goes_on_in_a_new_file(tmp_path):
    path = tmp_path / "log"
    writer = LineWriter(path)
    writer.write("before\n")
    path.rename(tmp_path / "log.1")
    writer.write("still before\n")
    writer.reopen()
    writer.write("after\n")
    writer.close(FLUSH)
    assert (tmp_path / "log.1").read_text() == "before\nstill before\n"
    assert path.read_text() == "after\n"


def test_reopening_that_fails_leaves_the_old_file_in_use(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    writer = LineWriter(folder / "log")
    folder.rename(tmp_path / "moved")
    with pytest.raises(OSError, match="logs"):
        writer.reopen()
    writer.write("here\n")
    writer.close(FLUSH)
    assert (tmp_path / "moved" / "log").read_text() == "here\n"


def test_what_is_queued_before_a_move_goes_where_it_was_to_go(fifo, tmp_path):
    path, reader = fifo
    writer = LineWriter(path)
    writer.write("before\n")
    writer.move(tmp_path / "other", open_target(tmp_path / "other"))
    writer.write("after\n")
    writer.reopen()
    writer.close(FLUSH)
    assert read_all(reader) == b"before\n"
    assert (tmp_path / "other").read_text() == "after\n"
    assert writer.path == tmp_path / "other"


def test_a_move_behind_the_end_is_nothing(tmp_path):
    before = open_descriptors()
    writer = LineWriter(tmp_path / "log")
    writer.close(FLUSH)
    writer.move(tmp_path / "other", open_target(tmp_path / "other"))
    assert writer.path == tmp_path / "log"
    assert open_descriptors() == before


def test_standard_error_is_written_to_and_stays_open(capfd):
    writer = LineWriter(None)
    writer.write("hello\n")
    writer.reopen()
    writer.close(FLUSH)
    os.write(2, b"still there\n")
    assert capfd.readouterr().err == "hello\nstill there\n"


def test_after_the_end_lines_are_dropped_and_closing_again_is_nothing(tmp_path):
    writer = LineWriter(tmp_path / "log")
    writer.close(FLUSH)
    writer.write("late\n")
    writer.reopen()
    writer.close(FLUSH)
    assert writer.dropped == 1
    assert (tmp_path / "log").read_text() == ""


def test_descriptors_are_given_back(tmp_path):
    before = open_descriptors()
    writer = LineWriter(tmp_path / "log")
    writer.reopen()
    writer.close(FLUSH)
    assert open_descriptors() == before


def test_a_write_of_several_lines_has_a_length_that_other_writers_cannot_mix_with(tmp_path):
    writer = LineWriter(tmp_path / "log", batch=100)
    lines = [b"x" * 39 + b"\n"] * 5 + [b"y" * 200 + b"\n"] + [b"z\n"] * 3
    assert [sum(map(len, batch)) for batch in writer._batches(lines)] == [80, 80, 40, 201, 6]
    for line in lines:
        writer.write(line.decode())
    writer.close(FLUSH)
    assert (tmp_path / "log").read_bytes() == b"".join(lines)
