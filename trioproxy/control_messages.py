"""What a supervisor and its workers say to each other: a closed set of messages, each a line of JSON.

Pure. Carrying the lines, and the descriptors that go with some of them, is `control_channel`'s work.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trioproxy.upstreams import Upstream


def _addresses(value: Any) -> tuple[tuple[int, Any], ...]:
    """As the socket module wants them: JSON has lists where it has tuples."""
    return tuple((int(family), tuple(name) if isinstance(name, list) else name) for family, name in value)


def _places(value: Iterable[int]) -> tuple[int, ...]:
    return tuple(value)


def _words(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


@attrs.frozen
class UpstreamNews:
    """What the supervisor knows of an upstream and workers have to."""

    pool: str
    address: str
    state: str  # of its health
    draining: bool = False
    ejected: bool = False
    back_for: float | None = None  # seconds of its slow start
    addresses: tuple[tuple[int, Any], ...] = attrs.field(default=(), converter=_addresses)

    @classmethod
    def of(cls, upstream: Upstream) -> UpstreamNews:
        """What there is to know of one now."""
        return cls(
            upstream.pool,
            upstream.address,
            upstream.health.state,
            draining=upstream.draining,
            ejected=upstream.ejected,
            back_for=upstream.back_for(),
            addresses=upstream.addresses,
        )


def _news(value: Any) -> tuple[UpstreamNews, ...]:
    return tuple(UpstreamNews(**each) if isinstance(each, dict) else each for each in value)


@attrs.frozen
class Start:
    """The first message to a worker, with the descriptors of the board and of listening sockets."""

    worker: int
    workers: int
    config: str  # as TOML
    listeners: tuple[int, ...] = attrs.field(converter=_places)  # for each socket, whose of the configuration it is
    upstreams: tuple[UpstreamNews, ...] = attrs.field(converter=_news)


@attrs.frozen
class News:
    """Something changed for upstreams."""

    upstreams: tuple[UpstreamNews, ...] = attrs.field(converter=_news)


@attrs.frozen
class Adopt:
    """Accept on the sockets that come with this, too: those of a worker that is not there."""

    worker: int
    listeners: tuple[int, ...] = attrs.field(converter=_places)  # for each socket, the listener's place among all


@attrs.frozen
class Release:
    """That worker is back: accept on its sockets no more."""

    worker: int


@attrs.frozen
class Ask:
    """One of the admin's commands, `what` being a method of its `Control`; to be answered."""

    number: int
    what: str
    arguments: dict[str, Any]


@attrs.frozen
class Prepare:
    """Build what this configuration needs, with new sockets for listeners by their place in it; to be answered."""

    number: int
    config: str
    listeners: tuple[int, ...] = attrs.field(converter=_places)


@attrs.frozen
class Commit:
    """Put in force what was prepared; to be answered with the number of tunnels that lose their way."""

    number: int
    upstreams: tuple[UpstreamNews, ...] = attrs.field(converter=_news)


@attrs.frozen
class Abandon:
    """Forget what was prepared."""


@attrs.frozen
class Drain:
    """Take no new work, let the old end, then exit.

    Another program accepts on the listeners at the places in `given_up`: what waits there is its.
    """

    given_up: tuple[int, ...] = attrs.field(default=(), converter=_places)


@attrs.frozen
class Cut:
    """End everything now."""


@attrs.frozen
class Reopen:
    """Open the log file anew, after a rotation."""


@attrs.frozen
class Ready:
    """From a worker: it accepts."""


@attrs.frozen
class Answer:
    """From a worker: what came of the message of that number. `refusal` says why not, in words for people."""

    number: int
    result: Any = None
    refusal: tuple[str, ...] = attrs.field(default=(), converter=_words)


@attrs.frozen
class Resolve:
    """From a worker: a connect failed, so the name of this upstream should be looked up."""

    pool: str
    address: str


@attrs.frozen
class Failed:
    """From a worker: it has counted failures of this upstream on the board."""

    pool: str
    address: str


Message: TypeAlias = (
    Start
    | News
    | Adopt
    | Release
    | Ask
    | Prepare
    | Commit
    | Abandon
    | Drain
    | Cut
    | Reopen
    | Ready
    | Answer
    | Resolve
    | Failed
)
_KINDS: Final = {kind.__name__.lower(): kind for kind in Message.__args__}


def encode(message: Message) -> bytes:
    """One line, newline included."""
    fields = attrs.asdict(message)
    return json.dumps({"message": type(message).__name__.lower(), **fields}, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Raises ValueError for anything but what `encode` made."""
    fields = json.loads(line)
    try:
        message: Message = _KINDS[fields.pop("message")](**fields)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"no message: {line[:100]!r}") from error
    return message
