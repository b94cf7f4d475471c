"""The status page of a real proxy in a real browser: what it shows, what its buttons do, and when the proxy is gone."""

from __future__ import annotations

import json
import time
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from support.admin import open_admin
from support.browser import CONTRAST, run_chromium
from support.frames import BINARY, CLOSE, close_payload, open_websocket, websocket
from support.peers import run_server
from support.ports import free_address
from support.proxy import run_proxy
from support.settings import settings
from support.waiting import wait_until

from trioproxy.live import Feed
from trioproxy.remote import Remote

PROBED = {"probe": "tcp", "interval": 1, "timeout": 1, "rise": 1, "fall": 2}  # a busy machine is not a lost upstream
GONE = ("Failed to load resource: net::ERR_",)  # of whatever was under way
UNAUTHORIZED = "status of 401"  # what a browser writes into its console then, whatever the page makes of it
LIVE = "document.body.dataset.link === 'live'"
ENTER, ESCAPE, TAB, LEFT = ("Enter", 13, "\r"), ("Escape", 27), ("Tab", 9), ("ArrowLeft", 37)

# What can be pressed or filled in without a name to call it by
UNNAMED = """[...document.querySelectorAll("button, input, select")]
    .filter((each) => !each.ariaLabel && !each.textContent.trim() && !each.labels.length).map((each) => each.outerHTML)"""


@pytest.fixture(scope="module")
def browser():
    with run_chromium() as running:
        yield running


async def two_behind(programs, **how):
    servers = [await run_server(programs, "fast_echo.py", name) for name in ("a", "b")]
    return servers, await run_proxy(programs, settings([each.address for each in servers], **how))


@asynccontextmanager
async def opened(browser, proxy, **how):
    """The page of a proxy, once it is live; nothing it asks for may be elsewhere, nothing may stand in the console."""
    allowed = how.pop("allowed", ())
    async with browser.page(f"http://{proxy.admin}/", **how) as page:
        await page.until(LIVE)
        yield page
        elsewhere = [url for url in page.requests if not url.startswith((f"http://{proxy.admin}/", "about:"))]
        assert elsewhere == []
        assert page.complaints(*allowed) == []


def row(address):
    """The selector of an upstream's row."""
    return f"#pools tr:has([aria-label$='{address}'])"


def tile(title):
    """An expression for the number in a tile."""
    return f"[...document.querySelectorAll('.tile')].find((each) => each.firstChild.textContent === {title!r}).querySelector('.value').textContent"


async def chatter(end):
    """Until its upstream is killed, if it is."""
    async with end.http.stream:
        with suppress(ConnectionError, trio.BrokenResourceError):
            while True:
                await end.echo(bytes(100))
                await trio.sleep(0.02)


async def test_traffic_is_seen_and_a_killed_upstream_turns_red(programs, browser):
    (a, b), proxy = await two_behind(programs, health=PROBED)
    async with opened(browser, proxy) as page, trio.open_nursery() as nursery:
        await page.until(f"{tile('Tunnels')} === '0' && {tile('Messages/s')} === '0'")
        assert "of 2 up" in await page.text(".pool .head")
        ends = [await open_websocket(proxy.address, f"/room/{number}") for number in range(4)]
        for end in ends:
            nursery.start_soon(chatter, end)
        await page.until(f"{tile('Tunnels')} === '4'")
        await page.until(f"parseFloat({tile('Messages/s')}) > 20 && {tile('Bytes/s')}.endsWith('kB')")
        await page.until(f"/^[\\d.]+ (µs|ms)$/.test({tile('Handshake time')})")
        for address in (a.address, b.address):
            await page.until_text(f"{row(address)} .share .count", "2")
            await page.until_text(f"{row(address)} .probe", "ok, ")
        assert (await page.evaluate("document.querySelectorAll('.line')[1].getAttribute('d').length")) > 10
        await page.until_text("#tunnels", "/room/3")
        green = await page.evaluate(f"getComputedStyle(document.querySelector({row(b.address)!r} + ' .state')).color")
        b.kill()
        assert (await page.until_text(f"{row(b.address)} .state", "down")) == "down"
        red = await page.evaluate(f"getComputedStyle(document.querySelector({row(b.address)!r} + ' .state')).color")
        assert (green, red) == ("rgb(20, 113, 58)", "rgb(179, 38, 26)")
        assert "refused" in (await page.until_text(f"{row(b.address)} .probe", "efused")).lower()
        assert "upstream down" in await page.until_text("#events li.bad", b.address)
        assert await page.evaluate("document.title") == "1 down · trioproxy"
        assert "1 down" in await page.text("#pools-sum")
        await b.restart()
        await page.until_text(f"{row(b.address)} .state", "up")
        await page.until("document.title === 'trioproxy'")
        nursery.cancel_scope.cancel()


