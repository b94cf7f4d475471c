"""Descriptors beside the bytes of a Unix socket."""

import os
import socket
import sys

import pytest

from trioproxy import rights


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.mark.parametrize("count", [0, 1, rights.MOST_FDS])
def test_what_is_granted_is_received_in_order(pair, count):
    near, far = pair
    files = [os.memfd_create(str(number)) for number in range(count)]
    near.sendmsg([b"x"], rights.granted(files))
    data, ancillary, flags, _ = far.recvmsg(10, rights.SPACE, socket.MSG_CMSG_CLOEXEC)
    fds = rights.received(ancillary)
    assert (data, flags & socket.MSG_CTRUNC) == (b"x", 0)
    assert [os.fstat(fd).st_ino for fd in fds] == [os.fstat(fd).st_ino for fd in files]
    for fd in [*files, *fds]:
        os.close(fd)


def test_other_ancillary_data_and_half_a_descriptor_are_left_out():
    number = (7).to_bytes(4, sys.byteorder)
    other = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, number)
    mine = (socket.SOL_SOCKET, socket.SCM_RIGHTS, number + b"\0\0")
    assert rights.received([other, mine]) == [7]
