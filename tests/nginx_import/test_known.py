import pytest
from crossplane.analyzer import DIRECTIVES

from trioproxy.nginx_import.known import CLOSES, CONVERTED, FAMILIES, HARMLESS, HARMLESS_FAMILIES, UNSUPPORTED, explain
from trioproxy.nginx_import.notes import Fate
from trioproxy.nginx_import.statements import Place, Statement

# Directives of nginx that are newer than crossplane, or sold with it, or another's module.
NEWER = {"http2", "http3", "quic", "sticky", "keepalive_time", "proxy_cookie_flags", "proxy_ssl_conf_command", "queue"}
NEWER |= {"proxy_pass_trailers", "ssl_ocsp", "ssl_ocsp_cache", "ssl_ocsp_responder", "ssl_reject_handshake"}


def explained(name, *args):
    return explain(Statement(name, args, Place(0, 1, "n.conf")))


def test_no_directive_stands_in_two_tables():
    names = [*CONVERTED, *HARMLESS, *CLOSES, *UNSUPPORTED]
    assert len(names) == len(set(names))


def test_every_directive_of_the_tables_is_one_of_nginx():
    assert {*CONVERTED, *HARMLESS, *CLOSES, *UNSUPPORTED} - set(DIRECTIVES) - NEWER == set()


@pytest.mark.parametrize("table", [HARMLESS, CLOSES, UNSUPPORTED, CONVERTED, FAMILIES, HARMLESS_FAMILIES])
def test_every_reason_is_a_sentence(table):
    assert all(reason and not reason.endswith(".") for reason in table.values())


@pytest.mark.parametrize(
    ("words", "fate", "part"),
    [
        (("tcp_nodelay", "on"), Fate.HARMLESS, "always on"),
        (("gzip", "on"), Fate.LEFT_OVER, "let that one compress"),
        (("ssl_protocols", "TLSv1.2", "TLSv1.3"), Fate.HARMLESS, "spoken anyway"),
        (("ssl_protocols", "TLSv1", "TLSv1.1", "TLSv1.2"), Fate.LEFT_OVER, "TLSv1, TLSv1.1: not spoken, as too old"),
        (("ssl_protocols", "TLSv1.3"), Fate.LEFT_OVER, "TLS 1.2 is spoken, too"),
        (("ssl_protocols", "TLSv1.2"), Fate.HARMLESS, "spoken anyway"),
        (("proxy_ssl_protocols", "TLSv1.1", "TLSv1.2"), Fate.LEFT_OVER, "TLSv1.1: not spoken"),
        (("proxy_ssl_verify", "off"), Fate.LEFT_OVER, "always checked"),
        (("http2", "on"), Fate.LEFT_OVER, "clients speak HTTP/1.1 then"),
        (("http2", "off"), Fate.HARMLESS, "off here, too"),
        (("ssl_stapling", "on"), Fate.LEFT_OVER, "must-staple"),
        (("ssl_stapling", "off"), Fate.HARMLESS, "off here, too"),
        (("ssl_stapling_verify", "on"), Fate.HARMLESS, "with ssl_stapling only"),
        (("ssl_password_file", "/p"), Fate.LEFT_OVER, "openssl pkey"),
        (("ssl_session_tickets", "off"), Fate.HARMLESS, "in memory alone"),
        (("ssl_ecdh_curve", "X25519"), Fate.LEFT_OVER, "the library's choice holds"),
        (("gzip", "off"), Fate.HARMLESS, "off here, too"),
        (("proxy_set_header", "A", "b"), Fate.HARMLESS, "no effect"),
        (("auth_basic", "Members"), Fate.LEFT_OVER, "left out"),
        (("fastcgi_pass", "a"), Fate.LEFT_OVER, "HTTP only"),
        (("brotli", "on"), Fate.LEFT_OVER, "answers pass"),
        (("chunked_transfer_encoding", "on"), Fate.HARMLESS, "on here, too"),
        (("chunked_transfer_encoding", "off"), Fate.LEFT_OVER, "no counterpart"),
        (("gzip_types", "text/css"), Fate.HARMLESS, "with gzip only"),
        (("limit_conn_zone", "a"), Fate.LEFT_OVER, "max_connections_per_client"),
        (("proxy_cache", "zone"), Fate.LEFT_OVER, "nothing is cached"),
        (("proxy_cache_valid", "1m"), Fate.HARMLESS, "with proxy_cache only"),
        (("proxy_set_heder", "A", "b"), Fate.LEFT_OVER, "(did you mean proxy_set_header?)"),
        (("zzzz", "off"), Fate.LEFT_OVER, "not a directive of nginx's own that is known here"),
    ],
)
def test_a_statement_is_looked_up(words, fate, part):
    found, reason = explained(*words)
    assert found is fate and part in reason


def test_what_is_said_of_tls_has_no_effect_where_no_server_has_it():
    ciphers = Statement("ssl_ciphers", ("HIGH",), Place(0, 1, "n.conf"))
    assert explain(ciphers, tls=False)[0] is Fate.HARMLESS
    assert explain(ciphers, tls=True)[0] is Fate.LEFT_OVER
    verify = Statement("proxy_ssl_verify", ("off",), Place(0, 1, "n.conf"))
    assert explain(verify, to_upstreams=False)[0] is Fate.HARMLESS
