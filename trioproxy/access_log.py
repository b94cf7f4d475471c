"""Turns the record of a request or tunnel into its log lines, if `log.access` asks for them.

Nothing of a header's value is in them but Host, User-Agent and Origin, and an X-Request-Id where a route keeps it; and
no query string: those carry secrets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trioproxy.counts import DIRECTIONS, close_code

if TYPE_CHECKING:
    from trioproxy.counts import DirectionCounts, TunnelCounts
    from trioproxy.logs import Log
    from trioproxy.record import Record

_WHO: Final = (
    "id", "request_id", "client", "listener", "tls", "route", "pool", "upstream",
    "method", "path", "host", "user_agent", "origin",
    "status", "subprotocol", "attempts", "injected", "head_s", "queue_s", "connect_s", "handshake_s",
)  # fmt: skip
_MAX_CHARACTERS: Final = 1024  # of one field: a head may be 32 KiB, and a line for each is the client's to choose


def log_tunnel_open(log: Log, record: Record) -> None:
    """`tunnel_open`, once the client was answered 101."""
    if log.access:
        log.info("tunnel_open", **_fields(record))


def log_end(log: Log, record: Record) -> None:
    """`tunnel_end` if a tunnel was opened, else `request`: also for what came to nothing."""
    if not log.access:
        return
    fields = _fields(record)
    fields["duration_s"] = round(record.duration_s, 6)
    tunnel, ending = record.tunnel, record.ending.told if record.ending is not None else None
    if tunnel is not None:
        fields |= _counts(tunnel)
        if ending is not None and (code := close_code(tunnel, ending.by)) is not None:
            fields["close_code"] = code
    if ending is not None:
        fields |= {"ended_by": ending.by.value, "phase": ending.phase.value, "reason": ending.reason.value}
        if ending.detail:
            fields["detail"] = _shortened(ending.detail)
    log.info("request" if tunnel is None else "tunnel_end", **fields)


def _fields(record: Record) -> dict[str, object]:
    """What is known of the record: a field that is empty or 0 never came about."""
    return {name: _logged(value) for name in _WHO if (value := getattr(record, name))}


def _logged(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6)
    return _shortened(value) if isinstance(value, str) else value


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_CHARACTERS else text[:_MAX_CHARACTERS] + "…"


def _counts(tunnel: TunnelCounts) -> dict[str, object]:
    ways: tuple[DirectionCounts, ...] = (tunnel.to_upstream, tunnel.to_client)
    fields: dict[str, object] = {}
    for name, counts in zip(DIRECTIONS, ways, strict=True):
        fields[f"frames_{name}"] = counts.frames
        fields[f"messages_{name}"] = counts.messages
        fields[f"bytes_{name}"] = counts.bytes
    return fields
