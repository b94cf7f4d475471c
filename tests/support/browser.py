"""Chromium without a window, steered over its DevTools protocol from the test's own Trio run.

Clicks and keys go the way of real ones: through the browser's input, to whatever lies at that place. What the page should
show is the tests' business.
"""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
from support.waiting import PATIENCE_SECONDS, POLL_SECONDS, wait_until
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

MOST_OCTETS = 64 * 1024 * 1024  # a screenshot is one message
POLL_MS = round(POLL_SECONDS * 1000)
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",  # of containers often too small
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-pings",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP *.test 127.0.0.1",
    "--remote-debugging-port=0",
)
# The least contrast of any text that is to be seen with what lies behind it, as WCAG 2 counts it, and where that is.
CONTRAST = """(() => {
    const parse = (color) => { const n = color.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
    const over = (top, under) => top.slice(0, 3).map((c, i) => c * top[3] + under[i] * (1 - top[3]));
    const light = (rgb) => rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (node) => {
        const own = node ? parse(getComputedStyle(node).backgroundColor) : [255, 255, 255, 1];
        return own[3] === 1 ? own.slice(0, 3) : over(own, behind(node.parentElement));
    };
    let worst = [99, ""];
    for (const node of document.querySelectorAll("body *")) {
        const said = [...node.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim());
        if (!said || !node.checkVisibility() || node.closest("svg, :disabled")) continue;
        const ground = behind(node);
        const [a, b] = [light(over(parse(getComputedStyle(node).color), ground)), light(ground)];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < worst[0]) worst = [contrast, node.outerHTML];
    }
    return worst;
})()"""


