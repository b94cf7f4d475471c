"""An aiohttp server on the port it is told: each request it is given is a line on stdout."""

from __future__ import annotations

import json
import sys

from aiohttp import web


async def record(request: web.Request) -> web.Response:
    try:
        body = await request.read()
    except ConnectionError:  # never whole
        return web.Response(status=400)
    seen = {
        "id": request.headers.get("X-Request-Id", ""),
        "method": request.method,
        "target": request.raw_path,
        "body": body.decode(errors="replace"),
    }
    print(json.dumps(seen), flush=True)  # noqa: T201 - stdout is the channel to the test
    return web.Response(text="seen")


app = web.Application()
app.router.add_route("*", "/{tail:.*}", record)
web.run_app(app, host=sys.argv[1], port=int(sys.argv[2]), print=None)
