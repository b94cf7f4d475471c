"""What a plain request and its answer look like on the other side: fields kept, removed, replaced and added."""

from __future__ import annotations

import pytest
from support.http_client import ask, connection, get, get_request
from support.proxied import proxied_http
from support.upstream import reply


@pytest.mark.rule("field-order", "field-names", "target")
async def test_a_request_arrives_with_its_fields_in_order_and_ours_behind(programs):
    async with proxied_http(programs) as both:
        lines = ["X-One: 1", "x-tWo: a,  b", "Cookie: c=1", "X-One: 2", "X-Latin: \xe9\xff"]
        answer = await get(both.address, "/a/../b//c;p?q=%2F&r=a/b?c", *lines)
        assert (answer.status, answer.body) == (200, b"fine")
    [head] = both.heads
    assert head.start == b"GET /a/../b//c;p?q=%2F&r=a/b?c HTTP/1.1"
    assert head.fields[:6] == (
        (b"Host", b"a.test"),
        (b"X-One", b"1"),
        (b"x-tWo", b"a,  b"),
        (b"Cookie", b"c=1"),
        (b"X-One", b"2"),
        (b"X-Latin", b"\xe9\xff"),
    )
    assert head.get(b"via") == b"1.1 trioproxy"
    assert head.get(b"x-forwarded-for") == head.get(b"x-real-ip") == b"127.0.0.1"
    assert head.get(b"x-forwarded-proto") == b"http"
    assert head.get(b"x-forwarded-host") == b"a.test"
    assert not {b"connection", b"upgrade"} & set(head.names)


@pytest.mark.rule("hop-by-hop")
async def test_hop_by_hop_fields_end_at_the_proxy_in_both_directions(programs):
    hops = ["Connection: X-Mine", "X-Mine: 1", "Keep-Alive: timeout=9", "Trailer: X-T", "Upgrade: h2c"]
    answer = reply(b"fine", "200 OK", *hops, "Proxy-Authenticate: Basic", "X-Kept: 1")
    async with proxied_http(programs, answer) as both:
        lines = [*hops, "Connection: HTTP2-Settings", "HTTP2-Settings: AAA", "Proxy-Authorization: secret", "TE: gzip"]
        got = await get(both.address, "/", *lines, "Proxy-Connection: keep-alive", "X-Kept: 1")
    gone = {b"connection", b"x-mine", b"keep-alive", b"trailer", b"upgrade", b"http2-settings", b"proxy-connection"}
    gone |= {b"proxy-authorization", b"proxy-authenticate", b"te"}
    [seen] = both.heads
    assert not gone & set(seen.names)
    assert not gone & set(got.names)
    assert seen.get(b"x-kept") == got.get(b"x-kept") == b"1"


@pytest.mark.rule("nominated")
async def test_a_connection_token_cannot_remove_the_forwarded_fields(programs):
    async with proxied_http(programs) as both:
        await get(both.address, "/", "Connection: close, X-Forwarded-For, X-Real-IP, Via, Host, Content-Length")
    [head] = both.heads
    assert head.get(b"x-forwarded-for") == head.get(b"x-real-ip") == b"127.0.0.1"
    assert head.get(b"via") == b"1.1 trioproxy"
    assert head.get(b"host") == b"a.test"


FORGED = ["X-Forwarded-For: 9.9.9.9", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Real-IP: 9.9.9.9"]


@pytest.mark.rule("forwarded")
async def test_a_strangers_forwarded_fields_are_replaced(programs):
    async with proxied_http(programs) as both:
        await get(both.address, "/", *FORGED, "Forwarded: for=9.9.9.9")
    [head] = both.heads
    assert head.get(b"x-forwarded-for") == head.get(b"x-real-ip") == b"127.0.0.1"
    assert head.get(b"x-forwarded-proto") == b"http"
    assert head.get(b"x-forwarded-host") == b"a.test"
    assert head.get(b"forwarded") is None


@pytest.mark.rule("forwarded")
async def test_a_trusted_proxys_forwarded_fields_are_kept_and_appended_to(programs):
    async with proxied_http(programs, listener={"trusted_proxies": ["127.0.0.0/8"]}) as both:
        await get(both.address, "/", *FORGED)
    [head] = both.heads
    assert b", ".join(head.all(b"x-forwarded-for")) == b"9.9.9.9, 127.0.0.1"
    assert head.get(b"x-forwarded-proto") == b"https"
    assert head.get(b"x-forwarded-host") == b"evil"


async def test_a_route_can_set_remove_and_withhold_fields(programs):
    route = {"forwarded": False, "set_headers": {"X-Env": "prod", "Cookie": ""}, "host_header": "literal:inner.test"}
    async with proxied_http(programs, route=route, server={"via": ""}) as both:
        await get(both.address, "/", "Cookie: secret", "X-Env: dev")
    [head] = both.heads
    assert head.get(b"x-env") == b"prod"
    assert head.get(b"host") == b"inner.test"
    assert not {b"cookie", b"via", b"x-forwarded-for", b"x-real-ip"} & set(head.names)


@pytest.mark.rule("field-order")
async def test_set_cookie_lines_stay_apart_and_in_order(programs):
    cookies = ["Set-Cookie: a=1; Path=/", "X-Between: 1", "Set-Cookie: b=2, with comma", "set-cookie: a=3"]
    async with proxied_http(programs, reply(b"", "200 OK", *cookies)) as both:
        answer = await get(both.address)
    assert answer.all(b"set-cookie") == [b"a=1; Path=/", b"b=2, with comma", b"a=3"]
    assert (b"set-cookie", b"a=3") in answer.fields


async def test_status_and_reason_pass_unchanged(programs):
    async with proxied_http(programs, reply(b"short and stout", "418 I'm a teapot")) as both:
        answer = await get(both.address)
    assert answer.start == b"HTTP/1.1 418 I'm a teapot"


@pytest.mark.rule("absolute-target")
async def test_an_absolute_target_replaces_the_host(programs):
    async with proxied_http(programs) as both:
        await ask(both.address, b"GET http://b.test/x?y HTTP/1.1\r\nHost: a.test\r\n\r\n")
    [head] = both.heads
    assert head.start == b"GET /x?y HTTP/1.1"
    assert head.get(b"host") == b"b.test"


async def test_routes_choose_by_host_and_path_and_rewrite_prefixes(programs):
    async with proxied_http(programs) as outer, proxied_http(programs) as other:
        tables = {"upstreams": [other.upstream.address], "health": {"probe": "none"}}
        from support.proxy import run_proxy
        from support.settings import settings

        config = settings([outer.upstream.address], route={"path": "/chat", "strip_prefix": True})
        config["routes"].append({"name": "b", "host": "b.test", "path": "/chat", "replace_prefix": "/new", "pool": "o"})
        config["pools"]["o"] = tables
        proxy = await run_proxy(programs, config)
        await get(proxy.address, "/chat/room?x=1")
        await ask(proxy.address, get_request("/chat/room?x=1", host="b.test"))
        assert (await get(proxy.address, "/chatter")).status == 404
        assert (await get(proxy.address, "/public/%2e%2e/chat/x")).status == 200
    assert [head.start for head in other.heads] == [b"GET /new/room?x=1 HTTP/1.1"]
    assert outer.heads[0].start == b"GET /room?x=1 HTTP/1.1"


@pytest.mark.rule("options-star")
async def test_options_of_the_server_itself_is_answered_by_the_proxy(programs):
    async with proxied_http(programs) as both, connection(both.address) as http:
        await http.send(b"OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert (await http.answer()).status in {200, 204}
        assert both.heads == []
