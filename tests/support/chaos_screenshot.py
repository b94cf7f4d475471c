"""Takes the picture of a chaos report in docs/images: a scenario that ships, run as anyone would, seen by Chromium.

`PYTHONPATH=.:tests python -m support.chaos_screenshot`, from the repository's root.
"""

from __future__ import annotations

import base64
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from support.browser import run_chromium
from support.processes import PYTHON, ROOT
from support.screenshots import IMAGES, smaller

if TYPE_CHECKING:
    from support.browser import Browser

SCENARIO = "black-friday"
WIDTH = 1080
# From the head of the charts to the fifth of them, with a margin
PLACE = """(() => {
    const [first, ...charts] = document.querySelectorAll("figure");
    const top = first.closest("section").getBoundingClientRect().top;
    return [top - 8, charts[4].getBoundingClientRect().bottom + 12];
})()"""


async def shoot(browser: Browser, report: Path) -> bytes:
    async with browser.page(report.as_uri(), size=(WIDTH, 900)) as page:
        top, bottom = await page.evaluate(PLACE)
        await page.shape((WIDTH, int(bottom)))
        clip = {"x": 0, "y": top, "width": WIDTH, "height": bottom - top, "scale": 1}
        return base64.b64decode((await page.call("Page.captureScreenshot", format="png", clip=clip))["data"])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, run_chromium() as browser:
        report = Path(folder) / "report.html"
        subprocess.run([PYTHON, "-m", "trioproxy", "chaos", SCENARIO, "--html", report], cwd=ROOT, check=True)
        png = trio.run(partial(shoot, browser, report))
    (IMAGES / "chaos-report.png").write_bytes(smaller(png))


if __name__ == "__main__":
    main()