async def test_where_faults_may_be_injected_a_mark_says_so_and_how_many_are_on(programs, browser):
    (a, _), proxy = await two_behind(programs, admin={"address": "127.0.0.1:0", "chaos": True})
    async with opened(browser, proxy) as page:
        await page.until_text("#chaos", "Chaos verbs allowed")
        remote = Remote(proxy.admin)
        settings = {"share": 1, "seconds": 3600}
        await trio.to_thread.run_sync(remote.inject, "refuse", "backend", a.address, settings)
        await page.until_text("#chaos", "Chaos: 1 fault injected")
        await page.until_text("#events", "chaos")
        await trio.to_thread.run_sync(remote.stop_faults)
        await page.until_text("#chaos", "Chaos verbs allowed")


async def test_an_upstream_is_drained_and_resumed_by_hand(programs, browser):
    (a, _), proxy = await two_behind(programs)
    button = f"{row(a.address)} button"
    async with opened(browser, proxy) as page, websocket(proxy.address) as first, websocket(proxy.address) as second:
        mine = first if first.head.get(b"x-server") == b"a" else second
        await page.until_text(f"{row(a.address)} .count", "1")
        await page.click(button)
        assert "1012" in await page.until_text("#ask[open] #ask-text", "(1 now)")
        await page.press(*ESCAPE)
        await page.until("!document.querySelector('#ask').open")
        assert [each["state"] for each in (await proxy.status())["pools"][0]["upstreams"]] == ["up", "up"]
        await page.click(button)
        await page.until("document.activeElement.type === 'number'")
        await page.write("0")
        await page.press(*TAB)
        await page.write("20")
        await page.press(*ENTER)
        assert "over 0 s, cut after 20 s" in await page.until_text("#told", "is draining: 1 tunnel to close")
        await page.until_text(f"{row(a.address)} .stands", "draining")
        closing = await mine.receive()
        assert closing.close_code == 1012
        await mine.send(CLOSE, close_payload(1012))
        await mine.http.stream.aclose()
        await page.until_text(f"{row(a.address)} .stands", "drained")
        await page.until_text("#events", "upstream drained")
        await proxy.wait_for_state(a.address, "draining")
        await page.until_text(button, "Resume")
        await page.click(button)
        await page.until_text("#ask[open] #ask-title", f"Resume {a.address}?")
        await page.click("#ask-yes")
        await page.until_text("#told", f"{a.address} is up.")
        await page.until_text(f"{row(a.address)} .state", "up")
        await proxy.wait_for_state(a.address, "up")


