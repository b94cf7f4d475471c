"""Every configuration that converts whole does the same in trioproxy as in nginx, but for what the conversion announced."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import attrs
import pytest
import trio
from support.certificates import authority
from support.nginx_twins import Request, ask, check_with_nginx, copy_to_loopback, run_twins
from support.tls_client import client_context

from trioproxy.nginx_import import Kind, Meaning, import_nginx

CONFIGS = Path(__file__).parent / "configs"
FILES = [*sorted(CONFIGS.glob("*.conf")), CONFIGS / "includes" / "nginx.conf"]
NAMES = [path.parent.name if path.name == "nginx.conf" else path.stem for path in FILES]
SPOOFED = ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Host: evil.test", "X-Real-IP: 203.0.113.9", "X-Other: passes")
AT_ONCE = 32  # requests


def whole(path):
    return import_nginx(str(path)).complete


def needs_tls_or_hashing(path):
    return re.search(r"\bssl\b|https://|\bhash\b|ip_hash", path.read_text()) is not None


def test_there_are_several_dozen_configurations():
    assert len(FILES) > 60


def test_of_those_without_tls_and_hashing_four_fifths_convert_with_nothing_left_over():
    concerned = [path for path in FILES if not needs_tls_or_hashing(path)]
    converted = [path for path in concerned if whole(path)]
    assert len(converted) / len(concerned) >= 0.8, f"{len(converted)} of {len(concerned)}"


MISTAKES = (
    "upstream u {\n127.0.0.1:1; } server { location / { proxy_pass http://u; } }",
    "upstream u {\n} server { location / { proxy_pass http://u; } }",
    "upstream u { server 127.0.0.1:1 wieght=2; }",
    "upstream u { server 127.0.0.1:1; } upstream u { server 127.0.0.1:2; }",
    "upstream u { server 127.0.0.1:1; } server { location / { proxy_pass http://u:80; } }",
    "map $http_upgrade $c { default upgrade; close; }",
    "map $http_upgrade c { default upgrade; }",
    "server { ... location / { proxy_pass http://127.0.0.1:1; } }",
    "server { location / { proxy_pass http://127.0.0.1:1\nproxy_http_version 1.1; } }",
    "server { location / { proxy_pass http://127.0.0.1:1; }",
    "server { location / { proxy_pass http://127.0.0.1:1; } } }",
    "server { location / { proxy_pass 127.0.0.1:1; } }",
    "server { location / { proxy_pass http://; } }",
    "server { location ~ ^/ws { proxy_pass http://127.0.0.1:1/x; } }",
    "server { location / { proxy_pass http://127.0.0.1:1; proxy_set_header Connection $nobody; } }",
    "server { location / { proxy_set_header Host; } }",
    "server { location / { } location / { } }",
    "server { listen 127.0.0.1:8080 defualt_server; }",
    "server { listen 127.0.0.1:8080 default_server; } server { listen 127.0.0.1:8080 default_server; }",
    "server { location / { client_max_body_size lots; proxy_pass http://127.0.0.1:1; } }",
    "server { proxy_pass http://127.0.0.1:1; }",
    "location / { proxy_pass http://127.0.0.1:1; }",
    'server { set $a "b; }',
)


@pytest.mark.parametrize("text", MISTAKES)
async def test_what_is_called_a_mistake_is_refused_by_nginx_too(tmp_path, text):
    (tmp_path / "nginx.conf").write_text(text)
    assert import_nginx(str(tmp_path / "nginx.conf")).refused
    status, said = await check_with_nginx(tmp_path / "nginx.conf")
    assert status != 0 and "[emerg]" in said


def all_text(source):
    """The file, or for a nginx.conf all of its folder."""
    files = source.parent.rglob("*") if source.name == "nginx.conf" else [source]
    return "\n".join(path.read_text() for path in files if path.is_file())


def requests_of(text):
    """The matrix: paths below, equal to and beyond each location, with each name, another Host, a port, upgraded or not."""
    words = [word for names in re.findall(r"\bserver_name\s+([^;]+);", text) for word in names.split()]
    hosts = {re.sub(r"^\*?\.", "sub.", word) for word in words if re.fullmatch(r"[\w.*-]+[^*]", word) and word != "_"}
    hosts |= {"other.test", "other.test:8080"} | {f"{host}:8080" for host in sorted(hosts)[:1]}
    found = re.findall(r"\blocation\s+(?:=|~|\^~)?\s*\^?(/[^\s{$]*)", text)
    paths = {"/", "/elsewhere/x?q=1"}
    for path in found:
        paths |= {path, f"{path}?room=1&x=%2F", f"{path.rstrip('/')}/deep/er", f"{path}x", path.rstrip("/") or "/"}
    for host in sorted(hosts):
        for path in sorted(paths):
            yield Request(path, host)
            yield Request(path, host, upgrade=True)
    for path in sorted(paths):
        yield Request(path, "spoof.test", lines=SPOOFED)


@attrs.frozen
class Announced:
    """What the conversion of one file said of differences."""

    notes: tuple[tuple[Meaning, str], ...]

    def __call__(self, meaning, path=None):
        return any(
            each is meaning and (path is None or re.search(rf" {re.escape(path)}([ ;]|$)", said))
            for each, said in self.notes
        )

    def seam_of(self, path):
        """Whether a seam was announced for a location that this path is in."""
        found = re.compile(r"nginx (?:makes \S+ of (/\S*)/x here|leaves (/\S*) itself)")
        seams = [found.match(said) for meaning, said in self.notes if meaning is Meaning.SEAM]
        return any(path.startswith(place) for seam in seams for place in seam.groups() if place is not None)


def differences(request, theirs, ours, loopback, announced):
    """What is different, and was not announced: nothing, if all is well."""
    path = request.path.partition("?")[0]
    if announced(Meaning.SEGMENTS, path):
        return
    if theirs.status != ours.status and not status_is_meant(request, path, theirs, ours, announced):
        yield "status", theirs.status, ours.status
    if theirs.upstream and ours.upstream:
        if not loopback.same_pool(theirs.upstream, ours.upstream):
            yield "upstream", theirs.upstream, ours.upstream
        for name, values in compared(theirs, ours):
            if values[0] != values[1] and not value_is_meant(request, name, announced):
                yield name, *values


def compared(theirs, ours):
    """Pairs of what the upstream saw; Upgrade and Connection without regard to case, an empty field as none."""
    yield "target", (theirs.target, ours.target)
    yield "host", (theirs.values("host"), ours.values("host"))
    for name in ("upgrade", "connection"):
        yield name, tuple([value.lower() for value in each.values(name) if value] for each in (theirs, ours))
    for name in sorted(theirs.x_fields | ours.x_fields):
        yield name, (theirs.values(name), ours.values(name))


def value_is_meant(request, name, announced):
    match name:
        case "target":
            return announced.seam_of(request.path.partition("?")[0])
        case "host":
            return announced(Meaning.HOST_PORT)
        case "upgrade" | "connection":
            return announced(Meaning.UPGRADE if request.upgrade else Meaning.CONNECTION)
        case "x-forwarded-host" if announced(Meaning.HOST_PORT):
            return True
    return bool(request.lines) and announced(Meaning.FORWARDED)


def status_is_meant(request, path, theirs, ours, announced):
    if theirs.status == 301:
        return announced(Meaning.SLASH_REDIRECT, path)
    if request.upgrade and ours.status == 101:
        return announced(Meaning.UPGRADE)
    if announced(Meaning.ERROR_PAGE, path):
        return True
    return ours.status == 404 and announced(Meaning.NO_ROUTE)


IN_THE_CLEAR = [path for path in FILES if not re.search(r"\bssl\b|https://", path.read_text())]


@pytest.mark.parametrize("source", IN_THE_CLEAR, ids=lambda path: NAMES[FILES.index(path)])
async def test_trioproxy_does_what_nginx_does(programs, tmp_path, source):
    loopback = copy_to_loopback(source, tmp_path)
    found = import_nginx(str(loopback.file))
    if not found.complete:  # then it does not, and says so
        assert found.notes.of(Kind.LEFT_OVER)
        return
    converted = tmp_path / "config.toml"
    converted.write_text(found.text)
    announced = Announced(tuple((note.meaning, note.message) for note in found.notes.of(Kind.DIFFERENCE)))
    wrong = []
    async with run_twins(programs, loopback, converted) as twins:
        limit = trio.CapacityLimiter(AT_ONCE)

        async def compare(addresses, request):
            async with limit:
                theirs, ours = await ask(addresses[0], request), await ask(addresses[1], request)
            wrong.extend((request, *each) for each in differences(request, theirs, ours, loopback, announced))

        async with trio.open_nursery() as nursery:
            for addresses in twins.addresses.values():
                for request in requests_of(all_text(source)):
                    nursery.start_soon(compare, addresses, request)
    assert wrong == []


NAME = "chat.example.com"


def certificates(folder):
    """Those that tls-both-sides.conf names, and its upstreams: a client that is known, one that is not, the servers."""
    public, clients, internal, other = (authority(folder / name) for name in ("public", "clients", "internal", "other"))
    made = public.issue(NAME)
    files = {
        "chat.pem": made.certificate,
        "chat.key": made.key,
        "clients.pem": clients.file,
        "internal.pem": internal.file,
    }
    for name, path in files.items():
        shutil.copy(path, folder / name)
    known, stranger = client_context(public.file, clients.issue("client")), client_context(public.file)
    return (
        known,
        stranger,
        {each: signing.server("backend.internal") for each, signing in zip(SECURE, (internal, other), strict=True)},
    )


SECURE = ("10.1.0.1:8443", "10.1.0.2:8443")


async def test_over_tls_trioproxy_does_what_nginx_does(programs, tmp_path):
    source = CONFIGS / "tls-both-sides.conf"
    loopback = copy_to_loopback(source, tmp_path)
    (tmp_path / "tls").mkdir()
    known, stranger, servers = certificates(tmp_path / "tls")
    found = import_nginx(str(loopback.file))
    assert found.complete, found.notes.of(Kind.LEFT_OVER)
    converted = tmp_path / "config.toml"
    converted.write_text(found.text)
    announced = Announced(tuple((note.meaning, note.message) for note in found.notes.of(Kind.DIFFERENCE)))
    wrong, seen = [], set()
    async with run_twins(programs, loopback, converted, servers) as twins:
        for said, addresses in twins.addresses.items():
            # A handshake each takes its time, and which Host leads where others have shown.
            for request in (each for each in requests_of(source.read_text()) if each.host in {NAME, "spoof.test"}):
                theirs, ours = [await ask(address, request, known, NAME) for address in addresses]
                wrong += [(said, request, *each) for each in differences(request, theirs, ours, loopback, announced)]
                seen.add((said, theirs.upstream, theirs.status))
        # One that cannot prove who it is is asked for nothing, by neither; here its probes say so before.
        assert {(each[2:]) for each in wrong} == {("status", 502, 503)}
        assert {request.path.startswith("/stranger/") for _, request, *_ in wrong} == {True}
        assert {upstream for _, upstream, _ in seen} == {"", "10.1.0.1:8443", "10.1.0.3:8080"}
        assert ("443", "", 502) in seen
        # Who shows no certificate: nginx finishes the handshake to say 400, trioproxy does not.
        asked = [await ask(address, Request("/", NAME), stranger, NAME) for address in twins.addresses["443"]]
        assert [(each.status, each.upstream) for each in asked] == [(400, ""), (0, "")]
        asked = [await ask(address, Request("/", NAME), stranger, NAME) for address in twins.addresses["8443"]]
        assert [each.status for each in asked] == [200, 200]
