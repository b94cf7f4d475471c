"""The endpoints of the chaos verbs: what a body must say, that they are off by default, and who gets through."""

from __future__ import annotations

import pytest
from support.admin import open_admin

from trioproxy.admin import Token, Unknown
from trioproxy.admin.control import NotNow
from trioproxy.verbs import Order, Verb

AT = "/api/chaos/pools/backend/upstreams/10.0.0.1:80"
SOME = {"share": 0.5, "seconds": 3}
VERBS = [("close", {"share": 0.5}), ("blackhole", SOME), ("refuse", SOME)]


@pytest.mark.parametrize(
    ("verb", "body", "order"),
    [
        ("close", {"share": 1}, {"share": 1.0, "seconds": 0.0, "code": 1012}),
        ("close", {"share": 0.2, "spread": 5, "code": 4000}, {"share": 0.2, "seconds": 5.0, "code": 4000}),
        ("blackhole", SOME, {"share": 0.5, "seconds": 3.0}),
        ("refuse", SOME, {"share": 0.5, "seconds": 3.0, "status": 503}),
        ("refuse", {**SOME, "status": 401}, {"share": 0.5, "seconds": 3.0, "status": 401}),
        ("refuse", {**SOME, "status": "reset"}, {"share": 0.5, "seconds": 3.0, "status": 0}),
    ],
)
async def test_a_body_becomes_an_order(verb, body, order):
    async with open_admin(chaos=True) as admin:
        answer = await admin.post(f"{AT}/{verb}", {**body, "seed": 9})
        assert (answer.status, answer.json()) == (200, {"id": 1})
        assert admin.control.chaos.orders == [
            Order(verb=Verb(verb), pool="backend", upstream="10.0.0.1:80", seed=9, asked_by="127.0.0.1", **order)
        ]


async def test_without_a_seed_each_order_gets_one_of_its_own():
    async with open_admin(chaos=True) as admin:
        for _ in range(5):
            await admin.post(f"{AT}/close", {"share": 1})
        assert len({order.seed for order in admin.control.chaos.orders}) > 1


@pytest.mark.parametrize(
    ("verb", "body", "problems"),
    [
        ("close", {}, "share: missing, expected a share above 0, up to 1"),
        (
            "close",
            {"share": 0, "code": 1005, "spread": -1, "seed": -1, "cod": 1},
            (
                "share: expected a share above 0, got 0; "
                "code: expected a Close code that may be sent (1000-1003, 1007-1009, 1011-1014, 3000-4999), got 1005; "
                "spread: expected seconds, 0 or more, got -1; seed: expected a whole number, 0 or more, got -1; "
                '"cod": unknown key (did you mean code?)'
            ),
        ),
        ("close", {"share": 1.5}, "share: expected a share above 0, up to 1, got 1.5"),
        ("close", {"share": 1, "spread": 3601}, "spread: expected seconds, 0 or more, up to 3600, got 3601"),
        ("close", {"share": "1"}, 'share: expected a share above 0, got "1"'),
        ("close", [], "the body: expected an object, got an empty list"),
        (
            "blackhole",
            {"code": 1012},
            (
                '"code": unknown key; known are share, seed, seconds; share: missing, expected a share above 0, up to 1; '
                "seconds: missing, expected seconds above 0, up to 3600"
            ),
        ),
        ("blackhole", {"share": 1, "seconds": 1e9}, "seconds: expected seconds above 0, up to 3600, got 1000000000.0"),
        *(
            (
                "refuse",
                {**SOME, "status": status},
                f'status: expected a status of HTTP from 400 to 599, or "reset", got {told}',
            )
            for status, told in (
                (200, "200"),
                (499, "499"),
                (600, "600"),
                ("503", '"503"'),
                (True, "true"),
                (None, "null"),
            )
        ),
    ],
)
async def test_every_problem_of_a_body_is_named(verb, body, problems):
    async with open_admin(chaos=True) as admin:
        answer = await admin.post(f"{AT}/{verb}", body)
        assert (answer.status, answer.json()) == (400, {"error": problems})
        assert not admin.control.chaos.orders


async def test_what_is_on_is_told_and_ended():
    async with open_admin(chaos=True) as admin:
        await admin.post(f"{AT}/blackhole", SOME)
        told = await admin.get("/api/chaos")
        assert (told.status, told.json()) == (200, {"faults": [{"id": 0}]})
        ended = await admin.get("/api/chaos", method="DELETE")
        assert (ended.status, ended.json()) == (200, {"stopped": [{"id": 0}]})
        assert admin.control.chaos.stopped_by == ["127.0.0.1"]


async def test_off_nothing_of_it_is_there_and_the_setting_is_named():
    error = {"error": "chaos verbs are off: admin.chaos = true in the configuration allows them"}
    async with open_admin() as admin:
        answers = [await admin.post(f"{AT}/{verb}", body) for verb, body in VERBS]
        answers += [await admin.get("/api/chaos"), await admin.get("/api/chaos", method="DELETE")]
        assert [(answer.status, answer.json()) for answer in answers] == [(403, error)] * 5
        assert not admin.control.chaos.orders and not admin.control.chaos.stopped_by


@pytest.mark.parametrize(("verb", "body"), VERBS)
async def test_pages_of_other_sites_and_who_has_no_token_get_nothing(verb, body):
    async with open_admin(Token(b"secret"), chaos=True) as admin:
        carried = {"authorization": "Bearer secret"}
        for how, status in (
            ({"host": "evil.example", **carried}, 403),
            ({"origin": "http://evil.example", **carried}, 403),
            ({"sec_fetch_site": "cross-site", **carried}, 403),
            ({"content_type": "text/plain", **carried}, 415),
            ({}, 401),
        ):
            assert (await admin.post(f"{AT}/{verb}", body, **how)).status == status
        for how, status in (({"origin": "http://evil.example", **carried}, 403), ({}, 401)):
            assert (await admin.get("/api/chaos", method="DELETE", **how)).status == status
            assert (await admin.get("/api/chaos", **how)).status == status
        assert not admin.control.chaos.orders and not admin.control.chaos.stopped_by
        assert (await admin.post(f"{AT}/{verb}", body, **carried)).status == 200


@pytest.mark.parametrize(
    ("refusal", "status"), [(Unknown("pool", "x", ["backend"]), 404), (NotNow("the proxy is draining"), 409)]
)
async def test_what_cannot_be_done_is_said(refusal, status):
    async with open_admin(chaos=True) as admin:
        admin.control.chaos.refusal = refusal
        answer = await admin.post(f"{AT}/close", {"share": 1})
        assert (answer.status, answer.json()) == (status, {"error": str(refusal)})
