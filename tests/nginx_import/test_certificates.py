import pytest
from support.nginx_files import convert, location, said, site_of

from trioproxy.nginx_import import Fate, Kind
from trioproxy.nginx_import.certificates import read_demand
from trioproxy.nginx_import.listeners import read_listeners
from trioproxy.nginx_import.pools import Pools
from trioproxy.nginx_import.routes import Routes
from trioproxy.nginx_import.statements import walk
from trioproxy.nginx_import.variables import Variables

CERTIFICATE = "ssl_certificate /c.pem; ssl_certificate_key /c.key;"
OTHER = "ssl_certificate /d.pem; ssl_certificate_key /d.key;"
VERIFY = "ssl_client_certificate /ca.pem; ssl_verify_client on;"
TLS = "listen 443 ssl;"


def server(*inner, listen=TLS):
    return f"server {{ {listen} {' '.join(inner)} location / {{ proxy_pass http://10.0.0.1:3000; }} }}\n"


class Listeners:
    """What a text makes of its listeners."""

    def __init__(self, folder, text):
        self.site, self.notes = site_of(folder, text)
        self.read = read_listeners(self.site, self.notes)

    @property
    def tls(self):
        [table] = self.read.tables
        return next((each.value for each in table.settings if each.key == "tls"), None)

    def said(self, kind):
        return said(self.notes, kind)

    def fate(self, name):
        return {self.notes.fate(each) for block in self.site.http.chain for each in walk(block) if each.name == name}


def test_a_listener_has_the_default_servers_certificate(tmp_path):
    found = Listeners(tmp_path, server("server_name a.test;", CERTIFICATE))
    assert found.tls == {"certificate": "/c.pem", "key": "/c.key"}
    assert found.fate("ssl_certificate_key") == {Fate.CONVERTED}


def test_files_are_where_nginx_looks_for_them(tmp_path):
    text = server("ssl_certificate tls/c.pem; ssl_certificate_key /c.key;")
    found = convert(tmp_path, text)
    assert found.tables["listeners"][0]["tls"]["certificate"] == f"{tmp_path}/tls/c.pem"


def test_of_several_certificates_of_a_server_the_first_is_taken(tmp_path):
    found = Listeners(tmp_path, server(CERTIFICATE, OTHER))
    assert found.tls == {"certificate": "/c.pem", "key": "/c.key"}
    [(_, message)] = found.said(Kind.LEFT_OVER)
    assert message.startswith("ssl_certificate /d.pem: a listener has one certificate: that of line 1")


def test_the_certificate_of_another_server_of_the_address_is_left_over(tmp_path):
    text = server("server_name a.test;", CERTIFICATE) + server("server_name b.test;", OTHER)
    found = Listeners(tmp_path, text)
    assert found.tls["certificate"] == "/c.pem"
    [(line, message)] = found.said(Kind.LEFT_OVER)
    assert line == 2 and "one certificate: /c.pem" in message and "made for all the names" in message


def test_servers_of_one_address_may_share_a_certificate(tmp_path):
    found = Listeners(tmp_path, server("server_name a.test;", CERTIFICATE) + server("server_name b.test;", CERTIFICATE))
    assert found.tls["key"] == "/c.key" and not found.notes.all
    assert found.fate("ssl_certificate") == found.fate("ssl_certificate_key") == {Fate.CONVERTED}


@pytest.mark.parametrize(
    "files",
    [
        "ssl_certificate /$ssl_server_name.pem; ssl_certificate_key /c.key;",
        "ssl_certificate data:$pem; ssl_certificate_key /c.key;",
        "ssl_certificate /c.pem; ssl_certificate_key engine:e:1;",
    ],
)
def test_a_listener_whose_certificate_is_no_file_is_none_at_all(tmp_path, files):
    found = convert(tmp_path, server(files) + server(listen="listen 80;"))
    assert [each["address"] for each in found.tables["listeners"]] == ["0.0.0.0:80"]
    assert any("are files with fixed names" in message for _, message in found.left_over)
    assert any("no address or no name left" in message for _, message in found.left_over)


def test_without_a_certificate_nginx_refuses_the_file(tmp_path):
    assert Listeners(tmp_path, server()).said(Kind.MISTAKE) == [
        (1, "TLS without ssl_certificate and ssl_certificate_key")
    ]


