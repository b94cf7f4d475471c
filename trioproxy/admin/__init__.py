"""The endpoints for operators: metrics, health, readiness, status.

`app` says what is served and to whom (`guard`), `serve` how; what may be read and done is the `Control` handed in.
"""

from trioproxy.admin.app import Control, make_app
from trioproxy.admin.serve import serve_admin

__all__ = ["Control", "make_app", "serve_admin"]
