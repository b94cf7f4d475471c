"""Addresses that stay free until a test takes them, for programs that cannot tell which port the kernel gave them.

A port that was free a moment ago is anybody's: another test's server may get it. All of 127.0.0.0/8 is this machine, so
each process of the tests has an address of its own there, and counts its ports.
"""

from __future__ import annotations

import itertools
import os
import socket

_NUMBERS = itertools.count(10_000)  # below the ports that the kernel gives to those who connect


def own_host() -> str:
    """An IPv4 address of loopback that is this process's alone: all its ports are free."""
    high, low = divmod(os.getpid(), 1 << 16)  # a process id has at most 22 bits
    return f"127.{64 + high}.{low >> 8}.{low & 255}"


def free_address() -> str:
    """Another one each time; nothing listens there, and nothing will unless the test does it."""
    return f"{own_host()}:{next(_NUMBERS)}"


def free_ipv6_port() -> int:
    """A port of ::1, the only such address, that was free a moment ago."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as sock:
        return int(sock.getsockname()[1])
