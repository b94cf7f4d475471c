"""The endpoints for operators: metrics, health, readiness, status.

`app` says what is served and to whom (`guard`), `serve` how; what may be read and done is the `Control` handed in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trioproxy.admin.control import Control, Unknown
from trioproxy.admin.token import Token, read_token

if TYPE_CHECKING:
    from trioproxy.admin.app import make_app
    from trioproxy.admin.serve import serve_admin

__all__ = ["Control", "Token", "Unknown", "make_app", "read_token", "serve_admin"]


def __getattr__(name: str) -> Any:
    # The endpoints themselves are imported when they are asked for: a worker has none, and starts a third faster.
    if name == "make_app":
        from trioproxy.admin.app import make_app  # noqa: PLC0415

        return make_app
    if name == "serve_admin":
        from trioproxy.admin.serve import serve_admin  # noqa: PLC0415

        return serve_admin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
