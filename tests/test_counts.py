"""The closed sets of labels, and whose Close code a tunnel ended with."""

from __future__ import annotations

import pytest
from support.counts import FakeTunnel

from trioproxy.counts import OPCODE_LABELS, close_code, close_code_label, opcode_label, status_label
from trioproxy.errors import Source


@pytest.mark.parametrize(
    ("code", "label"),
    [
        (None, "none"),
        (1005, "empty"),
        (1000, "1000"),
        (1003, "1003"),
        (1007, "1007"),
        (1014, "1014"),
        (3000, "3xxx"),
        (3999, "3xxx"),
        (4000, "4xxx"),
        (4999, "4xxx"),
        (999, "other"),
        (1004, "other"),
        (1006, "other"),
        (1015, "other"),
        (2999, "other"),
        (5000, "other"),
        (65535, "other"),
    ],
)
def test_a_close_code_has_a_label_of_a_closed_set(code, label):
    assert close_code_label(code) == label


def test_whatever_code_a_peer_sends_there_are_few_labels():
    labels = {close_code_label(code) for code in range(65536)}
    assert len(labels) == 4 + 8 + 4


@pytest.mark.parametrize(
    ("status", "label"), [(100, "100"), (599, "599"), (99, "other"), (600, "other"), (0, "other"), (-1, "other")]
)
def test_a_status_between_100_and_599_is_its_own_label(status, label):
    assert status_label(status) == label


def test_reserved_opcodes_share_one_label():
    labels = [opcode_label(opcode) for opcode in range(16)]
    assert [label for label in labels if label != "other"] == list(OPCODE_LABELS)
    assert labels.count("other") == 10


def test_the_close_code_is_that_of_who_ended_the_tunnel():
    tunnel = FakeTunnel(sent_code=1012)
    tunnel.to_upstream.close_code = 4000
    tunnel.to_client.close_code = 1000
    assert close_code(tunnel, Source.CLIENT) == 4000
    assert close_code(tunnel, Source.UPSTREAM) == 1000
    assert close_code(tunnel, Source.PROXY) == 1012


def test_a_tunnel_that_was_cut_has_no_close_code():
    assert [close_code(FakeTunnel(), by) for by in Source] == [None, None, None]
