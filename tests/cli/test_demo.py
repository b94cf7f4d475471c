"""`trioproxy demo` as a command."""

import os
import signal
import subprocess
import sys


def test_the_demo_ends_after_its_duration_with_status_0() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trioproxy", "demo", "--duration", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "ws://127.0.0.1:" in done.stdout
    assert done.stderr == ""


def test_ctrl_c_ends_the_demo_without_a_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "trioproxy", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if "Ctrl-C" in line:
                break
        os.kill(process.pid, signal.SIGINT)
        assert "stopped" in process.stdout.read()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


def test_a_duration_must_be_positive() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trioproxy", "demo", "--duration", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "duration" in done.stderr and "Traceback" not in done.stderr
