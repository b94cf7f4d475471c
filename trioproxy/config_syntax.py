"""The shapes of words in the configuration: addresses, hosts, paths, field names, close codes.

Pure predicates over text; how a wrong value is reported stands in `config_rules`, which setting needs which shape in
`config`.
"""

import ipaddress
import re

LONGEST_SOCKET_PATH = 107  # sockaddr_un.sun_path has 108 bytes, the last of them NUL (unix(7))

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")  # RFC 1123 section 2.1, and the "_" in use
_HOST_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
_PATH = re.compile(r"/[!-\"$->@-~]*")  # printable ASCII without blank, "#", "?"
_TARGET = re.compile(r"/[!-\"$-~]*")  # the same with a query
_NAME = re.compile(r"[0-9A-Za-z_.-]+")
# What describes this connection or the message's framing belongs to the proxy; Host has `host_header`.
_RESERVED_FIELDS = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "sec-websocket-accept",
        "sec-websocket-key",
        "sec-websocket-version",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def split_host_port(address: str) -> tuple[str, int] | None:
    """Host (without brackets) and port of `host:port` or `[ipv6]:port`; None for anything else."""
    parts = _HOST_PORT.fullmatch(address)
    if parts is None or int(parts["port"]) > 65535:  # noqa: PLR2004 - RFC 9293: 16 bits
        return None
    if parts["v6"] is not None:
        return (parts["v6"], int(parts["port"])) if _is_ipv6(parts["v6"]) else None
    return (parts["host"], int(parts["port"])) if is_host(parts["host"]) else None


def is_host(host: str) -> bool:
    """Whether this is a host name or an IPv4 address, without port."""
    labels = host.split(".")
    if labels[-1].isdigit():
        return _is_ipv4(host)
    return len(host) <= 253 and all(_LABEL.fullmatch(label) for label in labels)  # noqa: PLR2004 - RFC 1035 section 2.3.4


def is_loopback(address: str) -> bool:
    """Whether `host:port` can be reached from this machine alone; of names only `localhost` is known to."""
    parts = split_host_port(address)
    if parts is None:
        return False
    host, _ = parts
    if _is_ipv4(host) or _is_ipv6(host):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"


def canonical(address: str) -> str:
    """One spelling for all spellings of an address, to compare by: `[::0]:80` and `[::]:80` are the same."""
    parts = split_host_port(address)
    if parts is None:
        return address
    host, port = parts
    if _is_ipv6(host):
        return f"[{ipaddress.IPv6Address(host).compressed}]:{port}"
    return f"{host.lower()}:{port}"


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def is_socket_path(path: str) -> bool:
    """Whether this can name a Unix socket."""
    return is_file_path(path) and len(path.encode()) <= LONGEST_SOCKET_PATH


def is_upstream_address(address: str) -> bool:
    """Whether this is `host:port`, `[ipv6]:port` or `unix:PATH`."""
    if address.startswith("unix:"):
        return is_socket_path(address.removeprefix("unix:"))
    return is_bindable(address) and not has_free_port(address)


def is_bindable(address: str) -> bool:
    """Whether this is `host:port` or `[ipv6]:port`; port 0 is any free one, which the log then names."""
    return split_host_port(address) is not None


def has_free_port(address: str) -> bool:
    """Whether the kernel chooses the port: two such addresses are never the same."""
    parts = split_host_port(address)
    return parts is not None and parts[1] == 0


def is_listener_address(address: str) -> bool:
    """Whether this is an upstream's address, one with port 0, or `fd:NAME`.

    A name is printable ASCII without colon, at most 255 characters (sd_listen_fds_with_names(3)).
    """
    if address.startswith("fd:"):
        return re.fullmatch(r"[!-9;-~]{1,255}", address.removeprefix("fd:")) is not None
    return is_bindable(address) or is_upstream_address(address)


def is_host_pattern(host: str) -> bool:
    """Whether this is a host name, an address (IPv6 in brackets) or a name whose first label is `*`."""
    if host.startswith("[") and host.endswith("]"):
        return _is_ipv6(host[1:-1])
    name = host.removeprefix("*.")
    return is_host(name) and not (name != host and _is_ipv4(name))


def is_host_value(host: str) -> bool:
    """Whether this can stand in a Host field: a host, with or without port."""
    return (is_bindable(host) and not has_free_port(host)) or (is_host_pattern(host) and not host.startswith("*"))


def is_server_name(name: str) -> bool:
    """Whether a certificate can be for it: a host name, or an IP address, without brackets."""
    return is_host(name) or (_is_ipv6(name) and "%" not in name)


def is_host_header(value: str) -> bool:
    """Whether this says what becomes of the Host field."""
    if value.startswith("literal:"):
        return is_host_value(value.removeprefix("literal:"))
    return value in {"keep", "strip-port", "upstream"}


def is_hash_key(value: str) -> bool:
    """Whether this names what a hash balancer looks at."""
    kind, colon, name = value.partition(":")
    return value in {"client_ip", "path"} or (kind in {"header", "cookie"} and bool(colon) and is_token(name))


def is_origin(origin: str) -> bool:
    """Whether this is an Origin as browsers send it (RFC 6454 section 6.2): no path, not even a slash.

    The first label of a name may be `*`.
    """
    scheme, separator, host = origin.partition("://")
    below = host.removeprefix("*.")
    fits = is_host_value(below) and (below == host or is_host_pattern(f"*.{below.partition(':')[0]}"))
    return origin == "null" or (
        bool(separator) and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme) is not None and fits
    )


def is_path(path: str) -> bool:
    """Whether this is a path a request can have after normalisation: no query, no dot segments."""
    return _PATH.fullmatch(path) is not None and not {".", ".."} & set(path.split("/"))


def is_target(target: str) -> bool:
    """Whether this is an origin-form request target: a path and perhaps a query."""
    return _TARGET.fullmatch(target) is not None


def is_file_path(path: str) -> bool:
    """Whether this can name a file."""
    return bool(path) and "\0" not in path


def is_token(word: str) -> bool:
    """Whether this is a token (RFC 9110 section 5.6.2)."""
    return _TOKEN.fullmatch(word) is not None


def is_settable_field(name: str) -> bool:
    """Whether this is a field name that does not belong to the connection, the framing or `host_header`."""
    return is_token(name) and name.lower() not in _RESERVED_FIELDS


def is_field_value(value: str) -> bool:
    """Whether this can be sent as a field's value: no control bytes, no blanks around it (RFC 9110 section 5.5)."""
    return value == value.strip(" ") and not any(char < " " or char == "\x7f" for char in value)


def is_name(name: str) -> bool:
    """Whether this names a pool: it stands in table headers, label values and URLs; `none` stands for no pool."""
    return _NAME.fullmatch(name) is not None and name != "none"


def is_label(name: str) -> bool:
    """Whether this names a listener or route: one printable line; `none` stands for no route."""
    return bool(name) and name.isprintable() and name != "none"


def is_close_code(code: int) -> bool:
    """Whether a server may send this in a Close frame (RFC 6455 section 7.4; 1010 is a client's)."""
    return code in {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 1014} or 3000 <= code <= 4999  # noqa: PLR2004
