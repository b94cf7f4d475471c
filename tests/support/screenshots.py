"""Takes the pictures of the status page in docs/images: a proxy with two pools under changing load, seen by Chromium.

`PYTHONPATH=.:tests python -m support.screenshots [SECONDS]`, from the repository's root. The tiles show five minutes, and
so long it takes unless it is told otherwise.
"""

from __future__ import annotations

import math
import random
import struct
import sys
import tempfile
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from support.browser import run_chromium
from support.frames import open_websocket
from support.http_client import ask, get, reset
from support.peers import run_server
from support.processes import ROOT, open_programs
from support.proxy import run_proxy
from support.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.browser import Browser
    from support.proxy import ProxyProcess

IMAGES = ROOT / "docs" / "images"
SIZE = (1240, 990)
CHAT, FEED = (3001, 3002, 3003, 3004), (3011, 3012, 3013)
CLIENTS = 90
PATHS = {"/chat": "chat.v2", "/feed": "chat.v1"}


async def talk(address: str, number: int, seconds: float) -> None:
    """One client: tunnels one after the other, talking more in the middle of each minute."""
    random_ = random.Random(number)
    await trio.sleep(random_.random() * 15)
    path = random_.choice([*PATHS, "/chat"])
    while True:
        try:
            end = await open_websocket(address, f"{path}/room/{number % 7}", f"Sec-WebSocket-Protocol: {PATHS[path]}")
        except (AssertionError, OSError, ConnectionError):
            await trio.sleep(1)
            continue
        async with end.http.stream:
            with trio.move_on_after(20 + random_.random() * seconds):
                try:
                    while True:
                        busy = 1.2 + math.sin(trio.current_time() / 21) + random_.random() / 2
                        await end.echo(b"." * random_.choice((20, 60, 240, 900)))
                        await trio.sleep(1 / (1 + 9 * busy))
                except (OSError, trio.BrokenResourceError):
                    pass
            if random_.random() < 0.1:
                reset(end.http.stream)
        await trio.sleep(random_.random())


async def ask_now_and_then(proxy: ProxyProcess) -> None:
    while True:
        await get(proxy.address, "/feed/latest")
        await trio.sleep(0.3)


async def command(proxy: ProxyProcess, path: str, body: bytes = b"{}") -> None:
    fields = f"Host: {proxy.admin}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    answer = await ask(proxy.admin, f"POST {path} HTTP/1.1\r\n{fields}\r\nConnection: close\r\n\r\n".encode() + body)
    assert answer.status == 200, answer


async def stage(browser: Browser, folder: Path, seconds: float) -> dict[str, bytes]:
    """The scene, and the pictures at its end."""
    shots = {}
    async with open_programs(folder, seconds=2 * seconds + 120) as programs, trio.open_nursery() as clients:
        chat = [await run_server(programs, "websockets_server.py", f"chat{port}", port=port) for port in CHAT]
        feed = [await run_server(programs, "websockets_server.py", f"feed{port}", port=port) for port in FEED]
        probes = {"probe": "tcp", "interval": 1, "timeout": 0.5, "rise": 1, "fall": 2}
        tables = settings([each.address for each in chat], admin={"address": "127.0.0.1:9464"})
        tables["pools"] = {
            "chat": {"balance": "least-connections", "upstreams": [each.address for each in chat], "health": probes},
            "feed": {
                "upstreams": [
                    {"address": feed[0].address, "weight": 2},
                    feed[1].address,
                    {"address": feed[2].address, "backup": True},
                ],
                "health": probes,
            },
        }
        tables["routes"] = [{"name": path[1:], "path": path, "pool": path[1:]} for path in PATHS]
        tables["listeners"][0]["address"] = "127.0.0.1:8080"
        proxy = await run_proxy(programs, tables)
        for number in range(CLIENTS):
            clients.start_soon(talk, proxy.address, number, seconds)
        clients.start_soon(ask_now_and_then, proxy)
        await trio.sleep(seconds * 0.55)
        feed[1].kill()
        await trio.sleep(seconds * 0.07)
        await feed[1].restart()
        await trio.sleep(seconds * 0.2)
        chat[2].kill()
        await trio.sleep(seconds * 0.14)
        slowly = b'{"spread": 40, "timeout": 60}'
        await command(proxy, f"/api/pools/chat/upstreams/{chat[1].address}/drain", slowly)
        await trio.sleep(8)
        for name, dark in (("light", False), ("dark", True)):
            async with browser.page(f"http://{proxy.admin}/", size=SIZE, dark=dark) as page:
                await page.until("document.querySelectorAll('#tunnels tbody tr').length > 9")
                await trio.sleep(3)
                shots[name] = await page.screenshot()
        clients.cancel_scope.cancel()
    return shots


def smaller(png: bytes) -> bytes:
    """The same picture with its lines as they are: of large even areas that packs better than a browser's haste."""
    chunks, place = [], 8
    while place < len(png):
        (size,) = struct.unpack_from(">I", png, place)
        chunks.append((png[place + 4 : place + 8], png[place + 8 : place + 8 + size]))
        place += size + 12
    head = next(data for kind, data in chunks if kind == b"IHDR")
    pixel = {2: 3, 6: 4}[head[9]]  # octets of one, by the kind of colours
    lines = unfiltered(zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT")), head, pixel)
    packed = zlib.compress(b"".join(b"\0" + line for line in lines), 9)
    parts = [(b"IHDR", head), (b"IDAT", packed), (b"IEND", b"")]
    return png[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def unfiltered(data: bytes, head: bytes, pixel: int) -> Iterator[bytes]:
    """The lines of a PNG's image data (PNG specification, section 9)."""
    width, height = struct.unpack_from(">II", head)
    size, above = width * pixel, bytes(width * pixel)
    for start in range(0, height * (size + 1), size + 1):
        kind, line = data[start], bytearray(data[start + 1 : start + 1 + size])
        for at in range(size) if kind else ():
            left, corner = (line[at - pixel], above[at - pixel]) if at >= pixel else (0, 0)
            near = min((left, above[at], corner), key=lambda each, sum_=left + above[at] - corner: abs(sum_ - each))
            line[at] = (line[at] + (0, left, above[at], (left + above[at]) // 2, near)[kind]) & 255
        above = bytes(line)
        yield above


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    with run_chromium() as browser, tempfile.TemporaryDirectory() as folder:
        shots = trio.run(partial(stage, browser, Path(folder), seconds))
    for name, png in shots.items():
        (IMAGES / f"status-{name}.png").write_bytes(smaller(png))


if __name__ == "__main__":
    main()
