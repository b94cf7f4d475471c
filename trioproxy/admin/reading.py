"""What a request to the API says, read as strictly as the configuration: bodies of JSON, and queries.

Who may ask at all is `guard`'s, what comes of it `app`'s. Whatever does not fit is an HTTPException that says why.
"""

from __future__ import annotations

import json
from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NoReturn

import trio
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from trioproxy.config_rules import Rule, Unfit, closest, describe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

MAX_BODY_BYTES: Final = 16 * 1024  # a command is a few dozen
BODY_SECONDS: Final = 10.0  # for all of it to come


async def read_body(request: Request, rules: Mapping[str, Rule], needed: Sequence[str] = ()) -> dict[str, Any]:
    """The values of a JSON object with keys of `rules` only, and all those `needed`; no body at all is one of none."""
    content = await _content(request)
    body = _parse(content) if content else {}
    if not isinstance(body, dict):
        _refuse(f"the body: expected an object, got {_describe(body)}")
    problems = [problem for key, value in body.items() if (problem := _problem(key, value, rules))]
    problems += [f"{key}: missing, expected {rules[key].expected}" for key in needed if key not in body]
    if problems:
        _refuse("; ".join(problems))
    return {key: rules[key].read(value) for key, value in body.items()}


def read_query(request: Request, rules: Mapping[str, Rule]) -> dict[str, Any]:
    """The values of a query that has keys of `rules` only, each at most once."""
    pairs = request.query_params.multi_items()
    found = dict(pairs)
    problems = [problem for key, value in found.items() if (problem := _problem(key, value, rules))]
    if len(found) < len(pairs):
        problems.append("the query: a key stands there twice")
    if problems:
        _refuse("; ".join(problems))
    return {key: rules[key].read(value) for key, value in found.items()}


def digits(low: int, high: int) -> Rule:
    """A whole number as a query has it: digits alone."""
    expected = f"a whole number from {low} to {high}"

    def read(value: object) -> int:
        if not (isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(high))):
            raise Unfit(expected, value)
        if not low <= int(value) <= high:
            raise Unfit(expected, value)
        return int(value)

    return Rule(expected, read)


async def _content(request: Request) -> bytes:
    content = b""
    try:
        with trio.fail_after(BODY_SECONDS):
            async with aclosing(request.stream()) as parts:
                async for part in parts:
                    content += part
                    if len(content) > MAX_BODY_BYTES:
                        detail = f"a body above {MAX_BODY_BYTES} bytes"
                        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, {"Connection": "close"})
    except ClientDisconnect:
        _refuse("the body: ended early")
    except trio.TooSlowError:
        detail = f"the body did not come within {BODY_SECONDS:g} s"
        raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, detail, {"Connection": "close"}) from None
    return content


def _parse(content: bytes) -> object:
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        _refuse(f"the body: not valid JSON: {error}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")  # RFC 8259 section 6; Python reads it all the same


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _problem(key: str, value: object, rules: Mapping[str, Rule]) -> str:
    """What is wrong with one key and its value, in the words the configuration has for it; "" where nothing is."""
    rule = rules.get(key)
    if rule is None:
        meant = closest(key, rules)
        known = f"; known are {', '.join(rules)}" if rules else ""
        return f"{describe(key)}: unknown key" + (f" (did you mean {meant}?)" if meant else known)
    try:
        rule.read(value)
    except Unfit as unfit:
        return f"{key}: expected {unfit.expected}, got {_describe(value)}"
    return ""


def _describe(value: object) -> str:
    if value is None:
        return "null"
    return "an object" if isinstance(value, dict) else describe(value)


def _refuse(detail: str) -> NoReturn:
    raise HTTPException(HTTPStatus.BAD_REQUEST, detail)