def test_a_server_that_rejects_handshakes_needs_none_and_another_ones_is_shown(tmp_path):
    rejecting = "server { listen 443 ssl default_server; ssl_reject_handshake on; }\n"
    found = Listeners(tmp_path, rejecting + server("server_name b.test;", CERTIFICATE))
    assert found.tls["certificate"] == "/c.pem"
    [(line, message)] = found.said(Kind.DIFFERENCE)
    assert line == 1 and "the listener's certificate is shown" in message
    assert found.fate("ssl_reject_handshake") == {Fate.CONVERTED}


def test_where_all_reject_handshakes_there_is_no_listener(tmp_path):
    found = Listeners(tmp_path, "server { listen 443 ssl; ssl_reject_handshake on; }\n")
    assert not found.read.tables
    assert "answers no handshake" in found.said(Kind.LEFT_OVER)[0][1]


# Clients' certificates


def test_clients_that_must_show_a_certificate_must_here_too(tmp_path):
    found = Listeners(tmp_path, server(CERTIFICATE, VERIFY))
    assert found.tls["client_ca"] == "/ca.pem" and not found.notes.all and not found.read.unguarded
    assert found.fate("ssl_verify_client") == found.fate("ssl_client_certificate") == {Fate.CONVERTED}


@pytest.mark.parametrize("more", ["", "ssl_client_certificate /ca.pem; ssl_verify_client off;"])
def test_where_none_is_asked_for_there_is_no_authority(tmp_path, more):
    found = Listeners(tmp_path, server(CERTIFICATE, more))
    assert "client_ca" not in found.tls and not found.read.unguarded


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("ssl_client_certificate /ca.pem; ssl_verify_client optional;", "asks every client for a certificate"),
        ("ssl_client_certificate /ca.pem; ssl_verify_client optional_no_ca;", "asks every client for a certificate"),
        (f"{VERIFY} ssl_crl /crl.pem;", "lists of revoked certificates are not read"),
        (f"{VERIFY} ssl_ocsp on;", "nobody is asked whether a certificate is revoked"),
    ],
)
def test_what_would_let_more_clients_in_leaves_the_server_out(tmp_path, more, reason):
    found = convert(tmp_path, server("server_name a.test;", CERTIFICATE, more) + server(listen="listen 80;"))
    assert all(route.get("host") is None for route in found.tables["routes"])
    assert any(reason in message and "everybody would get in" in message for _, message in found.left_over)


@pytest.mark.parametrize("switch", ["ssl_crl /crl.pem", "ssl_ocsp on"])
def test_what_asks_nobody_for_a_certificate_guards_nothing(tmp_path, switch):
    assert not Listeners(tmp_path, server(CERTIFICATE, f"{switch};")).read.unguarded


def test_a_switch_that_is_off_is_none(tmp_path):
    assert Listeners(tmp_path, server(CERTIFICATE, VERIFY, "ssl_ocsp off;")).tls["client_ca"] == "/ca.pem"


@pytest.mark.parametrize("default", ["", "ssl_client_certificate /other.pem; ssl_verify_client on;"])
def test_a_server_whose_default_server_asks_for_less_is_left_out(tmp_path, default):
    text = server("server_name a.test;", CERTIFICATE, default) + server("server_name b.test;", CERTIFICATE, VERIFY)
    found = Listeners(tmp_path, text)
    [(left_out, reason)] = found.read.unguarded.items()
    assert left_out is found.site.servers[1] and "let this one listen elsewhere" in reason


def test_the_locations_of_a_server_that_is_left_out_are_no_routes(tmp_path):
    text = server("server_name a.test;", CERTIFICATE) + server("server_name b.test;", CERTIFICATE, VERIFY)
    site, notes = site_of(tmp_path, text)
    routes = Routes(site, read_listeners(site, notes), Pools(site, notes), Variables.of((), site.maps), notes)
    for each in site.servers:
        routes.convert(each)
    assert len(routes.tables) == 1
    assert [line for line, message in said(notes, Kind.LEFT_OVER) if message.startswith("location /")] == [2]
    assert [line for line, message in said(notes, Kind.LEFT_OVER) if message.startswith("ssl_verify")] == [2]


def test_a_server_whose_default_server_asks_for_more_is_told(tmp_path):
    text = server("server_name a.test;", CERTIFICATE, VERIFY) + server("server_name b.test;", CERTIFICATE)
    found = Listeners(tmp_path, text)
    assert [line for line, message in found.said(Kind.DIFFERENCE) if "have to show a certificate, too" in message] == [
        2
    ]
    assert not found.read.unguarded