async def test_tunnels_are_listed_in_pages_chosen_and_closed(programs, browser):
    (a, b), proxy = await two_behind(programs)
    rows = "document.querySelectorAll('#tunnels tbody tr').length"
    async with opened(browser, proxy) as page, trio.open_nursery() as nursery:
        ends = [await open_websocket(proxy.address, f"/<b>{number}</b>") for number in range(54)]
        await page.click("#tunnels-first:disabled, #tunnels-title")
        await page.until(f"{rows} === 50")
        await page.until_text("#tunnels-sum", "54 tunnels")
        await page.click("#tunnels-next")
        await page.until(f"{rows} === 4")
        await page.until_text("#tunnels", "/<b>53</b>")
        await page.click("#tunnels-first")
        await page.until(f"{rows} === 50")
        choose = "Object.assign(document.getElementById('filter-upstream'), {{ value: '{}' }}).dispatchEvent(new Event('change'))"
        await page.until(f"{choose.format(b.address)} && document.getElementById('filter-upstream').value !== ''")
        await page.until(f"{rows} === 27")
        assert a.address not in await page.text("#tunnels tbody")
        shown = await page.text("#tunnels tbody tr .text:nth-child(3) bdi")
        mine = ends[int(shown.removeprefix("/<b>").removesuffix("</b>"))]
        nursery.start_soon(mine.send, BINARY, b"not over yet")
        await page.click("#tunnels tbody tr button")
        await page.until_text("#ask[open] #ask-text", "127.0.0.1")
        await page.click("#ask-yes")
        await page.until_text("#told", "was asked to close")
        assert (await mine.receive()).payload == b"not over yet"
        assert (await mine.receive()).close_code == 1012
        await mine.send(CLOSE, close_payload(1012))
        await mine.http.stream.aclose()
        await page.until(f"{rows} === 26")
        for end in ends:
            await end.http.stream.aclose()


async def test_a_proxy_that_stands_still_or_goes_says_so_and_is_found_again(programs, browser):
    tables = settings([free_address()], health=PROBED, admin={"address": free_address()})
    tables["server"] = {"drain": {"spread": 0, "timeout": 120}}
    proxy = await run_proxy(programs, tables)
    healed = f"{LIVE} && document.getElementById('lost').hidden && document.getElementById('age').textContent === ''"
    async with opened(browser, proxy, allowed=GONE) as page:
        await page.evaluate("window.stays = 1")
        proxy.program.pause()
        await page.until_text("#link", "No news")
        await page.until_text("#lost", "has gone quiet")
        proxy.program.resume()
        await page.until(healed)
        # Who looks on delays nothing: the drain alone might take two minutes
        await proxy.stop()
        await page.until_text("#link", "Connection lost")
        assert "The connection to the proxy is lost" in await page.text("#lost")
        await page.until("getComputedStyle(document.querySelector('main')).opacity < 0.6")
        await page.until("parseInt(document.getElementById('age').textContent) >= 1")
        await page.until_text("#lost-why", "ago")
        proxy = await run_proxy(programs, tables)
        await page.until(healed)
        await page.until_text("#facts", "running · up ")
        # A tab that slept meanwhile
        await page.call("Page.setWebLifecycleState", state="frozen")
        proxy.program.kill()
        await proxy.program.process.wait()
        proxy = await run_proxy(programs, tables)
        before = len(page.requests)
        await page.call("Page.setWebLifecycleState", state="active")
        await wait_until(lambda: any(url.endswith("/api/live") for url in page.requests[before:]), "another try")
        await page.until(healed)
        assert await page.evaluate("window.stays") == 1  # healed, not loaded anew


