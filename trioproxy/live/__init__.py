"""What a running proxy tells from second to second, for who looks at it now: on a page, in a terminal.

`feed` keeps the last minutes and lets readers follow, `rates` makes figures of counts. What is looked at is
`sampling`'s, sending it over HTTP `admin`'s.
"""

from trioproxy.live.feed import TOLD, Feed, TooManyReaders

__all__ = ["TOLD", "Feed", "TooManyReaders"]
