import pytest
from support.nginx_files import convert, site_of

from trioproxy.nginx_import import Kind
from trioproxy.nginx_import.listeners import asks_for_tls


def server(listen, name="", to="http://10.0.0.1:3000", more=""):
    names = f"server_name {name};" if name else ""
    return f"server {{ {listen} {names} {more} location / {{ proxy_pass {to}; }} }}\n"


def addresses(found):
    return [each["address"] for each in found.tables["listeners"]]


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("", "0.0.0.0:80"),
        ("listen 8080;", "0.0.0.0:8080"),
        ("listen *:8080;", "0.0.0.0:8080"),
        ("listen 127.0.0.1;", "127.0.0.1:80"),
        ("listen 127.0.0.1:8000 default_server reuseport backlog=511 so_keepalive=on;", "127.0.0.1:8000"),
        ("listen [::]:80 ipv6only=on;", "[::]:80"),
        ("listen [::1];", "[::1]:80"),
        ("listen localhost:8000;", "localhost:8000"),
        ("listen unix:/run/a.sock;", "unix:/run/a.sock"),
    ],
)
def test_every_form_of_listen_is_an_address(tmp_path, listen, address):
    found = convert(tmp_path, server(listen))
    assert addresses(found) == [address] and found.found.complete


def test_the_first_server_gets_all_other_hosts(tmp_path):
    found = convert(tmp_path, server("", "a.test") + server("", "b.test", "http://10.0.0.2:1"))
    assert [route.get("host") for route in found.tables["routes"]] == [None, ["b.test"]]


def test_names_of_the_default_server_are_told_beside_its_routes(tmp_path):
    said = "# server_name a.test; and any other Host: nginx has this server as the default one"
    assert said in convert(tmp_path, server("", "a.test")).found.text
    assert "any other Host" not in convert(tmp_path, server("", "_")).found.text


def test_the_default_server_gets_them_if_there_is_one(tmp_path):
    found = convert(tmp_path, server("listen 80;", "a.test") + server("listen 80 default_server;", "b.test"))
    assert [route.get("host") for route in found.tables["routes"]] == [["a.test"], None]


def test_names_of_the_default_server_are_kept_from_others_wildcards(tmp_path):
    found = convert(tmp_path, server("", "a.example.com") + server("", "*.example.com", "http://10.0.0.2:1"))
    hosts = [route.get("host") for route in found.tables["routes"]]
    assert hosts == [None, ["a.example.com"], ["*.example.com"]]


def test_servers_of_other_addresses_are_told_by_their_listener(tmp_path):
    text = server("listen 80; listen 81;", "a.test") + server(
        "listen 81 default_server;", "b.test", "http://10.0.0.2:1"
    )
    found = convert(tmp_path, text)
    routes = [(route.get("host"), route.get("listeners")) for route in found.tables["routes"]]
    assert routes == [(None, ["0.0.0.0:80"]), (["a.test"], ["0.0.0.0:81"]), (None, ["0.0.0.0:81"])]


def test_a_name_an_earlier_server_has_is_lost_as_in_nginx(tmp_path):
    text = server("") + server("", "a.test", "http://10.0.0.2:1") + server("", "a.test b.test", "http://10.0.0.3:1")
    found = convert(tmp_path, text)
    assert [route.get("host") for route in found.tables["routes"]] == [None, ["a.test"], ["b.test"]]
    assert [line for line, message in found.said(Kind.WARNING) if "a.test" in message] == [3]


def test_a_server_nobody_can_ask_for_is_warned_of(tmp_path):
    found = convert(tmp_path, server("") + server("", "_", "http://10.0.0.2:1"))
    assert len(found.tables["routes"]) == 1
    assert [line for line, message in found.said(Kind.WARNING) if "never gets a request" in message] == [2]
    assert found.found.complete


def test_an_address_another_one_covers_is_left_over(tmp_path):
    found = convert(tmp_path, server("listen 80;") + server("listen 127.0.0.1:80;", to="http://10.0.0.2:1"))
    assert addresses(found) == ["0.0.0.0:80"]
    assert "covers it" in found.left_over[0][1]
    covered = convert(
        tmp_path, server("listen [::]:80;") + server("listen [::1]:80; listen 81;", to="http://10.0.0.2:1")
    )
    assert addresses(covered) == ["[::]:80", "0.0.0.0:81"]


@pytest.mark.parametrize(
    ("listen", "message"),
    [
        ("listen;", "expected listen ADDRESS or PORT"),
        ("listen 80 defualt_server;", 'invalid parameter "defualt_server"'),
        ("listen 80 default_server; } server { listen 80 default_server;", "a second default_server for 0.0.0.0:80"),
        ("listen 80 ssl;", "TLS without ssl_certificate and ssl_certificate_key"),
    ],
)
def test_what_nginx_refuses_is_a_mistake(tmp_path, listen, message):
    assert any(message in said for _, said in convert(tmp_path, server(listen)).mistakes)


