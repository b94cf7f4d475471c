"""The load client and the echo server: compiled, run against each other, and against a server that errs."""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import socket
import ssl
import threading
from base64 import b64encode
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from bench import certificates, clocks
from bench.cases import Case, Site, measure
from bench.load import compile_programs, failures, open_load, start_echo
from bench.processes import ProcessError

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("bench")
    compile_programs(made)
    return made


@pytest.fixture
def echo(folder):
    process, port = start_echo(folder, None)
    yield process, port
    process.stop()


@pytest.mark.parametrize(
    ("mode", "size"),
    [("sparse", 64), ("handshake", 64), ("http", 64), *(("echo", n) for n in (8, 125, 126, 65_535, 65_536, 300_000))],
)
def test_every_message_comes_back_and_every_tunnel_closes_politely(folder, echo, mode, size):
    process, port = echo
    site = Site(port=port, proxy=0, echo=process.pid, folder=folder, load_cpus=None)
    seconds = 1 if mode == "sparse" else 0.02
    sample = measure(Case(name="", title="", mode=mode, tunnels=3, size=size, seconds=seconds), site)
    assert sample["count"] >= 3
    assert sample["failed"] == sample["lost"] == 0


async def relay(port, client):
    """What comes from a client to the server of that port and back, until one of the two ends it."""

    async def copy(source, sink, scope):
        with suppress(trio.BrokenResourceError):
            while data := await source.receive_some():
                await sink.send_all(data)
        scope.cancel()

    async with client, await trio.open_tcp_stream("127.0.0.1", port) as server, trio.open_nursery() as nursery:
        nursery.start_soon(copy, client, server, nursery.cancel_scope)
        nursery.start_soon(copy, server, client, nursery.cancel_scope)


@contextmanager
def in_front_of(port, files):
    """A port at which TLS is taken off, as a proxy does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.both)
    serve = partial(trio.serve_ssl_over_tcp, partial(relay, port), 0, context, host="127.0.0.1", https_compatible=True)
    started = queue.Queue()

    async def main():
        async with trio.open_nursery() as nursery:
            [listener] = await nursery.start(serve)
            end = partial(trio.lowlevel.current_trio_token().run_sync_soon, nursery.cancel_scope.cancel)
            started.put((listener.transport_listener.socket.getsockname()[1], end))

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    own, end = started.get()
    try:
        yield own
    finally:
        end()
        thread.join()


@pytest.mark.skipif(not Path("/usr/include/openssl/ssl.h").exists(), reason="no headers of OpenSSL (libssl-dev)")
@pytest.mark.parametrize(("mode", "size"), [("handshake", 64), ("http", 64), ("echo", 125), ("echo", 300_000)])
def test_by_tls_everything_is_the_same(folder, echo, mode, size):
    process, port = echo
    files = certificates.make(folder)
    with in_front_of(port, files) as terminating:
        authority = str(files.authority)
        site = Site(port=terminating, proxy=0, echo=process.pid, folder=folder, load_cpus=None, authority=authority)
        sample = measure(Case(name="", title="", mode=mode, tunnels=3, size=size, seconds=0.02, tls=True), site)
    assert sample["count"] >= 3
    assert sample["failed"] == sample["lost"] == 0


def serve_once(listener, answer):
    """One tunnel, with `answer` made of what the client sends behind its head."""
    connection, _ = listener.accept()
    with connection:
        head = connection.recv(4096)
        key = head.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        accept = b64encode(hashlib.sha1(key + GUID).digest())
        connection.sendall(b"HTTP/1.1 101 Switching\r\nsec-websocket-accept: " + accept + b"\r\n\r\n")
        frame = connection.recv(4096)
        connection.sendall(answer(frame))
        connection.recv(4096)


def unmasked(frame):
    """The echo of a short masked frame."""
    mask, payload = frame[2:6], frame[6:]
    return bytes([frame[0], frame[1] & 127]) + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def flipped(echo, at):
    return echo[:at] + bytes([echo[at] ^ 1]) + echo[at + 1 :]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (lambda frame: flipped(unmasked(frame), -1), "tunnel 0, message 0: wrong"),
        (lambda frame: flipped(unmasked(frame), 1), "tunnel 0, message 0: wrong"),
        (lambda frame: flipped(unmasked(frame), 6), "tunnel 0, message 0: wrong"),
        (lambda frame: unmasked(frame) + b"\x82", "bytes nobody sent"),
    ],
    ids=["payload", "length", "sequence", "extra"],
)
def test_a_wrong_echo_ends_the_client(folder, answer, complaint):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve_once, args=(listener, answer))
        server.start()
        options = {"port": listener.getsockname()[1], "size": 64, "warm": 0, "seconds": 0}
        load = open_load("echo", options, folder=folder, cpus=None)
        with pytest.raises(ProcessError, match=complaint):
            load.measure()
        server.join()


def test_a_refused_connection_is_named(folder):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ProcessError, match="2 refused"):
            open_load("echo", {"port": unused.getsockname()[1], "n": 2}, folder=folder, cpus=None)


def test_without_openssls_headers_it_is_said_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProcessError, match="libssl-dev"):
        open_load("echo", {"port": 1, "tls": "ca.pem"}, folder=tmp_path, cpus=None)


def test_failures_are_said_in_words():
    figures = {"refused": 0, "closed_early": 2, "bad_answers": 1, "timeouts": 0}
    assert failures(figures) == "2 closed early, 1 bad answers"


def test_the_process_clock_agrees_with_utime_and_stime():
    before = os.times()
    clock = clocks.cpu_seconds(os.getpid())
    while os.times().user - before.user < 0.2:
        sum(range(10_000))
    after = os.times()
    passed = (after.user + after.system) - (before.user + before.system)
    assert clocks.cpu_seconds(os.getpid()) - clock == pytest.approx(passed, abs=0.05)
