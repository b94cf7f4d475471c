"""Every setting: its default, its rule (in its type) and one sentence of documentation, as frozen values.

Pure. A class built directly is not checked against its rules, so tests and embedders may pass what they like; reading
and checking a file is `config_file`'s work.
"""
# ruff: noqa: RUF009 - setting(), table() and needed() make attrs fields, whose defaults are not shared

from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Annotated, Any

import attrs

from trioproxy import config_rules as rules
from trioproxy import config_syntax as syntax
from trioproxy.addresses import Admission, Networks
from trioproxy.origins import Origins

LATER = "later"
DOC = "doc"

Flag = Annotated[bool, rules.flag()]
Count = Annotated[int, rules.whole(1)]
CountOrNone = Annotated[int, rules.whole(0)]
Port = Annotated[int, rules.whole(1, 65535)]
PortOrNone = Annotated[int, rules.whole(0, 65535)]
Status = Annotated[int, rules.whole(100, 599)]
CloseCode = Annotated[int, rules.close_code()]
Seconds = Annotated[float, rules.number("a number of seconds", above=0)]
SecondsOrNone = Annotated[float, rules.number("a number of seconds")]
Rate = Annotated[float, rules.number("a number a second")]
HeadSize = Annotated[int, rules.size(1024)]
SizeOrNone = Annotated[int, rules.size(0)]
Label = Annotated[str, rules.text('a name: printable, not "none"', syntax.is_label)]
PoolName = Annotated[str, rules.text('a pool\'s name: letters, digits, "_", "-", ".", not "none"', syntax.is_name)]
ListenerName = Annotated[str, rules.text("a listener's name", syntax.is_label)]
ListenerAddress = Annotated[
    str,
    rules.text(
        "host:port, [ipv6]:port, unix:/path or fd:NAME, ports 0 to 65535",
        syntax.is_listener_address,
        path_after="unix:",
    ),
]
UpstreamAddress = Annotated[
    str,
    rules.text(
        "host:port, [ipv6]:port or unix:/path, ports 1 to 65535", syntax.is_upstream_address, path_after="unix:"
    ),
]
AdminAddress = Annotated[
    str,
    rules.text('host:port or [ipv6]:port, ports 0 to 65535, or "" for none', syntax.is_bindable, empty=True),
]
HostPattern = Annotated[
    str,
    rules.lower(rules.text('a host without port, such as "example.com" or "*.example.com"', syntax.is_host_pattern)),
]
HostValue = Annotated[str, rules.lower(rules.text("a host, with or without port", syntax.is_host_value))]
HostValueOrNone = Annotated[str, rules.text('a host, with or without port, or ""', syntax.is_host_value, empty=True)]
ServerNameOrNone = Annotated[str, rules.text('a host or IP address, no port, or ""', syntax.is_server_name, empty=True)]
HostHeader = Annotated[
    str, rules.text('"keep", "strip-port", "upstream" or "literal:" and a host', syntax.is_host_header)
]
Path = Annotated[str, rules.text('a path that starts with "/", without query, blanks or dot segments', syntax.is_path)]
Target = Annotated[str, rules.text('a path that starts with "/", without blanks', syntax.is_target)]
Network = Annotated[str, rules.network()]
Origin = Annotated[
    str, rules.lower(rules.text('an origin such as "https://example.com" or "https://*.example.com"', syntax.is_origin))
]
TokenOrNone = Annotated[str, rules.text('one word without blanks or separators, or ""', syntax.is_token, empty=True)]
Token = Annotated[str, rules.text("one word without blanks or separators", syntax.is_token)]
FieldName = Annotated[
    str, rules.text("a header field name that does not belong to the proxy itself", syntax.is_settable_field)
]
FieldValue = Annotated[
    str,
    rules.hidden(rules.text("a header field value: no control characters, no blanks around it", syntax.is_field_value)),
]
File = Annotated[str, rules.text("a file's path", syntax.is_file_path, path_after="")]
SocketPathOrNone = Annotated[
    str,
    rules.text('a Unix socket\'s path of at most 107 bytes, or ""', syntax.is_socket_path, empty=True, path_after=""),
]
FileOrNone = Annotated[str, rules.text('a file\'s path, or ""', syntax.is_file_path, empty=True, path_after="")]
HashKeyOrNone = Annotated[
    str, rules.text('"client_ip", "path", "header:NAME" or "cookie:NAME"', syntax.is_hash_key, empty=True)
]
Retry = Annotated[str, rules.choice("connect", "closed", "5xx")]