async def test_a_token_is_asked_for_kept_in_the_tab_and_used(programs, browser, tmp_path):
    (tmp_path / "token").write_text("the right one\n")
    server = await run_server(programs, "fast_echo.py")
    admin = {"address": "0.0.0.0:0", "token_file": str(tmp_path / "token"), "hosts": ["proxy.test"]}
    proxy = await run_proxy(programs, settings([server.address], admin=admin))
    # By a name, as from another machine: browsers trust such an origin with less than loopback
    place = f"proxy.test:{proxy.admin.rpartition(':')[2]}"
    async with browser.page(f"http://{place}/") as page:
        assert "asks for its token" in await page.until_text("#unlock", "token")
        assert await page.evaluate("isSecureContext") is False
        assert await page.text("main") == ""
        for wrong in ("the wrong one", "größe", "Smile \N{SLIGHTLY SMILING FACE}"):
            await page.click("#token")
            await page.write(wrong)
            await page.press(*ENTER)
            await page.until("document.getElementById('token').value === ''")
            await page.until_text("#token-error", "does not take this token")
        await page.click("#token")
        await page.write("the right one")
        await page.press(*ENTER)
        await page.until(LIVE)
        await page.until_text("#pools", server.address)
        assert await page.text("#unlock") == ""
        await page.click(f"{row(server.address)} button")
        await page.click("#ask[open] #ask-yes")
        await page.until_text(f"{row(server.address)} .stands", "drained")
        kept = "JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])"
        assert json.loads(await page.evaluate(kept)) == [{"trioproxy token": "the right one"}, {}, ""]
        assert not [url for url in page.requests if "right" in url]
        await page.load("Page.reload")
        await page.until(LIVE)
        await page.click("#forget")
        await page.until_text("#unlock", "asks for its token")
        assert await page.evaluate("sessionStorage.length") == 0
        assert await page.text("main") == ""
        assert page.complaints(UNAUTHORIZED) == []
        assert {url.split("/")[2] for url in page.requests} == {place}


HOSTILE = "<img src=x onerror=hacked=1><script>hacked=1<b>" + 40 * "long"
RATES = {"to_upstream": 1e9, "to_client": 1e9}


def hostile(document):
    """The document with every string, but the few words a page understands, in the words of somebody who means no good."""
    match document:
        case dict():
            return {key: value if key in {"event", "level"} else hostile(value) for key, value in document.items()}
        case list():
            return [hostile(each) for each in document]
        case str():
            return f"{document}{HOSTILE}"
    return document


class HostileSampler:
    ahead = 0.0  # its clock, in seconds

    def sample(self):
        both = {"messages_per_second": RATES, "bytes_per_second": RATES}
        parts = {"handshakes_per_second": {"accepted": 1, "failed": 1}, "handshake_seconds": {"p50": 1, "p99": 1e9}}
        rest = {"requests_per_second": 1, "endings_per_second": {HOSTILE: 1}}
        return {
            "time": time.time() + self.ahead,
            "state": HOSTILE,
            "connections": 1,
            "tunnels": 1,
            **both,
            **parts,
            **rest,
        }

    def pools(self):
        probe = {"when": 1e9, "result": "failed", "seconds": 1, "detail": "no"}
        rates = {"active": 1e9, "tunnels": 1e6, "messages_per_second": RATES, "bytes_per_second": RATES}
        rest = {"weight": 1e9, "backup": True, "drain": None, "last_probe": probe}
        upstreams = [{"address": number, "state": "up", "health": "up", **rates, **rest} for number in ("1", "2")]
        return hostile([{"name": "pool", "balance": "hash", "upstreams": upstreams}])


# What is to be seen and reaches beyond the window
BEYOND = """[...document.querySelectorAll("body *")]
    .filter((each) => each.checkVisibility() && !each.closest("svg, .unseen, .legend, thead, select"))
    .filter((each) => each.getBoundingClientRect().right > innerWidth + 0.5).map((each) => each.outerHTML)"""


@asynccontextmanager
async def hostile_admin():
    async with open_admin() as admin, trio.open_nursery() as nursery:
        make_hostile(admin.control)
        nursery.start_soon(tick, admin.control.live)
        yield admin
        nursery.cancel_scope.cancel()


