"""Policies that choose one of several eligible upstreams.

Pure: which upstreams are eligible, and the counting of leases, is `upstreams`' work. A new policy is one class with one
method and one line in BALANCERS.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Candidate(Protocol):
    """What a policy may know of an upstream."""

    @property
    def key(self) -> str:
        """What tells it from the others of its pool, the same for its whole life."""
        ...

    @property
    def weight(self) -> float:
        """Its share of the work relative to the others', above 0."""
        ...

    @property
    def active(self) -> int:
        """The leases held on it."""
        ...


C = TypeVar("C", bound=Candidate)


class Balancer(Protocol):
    """One pool's policy. It may keep state between picks."""

    def pick(self, candidates: Sequence[C]) -> C:
        """One of `candidates`, which is never empty and may be others at every pick, in a stable order."""
        ...


@attrs.define(eq=False)
class RoundRobin:
    """Smooth weighted round robin, pick for pick what nginx does: weights 5, 1, 1 give a a b a c a a.

    At every pick each candidate gains its weight in credit; the richest (the first among equals) is taken and pays what
    all gained. An upstream that is no candidate for a while keeps its credit, as in nginx.

    `offset` moves the first turn, so that several workers do not all begin with the same upstream.
    """

    offset: int = 0
    _credit: dict[str, float] = attrs.field(factory=dict, init=False)  # by Candidate.key

    def pick(self, candidates: Sequence[C]) -> C:
        """The candidate whose turn it is."""
        if len(candidates) == 1:
            return candidates[0]  # it would gain what it pays
        credit = self._credit
        total = 0.0
        best = candidates[0]
        most = float("-inf")
        start = self.offset % len(candidates)
        for candidate in (*candidates[start:], *candidates[:start]) if start else candidates:
            weight = candidate.weight  # once: it may grow with time, and all gain what the best pays
            total += weight
            mine = credit[candidate.key] = credit.get(candidate.key, 0.0) + weight
            if mine > most:
                best, most = candidate, mine
        credit[best.key] = most - total
        return best


@attrs.define(eq=False)
class LeastConnections:
    """The candidate that would have the fewest leases for its weight after the pick; equals take turns.

    `offset` moves the first turn, so that several workers with equal counts do not all begin with the same upstream.
    """

    offset: int = 0
    _turns: RoundRobin = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._turns = RoundRobin(self.offset)

    def pick(self, candidates: Sequence[C]) -> C:
        """The least loaded candidate."""
        loads = [(candidate.active + 1) / candidate.weight for candidate in candidates]
        least = min(loads)
        # Exact comparison is right: IEEE division rounds equal ratios to equal floats.
        equals = [candidate for candidate, load in zip(candidates, loads, strict=True) if load == least]
        return self._turns.pick(equals)


BALANCERS: Mapping[str, Callable[[int], Balancer]] = MappingProxyType(
    {
        "round-robin": RoundRobin,
        "least-connections": LeastConnections,
    }
)
"""By the name in `pools.*.balance`; made with the offset of the worker."""