def setting(default: Any, doc: str, *, later: bool | Collection[str] = False) -> Any:
    """A field with a default; `doc` is its sentence.

    `later` marks what is not built yet: True, and only the default is; or the values that are not.
    """
    return attrs.field(default=default, metadata={DOC: doc, LATER: later})


def table(make: Callable[[], object], doc: str) -> Any:
    """A field that is a table of its own; it does not take part in hashing, as mappings cannot."""
    return attrs.field(factory=make, hash=False, metadata={DOC: doc})


def needed(doc: str) -> Any:
    """A field without default."""
    return attrs.field(metadata={DOC: doc})


@attrs.frozen(kw_only=True)
class DrainConfig:
    """[server.drain]: what SIGTERM does."""

    lame_duck: SecondsOrNone = setting(0.0, "Seconds between /readyz turning 503 and the listeners closing.")
    spread: SecondsOrNone = setting(5.0, "Seconds over which open tunnels get their Close frame, with jitter.")
    timeout: Seconds = setting(30.0, "Seconds after which what is left is cut.")
    code: CloseCode = setting(1001, "Close code sent to clients (1012 for a drained or removed upstream).")


@attrs.frozen(kw_only=True)
class ServerConfig:
    """[server]: the process itself."""

    workers: CountOrNone = setting(1, "Processes sharing the listeners; 0 = one per CPU.")
    via: TokenOrNone = setting("trioproxy", 'In the Via field of forwarded requests; "" for none.')
    handover: SocketPathOrNone = setting("", 'Unix socket where a new process gets the listeners of this; "" for none.')
    drain: DrainConfig = table(DrainConfig, "What SIGTERM does.")


@attrs.frozen(kw_only=True)
class AdminConfig:
    """[admin]: the endpoints for operators."""

    address: AdminAddress = setting("127.0.0.1:9464", 'Where the status page, /metrics and the API are; "" for none.')
    hosts: tuple[HostValue, ...] = setting((), "Host values accepted besides the address itself.")
    token_file: FileOrNone = setting("", "File with the token; needed when the address is not loopback.")
    ready_pools: tuple[PoolName, ...] = setting((), "Pools without which /readyz is 503.")
    chaos: Flag = setting(False, "Whether operators may inject faults, by the API.")


@attrs.frozen(kw_only=True)
class LogConfig:
    """[log]: what is written where."""

    format: Annotated[str, rules.choice("text", "json")] = setting("text", "How a line looks.")
    level: Annotated[str, rules.choice("debug", "info", "warning", "error")] = setting(
        "info", "The least that is written."
    )
    access: Flag = setting(True, "A line when a tunnel opens and when anything ends.")
    file: FileOrNone = setting("", '"" is stderr; a file is reopened on SIGHUP.')


@attrs.frozen(kw_only=True)
class LimitsConfig:
    """[limits]: what one proxy takes on."""

    max_connections: Count = setting(10000, "Client connections over all workers; above it 503 and close.")
    max_head_bytes: HeadSize = setting(32 * 1024, "Bytes of a request or response head; above it 431 or 502.")
    max_headers: Count = setting(100, "Fields in a head.")
    max_body_bytes: SizeOrNone = setting(0, "Bytes of a request body, 0 = no limit; above it 413.")
    min_body_rate: SizeOrNone = setting(
        500, "Bytes a second a client has to send of a request's body, or take of an answer's; 0 = no limit."
    )


