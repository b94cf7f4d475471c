"""What a real systemd and the installed service do together: runs inside the container, one check after the other.

Each check is a sentence; its outcome goes to /share/outcomes.json, "" or what went wrong. `container` made the machine.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import traceback
from contextlib import suppress
from pathlib import Path

import trio
from support.certificates import authority
from support.frames import CLOSE, close_payload, websocket
from support.http_client import dial, get
from support.tls_client import client_context, secured
from support.waiting import PATIENCE_SECONDS, wait_until

PYTHON = "/opt/trioproxy/bin/python"
REPOSITORY = Path("/repository")
CONFIG = Path("/etc/trioproxy/config.toml")
OVERRIDE = Path("/run/systemd/system/trioproxy.service.d/checks.conf")
OUTCOMES = Path("/share/outcomes.json")
PUBLIC = "127.0.0.1:8080"
SECURE = "127.0.0.1:8443"
WATCHDOG_SECONDS = 2
LAME_DUCK_SECONDS = 3
CLIENTS = 8


def shell(*argv):
    """Its output; whatever its exit status."""
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


async def systemctl(*words):
    done = await trio.run_process(["systemctl", *words], check=False, capture_stdout=True, capture_stderr=True)
    assert done.returncode == 0, (words, done.returncode, done.stderr.decode())
    return done.stdout.decode().strip()


async def systemctl_fails(*words):
    done = await trio.run_process(["systemctl", *words], check=False, capture_stdout=True, capture_stderr=True)
    assert done.returncode != 0, words
    return done.stdout.decode().strip()


def show(name):
    return shell("systemctl", "show", "--value", "-p", name, "trioproxy").strip()


def journal():
    return shell("journalctl", "-u", "trioproxy", "-o", "cat", "--no-pager")


def descriptors(pid):
    """The soft and the hard limit."""
    return tuple(Path(f"/proc/{pid}/limits").read_text().split("Max open files")[1].split()[:2])


async def status_says(words):
    await wait_until(lambda: words in show("StatusText"), f"status {words}")


async def journal_says(words):
    await wait_until(lambda: words in journal(), f"journal {words}")


async def override(text):
    OVERRIDE.parent.mkdir(parents=True, exist_ok=True)
    OVERRIDE.write_text(f"[Service]\n{text}\n")
    await systemctl("daemon-reload")


def configure(drain, server=""):
    shipped = (REPOSITORY / "deploy/systemd/config.toml").read_text()
    CONFIG.write_text(f"{shipped}\n[server]\n{server}\n[server.drain]\n{drain}\n")


async def the_documented_install_starts_both_units():
    await trio.run_process([REPOSITORY / "deploy/systemd/install"], capture_stdout=True, capture_stderr=True)
    for unit in ("trioproxy.service", "trioproxy.socket"):
        assert await systemctl("is-active", unit) == "active"
        assert await systemctl("is-enabled", unit) == "enabled"
    assert (await get(PUBLIC)).get(b"x-server") == b"one"
    assert (await get("[::1]:8080")).get(b"x-server") == b"one"


async def the_status_line_has_live_numbers():
    await status_says("1 of 2 upstreams up")
    async with websocket(PUBLIC) as tunnel:
        await status_says("running: 1 connections, 1 tunnels")
        await tunnel.close()
    await status_says("running: 0 connections, 0 tunnels")


async def the_service_has_a_user_of_its_own_and_no_privilege():
    pid = show("MainPID")
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
    assert 61184 <= int(status["Uid"][0]) <= 65519, status["Uid"]  # systemd.exec(5), DynamicUser
    assert {status[name][0].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert status["NoNewPrivs"] == ["1"] and status["Seccomp"] == ["2"]
    # A machine that may not raise limits, as a container's host, gives what it has.
    assert descriptors(pid) in {("65536", "65536"), descriptors(1)}


async def the_service_can_write_nothing_but_its_own_folders():
    """In its mount namespace, where not even root could; to its own folders as the user it is."""
    pid = show("MainPID")
    user = Path(f"/proc/{pid}").stat().st_uid
    inside = ["nsenter", f"--target={pid}", "--mount"]
    written = [
        folder
        for folder in ("/", "/etc", "/etc/trioproxy", "/opt/trioproxy", "/usr/lib", "/var/lib", "/home", "/root")
        if subprocess.run([*inside, "touch", f"{folder}/x"], capture_output=True, check=False).returncode == 0
    ]
    assert written == [], written
    own = [f"{folder}/x" for folder in ("/run/trioproxy", "/var/log/trioproxy", "/tmp")]
    subprocess.run([*inside, f"--setuid={user}", f"--setgid={user}", "touch", *own], check=True)
    assert not Path("/tmp/x").exists()


async def the_first_client_starts_it_by_the_socket():
    await systemctl("stop", "trioproxy.service")
    configure("spread = 0\ntimeout = 5")
    assert await systemctl_fails("is-active", "trioproxy.service") == "inactive"
    assert (await get(PUBLIC)).status == 200
    assert await systemctl("is-active", "trioproxy.service") == "active"


async def a_stop_drains_and_is_a_success():
    async with websocket(PUBLIC) as tunnel, trio.open_nursery() as nursery:
        nursery.start_soon(systemctl, "stop", "trioproxy.service")
        assert (await tunnel.receive()).close_code == 1001
        await status_says("draining: 1 connections, 1 tunnels")
        assert show("ActiveState") == "deactivating"
        await tunnel.send(CLOSE, close_payload(1001))
    assert (show("Result"), show("ExecMainStatus")) == ("success", "0")
    await journal_says("drained")


async def a_drain_longer_than_the_units_patience_is_not_cut():
    await override("TimeoutStopSec=1")
    configure(f"lame_duck = {LAME_DUCK_SECONDS}\nspread = 0")
    await systemctl("start", "trioproxy.service")
    began = trio.current_time()
    await systemctl("stop", "trioproxy.service")
    assert trio.current_time() - began >= LAME_DUCK_SECONDS
    assert show("Result") == "success"
    configure("spread = 0\ntimeout = 5")  # when it starts next


async def a_process_that_is_stuck_is_restarted_and_its_clients_wait():
    await override(f"WatchdogSec={WATCHDOG_SECONDS}")
    await systemctl("start", "trioproxy.service")
    stuck = show("MainPID")
    shell("kill", f"-{signal.SIGSTOP.value}", stuck)
    assert (await get(PUBLIC)).status == 200
    assert show("MainPID") != stuck and show("NRestarts") == "1"
    await journal_says("Watchdog timeout")
    await journal_says("Current thread")  # its stack
    await override("")


async def a_process_that_was_killed_is_started_again_and_its_clients_wait():
    killed = show("MainPID")
    shell("kill", "-9", killed)
    assert (await get(PUBLIC)).status == 200
    assert show("MainPID") != killed


async def a_restart_refuses_no_client():
    before, answers = show("MainPID"), []

    async def keep_coming():
        while True:
            answers.append((await get(PUBLIC, "/", "Connection: close")).status)

    async with trio.open_nursery() as clients:
        for _ in range(CLIENTS):
            clients.start_soon(keep_coming)
        await wait_until(lambda: len(answers) > CLIENTS, "answers")
        for _ in range(3):
            await systemctl("restart", "trioproxy.service")
            seen = len(answers)
            await wait_until(lambda: len(answers) > seen + CLIENTS, "answers of the new process")  # noqa: B023
        clients.cancel_scope.cancel()
    assert set(answers) == {200} and show("MainPID") != before
    print(f"{len(answers)} answers over three restarts, all 200")


async def a_reload_is_a_signal_and_fails_where_the_file_cannot_be_used():
    before = show("MainPID")
    good = CONFIG.read_text()
    CONFIG.write_text(good.replace('path = "/"', 'path = "/only"'))
    await systemctl("reload", "trioproxy.service")
    await journal_says("result=applied")
    assert [(await get(PUBLIC, path)).status for path in ("/only", "/")] == [200, 404]
    CONFIG.write_text(good.replace("[[listeners]]", "[[listners]]"))
    await systemctl_fails("reload", "trioproxy.service")
    await journal_says("result=invalid")
    assert (await get(PUBLIC, "/only")).status == 200
    assert show("MainPID") == before and show("ActiveState") == "active"
    CONFIG.write_text(good)
    await systemctl("reload", "trioproxy.service")


async def a_start_that_fails_is_repeated_until_the_file_is_mended():
    good = CONFIG.read_text()
    CONFIG.write_text(good.replace("[[listeners]]", "[[listners]]"))
    await systemctl_fails("restart", "trioproxy.service")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(get, PUBLIC)  # waits in the socket's queue
        await wait_until(lambda: int(show("NRestarts")) >= 2, "a second try")
        CONFIG.write_text(good)
    assert show("ActiveState") == "active"


async def a_certificate_is_renewed_by_the_hook_that_the_how_to_has():
    """Its keys are root's; the service reads what the hook puts into a group's folder, and no tunnel ends."""
    page = (REPOSITORY / "docs/how-to/tls.md").read_text()
    once, hook = (each for each in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "trioproxy-tls" in each)
    made = authority(Path("/root/made"))
    lineage, script = Path("/root/live"), Path("/etc/letsencrypt/renewal-hooks/deploy/trioproxy")
    lineage.mkdir()

    async def renew():
        files = made.issue("localhost")
        for source, name in ((files.certificate, "fullchain.pem"), (files.key, "privkey.pem")):
            (lineage / name).write_bytes(Path(source).read_bytes())
            (lineage / name).chmod(0o600)
        await trio.run_process([script], env={**os.environ, "RENEWED_LINEAGE": str(lineage)})

    async def shown():
        stream = await secured(await dial(SECURE), client_context(made.file))
        async with stream.stream:
            return stream.stream.getpeercert()["serialNumber"]

    before = CONFIG.read_text()
    await trio.run_process(["sh", "-e"], stdin=once.encode())
    script.write_text(hook)
    script.chmod(0o755)
    await renew()
    tls = 'tls = { certificate = "/etc/trioproxy/tls/fullchain.pem", key = "/etc/trioproxy/tls/privkey.pem" }'
    CONFIG.write_text(f'{before}\n[[listeners]]\nname = "secure"\naddress = "{SECURE}"\n{tls}\n')
    await systemctl("reload", "trioproxy.service")
    pid = show("MainPID")

    async def listens():
        with suppress(OSError):
            await (await dial(SECURE)).aclose()
            return True
        return False

    await wait_until(listens, "a listener with TLS")
    first = await shown()
    async with websocket(PUBLIC) as tunnel:
        await renew()

        async def another():
            return await shown() != first

        await wait_until(another, "the new certificate")
        assert await tunnel.echo(b"still here") == b"still here"
        await tunnel.close()
    assert show("MainPID") == pid
    CONFIG.write_text(before)
    await systemctl("reload", "trioproxy.service")


async def several_workers_run_in_the_sandbox():
    configure("spread = 0\ntimeout = 5", "workers = 2")
    await systemctl("restart", "trioproxy.service")
    supervisor = show("MainPID")
    workers = shell("pgrep", "--parent", supervisor).split()
    assert len(workers) == 2
    shell("kill", "-9", workers[0])
    await journal_says("worker_ended")
    for _ in range(10):
        assert (await get(PUBLIC, "/", "Connection: close")).status == 200
    await wait_until(lambda: len(shell("pgrep", "--parent", supervisor).split()) == 2, "another worker")
    async with websocket(PUBLIC) as tunnel:
        await status_says("1 tunnels")
        await tunnel.close()
    await systemctl("stop", "trioproxy.service")
    assert (show("Result"), show("ExecMainStatus")) == ("success", "0")


CHECKS = (
    the_documented_install_starts_both_units,
    the_status_line_has_live_numbers,
    the_service_has_a_user_of_its_own_and_no_privilege,
    the_service_can_write_nothing_but_its_own_folders,
    the_first_client_starts_it_by_the_socket,
    a_stop_drains_and_is_a_success,
    a_drain_longer_than_the_units_patience_is_not_cut,
    a_process_that_is_stuck_is_restarted_and_its_clients_wait,
    a_process_that_was_killed_is_started_again_and_its_clients_wait,
    a_restart_refuses_no_client,
    a_reload_is_a_signal_and_fails_where_the_file_cannot_be_used,
    a_start_that_fails_is_repeated_until_the_file_is_mended,
    a_certificate_is_renewed_by_the_hook_that_the_how_to_has,
    several_workers_run_in_the_sandbox,
)


async def run_all():
    """They build on one another: behind the first that fails none is run."""
    outcomes = {check.__name__: "not reached" for check in CHECKS}
    for check in CHECKS:
        began = trio.current_time()
        try:
            with trio.fail_after(PATIENCE_SECONDS):
                await check()
            outcomes[check.__name__] = ""
        except Exception:
            outcomes[check.__name__] = f"{traceback.format_exc()}\n{shell('systemctl', 'status', 'trioproxy')}"
        seconds = trio.current_time() - began
        print(f"{seconds:.2f} s  {check.__name__}: {outcomes[check.__name__] or 'ok'}")
        if outcomes[check.__name__]:
            break
    print(journal())
    OUTCOMES.write_text(json.dumps(outcomes))


def main():
    echo = [PYTHON, REPOSITORY / "tests/peers/fast_echo.py", "--name", "one", "--port", "3000"]
    with subprocess.Popen(echo, stdout=subprocess.PIPE) as upstream:
        upstream.stdout.readline()
        trio.run(run_all)
        upstream.kill()


if __name__ == "__main__":
    main()