def make_hostile(control):
    control.live = Feed(HostileSampler())
    fields = {"upstream": "1", "pool": "pool", "reason": {"deep": ["er"]}}
    control.live.tell("upstream_down", "warning", hostile(fields))
    listeners = [{"name": "public", "address": "here", "active": 1}]
    status = {"version": "1", "state": "running", "uptime_seconds": 1, "workers": 1, "listeners": listeners}
    control.document = hostile(status)
    names = ("id", "client", "listener", "route", "pool", "upstream", "host", "path", "subprotocol")
    both = {"frames": RATES, "messages": RATES, "bytes": RATES}
    tunnel = {**{name: name for name in names}, "closing": False, "age": 1e9, "idle": 1e9, **both}
    control.page = {"total": 1, "tunnels": hostile([tunnel])}


async def tick(feed):
    while True:
        feed.tick()
        await trio.sleep(1)


async def test_hostile_names_stay_text_and_long_ones_fit_a_phone(browser):
    async with hostile_admin() as admin, browser.page(f"http://{admin.address}/", size=(360, 740)) as page:
        await page.until(LIVE)
        for where in (
            "#facts",
            "#version",
            "#pools h3",
            "#pools tbody th",
            "#pools .state",
            "#pools td.probe",
            "#events",
        ):
            await page.until_text(where, HOSTILE)
        await page.evaluate("document.getElementById('tunnels-section').scrollIntoView()")
        for name in ("id", "client", "listener", "pool", "upstream", "host", "path", "subprotocol"):
            await page.until_text("#tunnels", f"{name}{HOSTILE}")
        assert await page.evaluate("[...document.querySelectorAll('option')].filter((each) => each.value).length") == 3
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        assert await page.evaluate(BEYOND) == []
        await page.click("#tunnels tbody button")
        await page.until_text("#ask[open]", f"client client{HOSTILE} gets")
        await page.click("#ask-yes")
        await page.until_text("#told", HOSTILE)
        assert ("close", f"id{HOSTILE}", 1012) in admin.control.commands
        assert await page.evaluate("document.querySelectorAll('main img, main script, dialog img').length") == 0
        assert await page.evaluate("typeof hacked") == "undefined"
        assert page.complaints() == []


async def test_what_is_not_of_the_page_the_browser_itself_refuses(browser):
    """Were a name taken for markup one day."""
    async with hostile_admin() as admin, browser.page(f"http://{admin.address}/") as page:
        await page.until(LIVE)
        for attempt in (
            "document.body.innerHTML = '<img src=x>'",
            "document.createElement('script').text = 'hacked = 1'",
        ):
            refused = f"try {{ {attempt}; 'taken' }} catch (error) {{ error.name }}"
            assert await page.evaluate(refused) == "TypeError"
        await page.evaluate("document.body.setAttribute('style', 'color: rgb(1, 2, 3)')")
        assert await page.evaluate("getComputedStyle(document.body).color") != "rgb(1, 2, 3)"
        assert await page.evaluate("fetch('http://127.0.0.2:1/').catch((error) => error.name)") == "TypeError"
        said = " ".join(page.complaints())
        assert "requires 'TrustedHTML' assignment" in said and "violates the document's Content Security Policy" in said


async def test_it_is_readable_light_and_dark_and_works_by_keyboard(programs, browser):
    server = await run_server(programs, "fast_echo.py")
    proxy = await run_proxy(programs, settings([server.address, free_address()], health=PROBED))
    async with opened(browser, proxy) as page, websocket(proxy.address):
        await page.until_text("#pools", "down")
        await page.until("document.querySelectorAll('#tunnels tbody tr').length === 1")
        await page.press(*TAB)
        assert await page.evaluate("document.activeElement.id") == "traffic"
        await page.press(*LEFT)
        await page.until_text("#moment", "ago")
        await page.press(*ESCAPE)
        await page.until_text("#moment", "The last five minutes")
        await page.press(*TAB)
        focus = "[document.activeElement.ariaLabel, getComputedStyle(document.activeElement).outlineWidth]"
        assert await page.evaluate(focus) == [f"Drain {server.address}", "2px"]
        for dark, ground in ((True, "rgb(14, 17, 22)"), (False, "rgb(244, 245, 247)")):
            await page.shape((1280, 900), dark=dark)
            await page.until(f"getComputedStyle(document.documentElement).backgroundColor === {ground!r}")
            contrast, where = await page.evaluate(CONTRAST)
            assert contrast >= 4.5, where
        await page.press(*ENTER)
        await page.until("document.getElementById('ask').open")
        contrast, where = await page.evaluate(CONTRAST)
        assert contrast >= 4.5, where
        assert await page.evaluate(UNNAMED) == []