@attrs.frozen(kw_only=True)
class TimeoutsConfig:
    """[timeouts] and, for one route, [routes.timeouts]; all in seconds."""

    head: Seconds = setting(10.0, "A client's whole request head.")
    connect: Seconds = setting(3.0, "TCP (and TLS) to an upstream, all its addresses together.")
    handshake: Seconds = setting(10.0, "An upstream's answer to an upgrade.")
    response: Seconds = setting(60.0, "An upstream's answer to a plain request, and between its reads.")
    body: Seconds = setting(60.0, "How far a client may fall behind limits.min_body_rate.")
    keep_alive: Seconds = setting(75.0, "An idle client connection.")
    tunnel_idle: Seconds = setting(3600.0, "No bytes either way; the proxy's own pings do not count.")
    close: Seconds = setting(5.0, "The other side's Close reply.")


@attrs.frozen(kw_only=True)
class WebSocketConfig:
    """[websocket] and, for one route, [routes.websocket]."""

    ping_interval: SecondsOrNone = setting(
        0.0, "Seconds between the proxy's own pings to both sides, sent to the second; 0 = off."
    )
    ping_timeout: Seconds = setting(20.0, "Seconds of silence after a ping that cut a side.")
    max_message_bytes: SizeOrNone = setting(0, "Bytes of a message on the wire, 0 = no limit; above it Close 1009.")
    max_message_rate: Rate = setting(0.0, "Messages a second a client may send, 0 = no limit; above it Close 1008.")
    max_frame_rate: Rate = setting(
        0.0,
        "Frames a second a client may send, fragments, pings and pongs too, 0 = no limit; above it Close 1008.",
    )
    max_age: SecondsOrNone = setting(
        0.0, "Seconds a tunnel may live, shortened by up to 10 % at random, 0 = for ever; then Close 1012."
    )
    strict: Flag = setting(True, "Whether protocol errors end the tunnel with 1002.")


@attrs.frozen(kw_only=True)
class ListenerTlsConfig:
    """tls = {...} of a listener: every connection begins with a TLS handshake, 1.2 or 1.3."""

    certificate: File = needed("PEM file of the certificate and those that lead to its authority.")
    key: File = needed("PEM file of its private key, without a passphrase.")
    client_ca: FileOrNone = setting("", 'PEM file of authorities that sign clients\' certificates; "" asks for none.')


@attrs.frozen(kw_only=True)
class ListenerConfig:
    """[[listeners]]: one address clients connect to."""

    address: ListenerAddress = needed("host:port, [::]:port, unix:/path or fd:NAME (socket activation).")
    name: Label = attrs.field(
        default=attrs.Factory(lambda self: self.address, takes_self=True),
        metadata={DOC: "In metrics, logs and routes; by default the address."},
    )
    proxy_protocol: Flag = setting(
        False, "Expect a PROXY v1 or v2 header on every connection; its word counts from trusted_proxies."
    )
    trusted_proxies: tuple[Network, ...] = setting((), "Networks whose X-Forwarded-* (and PROXY headers) are believed.")
    allow: tuple[Network, ...] = setting((), "Networks that may connect; () is all. The smaller network counts.")
    deny: tuple[Network, ...] = setting((), "Networks that may not: their connections are closed without a word.")
    max_connections_per_client: CountOrNone = setting(
        0, "Open connections of one IPv4 address or IPv6 /64 over all workers, 0 = no limit; above it 503 and close."
    )
    handshake_rate: Rate = setting(
        0.0, "Upgrades a second over all workers, bucket of one second, 0 = no limit; above it 503 and Retry-After."
    )
    tls: ListenerTlsConfig | None = setting(None, "Certificate and key; None is no TLS.")

    @cached_property
    def admission(self) -> Admission | None:
        """`allow` and `deny`, ready to be asked; None where everybody may come."""
        return Admission.of(self.allow, self.deny)

    @cached_property
    def trusted(self) -> Networks:
        """`trusted_proxies`, ready to be asked."""
        return Networks.of(self.trusted_proxies)


def _route_name(route: "RouteConfig") -> str:
    return ",".join(route.host) + route.path