def test_an_authority_that_nginx_trusts_besides_is_left_over(tmp_path):
    found = Listeners(tmp_path, server(CERTIFICATE, VERIFY, "ssl_trusted_certificate /more.pem;"))
    assert "put it into /ca.pem as well" in found.said(Kind.LEFT_OVER)[0][1]
    same = Listeners(tmp_path, server(CERTIFICATE, VERIFY, "ssl_trusted_certificate /ca.pem;"))
    assert not same.said(Kind.LEFT_OVER)


def test_to_ask_for_certificates_of_nobody_is_a_mistake(tmp_path):
    site, notes = site_of(tmp_path, server(CERTIFICATE, "ssl_verify_client on;"))
    assert read_demand(site.servers[0], notes).authority is None
    assert said(notes, Kind.MISTAKE) == [(1, "ssl_verify_client without ssl_client_certificate")]


# TLS to upstreams


def pool_tls(folder, text):
    """The `tls` of the only pool, and what was noted."""
    site, notes = site_of(folder, text)
    pools = Pools(site, notes)
    routes = Routes(site, read_listeners(site, notes), pools, Variables.of((), site.maps), notes)
    for each in site.servers:
        routes.convert(each)
    [table] = pools.tables.values()
    return next(each.value for each in table.settings if each.key == "tls"), notes


AUTHORITY = "proxy_ssl_trusted_certificate /ca.pem;"
UPSTREAM = "upstream up { server a.test:443; }"


def test_name_and_authority_of_upstreams_are_the_pools(tmp_path):
    more = f"proxy_ssl_name b.internal; {AUTHORITY} proxy_ssl_verify on;"
    settings, notes = pool_tls(tmp_path, location(more, to="https://b.test"))
    assert settings == {"server_name": "b.internal", "ca": "/ca.pem"}
    assert "verify" not in [note.meaning for note in notes.of(Kind.DIFFERENCE)]


def test_it_is_said_that_nginx_would_take_any_certificate(tmp_path):
    settings, notes = pool_tls(tmp_path, location(to="https://b.test"))
    assert settings == {}
    [note] = [note for note in notes.of(Kind.DIFFERENCE) if note.meaning == "verify"]
    assert note.place.line == 5 and "into ca of the pool's tls" in note.message


def test_who_wants_any_certificate_taken_is_told_what_to_do(tmp_path):
    _, notes = pool_tls(tmp_path, location("proxy_ssl_verify off;", to="https://b.test"))
    [(line, message)] = said(notes, Kind.LEFT_OVER)
    assert line == 6 and "always checked" in message and "into ca of the pool's tls" in message


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ("", None),
        ("proxy_ssl_server_name on;", "up"),
        (f"proxy_ssl_verify on; {AUTHORITY}", "up"),
        ("proxy_ssl_name $proxy_host;", "up"),
    ],
)
def test_upstreams_of_a_block_are_asked_by_its_name_where_nginx_asks(tmp_path, more, name):
    settings, _ = pool_tls(tmp_path, location(more, to="https://up", outside=UPSTREAM))
    assert settings.get("server_name") == name


def test_a_server_that_is_named_directly_is_asked_by_its_own_name(tmp_path):
    settings, _ = pool_tls(tmp_path, location("proxy_ssl_name $proxy_host; proxy_ssl_server_name on;", to="https://b"))
    assert "server_name" not in settings


@pytest.mark.parametrize(("to", "asked"), [("https://b.test", "the host of each upstream"), ("https://up", "up")])
def test_a_name_that_is_a_variable_is_left_over(tmp_path, to, asked):
    more = "proxy_ssl_name $host; proxy_ssl_server_name on;"
    _, notes = pool_tls(tmp_path, location(more, to=to, outside=UPSTREAM if to == "https://up" else ""))
    assert [message for _, message in said(notes, Kind.LEFT_OVER)] == [
        f"proxy_ssl_name $host: a pool asks for one name, which cannot hang on a variable; here it is {asked}"
    ]


def test_to_check_without_an_authority_is_a_mistake(tmp_path):
    _, notes = pool_tls(tmp_path, location("proxy_ssl_verify on;", to="https://b.test"))
    assert said(notes, Kind.MISTAKE) == [(6, "proxy_ssl_verify without proxy_ssl_trusted_certificate")]


def test_a_pool_is_never_reached_in_the_clear_instead(tmp_path):
    found = convert(tmp_path, location(AUTHORITY, to="https://b.test"))
    assert found.pool["tls"] == {"ca": "/ca.pem"} and found.pool["upstreams"] == ["b.test:443"]
