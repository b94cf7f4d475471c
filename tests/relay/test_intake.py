"""What is read into the pump's buffer, where a side's TLS wants more answers than that side takes. The rest: the contract suite."""

from __future__ import annotations

import pytest
from support.frames import TEXT
from support.tunnels import Engine, tunnel_between

from trioproxy.errors import Reason
from trioproxy.relay.intake import MOST_UNSENT
from trioproxy.relay.pump import Pump


@pytest.fixture
async def pump(nursery):
    pump = Pump(lambda _: None)
    await nursery.start(pump.serve)
    yield pump
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("waits", [MOST_UNSENT - 1000, MOST_UNSENT + 1])
async def test_more_than_two_reads_never_wait_for_a_side_that_has_tls_answer_it_again_and_again(pump, waits):
    async with tunnel_between(Engine(pump, "pump-tls")) as rig:
        port = pump._sealed[rig.tunnel.client.fileno()]
        port.unsent = memoryview(bytes(waits))  # as answers that were not taken have it in the end
        await rig.client.send(rig.client.frame(TEXT, b"one more"))
        assert await rig.upstream.take(14) == rig.client.frame(TEXT, b"one more")
        if waits > MOST_UNSENT:
            assert await rig.upstream.take(8)
            rig.upstream.fin()
            ending = await rig.ending()
            assert (ending.by, ending.reason) == ("client", Reason.TLS)
            assert ending.detail == "the answers of TLS are not read"
        else:
            assert not rig.tunnel.closing