@attrs.frozen(kw_only=True)
class RouteConfig:
    """[[routes]]: which requests go to which pool, and what is changed on the way.

    `timeouts` and `websocket` are the effective ones: the global ones with the route's own keys laid over them.
    """

    host: tuple[HostPattern, ...] = setting(
        (), 'Names, "*.example.com" too; exact beats wildcard beats none; () is any.'
    )
    path: Path = needed("A prefix by whole segments; the longest wins.")
    exact: Flag = setting(False, "That path alone.")
    listeners: tuple[ListenerName, ...] = setting((), "Names of the listeners it serves; () is all.")
    pool: PoolName = needed("Where its requests go.")
    name: Label = attrs.field(
        default=attrs.Factory(_route_name, takes_self=True),
        metadata={DOC: "In metrics and logs; by default host and path."},
    )
    host_header: HostHeader = setting(
        "keep", 'Host sent to the upstream: "keep", "strip-port", "upstream", "literal:NAME".'
    )
    forwarded: Flag = setting(True, "Send X-Forwarded-For, -Proto, -Host and X-Real-IP.")
    request_id: Annotated[str, rules.choice("off", "set", "keep")] = setting(
        "off", 'X-Request-Id to upstream and client: "set" is the id of the log, "keep" the client\'s if it sent one.'
    )
    set_headers: Mapping[FieldName, FieldValue] = table(dict, 'Fields set on the request; "" removes.')
    strip_prefix: Flag = setting(False, "Take the route's path off the target.")
    replace_prefix: Path | None = setting(None, "Put this in its place: what proxy_pass with a URI does.")
    allow: tuple[Network, ...] = setting((), "Networks whose clients are served; () is all. The smaller one counts.")
    deny: tuple[Network, ...] = setting((), "Networks whose clients get 403.")
    allowed_origins: tuple[Origin, ...] = setting(
        (), 'Upgrades with other Origins get 403, "https://*.example.com" is all below it; () is no check.'
    )
    timeouts: TimeoutsConfig = table(TimeoutsConfig, "Of this route alone.")
    websocket: WebSocketConfig = table(WebSocketConfig, "Of this route alone.")

    @cached_property
    def admission(self) -> Admission | None:
        """`allow` and `deny`, ready to be asked; None where everybody is served."""
        return Admission.of(self.allow, self.deny)

    @cached_property
    def origins(self) -> Origins:
        """`allowed_origins`, ready to be asked."""
        return Origins.of(self.allowed_origins)


@attrs.frozen(kw_only=True)
class UpstreamConfig:
    """One server of a pool."""

    address: UpstreamAddress = needed("host:port, [ipv6]:port or unix:/path.")
    weight: Count = setting(1, "Its share, in proportion to the others'.")
    max_connections: CountOrNone = setting(0, "Leases at once, 0 = no limit.")
    backup: Flag = setting(False, "Used only while no other is eligible.")


@attrs.frozen(kw_only=True)
class StickyCookieConfig:
    """sticky_cookie = {...} of a pool."""

    name: Token = needed("The cookie's name.")
    secret_file: File = needed("File with the secret that signs it.")


@attrs.frozen(kw_only=True)
class UpstreamTlsConfig:
    """tls = {...} of a pool."""

    server_name: ServerNameOrNone = setting("", 'Name to ask for and check; "" is the upstream\'s host.')
    ca: FileOrNone = setting("", 'PEM file of the authority to trust; "" is the system\'s.')


@attrs.frozen(kw_only=True)
class DiscoverConfig:
    """discover = {...} of a pool: upstreams from a name or a file."""

    dns: HostValueOrNone = setting("", "Name whose addresses are upstreams.")
    srv: TokenOrNone = setting("", "Name whose SRV records are upstreams.")
    file: FileOrNone = setting("", "JSON file with upstreams.")
    port: PortOrNone = setting(0, "Port of the addresses of `dns`.")
    interval: Seconds = setting(5.0, "Seconds between looks.")
    nameservers: tuple[HostValue, ...] = setting((), "Name servers to ask; () is the system's.")


