"""The package hands out its parts, the heavy ones only when they are asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trioproxy import admin
from trioproxy.admin.app import make_app
from trioproxy.admin.serve import serve_admin


def test_the_endpoints_are_there_when_they_are_asked_for():
    assert admin.make_app is make_app and admin.serve_admin is serve_admin
    with pytest.raises(AttributeError, match="make_ap"):
        admin.make_ap  # noqa: B018


def test_a_worker_loads_no_admin_and_no_probes():
    heavy = "hypercorn, starlette, trio_websocket"
    check = f"import sys, trioproxy.worker; assert not {{*'{heavy}'.split(', ')}} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", check], check=True)