SPLIT = r"""(async () => {
    const { events } = await import("/page/stream.js");
    const text = 'retry: 1\n:\n\nevent: a\ndata: {"b":\ndata: "\u20ac"}\n\nevent: c\r\ndata: 1\r\n\r\ndata:2\r\rdata: lost';
    const octets = new TextEncoder().encode(text);
    const found = new Set();
    for (let at = 0; at <= octets.length; at += 1) {
        async function* chunks() { yield octets.slice(0, at); yield octets.slice(at); }
        const seen = [];
        for await (const event of events(chunks())) seen.push(event);
        found.add(JSON.stringify(seen));
    }
    return [...found].map(JSON.parse);
})()"""

SILENT = """(async () => {
    const { Stream } = await import("/page/stream.js");
    let asked = 0;
    const open = async () => { asked += 1; return new Response(new ReadableStream({})); };
    const stream = new Stream(open, { event() {}, link() {} });
    stream.retry();
    while (stream.silent === Infinity) await new Promise((done) => setTimeout(done));
    stream.heardAt -= 60000;
    stream.watch();
    return asked;
})()"""

FARTHEST = "Math.max(...document.querySelector('.tile path.line').getAttribute('d').match(/[\\d.]+ /g).map(Number))"

FORMATS = """(async () => {
    const { count, octets, latency, span } = await import("/page/format.js");
    return [[0, 0.01, 0.44, 7, 9999, 10000, 12345, 999600, 4.56e6].map(count), [0, 999.4, 999.6, 1000, 12345, 1e6].map(octets),
        [0.00025, 0.0012, 0.34, 0.9996, 12.4].map(latency), [-1, 0, 59.9, 60, 65, 3600, 7500, 90000].map(span)];
})()"""


async def test_events_are_read_however_they_are_cut_and_numbers_are_short(browser):
    async with hostile_admin() as admin, browser.page(f"http://{admin.address}/") as page:
        assert await page.evaluate(SPLIT) == [[["a", '{"b":\n"€"}'], ["c", "1"], ["message", "2"]]]
        assert await page.evaluate(FORMATS) == [
            ["0", "<0.1", "0.4", "7", "9,999", "10.0k", "12.3k", "1.00M", "4.56M"],
            ["0 B", "999 B", "1.00 kB", "1.00 kB", "12.3 kB", "1.00 MB"],
            ["250 µs", "1.2 ms", "340 ms", "1.0 s", "12 s"],
            ["0 s", "0 s", "59 s", "1 min", "1 min 5 s", "1 h", "2 h 5 min", "1 d 1 h"],
        ]


async def test_a_stream_of_which_nothing_but_the_head_comes_is_given_up(browser):
    async with hostile_admin() as admin, browser.page(f"http://{admin.address}/") as page:
        assert await page.evaluate(SILENT) == 2


async def test_when_the_clock_is_set_back_no_line_leaves_its_tile(browser):
    async with open_admin() as admin:
        make_hostile(admin.control)
        feed = admin.control.live
        feed._source.ahead = 3600.0
        feed.tick()
        async with browser.page(f"http://{admin.address}/") as page:
            await page.until(LIVE)
            feed._source.ahead = 0.0
            feed.tick()
            feed.tell("drain", "info", {})
            await page.until_text("#events", "drain")
            await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            assert await page.evaluate(FARTHEST) <= 300
