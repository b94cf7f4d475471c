"""What is known of nginx's directives: which are converted to what, which nobody misses, which have no counterpart.

Tables only, and the one function that looks a statement up in them; the documentation shows them as they stand here.
How a directive is converted stands in the modules of the settings it becomes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crossplane.analyzer import DIRECTIVES

from trioproxy.config_rules import closest
from trioproxy.nginx_import.notes import Fate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trioproxy.nginx_import.statements import Statement

CONVERTED: Final[Mapping[str, str]] = {
    "allow": "`allow` of the route",
    "deny": "`deny` of the route; of several networks the smallest counts, which comes to the same",
    "error_page": "a short text instead of the page, where it is a file; the status is the same",
    "http": "its settings are those of all servers",
    "server": "routes of its listeners; in an `upstream`: one of `upstreams`, with `weight`, `backup`, "
    "`max_connections` (max_conns), `passive` (max_fails, fail_timeout); `down` leaves it out",
    "listen": "`[[listeners]]`; the first server of an address, or its default_server, gets the Hosts nobody else "
    "names; `proxy_protocol`",
    "server_name": "`host` of the routes: exact names, `*.example.com`, `.example.com`",
    "location": "`[[routes]]`: prefixes, `=`, `^~`, nested ones; of regular expressions those that begin with `^` and "
    "are literal",
    "proxy_pass": "`pool`; with a URI also `strip_prefix` or `replace_prefix`",
    "upstream": "`[pools.NAME]`",
    "least_conn": '`balance = "least-connections"`',
    "ip_hash": '`balance = "hash"`, `hash = "client_ip"`',
    "hash": '`balance = "hash"`, `hash = ...`, by client address, path, one field or one cookie',
    "random": '`balance = "random-two"`',
    "keepalive": "`keep_alive_connections`, of each upstream instead of each worker",
    "keepalive_timeout": "`timeouts.keep_alive`; in an `upstream`: `keep_alive`",
    "queue": "`queue`, `queue_timeout`",
    "map": "as far as `Connection` hangs on it: upgrades are upgraded here without it",
    "set": "put in where it stands, if it is a literal that is set once",
    "proxy_http_version": "HTTP/1.1 is always spoken to upstreams",
    "proxy_set_header": "`host_header`, `forwarded`, `request_id`, `set_headers`; Upgrade and Connection are right",
    "proxy_read_timeout": "`timeouts.response` and `timeouts.tunnel_idle` of the route",
    "proxy_connect_timeout": "`timeouts.connect` of the route",
    "proxy_next_upstream": "`attempts`, `retry_on` of the pool",
    "proxy_next_upstream_tries": "`attempts` of the pool",
    "proxy_ssl_name": "`tls.server_name` of the pool",
    "proxy_ssl_trusted_certificate": "`tls.ca` of the pool",
    "ssl": "`tls` of the listeners",
    "ssl_certificate": "`tls.certificate` of the listener: the default server's, one for all names",
    "ssl_certificate_key": "`tls.key` of the listener",
    "ssl_client_certificate": "`tls.client_ca` of the listener, where ssl_verify_client is on",
    "ssl_reject_handshake": "names that no server has are answered with 404, behind a handshake",
    "ssl_verify_client": "`on`: `tls.client_ca` of the listener; with another value what it guards is left out",
    "client_max_body_size": "`limits.max_body_bytes`, one for the whole proxy: the largest; without it nginx's 1m",
    "client_header_timeout": "`timeouts.head`, one for the whole proxy",
    "set_real_ip_from": "`trusted_proxies` of the listeners",
    "worker_processes": "`server.workers`",
    "return": "of a 4xx code alone: no route, which is 404",
    "rewrite": "`strip_prefix` or `replace_prefix`, where it takes the location's prefix off with `break`",
    "include": "its files stand where it stands; patterns, too",
}
"""Directives with a counterpart, and which; some of their values have none."""

HARMLESS: Final[Mapping[str, str]] = {
    "accept_mutex": "there is nothing to tune here",
    "access_log": "requests and tunnels are logged anyway: [log]",
    "aio": "no files are served",
    "client_body_buffer_size": "bodies are streamed, not buffered",
    "client_body_in_file_only": "bodies are streamed, not buffered",
    "client_body_temp_path": "bodies are streamed, not buffered",
    "client_body_timeout": "timeouts.response ends a body that stalls",
    "client_header_buffer_size": "limits.max_head_bytes holds",
    "daemon": "the service manager does that",
    "default_type": "content types are the upstream's business",
    "error_log": "everything is logged to one place: [log]",
    "etag": "no files are served",
    "events": "there is nothing to tune here",
    "ignore_invalid_headers": "invalid fields are always answered with 400",
    "index": "it names a file, and none are served",
    "keepalive_disable": "it concerns browsers that are gone",
    "keepalive_requests": "a connection is kept for any number of requests",
    "keepalive_time": "a connection is kept as long as it is used",
    "large_client_header_buffers": "limits.max_head_bytes holds",
    "limit_rate_after": "it means something with limit_rate only",
    "lingering_close": "connections are always closed gently",
    "lingering_time": "connections are always closed gently",
    "lingering_timeout": "connections are always closed gently",
    "load_module": "there are no modules here",
    "lock_file": "the service manager does that",
    "log_format": "[log] format says how a line looks, text or json",
    "log_not_found": "no files are served",
    "map_hash_bucket_size": "there is nothing to tune here",
    "map_hash_max_size": "there is nothing to tune here",
    "master_process": "the service manager does that",
    "merge_slashes": "a path goes on as it came",
    "msie_padding": "it concerns browsers that are gone",
    "open_file_cache": "no files are served",
    "output_buffers": "there is nothing to tune here",
    "pcre_jit": "there is nothing to tune here",
    "pid": "the service manager does that",
    "port_in_redirect": "redirects are the upstream's",
    "postpone_output": "there is nothing to tune here",
    "proxy_buffer_size": "answers are streamed, not buffered; limits.max_head_bytes holds for their heads",
    "proxy_buffering": "answers are streamed, never buffered",
    "proxy_buffers": "answers are streamed, not buffered",
    "proxy_busy_buffers_size": "answers are streamed, not buffered",
    "proxy_cache_bypass": "nothing is cached",
    "proxy_ignore_headers": "no field of an answer means anything to the proxy",
    "proxy_headers_hash_bucket_size": "there is nothing to tune here",
    "proxy_headers_hash_max_size": "there is nothing to tune here",
    "proxy_ignore_client_abort": "an exchange ends with its client",
    "proxy_max_temp_file_size": "answers are streamed, not buffered",
    "proxy_no_cache": "nothing is cached",
    "proxy_pass_header": "all end-to-end fields pass",
    "proxy_pass_trailers": "trailers of answers pass to who asks for them (TE: trailers), to nobody else",
    "proxy_request_buffering": "requests are streamed, never buffered",
    "proxy_send_timeout": "timeouts.response and timeouts.tunnel_idle end what makes no progress",
    "proxy_socket_keepalive": "it is always on",
    "proxy_ssl_server_name": "the name is always sent",
    "proxy_ssl_session_reuse": "there is nothing to tune here",
    "proxy_ssl_verify_depth": "the authority's certificate decides",
    "proxy_temp_file_write_size": "answers are streamed, not buffered",
    "proxy_temp_path": "answers are streamed, not buffered",
    "real_ip_header": "X-Forwarded-For is the field that is looked at, and the PROXY header where `listen` expects one",
    "real_ip_recursive": "trusted_proxies says whom to believe",
    "reset_timedout_connection": "there is nothing to tune here",
    "resolver": "names are resolved by the system, every 10 s and after a failed connect",
    "resolver_timeout": "names are resolved by the system",
    "send_timeout": "timeouts.response and timeouts.tunnel_idle end what makes no progress",
    "sendfile": "no files are served",
    "server_name_in_redirect": "redirects are the upstream's",
    "server_names_hash_bucket_size": "there is nothing to tune here",
    "server_names_hash_max_size": "there is nothing to tune here",
    "server_tokens": "answers do not name a version",
    "ssl_buffer_size": "there is nothing to tune here",
    "ssl_dhparam": "keys are agreed upon by elliptic curves",
    "ssl_early_data": "none is taken: clients send it again behind the handshake",
    "ssl_ocsp_cache": "it means something with ssl_ocsp only",
    "ssl_ocsp_responder": "it means something with ssl_ocsp only",
    "ssl_prefer_server_ciphers": "the server's order always counts",
    "ssl_session_cache": "sessions are resumed by tickets of the worker that gave them",
    "ssl_session_ticket_key": "sessions are resumed by tickets of the worker that gave them",
    "ssl_session_tickets": "sessions are resumed by tickets, whose key is in memory alone",
    "ssl_session_timeout": "sessions are resumed by tickets of the worker that gave them",
    "ssl_trusted_certificate": "it means something with ssl_stapling and ssl_verify_client only",
    "ssl_verify_depth": "the authority's certificate decides",
    "tcp_nodelay": "it is always on",
    "tcp_nopush": "there is nothing to tune here",
    "timer_resolution": "there is nothing to tune here",
    "types": "content types are the upstream's business",
    "types_hash_bucket_size": "there is nothing to tune here",
    "types_hash_max_size": "there is nothing to tune here",
    "underscores_in_headers": "fields with underscores always pass",
    "user": "the service manager does that",
    "variables_hash_bucket_size": "there is nothing to tune here",
    "variables_hash_max_size": "there is nothing to tune here",
    "worker_connections": "limits.max_connections holds, 10000 by default",
    "worker_rlimit_nofile": "the limit is raised as far as it goes at start",
    "zone": "workers share what they know of upstreams anyway",
}
"""Directives whose absence nobody notices, and why."""

CLOSES: Final[Mapping[str, str]] = {
    "auth_basic": "passwords are not asked for",
    "auth_jwt": "tokens are not looked at",
    "auth_request": "no other server is asked",
    "internal": "nothing is redirected inside the proxy",
    "limit_except": "methods are not looked at",
    "secure_link": "links are not checked",
}
"""Directives that keep somebody out. What they guard is left out: otherwise everybody would get in."""

UNSUPPORTED: Final[Mapping[str, str]] = {
    "add_header": "fields of answers are the upstream's",
    "alias": "no files are served",
    "autoindex": "no files are served",
    "charset": "answers pass as the upstream sent them",
    "expires": "fields of answers are the upstream's",
    "geo": "only Connection may hang on a variable",
    "gzip": "answers pass as the upstream sent them; let that one compress",
    "http2": "HTTP/2 is not here, on purpose; clients speak HTTP/1.1 then",
    "if": "conditions are not looked at",
    "least_time": "least_conn has a counterpart",
    "limit_conn": "see max_connections_per_client of the listeners, and max_connections of upstreams",
    "limit_conn_zone": "see max_connections_per_client of the listeners",
    "limit_rate": "see websocket.max_message_rate",
    "limit_req": "see handshake_rate of the listeners",
    "limit_req_zone": "see handshake_rate of the listeners",
    "mail": "only HTTP is proxied",
    "mirror": "a request goes to one upstream",
    "proxy_bind": "the system chooses the address to connect from",
    "proxy_cache": "nothing is cached",
    "proxy_cookie_domain": "fields of answers are the upstream's",
    "proxy_cookie_flags": "fields of answers are the upstream's",
    "proxy_cookie_path": "fields of answers are the upstream's",
    "proxy_hide_header": "fields of answers are the upstream's",
    "proxy_intercept_errors": "the upstream's answers pass, errors too",
    "proxy_limit_rate": "nothing slows an upstream down but its client",
    "proxy_method": "the method goes on as it came",
    "proxy_next_upstream_timeout": "timeouts and attempts bound a request",
    "proxy_pass_request_body": "the body goes on as it came",
    "proxy_pass_request_headers": "end-to-end fields go on as they came; set_headers removes single ones",
    "proxy_redirect": "the upstream's Location passes; with host_header it knows the name it is asked by",
    "proxy_set_body": "the body goes on as it came",
    "proxy_ssl_certificate": "no certificate is shown to upstreams: one that asks for it refuses",
    "proxy_ssl_certificate_key": "no certificate is shown to upstreams: one that asks for it refuses",
    "proxy_ssl_ciphers": "the library's choice holds: AES and ChaCha20 with forward secrecy, nothing with SHA-1",
    "proxy_ssl_crl": "lists of revoked certificates are not read",
    "proxy_ssl_protocols": "the library's choice holds: TLS 1.2 and 1.3",
    "proxy_ssl_verify": "an upstream's certificate is always checked",
    "root": "no files are served",
    "split_clients": "only Connection may hang on a variable",
    "ssl_ciphers": "the library's choice holds: AES and ChaCha20 with forward secrecy, nothing with SHA-1",
    "ssl_crl": "lists of revoked certificates are not read",
    "ssl_ocsp": "nobody is asked whether a certificate is revoked",
    "ssl_password_file": "a key has no passphrase here: openssl pkey -in KEY -out NEW takes it off",
    "ssl_protocols": "the library's choice holds: TLS 1.2 and 1.3",
    "ssl_stapling": "no OCSP answers are stapled; a certificate that demands it (must-staple) is refused by clients",
    "sticky": "see sticky_cookie of the pools; its secret is not in an nginx file",
    "stream": "only HTTP is proxied",
    "sub_filter": "answers pass as the upstream sent them",
    "try_files": "no files are served",
}
"""Directives without a counterpart, and why."""

HARMLESS_FAMILIES: Final[Mapping[str, str]] = {
    "gzip_": "it means something with gzip only",
    "limit_conn_": "it means something with limit_conn only",
    "limit_req_": "it means something with limit_req only",
    "open_file_cache_": "no files are served",
    "proxy_cache_": "it means something with proxy_cache only",
    "ssl_stapling_": "it means something with ssl_stapling only",
}
"""Of these, what they only add to is named."""

FAMILIES: Final[Mapping[str, str]] = {
    "auth_": "nobody is asked for credentials",
    "brotli": "answers pass as the upstream sent them",
    "dav_": "no files are served",
    "fastcgi_": "upstreams are spoken to in HTTP only",
    "grpc_": "HTTP/2 is not here, on purpose",
    "gzip": "answers pass as the upstream sent them",
    "http2_": "HTTP/2 is not here, on purpose",
    "http3": "HTTP/3 is not here, on purpose",
    "memcached_": "upstreams are spoken to in HTTP only",
    "more_": "fields of answers are the upstream's",
    "proxy_ssl_": "the library's choice holds",
    "quic": "HTTP/3 is not here, on purpose",
    "scgi_": "upstreams are spoken to in HTTP only",
    "ssl_": "the library's choice holds",
    "stub_status": "see /metrics of the admin address",
    "sub_filter": "answers pass as the upstream sent them",
    "uwsgi_": "upstreams are spoken to in HTTP only",
}
"""The same for all directives that begin so."""

_SPOKEN: Final = frozenset({"TLSv1.2", "TLSv1.3"})
# Switches that are on here always.
_ON: Final = frozenset(
    {"chunked_transfer_encoding", "proxy_pass_request_body", "proxy_pass_request_headers", "proxy_ssl_verify"}
)


def explain(statement: Statement, *, tls: bool = True, to_upstreams: bool = True) -> tuple[Fate, str]:
    """What becomes of a statement that no module has converted, and why.

    `tls` is whether any server listens with it, `to_upstreams` whether any is spoken to with it.
    """
    name = statement.name
    harmless: str | None = None
    if name in CONVERTED:
        harmless = "it has no effect here: nothing that is converted stands under it"
    elif name in HARMLESS:
        harmless = HARMLESS[name]
    elif name.startswith("ssl_") and not tls:
        harmless = "no server listens with TLS"
    elif name.startswith("proxy_ssl_") and not to_upstreams:
        harmless = "no proxy_pass leads to https"
    elif name in _ON:
        harmless = "it is on here, too" if statement.args == ("on",) else None
    elif statement.args == ("off",) and (name in DIRECTIVES or name in UNSUPPORTED):
        harmless = "it is off here, too"
    elif name in {"ssl_protocols", "proxy_ssl_protocols"}:
        return _protocols(frozenset(statement.args))
    elif name not in UNSUPPORTED:
        harmless = _of_family(HARMLESS_FAMILIES, name)
    return (Fate.LEFT_OVER, _why_not(name)) if harmless is None else (Fate.HARMLESS, harmless)


def _protocols(asked: frozenset[str]) -> tuple[Fate, str]:
    if old := sorted(asked - _SPOKEN):
        return Fate.LEFT_OVER, f"{', '.join(old)}: not spoken, as too old; TLS 1.2 and 1.3 are"
    if "TLSv1.2" not in asked:
        return Fate.LEFT_OVER, "TLS 1.2 is spoken, too"
    return Fate.HARMLESS, "these are spoken anyway"


def _why_not(name: str) -> str:
    if name in CLOSES:
        return f"{CLOSES[name]}; what it guards is left out"
    if name in UNSUPPORTED:
        return UNSUPPORTED[name]
    family = _of_family(FAMILIES, name)
    if family is not None:
        return family
    if name in DIRECTIVES:
        return "it has no counterpart"
    meant = closest(name, DIRECTIVES)
    hint = f" (did you mean {meant}?)" if meant else ""
    return f"not a directive of nginx's own that is known here{hint}"


def _of_family(families: Mapping[str, str], name: str) -> str | None:
    return next((reason for beginning, reason in families.items() if name.startswith(beginning)), None)
