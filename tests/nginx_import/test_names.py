import pytest
from support.nginx_files import convert, location, site_of

from trioproxy.nginx_import.names import read_names, shadows


@pytest.mark.parametrize(
    ("words", "hosts", "odd"),
    [
        ("Example.com www.example.com.", ["example.com", "www.example.com"], []),
        ("*.example.com", ["*.example.com"], []),
        (".example.com", ["example.com", "*.example.com"], []),
        ("_ '' localhost", ["localhost"], []),
        ("10.0.0.1", ["10.0.0.1"], []),
        ("www.example.* ~^x$ $hostname", [], ["www.example.*", "~^x$", "$hostname"]),
        ("a.test a.test", ["a.test"], []),
    ],
)
def test_names_are_read_as_hosts(tmp_path, words, hosts, odd):
    site, _ = site_of(tmp_path, f"server {{ server_name {words}; }}")
    names = read_names(site.servers[0])
    assert [host for host, _ in names.hosts] == hosts
    assert [word for word, _ in names.odd] == odd


def test_several_server_names_add_up(tmp_path):
    site, _ = site_of(tmp_path, "server { server_name a.test; server_name b.test; }")
    assert [host for host, _ in read_names(site.servers[0]).hosts] == ["a.test", "b.test"]


@pytest.mark.parametrize(
    ("wildcard", "name", "does"),
    [
        ("*.a.test", "b.a.test", True),
        ("*.a.test", "*.b.a.test", True),
        ("*.a.test", "a.test", False),
        ("*.a.test", "*.a.test", False),
        ("a.test", "a.test", False),
    ],
)
def test_a_wildcard_shadows_what_it_takes(wildcard, name, does):
    assert shadows(wildcard, name) is does


def test_an_expression_of_the_default_server_is_a_difference_alone(tmp_path):
    found = convert(tmp_path, location(server="server_name ~^t[0-9]+$;"))
    assert found.found.complete and "names" in found.meanings


def test_elsewhere_it_is_left_over_with_its_server(tmp_path):
    text = location() + location(server="server_name ~^t[0-9]+$;", to="http://10.0.0.2:1")
    found = convert(tmp_path, text)
    assert [line for line, _ in found.left_over] == [10, 11] and "~^t[0-9]+$ is no host here" in found.left_over[0][1]
    assert len(found.tables["routes"]) == 1
