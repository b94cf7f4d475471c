"""The log: events with fields, one line each, written without ever blocking the loop.

`log` is what everyone calls, `render` makes lines no peer can forge, `writer` is the thread that writes them. Which
fields a request or tunnel has is `access_log`'s.
"""

from trioproxy.logs.log import Log

__all__ = ["Log"]
