"""The endpoints of the chaos verbs: what an order must say, and that there are none unless `admin.chaos` allows them.

Who may ask is `guard`'s, as for every command; what the verbs do, `Control.chaos`'.
"""

from __future__ import annotations

import random
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import attrs
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from trioproxy.admin.reading import read_body
from trioproxy.config_rules import Rule, Unfit, close_code, number, whole
from trioproxy.relay.tunnel import SERVICE_RESTART
from trioproxy.verbs import LONGEST_SECONDS, RESET, Order, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from trioproxy.admin.control import Control

_LARGEST_SEED: Final = 2**31 - 1
_REFUSALS: Final = frozenset(each.value for each in HTTPStatus if each >= HTTPStatus.BAD_REQUEST)
_OFF: Final = "chaos verbs are off: admin.chaos = true in the configuration allows them"


def _most(rule: Rule, expected: str, most: float) -> Rule:
    def read(value: object) -> Any:
        if rule.read(value) > most:
            raise Unfit(expected, value)
        return rule.read(value)

    return Rule(expected, read)


def _status() -> Rule:
    expected = 'a status of HTTP from 400 to 599, or "reset"'

    def read(value: object) -> int:
        if value == "reset":
            return RESET
        if isinstance(value, bool) or not isinstance(value, int) or value not in _REFUSALS:
            raise Unfit(expected, value)
        return value

    return Rule(expected, read)


_COMMON: Final = {
    "share": _most(number("a share", above=0), "a share above 0, up to 1", 1.0),
    "seed": whole(0, _LARGEST_SEED),
}
_UP_TO: Final = f"up to {LONGEST_SECONDS:.0f}"
_SECONDS: Final = _most(number("seconds", above=0), f"seconds above 0, {_UP_TO}", LONGEST_SECONDS)
_SPREAD: Final = _most(number("seconds"), f"seconds, 0 or more, {_UP_TO}", LONGEST_SECONDS)
_CLOSE: Final = MappingProxyType({**_COMMON, "spread": _SPREAD, "code": close_code()})
_BLACKHOLE: Final = MappingProxyType({**_COMMON, "seconds": _SECONDS})
_REFUSE: Final = MappingProxyType({**_COMMON, "seconds": _SECONDS, "status": _status()})


@attrs.frozen(eq=False)
class ChaosEndpoints:
    """Each answers what is on, or what was begun or ended."""

    control: Control

    async def active(self, _request: Request) -> Response:
        """What is on."""
        self._check()
        return JSONResponse({"faults": self.control.chaos.active()})

    async def stop(self, request: Request) -> Response:
        """All off at once."""
        self._check()
        return JSONResponse({"stopped": await self.control.chaos.stop(_asker(request))})

    async def close(self, request: Request) -> Response:
        """Close tunnels."""
        body = await self._body(request, _CLOSE, ("share",))
        seconds, code = body.get("spread", 0.0), body.get("code", SERVICE_RESTART)
        return await self._inject(request, Verb.CLOSE, body, seconds=seconds, code=code)

    async def blackhole(self, request: Request) -> Response:
        """Suspend tunnels."""
        body = await self._body(request, _BLACKHOLE, ("share", "seconds"))
        return await self._inject(request, Verb.BLACKHOLE, body, seconds=body["seconds"])

    async def refuse(self, request: Request) -> Response:
        """Refuse upgrades."""
        body = await self._body(request, _REFUSE, ("share", "seconds"))
        status = body.get("status", HTTPStatus.SERVICE_UNAVAILABLE.value)
        return await self._inject(request, Verb.REFUSE, body, seconds=body["seconds"], status=status)

    async def _body(self, request: Request, rules: Mapping[str, Rule], needed: tuple[str, ...]) -> dict[str, Any]:
        self._check()
        return await read_body(request, rules, needed)

    async def _inject(self, request: Request, verb: Verb, body: Mapping[str, Any], **of_the_verb: Any) -> Response:
        order = Order(
            verb=verb,
            pool=request.path_params["pool"],
            upstream=request.path_params["address"],
            share=body["share"],
            seed=body.get("seed", random.randint(0, _LARGEST_SEED)),  # noqa: S311 - no secret
            asked_by=_asker(request),
            **of_the_verb,
        )
        return JSONResponse(await self.control.chaos.inject(order))

    def _check(self) -> None:
        if not self.control.config.admin.chaos:
            raise HTTPException(HTTPStatus.FORBIDDEN, _OFF)


def _asker(request: Request) -> str:
    return request.client.host if request.client is not None else ""
