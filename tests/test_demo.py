"""The demo on the mock clock: sockets are real, its minutes are not."""

import re
from pathlib import Path

from trioproxy.demo import EchoUpstream, Tally, demo_config, run_demo


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_clients_lose_nothing_while_an_upstream_goes_and_comes_back(autojump_clock) -> None:
    lines: list[str] = []
    tally = Tally()
    await run_demo(60, tally, lines.append)
    assert tally.reconnects > 0, "nothing was taken away"
    assert tally.failed_handshakes == 0
    assert tally.wrong_answers == 0


async def test_its_lines_show_both_upstreams_at_work_and_the_failover(autojump_clock) -> None:
    lines: list[str] = []
    await run_demo(20, Tally(), lines.append)
    text = "\n".join(lines)
    assert "/metrics" in text and re.search(r"^page +http://[^/]+/$", text, re.MULTILINE)
    assert "alpha up" in text and "alpha down" in text and "beta up" in text
    last = [line for line in lines if "alpha up" in line][-1]
    assert " 0 answers" not in last, "the upstream that came back got no traffic"


async def test_it_ends_when_its_duration_is_over_and_leaves_no_socket(autojump_clock) -> None:
    before = open_descriptors()
    await run_demo(5, Tally(), lambda _: None)
    assert open_descriptors() == before


def test_its_configuration_uses_free_ports_alone() -> None:
    config = demo_config([EchoUpstream("alpha", 1), EchoUpstream("beta", 2)])
    assert config.listeners[0].address == "127.0.0.1:0"
    assert config.admin.address == "127.0.0.1:0"
    assert [upstream.address for upstream in config.pools["demo"].upstreams] == ["127.0.0.1:1", "127.0.0.1:2"]


def test_an_answer_that_is_no_echo_is_counted_as_wrong() -> None:
    tally = Tally()
    tally.add("alpha hallo", "hallo")
    tally.add(b"beta hullo", "hallo")
    assert tally.answers == {"alpha": 1, "beta": 1}
    assert tally.wrong_answers == 1
