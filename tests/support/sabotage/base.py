"""What sabotages are made with: one thing of the program replaced by another, in this process."""

from __future__ import annotations

from trioproxy import connection


def replaced(owner, name):
    """A decorator: the function takes the place of `owner.name`, and gets what stood there as its first argument."""
    before = getattr(owner, name)

    def put(function):
        def instead(*args, **settings):
            return function(before, *args, **settings)

        setattr(owner, name, instead)
        return function

    return put


def watched_tunnels():
    """Those that are open, of all contexts."""
    found = set()

    @replaced(connection, "tunnel_opened")
    def begin(before, context, opened):
        found.add(opened)
        before(context, opened)

    @replaced(connection, "tunnel_ended")
    def end(before, context, opened):
        found.discard(opened)
        before(context, opened)

    return found
