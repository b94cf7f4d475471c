"""The naive relay: a Trio task per connection and direction, over streams, knowing nothing of what it carries.

It sends the client's head on as it came and copies bytes from then on: the least a proxy on Trio can do. No routing,
no errors answered, no counters; `python -m bench.naive PORT UPSTREAM_PORT`.
"""

from __future__ import annotations

import sys

import trio

READ_BYTES = 64 * 1024
HEAD_BYTES = 16 * 1024
BACKLOG = 4096


async def copy(source: trio.SocketStream, sink: trio.SocketStream) -> None:
    try:
        while data := await source.receive_some(READ_BYTES):
            await sink.send_all(data)
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the other direction sees it too


async def read_head(client: trio.SocketStream) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < HEAD_BYTES:
        data = await client.receive_some(READ_BYTES)
        if not data:
            return b""
        head += data
    return head


async def serve(client: trio.SocketStream, upstream_port: int) -> None:
    head = await read_head(client)
    if not head:
        return
    async with await trio.open_tcp_stream("127.0.0.1", upstream_port) as upstream:
        await upstream.send_all(head)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(copy, client, upstream)
            nursery.start_soon(copy, upstream, client)


async def main(port: int, upstream_port: int) -> None:
    async def handle(client: trio.SocketStream) -> None:
        try:
            await serve(client, upstream_port)
        except OSError as error:
            print(error, file=sys.stderr)

    await trio.serve_tcp(handle, port, host="127.0.0.1", backlog=BACKLOG)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]))