@contextmanager
def run_chromium() -> Iterator[Browser]:
    """A browser process; skips the test where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium (apt install chromium)")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        argv = [program, *OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(argv, **quiet) as process:
            try:
                yield Browser(_endpoint(process, Path(profile) / "DevToolsActivePort"))
            finally:
                process.send_signal(signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                process.kill()


def _endpoint(process: subprocess.Popen[bytes], path: Path) -> str:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end and process.poll() is None:
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"Chromium does not answer; its exit status is {process.poll()}")


@attrs.frozen
class Browser:
    endpoint: str

    @asynccontextmanager
    async def page(
        self, url: str, *, size: tuple[int, int] = (1280, 900), dark: bool = False, any_certificate: bool = False
    ) -> AsyncIterator[Page]:
        """A tab with a storage of its own at `url`, closed at the end."""
        async with (
            open_websocket_url(self.endpoint, max_message_size=MOST_OCTETS) as socket,
            trio.open_nursery() as all_,
        ):
            wire = _Wire(socket)
            all_.start_soon(wire.read)
            context = (await wire.call("Target.createBrowserContext"))["browserContextId"]
            target = await wire.call("Target.createTarget", url="about:blank", browserContextId=context)
            attached = await wire.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            page = Page(wire, attached["sessionId"])
            for domain in ("Page", "Runtime", "Network", "Log"):
                await page.call(f"{domain}.enable")
            await page.call("Security.setIgnoreCertificateErrors", ignore=any_certificate)
            await page.shape(size, dark=dark)
            await page.load("Page.navigate", url=url)
            yield page
            await wire.call("Target.disposeBrowserContext", browserContextId=context)
            all_.cancel_scope.cancel()


@attrs.define(eq=False)
class _Wire:
    """Commands and their answers, and what the browser tells meanwhile."""

    socket: WebSocketConnection
    told: list[dict[str, Any]] = attrs.Factory(list)
    _answers: dict[int, Any] = attrs.Factory(dict)
    _asked: dict[int, trio.Event] = attrs.Factory(dict)

    async def read(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                message = json.loads(await self.socket.get_message())
                if "id" not in message:
                    self.told.append(message)
                    continue
                self._answers[message["id"]] = message
                self._asked.pop(message["id"]).set()

    async def call(self, method: str, *, session: str | None = None, **params: Any) -> dict[str, Any]:
        number = len(self._answers) + len(self._asked) + 1
        event = self._asked[number] = trio.Event()
        message = {"id": number, "method": method, "params": params}
        await self.socket.send_message(json.dumps(message if session is None else {**message, "sessionId": session}))
        with trio.fail_after(PATIENCE_SECONDS):
            await event.wait()
        answer = self._answers[number]
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]


_PLACE = """(() => {
    const node = NODE;
    if (!node || node.disabled) return null;
    node.scrollIntoView({ block: "center", behavior: "instant" });
    const box = node.getBoundingClientRect();
    const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
    if (!box.width || !node.contains(document.elementFromPoint(x, y))) return null;
    window.clicked = false;
    node.addEventListener("click", () => { window.clicked = true; }, { once: true });
    return { x, y };
})()"""


def _text(selector: str) -> str:
    node = f"document.querySelector({json.dumps(selector)})"
    return f"({node}?.checkVisibility() ? {node}.innerText : '')"


@attrs.define(eq=False)
class Page:
    """One tab."""

    _wire: _Wire
    _session: str

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        return await self._wire.call(method, session=self._session, **params)

    async def load(self, method: str, **params: Any) -> None:
        """Navigate or reload, as `method` says, and wait until that is done."""
        before = len(self.told("Page.loadEventFired"))
        await self.call(method, **params)
        await wait_until(lambda: len(self.told("Page.loadEventFired")) > before, "the page is loaded")

    def told(self, method: str) -> list[dict[str, Any]]:
        """What the browser has told of this kind so far."""
        return [each["params"] for each in self._wire.told if each["method"] == method]

    @property
    def requests(self) -> list[str]:
        """The address of every request so far."""
        return [each["request"]["url"] for each in self.told("Network.requestWillBeSent")]

    def complaints(self, *but: str) -> list[str]:
        """Uncaught errors, what stands in the console, policy violations; without those in which one of `but` occurs."""
        thrown = [json.dumps(each["exceptionDetails"]) for each in self.told("Runtime.exceptionThrown")]
        console = [json.dumps(each) for each in self.told("Runtime.consoleAPICalled")]
        logged = [f"{each['entry']['source']}: {each['entry']['text']}" for each in self.told("Log.entryAdded")]
        return [each for each in [*thrown, *console, *logged] if not any(part in each for part in but)]

    async def shape(self, size: tuple[int, int], *, dark: bool = False, scale: float = 1) -> None:
        """The window's size in CSS pixels, below 500 a phone's; and which colours its user likes."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics)
        likes = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call("Emulation.setEmulatedMedia", features=likes)

    async def evaluate(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise; it must be such as JSON has."""
        done = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, (script, done["exceptionDetails"])
        return done["result"].get("value")

    async def until(self, script: str, what: str = "") -> Any:
        """The first true value of an expression. The page itself looks again and again, which spares the way there."""
        look = f"const look = () => {{ const value = ({script}); value ? done(value) : setTimeout(look, {POLL_MS}); }};"
        try:
            return await self.evaluate(f"new Promise((done) => {{ {look} look(); }})")
        except trio.TooSlowError:
            seen = await self.evaluate(script)
            raise AssertionError(f"{what or script}: not within {PATIENCE_SECONDS} s; last seen: {seen!r}") from None

    async def text(self, selector: str) -> str:
        """What is to be read in the first element that is found; "" for none, and for one that is not to be seen."""
        return await self.evaluate(_text(selector))

    async def until_text(self, selector: str, part: str) -> str:
        """What is to be read there, once `part` is in it."""
        script = f"((text) => text.includes({json.dumps(part)}) && text)({_text(selector)})"
        try:
            return await self.until(script)
        except AssertionError:
            raise AssertionError(f"{part!r} is not in {selector}, but: {await self.text(selector)!r}") from None

    async def click(self, selector: str) -> None:
        """With the mouse, on the middle of the first element that is found, once it lies there open to a click.

        A page may move under the hand: what did not reach the element is tried again.
        """
        node = f"document.querySelector({json.dumps(selector)})"
        for _ in range(20):
            place = await self.until(_PLACE.replace("NODE", node), f"{selector} to click on")
            for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
                await self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)
            if await self.evaluate("clicked"):
                return
        raise AssertionError(f"no click reaches {selector}")

    async def write(self, text: str) -> None:
        """Into what has the focus."""
        await self.call("Input.insertText", text=text)

    async def press(self, key: str, code: int, text: str = "") -> None:
        """A key by its name and its Windows virtual-key code."""
        for kind in ("keyDown", "keyUp"):
            what = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            await self.call("Input.dispatchKeyEvent", **(what | ({"text": text} if kind == "keyDown" and text else {})))

    async def screenshot(self) -> bytes:
        """A PNG of the window."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])
