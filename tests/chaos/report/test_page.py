"""The report for browsers: what stands in it, and what a browser makes of it."""

import re

import attrs
import pytest
from support.browser import CONTRAST, run_chromium
from support.chaos_runs import one_killed, talkative

from trioproxy.chaos.expectations import judge
from trioproxy.chaos.records import End, Outcome
from trioproxy.chaos.report import About, page

ABOUT = About(
    name="mine",
    title="A server is killed",
    seed=7,
    source='title = "A server is killed"\n',
    proxy="trioproxy 1.2.3",
    command="trioproxy chaos mine.toml --seed 7",
    begun="2026-01-02 03:04:05 +0000",
)
EXPECTED = {"handshake_success": 1, "max_failover_seconds": 3, "lost_messages": 1}
EVIL = (
    "</style><script>document.title = 'taken'</script><img src=http://127.0.0.1:9/x onerror=\"document.title='taken'\">"
)


def written(outcome=None, *, expected=EXPECTED, **about):
    outcome = outcome or one_killed()
    return page(attrs.evolve(ABOUT, **about), outcome, judge(expected, outcome))


def text_of(html):
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", html.partition("</style>")[2]))


def test_it_says_first_what_ran_and_how_it_went():
    said = text_of(written())
    for words in (
        "A server is killed",
        "Failed 1 of 3 expectations not met",
        "Seed 7",
        "4 clients, 10 s",
        "Upstreams 2",
    ):
        assert words in said
    for words in ("Proxy trioproxy 1.2.3", "Again: trioproxy chaos mine.toml --seed 7", "2026-01-02 03:04:05"):
        assert words in said
    assert "<title>Failed: mine</title>" in written()
    assert "Passed all 1 expectations met" in text_of(written(expected={"lost_messages": 1}))
    assert "Passed nothing was expected" in text_of(written(expected={}))
    assert "<h1>mine</h1>" in written(title="")


def test_its_sections_come_in_the_order_that_an_operator_reads():
    html = written(one_killed(errors=["Traceback (most"], exit_status=3))
    assert re.findall("<h2>([^<]*)</h2>", html) == [
        "Expectations",
        "What the clients saw",
        "Over time",
        "How tunnels ended",
        "Why handshakes failed",
        "The proxy&#x27;s metrics beside the clients",
        "The proxy&#x27;s own errors",
        "The scenario",
    ]
    assert "It ended with status 3." in html
    assert "Traceback (most" in html
    assert "None in its log." in written()


def test_a_name_that_is_no_utf_8_is_no_hindrance():
    assert "<dd>na?me</dd>" in written(name="na\udcffme")
    written(name="na\udcffme").encode()


def test_a_long_log_is_cut():
    html = written(one_killed(errors=["x" * 5000] * 99))
    assert html.count("x" * 1000) == 50
    assert "x" * 1001 not in html
    assert "and 49 more" in html


def test_a_run_of_thousands_of_tunnels_is_no_large_page():
    tunnels = [
        talkative(
            f"{number}-0",
            number,
            0.1 + number % 7,
            2.0 + number % 7,
            upstream=number % 30,
            end=End.CLOSED,
            code=1000 + number % 15,
        )
        for number in range(2000)
    ]
    assert len(written(Outcome(duration=10.0, tunnels=tunnels, upstreams=30))) < 400_000


def test_nothing_in_it_runs_or_asks_for_anything():
    html = written()
    assert "<script" not in html
    assert not re.search(r"""(src|href|@import|url\()\s*=?\s*["']?(?!#)[\w/]""", html)


@pytest.fixture(scope="module")
def browser():
    with run_chromium() as running:
        yield running


@pytest.mark.parametrize(("size", "dark"), [((1240, 900), False), ((400, 800), True)])
async def test_a_browser_shows_it_whole_and_asks_for_nothing(browser, tmp_path, size, dark):
    evil = {"title": EVIL, "name": EVIL, "source": EVIL, "command": EVIL, "proxy": EVIL, "begun": EVIL}
    tunnels = [attrs.evolve(each, failure=EVIL if each.failure else "") for each in one_killed().tunnels]
    outcome = one_killed(tunnels=tunnels, errors=[EVIL])
    path = tmp_path / "report.html"
    path.write_text(written(outcome, **evil), "utf-8")
    async with browser.page(path.as_uri(), size=size, dark=dark) as shown:
        assert shown.complaints() == []
        assert shown.requests == [path.as_uri()]
        assert await shown.evaluate("document.title") == f"Failed: {EVIL}"
        assert await shown.text("h1") == EVIL
        assert await shown.evaluate("document.documentElement.scrollWidth") == size[0]
        sizes = await shown.evaluate(
            """[...document.querySelectorAll("svg[role=img]")]
            .map((svg) => { const box = svg.getBoundingClientRect(); return [box.width, box.height]; })"""
        )
        assert len(sizes) == 10  # charts and lanes of faults
        assert all(width > size[0] / 2 and height >= 14 for width, height in sizes)
        left = await shown.evaluate(
            """[...new Set([...document.querySelectorAll("svg[role=img]")].map((svg) => svg.getBoundingClientRect().left))]"""
        )
        assert len(left) == 1  # one axis of time
        contrast, where = await shown.evaluate(CONTRAST)
        assert contrast >= 4.5, where
        unnamed = """[...document.querySelectorAll("svg[role=img]")].filter((svg) => !svg.ariaLabel).length"""
        assert await shown.evaluate(unnamed) == 0
        await shown.click("summary")
        assert "upstream 0" in await shown.until_text("details[open] table", "without a tunnel")
