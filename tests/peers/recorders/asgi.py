"""An ASGI application, for uvicorn: each request it is given is a line on stdout."""

from __future__ import annotations

import json


async def app(scope, receive, send):
    if scope["type"] != "http":  # the lifespan protocol, which may be left out
        raise NotImplementedError(scope["type"])
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        more = message.get("more_body", False)
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    seen = {
        "id": dict(scope["headers"]).get(b"x-request-id", b"").decode(),
        "method": scope["method"],
        "target": target.decode(errors="replace"),
        "body": body.decode(errors="replace"),
    }
    print(json.dumps(seen), flush=True)  # noqa: T201 - stdout is the channel to the test
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
    await send({"type": "http.response.body", "body": b"seen"})
