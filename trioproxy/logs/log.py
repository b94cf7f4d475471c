"""The log as everyone calls it: an event's name and its fields, at a level.

A `Log` is a value handed around; structlog's global configuration is never touched, so a program that embeds the proxy
keeps its own.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
import structlog

from trioproxy.logs.render import render_json, render_text
from trioproxy.logs.writer import ATOMIC_BYTES, BATCH_BYTES, LineWriter, open_target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from trioproxy.config import LogConfig

    Hear = Callable[[str, str, Mapping[str, Any]], None]

_LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_RENDERERS: Final = {"text": render_text, "json": render_json}
FLUSH_SECONDS: Final = 2.0  # what a stalled reader may hold up the end of the process


class _Sink(Protocol):
    """Where rendered events go."""

    @property
    def dropped(self) -> int: ...

    @property
    def has_room(self) -> bool: ...

    def write(self, line: Any, /) -> None: ...

    def reopen(self) -> None: ...

    def close(self, timeout: float) -> None: ...


class _Memory:
    """Keeps events as dicts, for tests and embedders."""

    dropped = 0
    has_room = True

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self._events = events

    def write(self, event: dict[str, Any]) -> None:
        self._events.append(event)

    def reopen(self) -> None:
        pass

    def close(self, timeout: float) -> None:
        pass


class _Lines:
    """What structlog calls as its logger: every level writes to the sink."""

    def __init__(self, sink: _Sink) -> None:
        self.debug = self.info = self.warning = self.error = sink.write


class Log:
    """Events go out at `debug`, `info`, `warning`, `error`; none of these blocks or fails, whatever the reader does.

    Fields are keywords; values from peers may hold anything, rendering makes them harmless.
    """

    def __init__(self, sink: _Sink, render: Any, level: str, *, access: bool = True, **fields: Any) -> None:
        """Use `open`, `null` or `memory` instead."""
        self._sink = sink
        self._ears: dict[str, tuple[Hear, ...]] = {}
        self._told = 0  # dropped lines the log itself has spoken of
        self._fields = fields
        self._set(render, level, access=access)

    def _set(self, render: Any, level: str, *, access: bool) -> None:
        self.access = access  # whether requests and tunnels are logged one by one
        self._logger = structlog.wrap_logger(
            _Lines(self._sink),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                render,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(_LEVELS.get(level, logging.CRITICAL)),
            context_class=dict,
            cache_logger_on_first_use=True,
        ).bind(**self._fields)

    @classmethod
    def open(cls, config: LogConfig, *, shared: bool = False, **fields: Any) -> Log:
        """The log `[log]` asks for; raises OSError if its file cannot be opened. To be closed.

        `shared`: other processes write there, too. `fields` are part of every event.
        """
        writer = LineWriter(Path(config.file) if config.file else None, ATOMIC_BYTES if shared else BATCH_BYTES)
        return cls(writer, _RENDERERS[config.format], config.level, access=config.access, **fields)

    @classmethod
    def null(cls) -> Log:
        """A log that keeps nothing."""
        return cls(_Memory([]), _keep, "none", access=False)

    @classmethod
    def memory(cls) -> MemoryLog:
        """A log that keeps its events in `.events`."""
        return MemoryLog([])

    @property
    def dropped(self) -> int:
        """Lines lost so far: the reader stalled, or writing failed."""
        return self._sink.dropped

    def debug(self, event: str, **fields: Any) -> None:
        """What helps to find a bug."""
        self._logger.debug(event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        """What happened."""
        self._hear(event, "info", fields)
        self._tell_of_dropped_lines()
        self._logger.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        """What an operator should look at."""
        self._hear(event, "warning", fields)
        self._tell_of_dropped_lines()
        self._logger.warning(event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        """What failed."""
        self._hear(event, "error", fields)
        self._tell_of_dropped_lines()
        self._logger.error(event, **fields)

    def exception(self, event: str, **fields: Any) -> None:
        """What failed by a bug, with the traceback of the exception being handled."""
        self.error(event, exc_info=True, **fields)

    @contextmanager
    def heard_by(self, hear: Hear, events: Collection[str]) -> Iterator[None]:
        """Within the block, call `hear` with name, level and fields of each of these `events`, whatever is written.

        It must not block, nor log. Whoever else hears them goes on doing so.
        """
        for event in events:
            self._ears[event] = (*self._ears.get(event, ()), hear)
        try:
            yield
        finally:
            for event in events:
                self._ears[event] = tuple(each for each in self._ears[event] if each is not hear)

    def _hear(self, event: str, level: str, fields: Mapping[str, Any]) -> None:
        for hear in self._ears.get(event, ()):
            hear(event, level, fields)

    def reopen(self) -> None:
        """Open `log.file` anew after a rotation; goes on in the old file, and says so there, if that fails."""
        try:
            self._sink.reopen()
        except OSError as error:
            self.warning("log_reopen_failed", reason=error.strerror or str(error))

    def prepare(self, config: LogConfig) -> LogChange:
        """Open what `config` asks for; nothing changes before its `commit`. Raises OSError.

        A log that was not opened by `open` stays as it is.
        """
        path = Path(config.file) if config.file else None
        same = not isinstance(self._sink, LineWriter) or self._sink.path == path
        return LogChange(self, config, path, None if same else open_target(path))

    def change(self, config: LogConfig, path: Path | None, fd: int | None) -> None:
        """What a LogChange commits."""
        if isinstance(self._sink, LineWriter):
            if fd is not None:
                self._sink.move(path, fd)
            self._set(_RENDERERS[config.format], config.level, access=config.access)

    def close(self, timeout: float = FLUSH_SECONDS) -> None:
        """Write what is queued, for at most `timeout` seconds. This is the one call that may block; idempotent."""
        self._sink.close(timeout)

    def _tell_of_dropped_lines(self) -> None:
        dropped = self._sink.dropped
        if dropped != self._told and self._sink.has_room:
            new, self._told = dropped - self._told, dropped
            self._logger.warning("log_lines_dropped", lines=new)


@attrs.define(eq=False)
class LogChange:
    """Other settings for a log, ready to be put in force; `commit` or `abandon` ends it."""

    _log: Log
    _config: LogConfig
    _path: Path | None
    _fd: int | None  # where it leads elsewhere

    def commit(self) -> None:
        """From here on lines go where, and look how, the new settings say."""
        self._log.change(self._config, self._path, self._fd)

    def abandon(self) -> None:
        """Leave the log as it is."""
        if self._fd is not None:
            os.close(self._fd)


class MemoryLog(Log):
    """A log that keeps every event as a dict: `event`, `level`, `timestamp`, `exception` and the fields."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        super().__init__(_Memory(events), _keep, "debug")
        self.events = events


def _keep(_logger: Any, _name: str, event: dict[str, Any]) -> tuple[tuple[dict[str, Any]], dict[str, Any]]:
    """Hand the event itself to the sink: structlog calls it with what its last processor returns."""
    return (event,), {}