@attrs.frozen(kw_only=True)
class HealthConfig:
    """[pools.NAME.health]: the active checks."""

    probe: Annotated[str, rules.choice("tcp", "http", "websocket", "none")] = setting("tcp", "What is tried.")
    path: Target = setting("/", "Target of the request or handshake.")
    host: HostValueOrNone = setting("", 'Its Host; "" is the upstream\'s address.')
    port: PortOrNone = setting(0, "Port to probe; 0 is the upstream's own. With `tls` it is spoken on any.")
    headers: Mapping[FieldName, FieldValue] = table(dict, "More fields of the request.")
    subprotocol: TokenOrNone = setting("", "Subprotocol to offer.")
    expect: tuple[Status, ...] = setting((200, 204), 'Statuses that are a success, for "http".')
    interval: Seconds = setting(2.0, "Seconds from start to start, shortened by up to 10 % at random.")
    timeout: Seconds = setting(1.0, "Seconds for one probe; at most the interval.")
    rise: Count = setting(2, "Successes that bring a down upstream up.")
    fall: Count = setting(3, "Failures that take an up one down.")
    on_down: Annotated[str, rules.choice("keep", "close")] = setting(
        "keep", "What becomes of its open tunnels.", later=True
    )


@attrs.frozen(kw_only=True)
class PassiveConfig:
    """[pools.NAME.passive]: what the traffic itself shows."""

    max_failures: CountOrNone = setting(0, "Failures that eject an upstream; 0 = off.")
    window: Seconds = setting(10.0, "Seconds within which they count.")
    eject: Seconds = setting(10.0, "Seconds it is out, doubling each time up to 300.")


@attrs.frozen(kw_only=True)
class PoolConfig:
    """[pools.NAME]: upstreams with one balancing policy."""

    name: str = needed("The key of its table.")
    balance: Annotated[str, rules.choice("round-robin", "least-connections", "random-two", "hash")] = setting(
        "round-robin", "Who is next.", later=("random-two", "hash")
    )
    hash: HashKeyOrNone = setting("", 'With "hash": client_ip, path, header:NAME or cookie:NAME.', later=True)
    sticky_cookie: StickyCookieConfig | None = setting(None, "A cookie that leads back to an upstream.", later=True)
    attempts: Count = setting(2, "Upstreams tried for one request.")
    retry_on: tuple[Retry, ...] = setting(("connect", "closed"), "After which failures another is tried.")
    keep_alive: SecondsOrNone = setting(4.0, "Seconds a connection for plain HTTP is kept idle; 0 = not at all.")
    keep_alive_connections: CountOrNone = setting(32, "How many of them.")
    slow_start: SecondsOrNone = setting(0.0, "Seconds over which a returning upstream ramps up.")
    queue: CountOrNone = setting(0, "Requests that may wait for a free lease; then 503.")
    queue_timeout: Seconds = setting(5.0, "Seconds one may wait.")
    upstreams: tuple[UpstreamConfig, ...] = setting((), "Its servers.")
    tls: UpstreamTlsConfig | None = setting(None, "TLS to the upstreams, whose certificates are checked always.")
    discover: DiscoverConfig | None = setting(None, "Upstreams from DNS or a file, besides those listed.", later=True)
    health: HealthConfig = table(HealthConfig, "The active checks.")
    passive: PassiveConfig = table(PassiveConfig, "What the traffic itself shows.")


@attrs.frozen(kw_only=True)
class Config:
    """All settings, checked."""

    server: ServerConfig = table(ServerConfig, "The process itself.")
    admin: AdminConfig = table(AdminConfig, "The endpoints for operators.")
    log: LogConfig = table(LogConfig, "What is written where.")
    limits: LimitsConfig = table(LimitsConfig, "What one proxy takes on.")
    timeouts: TimeoutsConfig = table(TimeoutsConfig, "Defaults for all routes.")
    websocket: WebSocketConfig = table(WebSocketConfig, "Defaults for all routes.")
    listeners: tuple[ListenerConfig, ...] = needed("Addresses clients connect to; at least one.")
    routes: tuple[RouteConfig, ...] = needed("Which requests go where; at least one.")
    pools: Mapping[PoolName, PoolConfig] = attrs.field(
        hash=False, metadata={DOC: "Upstreams by pool name; at least one."}
    )
