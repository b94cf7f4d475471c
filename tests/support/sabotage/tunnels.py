"""What passes through tunnels, and how they end, sabotaged."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections import deque

import trio
from support.sabotage.base import replaced

from trioproxy import metrics as m
from trioproxy.relay import ports, pump
from trioproxy.relay.heartbeat import Heartbeat
from trioproxy.relay.tunnel import Tunnel
from trioproxy.wire.websocket import FrameScanner

FEW, SOME = 40, 15  # of so many messages to clients one is hit
TEXT, CLOSE = 0x81, 0x88  # first bytes of whole frames


class _Sends:
    """What the pump and its ports take for the module `os`; `changed` says what is written instead of a frame to a descriptor."""

    def __init__(self, changed):
        self.changed = changed

    def __getattr__(self, name):
        return getattr(os, name)

    def write(self, fd, data):
        whole = bytes(data)
        if len(whole) < 2 or _frame_size(whole) != len(whole):
            return os.write(fd, data)
        for instead in self.changed(fd, whole):
            os.write(fd, instead)
        return len(whole)


def _frame_size(data):
    """How long the frame is that begins here."""
    length, size = data[1] & 127, 2 + (4 if data[1] & 128 else 0)
    if length > 125:
        wide = 2 if length == 126 else 8
        length, size = int.from_bytes(data[2 : 2 + wide], "big"), size + wide
    return size + length


def _changes_messages(share, change):
    """A sabotage of every so many messages to clients: `change(fd, frame)` says what is sent instead of each."""
    numbers, before = itertools.count(1), pump.os
    earlier = before.changed if isinstance(before, _Sends) else lambda fd, frame: [frame]

    def changed(fd, frame):
        if frame[0] == TEXT and not frame[1] & 128 and next(numbers) % share == 0:
            return change(fd, frame)
        return earlier(fd, frame)

    pump.os = ports.os = _Sends(changed)


def dropped_messages():
    """A few messages never come; for each its client waits in vain."""
    _changes_messages(FEW, lambda fd, frame: [])


def duplicated_messages():
    """Some come twice."""
    _changes_messages(SOME, lambda fd, frame: [frame, frame])


def corrupted_messages():
    """Some come with another last letter first."""
    _changes_messages(SOME, lambda fd, frame: [frame[:-1] + bytes([frame[-1] ^ 1]), frame])


def reordered_messages():
    """Some wait for the next one, and come behind it."""
    held = {}
    _changes_messages(SOME, lambda fd, frame: held.update({fd: frame}) or [])
    earlier = pump.os.changed

    def changed(fd, frame):
        waiting = [held.pop(fd)] if fd in held and frame[0] == TEXT and not frame[1] & 128 else []
        return [*earlier(fd, frame), *waiting]

    pump.os = ports.os = _Sends(changed)


def slow_relay():
    """What is read is kept for half a second before it is sent on."""
    kept = deque()

    class Later(_Sends):
        def write(self, fd, data):
            if not kept:
                trio.lowlevel.spawn_system_task(send_kept)
            kept.append((trio.current_time() + 0.5, os.dup(fd), bytes(data)))
            return len(data)

    async def send_kept():
        while kept:
            due, fd, data = kept[0]
            await trio.sleep_until(due)
            with contextlib.suppress(OSError):
                os.write(fd, data)
            os.close(fd)
            kept.popleft()

    pump.os = ports.os = Later(None)


def bug():
    """Some reads run into an exception."""
    numbers = itertools.count(1)

    @replaced(FrameScanner, "scan")
    def scan(before, self, buffer, start, stop):
        if next(numbers) % 60 == 0:
            raise AssertionError("a bug on purpose")
        return before(self, buffer, start, stop)


def not_strict():
    """Frames that break a rule are passed on."""

    @replaced(FrameScanner, "__init__")
    def init(before, self, *, strict, **settings):
        before(self, strict=False, **settings)


def no_pings():
    """Nobody is pinged."""
    Heartbeat.prepare = lambda self, now: b""


def no_goodbye():
    """Where a side is gone or breaks a rule, the other is cut instead of told with a Close."""
    Tunnel._owe = lambda self, way, code: self._abort()


def swallowed_close():
    """Close frames that upstreams send are not passed on."""
    pump.os = ports.os = _Sends(lambda fd, frame: [] if frame[0] == CLOSE and not frame[1] & 128 else [frame])


def miscount():
    """Every tunnel is counted twice."""

    @replaced(m.Metrics, "inc")
    def inc(before, self, metric, labels=(), n=1):
        before(self, metric, labels, 2 * n if metric is m.TUNNELS else n)
