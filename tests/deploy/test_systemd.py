"""What is in deploy/systemd, judged by systemd's own programs and run by `systemd-socket-activate`."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess

import pytest
from support.http_client import get
from support.processes import PYTHON, ROOT
from support.proxy import ProxyProcess, write_config
from support.settings import settings

from trioproxy.config_file import load_config

DEPLOY = ROOT / "deploy" / "systemd"
UNITS = ["trioproxy.service", "trioproxy.socket"]
MOST_EXPOSED = 2.0


def systemd(program):
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"needs {program} (apt install systemd)")
    return found


class Several(dict):
    """A key may stand several times in a unit: all its values, line by line."""

    def __setitem__(self, key, value):
        if key in self and isinstance(value, list):
            self[key].extend(value)
        else:
            super().__setitem__(key, value)


def unit(name):
    parser = configparser.RawConfigParser(dict_type=Several, strict=False, interpolation=None, delimiters="=")
    parser.optionxform = str
    parser.read(DEPLOY / name)
    return {
        section: {key: value.split("\n") for key, value in parser[section].items()} for section in parser.sections()
    }


@pytest.fixture
def root(tmp_path):
    """A system with these units and all that systemd brings, and with the programs they start."""
    shutil.copytree("/usr/lib/systemd/system", tmp_path / "usr/lib/systemd/system", symlinks=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    service = unit("trioproxy.service")["Service"]
    for command in service["ExecStart"] + service["ExecReload"]:
        program = tmp_path / command.split()[0].removeprefix("/")
        program.parent.mkdir(parents=True, exist_ok=True)
        program.touch(mode=0o755)
    installed = tmp_path / "etc/systemd/system"
    installed.mkdir(parents=True)
    for name in UNITS:
        shutil.copy(DEPLOY / name, installed)
    return tmp_path


def verified(root):
    argv = [systemd("systemd-analyze"), "verify", f"--root={root}", "--recursive-errors=yes", *UNITS]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_systemd_has_nothing_to_say_about_the_units(root):
    done = verified(root)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_that_check_would_find_a_mistake(root):
    service = root / "etc/systemd/system/trioproxy.service"
    service.write_text(service.read_text().replace("KillMode=mixed", "KillMode=mixt"))
    done = verified(root)
    assert done.returncode != 0 and "mixt" in done.stderr


def test_the_service_is_hardly_exposed():
    argv = [systemd("systemd-analyze"), "security", "--offline=true", f"--threshold={MOST_EXPOSED * 10:.0f}"]
    done = subprocess.run([*argv, DEPLOY / "trioproxy.service"], capture_output=True, text=True, check=False)
    exposure = done.stdout.split("Overall exposure level for trioproxy.service: ")[1].split()[0]
    assert done.returncode == 0 and float(exposure) < MOST_EXPOSED, done.stderr
    assert f"says {exposure} " in (ROOT / "docs/how-to/systemd.md").read_text()


def test_a_default_drain_has_time_to_end_and_the_type_is_one_that_debian_12_knows():
    service = unit("trioproxy.service")["Service"]
    drain = load_config(DEPLOY / "config.toml").server.drain
    assert float(service["TimeoutStopSec"][0]) > drain.lame_duck + drain.timeout + 10
    assert service["Type"] == ["notify"]


def test_every_connection_of_the_default_limit_finds_its_descriptors():
    config = load_config(DEPLOY / "config.toml")
    assert int(unit("trioproxy.service")["Service"]["LimitNOFILE"][0]) > 2 * config.limits.max_connections + 1000


def test_the_first_configuration_listens_on_the_socket_unit():
    config = load_config(DEPLOY / "config.toml")
    assert [each.address for each in config.listeners] == [
        f"fd:{unit('trioproxy.socket')['Socket']['FileDescriptorName'][0]}"
    ]


def test_the_documentation_says_how_to_install():
    page = (ROOT / "docs/how-to/systemd.md").read_text()
    assert "deploy/systemd/install" in page and os.access(DEPLOY / "install", os.X_OK)
    hint = "python3 -m venv /opt/trioproxy && /opt/trioproxy/bin/pip install ."
    assert hint in page and hint in (DEPLOY / "install").read_text()


async def test_systemds_own_activation_starts_it_with_sockets_by_name(programs, tmp_path):
    """The first client finds a socket, no proxy: it waits, and is served as the others."""
    # It takes no port 0; an address of loopback that is ours alone has all ports free.
    path, web = str(tmp_path / "local"), f"127.9.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}:8080"
    tables = settings(["127.0.0.1:1"], listener={"name": "web", "address": "fd:web"})
    tables["listeners"].append({"name": "local", "address": "fd:local"})
    argv = [systemd("systemd-socket-activate"), "--fdname=local:web", "-l", path, "-l", web]
    config = write_config(programs, tables)
    argv += [f"--setenv=PYTHONPATH={ROOT}", PYTHON, "-m", "trioproxy", "run", "-c", config]
    proxy = ProxyProcess(await programs.start("activated", argv), config)
    for where in (path, web):
        await proxy.program.err.first(lambda line, where=where: f"Listening on {where}" in line, where)
    assert not proxy.log_contains("listening", listener="web")
    assert (await get(f"unix:{path}")).status == 503  # no upstream: the proxy itself has answered
    for name in ("local", "web"):
        proxy.addresses[name] = (await proxy.logged("listening", listener=name))["address"]
    assert proxy.addresses == {"local": f"unix:{path}", "web": web}
    assert (await get(web)).status == 503
    await proxy.stop()