@pytest.mark.parametrize("word", ["http2", "spdy"])
def test_other_protocols_are_left_over(tmp_path, word):
    found = convert(tmp_path, server(f"listen 80 {word};"))
    assert addresses(found) == ["0.0.0.0:80"] and found.left_over[0][1].startswith(f"listen 80 {word}: {word}")


def test_a_quic_listener_is_left_out(tmp_path):
    found = convert(tmp_path, server("listen 80; listen 443 quic;"))
    assert addresses(found) == ["0.0.0.0:80"] and "HTTP/3" in found.left_over[0][1]


CERTIFICATE = "ssl_certificate /c.pem; ssl_certificate_key /c.key;"


def test_only_those_that_say_so_have_tls(tmp_path):
    found = convert(tmp_path, server("listen 80; listen 443 ssl;", more=CERTIFICATE))
    clear, secure = found.tables["listeners"]
    assert "tls" not in clear and secure["tls"] == {"certificate": "/c.pem", "key": "/c.key"}
    assert found.found.complete


def test_the_old_switch_makes_every_listen_tls(tmp_path):
    found = convert(tmp_path, server("listen 443;", more=f"ssl on; {CERTIFICATE}"))
    assert "tls" in found.tables["listeners"][0]


def test_trusted_addresses_are_the_listeners(tmp_path):
    found = convert(
        tmp_path,
        server("", more="set_real_ip_from 10.0.0.0/8; set_real_ip_from unix:; real_ip_header X-Forwarded-For;"),
    )
    assert found.tables["listeners"][0]["trusted_proxies"] == ["10.0.0.0/8", "unix:"]
    assert "forwarded" in found.meanings
    assert not found.left_over


def test_another_field_than_x_forwarded_for_is_not_believed(tmp_path):
    found = convert(tmp_path, server("", more="set_real_ip_from 10.0.0.0/8; real_ip_header CF-Connecting-IP;"))
    assert "trusted_proxies" not in found.tables["listeners"][0]
    assert "only X-Forwarded-For" in found.left_over[0][1]


TRUSTING = "set_real_ip_from 10.0.0.0/8; set_real_ip_from unix:;"


def test_a_proxy_header_is_believed_of_whom_nginx_believes_it_and_on_its_listener_alone(tmp_path):
    more = f"{TRUSTING} real_ip_header proxy_protocol;"
    found = convert(tmp_path, server("listen 80; listen 81 proxy_protocol;", more=more))
    plain, behind = found.tables["listeners"]
    assert plain == {"address": "0.0.0.0:80"}
    assert (behind["proxy_protocol"], behind["trusted_proxies"]) == (True, ["10.0.0.0/8", "unix:"])
    assert not found.left_over and "forwarded" not in found.meanings


@pytest.mark.parametrize("header", ["real_ip_header X-Forwarded-For;", ""])
def test_a_proxy_header_of_a_trusted_one_counts_where_nginx_asks_a_field(tmp_path, header):
    found = convert(tmp_path, server("listen 81 proxy_protocol;", more=TRUSTING + header))
    assert found.tables["listeners"][0]["trusted_proxies"] == ["10.0.0.0/8", "unix:"]
    assert "forwarded" in found.meanings


@pytest.mark.parametrize(("listen", "nobody"), [("81", "unix:"), ("unix:/run/a.sock", "127.0.0.1")])
def test_a_proxy_header_that_nginx_believes_of_nobody_is_read_and_ignored(tmp_path, listen, nobody):
    found = convert(tmp_path, server(f"listen {listen} proxy_protocol;"))
    (listener,) = found.tables["listeners"]
    assert (listener["proxy_protocol"], listener["trusted_proxies"]) == (True, [nobody])
    (said,) = found.found.notes.of(Kind.WARNING)
    assert "name the load balancers in trusted_proxies" in said.message


def test_addresses_that_are_trusted_for_a_header_that_never_comes_are_said_to_be(tmp_path):
    found = convert(tmp_path, server("listen 80;", more=f"{TRUSTING} real_ip_header proxy_protocol;"))
    assert found.tables["listeners"] == [{"address": "0.0.0.0:80"}]
    assert [note.message for note in found.found.notes.of(Kind.HARMLESS) if "no listen" in note.message]


def test_the_address_of_the_proxy_header_is_the_client(tmp_path):
    fields = "proxy_set_header X-Real-IP $proxy_protocol_addr; proxy_set_header X-Forwarded-For $proxy_protocol_addr;"
    found = convert(tmp_path, server("listen 81 proxy_protocol;", more=f"{TRUSTING} {fields}"))
    (route,) = found.tables["routes"]
    assert route["forwarded"] and not {"X-Real-IP", "X-Forwarded-For"} & route.get("set_headers", {}).keys()
    assert not found.left_over


@pytest.mark.parametrize(
    ("listen", "does"),
    [("listen 443 ssl;", True), ("listen 443 quic;", True), ("ssl on;", True), ("listen 80;", False), ("", False)],
)
def test_whether_a_server_asks_for_tls(tmp_path, listen, does):
    site, _ = site_of(tmp_path, f"server {{ {listen} }}")
    assert asks_for_tls(site.servers[0]) is does
