"""Boots a real systemd in a container over this machine's own files, and runs one script inside. Started by `test_nspawn`.

    unshare --mount --propagation private python container.py FOLDER SCRIPT SITE_PACKAGES

Nothing of the machine changes: / is the lower half of an overlay, the network is a private one with nothing but loopback,
mounts end with the mount namespace, control groups are removed. FOLDER is /share in the container. Exit status 77 says that
this machine cannot run containers, and stdout why.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path

CANNOT = 77
ROOT = Path(__file__).resolve().parents[2]
PYTHON = "/opt/trioproxy/bin/python"
# What the checks are done by; its end is the container's.
CHECKS = f"""
[Unit]
Requires=basic.target
After=basic.target
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
StandardOutput=append:/share/progress
StandardError=append:/share/progress
TimeoutStartSec=120
Environment=PYTHONPATH=/repository/tests PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ExecStart={PYTHON} %s
"""
COMMAND = f"#!{PYTHON}\nfrom trioproxy.cli import main\nmain()\n"


def run(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{argv[0]}: {done.stderr.strip() or done.stdout.strip()}")
        sys.exit(CANNOT)


@contextlib.contextmanager
def own_control_groups():
    """Groups of our own, below where we are, in the hierarchies that systemd uses: two containers do not meet there."""
    made = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, group = line.split(":", 2)
        if controllers not in {"", "name=systemd"}:
            continue
        base = Path("/sys/fs/cgroup/unified" if number == "0" else "/sys/fs/cgroup/systemd")
        base = base if base.is_dir() else Path("/sys/fs/cgroup")
        own = base / group.lstrip("/") / f"trioproxy-test-{os.getpid()}"
        try:
            own.mkdir()
            (own / "cgroup.procs").write_text(str(os.getpid()))
        except OSError as error:
            print(f"control group {own}: {error.strerror}")
            sys.exit(CANNOT)
        made.append(own)
    try:
        yield
    finally:
        for own in made:
            (own.parent / "cgroup.procs").write_text(str(os.getpid()))
            end(own)


def end(group: Path) -> None:
    """Kill what is left in a control group, and remove it. An ended process leaves its group a moment later."""
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            while pids := Path(folder, "cgroup.procs").read_text().split():
                os.kill(int(pids[0]), signal.SIGKILL)
        while True:
            try:
                os.rmdir(folder)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
            else:
                break


def make_root(base: Path, script: str) -> Path:
    """This machine's files, changed in memory only: with the program in /opt/trioproxy, and the checks as a unit."""
    run("mount", "-t", "tmpfs", "tmpfs", str(base))
    for name in ("upper", "work", "root"):
        (base / name).mkdir()
    root = base / "root"
    options = f"lowerdir=/,upperdir={base}/upper,workdir={base}/work"
    run("mount", "-t", "overlay", "overlay", "-o", options, str(root))
    opt = root / "opt/trioproxy"
    site = opt / f"lib/python3.{sys.version_info.minor}/site-packages"
    site.mkdir(parents=True)
    (opt / "bin").mkdir()
    (opt / "bin/python").symlink_to(f"/opt/python/bin/python3.{sys.version_info.minor}")
    (opt / "pyvenv.cfg").write_text("home = /opt/python/bin\n")
    shutil.copytree(ROOT / "trioproxy", site / "trioproxy", ignore=shutil.ignore_patterns("__pycache__"))
    (site / "dependencies.pth").write_text("/opt/dependencies\n")
    (opt / "bin/trioproxy").write_text(COMMAND)
    (opt / "bin/trioproxy").chmod(0o755)
    if list(Path(sys.base_prefix, "lib").glob("libpython*.so*")):
        conf = root / "etc/ld.so.conf"
        conf.write_text(f"/opt/python/lib\n{conf.read_text()}")
        (root / "opt/python").mkdir()
        run("mount", "--bind", sys.base_prefix, str(root / "opt/python"))
        run("ldconfig", "-r", str(root))
    (root / "etc/fstab").write_text("")
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")  # without one it would be a first boot
    # Nothing to wait for: loopback is there.
    shutil.rmtree(root / "etc/systemd/system/network-online.target.wants", ignore_errors=True)
    (root / "etc/systemd/system/checks.service").write_text(CHECKS % script)
    return root


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    share, script, packages = sys.argv[1:]
    base = Path(share).parent / "machine"
    base.mkdir()
    root = make_root(base, script)
    # The name's length is bounded.
    argv = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", f"--directory={root}"]
    argv += [f"--machine=trioproxy-{os.getpid()}", f"--bind={share}:/share", f"--bind-ro={ROOT}:/repository"]
    argv += [f"--bind-ro={packages}:/opt/dependencies", "--link-journal=no", "--resolv-conf=off", "--timezone=off"]
    # The interpreter may be in somebody's home, where no service looks.
    argv += [f"--bind-ro={sys.base_prefix}:/opt/python", "--console=pipe"]
    with own_control_groups():
        run(*argv, "/bin/true")
        with subprocess.Popen([*argv, "--boot", "--", "systemd.unit=checks.service"]) as container:
            try:
                return container.wait()
            finally:
                container.terminate()  # a halt; killed, it would leave its machine running


if __name__ == "__main__":
    sys.exit(main())
