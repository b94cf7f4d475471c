"""The endpoints for operators: metrics, health, readiness, status.

`app` says what is served and to whom (`guard`), `serve` how; what may be read and done is the `Control` handed in.
"""

from trioproxy.admin.app import make_app
from trioproxy.admin.control import Control, Unknown
from trioproxy.admin.guard import Token, read_token
from trioproxy.admin.serve import serve_admin

__all__ = ["Control", "Token", "Unknown", "make_app", "read_token", "serve_admin"]
