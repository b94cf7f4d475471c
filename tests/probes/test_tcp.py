"""A connection is all it takes, and with TLS a handshake that both sides are content with."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from support.certificates import authority
from support.probing import probe_against
from support.scripted import socket_pair
from trio.testing import wait_all_tasks_blocked

from trioproxy.config import HealthConfig
from trioproxy.probes.result import ProbeFailed, ProbeResult
from trioproxy.probes.tcp import probe_tcp
from trioproxy.tls.layer import TlsError
from trioproxy.tls.stream import TlsStream

TCP = HealthConfig(probe="tcp")


async def test_a_connection_is_a_pass(autojump_clock):
    async def silent(stream):
        pass

    assert await probe_against(probe_tcp, TCP, silent)


@pytest.fixture
async def probe_tls(tmp_path, autojump_clock):
    """Probes a server with TLS that goes on as the script says; with what the probe raised, None for a pass."""
    trusted = authority(tmp_path)

    async def probe_tls(script, *, client_ca="", late=False):
        near, far = socket_pair()
        failure = None

        async def serve():
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError, TlsError):
                await script(await TlsStream.accept(far, trusted.server("localhost", client_ca=client_ca)))
            far.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            with trio.move_on_after(1):
                stream = await TlsStream.connect(near, trusted.client(), "localhost")
                if late:
                    await wait_all_tasks_blocked()
                try:
                    await probe_tcp(stream, TCP, "localhost")
                except ProbeFailed as error:
                    failure = error
                stream.close()
        return failure

    probe_tls.ca = trusted.file
    return probe_tls


async def test_with_tls_the_server_sees_a_proper_end_and_no_reset(probe_tls):
    seen = []

    async def script(stream):
        seen.append(await stream.receive_some())
        seen.append(stream.truncated)
        stream.close()

    assert await probe_tls(script) is None
    assert seen == [b"", False]


async def test_a_server_that_does_not_end_has_shaken_hands_all_the_same(probe_tls):
    async def script(stream):
        await trio.sleep(0.9)

    assert await probe_tls(script) is None


async def test_a_server_that_talks_on_and_on_is_not_listened_to_for_ever(probe_tls):
    async def script(stream):
        while True:
            await stream.send_all(bytes(16 * 1024))

    assert await probe_tls(script) is None


async def test_a_server_that_resets_what_is_over_has_shaken_hands_all_the_same(probe_tls):
    async def script(stream):
        stream.reset_on_close()
        stream.close()

    assert await probe_tls(script) is None


@pytest.mark.parametrize("late", [False, True], ids=["as it says so", "when it has gone already"])
async def test_a_server_that_wants_a_certificate_fails_though_our_side_was_content(probe_tls, late):
    async def script(stream):
        raise AssertionError("shook hands without a certificate")

    failure = await probe_tls(script, client_ca=probe_tls.ca, late=late)
    assert failure.result is ProbeResult.TLS
    assert "certificate required" in failure.detail
