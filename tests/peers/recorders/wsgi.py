"""A WSGI application, for gunicorn: each request it is given is a line on stdout."""

from __future__ import annotations

import json
import os


def app(environ, start_response):
    body = environ["wsgi.input"].read()
    seen = {
        "id": environ.get("HTTP_X_REQUEST_ID", ""),
        "method": environ["REQUEST_METHOD"],
        "target": environ["RAW_URI"],
        "body": body.decode(errors="replace"),
    }
    os.write(1, json.dumps(seen).encode() + b"\n")  # at once: other threads tell theirs
    start_response("200 OK", [("Content-Length", "4")])
    return [b"seen"]
