"""What each path answers, to whom, with which headers: asked over real sockets."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.admin import FakeControl, exchange, open_admin
from support.frames import upgrade_request

from trioproxy.admin import make_app
from trioproxy.admin.reading import MAX_BODY_BYTES
from trioproxy.config import AdminConfig, Config
from trioproxy.metrics import CONNECTIONS

READ = ("/", "/metrics", "/healthz", "/readyz", "/api/status", "/api/tunnels")
DRAIN = "/api/pools/backend/upstreams/10.0.0.1:3000/drain"
RESUME = "/api/pools/backend/upstreams/10.0.0.1:3000/resume"
CLOSE = "/api/tunnels/5f3a9c-1/close"
COMMANDS = (DRAIN, RESUME, CLOSE)
CODE = "expected a Close code that may be sent (1000-1003, 1007-1009, 1011-1014, 3000-4999)"
NOT_SENDABLE = (0, -1, 999, 1004, 1005, 1006, 1010, 1015, 1016, 2999, 5000, 65536)


@pytest.fixture
async def admin():
    async with open_admin() as running:
        yield running


async def test_metrics_are_what_was_counted(admin):
    admin.control.metrics.inc(CONNECTIONS, ("public",), 5)
    answer = await admin.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    assert [s.value for s in families["trioproxy_connections"].samples] == [5]


async def test_openmetrics_is_answered_where_asked_for(admin):
    answer = await admin.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.body.endswith(b"# EOF\n")


async def test_a_working_process_is_healthy(admin):
    answer = await admin.get("/healthz")
    assert (answer.status, answer.body) == (200, b"ok\n")


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_readiness_is_a_status_and_a_body(admin, ready, status):
    admin.control.answer = (ready, {"ready": ready, "pools": {"backend": ready}})
    answer = await admin.get("/readyz")
    assert answer.status == status
    assert answer.json() == {"ready": ready, "pools": {"backend": ready}}


async def test_the_status_is_the_document_of_the_proxy(admin):
    admin.control.document = {"version": "9", "pools": [{"name": "größe"}]}
    answer = await admin.get("/api/status")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == admin.control.document


async def test_the_page_leads_to_everything(admin):
    answer = await admin.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for path in READ[1:]:
        assert f'href="{path}"'.encode() in answer.body


@pytest.mark.parametrize("path", READ)
async def test_head_answers_as_get_without_a_body(admin, path):
    async with await admin.dial() as stream:
        head = await exchange(stream, "HEAD", path, admin.address, {})
        after = await exchange(stream, "GET", "/healthz", admin.address, {})  # nothing of a body is in the way
    assert head.status == 200 and head.body == b"" and int(head.headers["content-length"]) > 0
    assert after.body == b"ok\n"


@pytest.mark.parametrize("path", READ)
async def test_other_methods_are_told_what_is_allowed(admin, path):
    for method in ("POST", "DELETE", "OPTIONS"):
        answer = await admin.get(path, method=method)
        assert answer.status == 405
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/api", "/api/", "/api/nothing", "//metrics"])
async def test_what_is_not_there_is_404(admin, path):
    assert (await admin.get(path)).status == 404


@pytest.mark.parametrize("path", [*READ, *COMMANDS, "/nothing", "/api/nothing"])
async def test_every_answer_has_the_security_headers(admin, path):
    headers = (await admin.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


@pytest.mark.parametrize("path", [path for path in READ if not path.startswith("/api")])
async def test_probes_and_scrapes_need_no_particular_host(admin, path):
    assert (await admin.get(path, host="10.1.2.3:9464")).status == 200


def test_a_token_file_that_is_not_there_is_an_error_at_once(tmp_path):
    config = Config(listeners=(), routes=(), pools={}, admin=AdminConfig(token_file=str(tmp_path / "none")))
    with pytest.raises(OSError, match="none"):
        make_app(FakeControl(config), "127.0.0.1:1")


@pytest.mark.parametrize("path", ["/readyz", "/api/status"])
async def test_a_bug_is_a_500_and_a_traceback_in_the_log_alone(admin, path, capfd):
    admin.control.answer = (True, {"no": object()})
    admin.control.document = {"no": object()}
    answer = await admin.get(path)
    assert answer.status == 500 and b"object" not in answer.body
    (event,) = admin.log.events
    assert (event["event"], event["path"]) == ("admin_failed", path)
    assert "not JSON serializable" in event["exception"]
    assert (await admin.get("/healthz")).status == 200
    assert capfd.readouterr() == ("", "")


# The list of tunnels


ROWS = [{"id": "5f3a9c-1"}, {"id": "5f3a9c-2"}]


async def test_tunnels_are_a_list_and_a_header_counts_them_all(admin):
    admin.control.page = {"total": 7, "tunnels": ROWS}
    answer = await admin.get("/api/tunnels")
    assert answer.json() == ROWS
    assert answer.headers["x-total-count"] == "7"
    assert "link" not in answer.headers
    assert admin.control.commands == [("tunnels", "", 100, {})]


async def test_a_full_page_leads_to_the_next_with_the_same_filters(admin):
    admin.control.page = {"total": 7, "tunnels": ROWS}
    answer = await admin.get("/api/tunnels?limit=2&after=5f3a9c-0&pool=backend&client=10.0.0.9")
    assert answer.headers["link"] == ('</api/tunnels?pool=backend&client=10.0.0.9&limit=2&after=5f3a9c-2>; rel="next"')
    assert admin.control.commands == [("tunnels", "5f3a9c-0", 2, {"pool": "backend", "client": "10.0.0.9"})]


async def test_filters_are_given_as_they_are_named(admin):
    where = {"pool": "b", "upstream": "unix:/run/a b", "route": "größe", "client": "::1", "listener": "x"}
    await admin.get("/api/tunnels?" + urlencode(where))
    assert admin.control.commands == [("tunnels", "", 100, where)]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("limit=0", 'limit: expected a whole number from 1 to 1000, got "0"'),
        ("limit=1001", 'limit: expected a whole number from 1 to 1000, got "1001"'),
        ("limit=-1", 'limit: expected a whole number from 1 to 1000, got "-1"'),
        ("limit=", 'limit: expected a whole number from 1 to 1000, got ""'),
        ("limit=%C2%B2", 'limit: expected a whole number from 1 to 1000, got "²"'),
        ("limits=3", '"limits": unknown key (did you mean limit?)'),
        ("after=", 'after: expected an id, got ""'),
        ("pool=", 'pool: expected a name, got ""'),
        ("limit=1&limit=2", "the query: a key stands there twice"),
        (
            "limit=0&pol=x",
            'limit: expected a whole number from 1 to 1000, got "0"; "pol": unknown key (did you mean pool?)',
        ),
    ],
)
async def test_a_query_that_does_not_fit_is_told_why(admin, query, error):
    answer = await admin.get(f"/api/tunnels?{query}")
    assert (answer.status, answer.json()) == (400, {"error": error})
    assert admin.control.commands == []


# Commands


@pytest.mark.parametrize(
    ("path", "body", "command"),
    [
        (DRAIN, {"spread": 1, "timeout": 2.5}, ("drain", "backend", "10.0.0.1:3000", 1, 2.5)),
        (DRAIN, {"spread": 0, "timeout": 0}, ("drain", "backend", "10.0.0.1:3000", 0, 0)),
        (DRAIN, {"spread": 1}, ("drain", "backend", "10.0.0.1:3000", 1, 30)),
        (DRAIN, {}, ("drain", "backend", "10.0.0.1:3000", 5, 30)),
        (DRAIN, None, ("drain", "backend", "10.0.0.1:3000", 5, 30)),
        (RESUME, {}, ("resume", "backend", "10.0.0.1:3000")),
        (RESUME, None, ("resume", "backend", "10.0.0.1:3000")),
        (CLOSE, {"code": 4001}, ("close", "5f3a9c-1", 4001)),
        (CLOSE, None, ("close", "5f3a9c-1", 1012)),
    ],
)
async def test_a_command_is_carried_out_with_what_its_body_says(admin, path, body, command):
    answer = await admin.post(path, body)
    assert (answer.status, answer.json()) == (200, {"done": command[0]})
    assert admin.control.commands == [command]


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("[::1]:3000", "[::1]:3000"),
        ("%5B::1%5D:3000", "[::1]:3000"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
        ("unix:%2Frun%2Fa%20b%2Fdrain", "unix:/run/a b/drain"),
        ("unix:/x/upstreams/y", "unix:/x/upstreams/y"),
        ("localhost:80", "localhost:80"),
    ],
)
async def test_an_upstream_is_named_by_any_kind_of_address(admin, written, address):
    for verb in ("drain", "resume"):
        assert (await admin.post(f"/api/pools/my.pool_1/upstreams/{written}/{verb}")).status == 200
    assert [(command[1], command[2]) for command in admin.control.commands] == [("my.pool_1", address)] * 2


async def test_what_is_not_known_is_404_and_says_what_is(admin):
    for path in (
        "/api/pools/gone/upstreams/x:1/drain",
        "/api/pools/backend/upstreams/gone/resume",
        "/api/tunnels/gone/close",
    ):
        answer = await admin.post(path)
        assert (answer.status, answer.json()) == (404, {"error": "no such thing 'gone'; there are: here"})


SECONDS = "expected a number of seconds, 0 or more"


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        (DRAIN, {"spread": "3"}, f'spread: {SECONDS}, got "3"'),
        (DRAIN, {"spread": True}, f"spread: {SECONDS}, got true"),
        (DRAIN, {"spread": None}, f"spread: {SECONDS}, got null"),
        (DRAIN, {"timeout": -1}, f"timeout: {SECONDS}, got -1"),
        (DRAIN, {"timeout": [3]}, f"timeout: {SECONDS}, got a list"),
        (DRAIN, {"timeout": {}}, f"timeout: {SECONDS}, got an object"),
        (DRAIN, {"timeout": 1e10}, "timeout: expected a number of seconds up to 1000000000, got 10000000000.0"),
        (DRAIN, b'{"timeout": 1e999}', "timeout: expected a number of seconds up to 1000000000, got inf"),
        (DRAIN, {"spred": 1}, '"spred": unknown key (did you mean spread?)'),
        (DRAIN, {"x": 1, "spread": ""}, f'"x": unknown key; known are spread, timeout; spread: {SECONDS}, got ""'),
        (RESUME, {"spread": 1}, '"spread": unknown key'),
        (CLOSE, {"code": "1012"}, f'code: {CODE}, got "1012"'),
        (CLOSE, {"code": 1012.0}, f"code: {CODE}, got 1012.0"),
        (CLOSE, {"code": True}, f"code: {CODE}, got true"),
        *((CLOSE, {"code": code}, f"code: {CODE}, got {code}") for code in NOT_SENDABLE),
        *((path, [], "the body: expected an object, got an empty list") for path in COMMANDS),
        *((path, b"3", "the body: expected an object, got 3") for path in COMMANDS),
        *((path, b"null", "the body: expected an object, got null") for path in COMMANDS),
    ],
)
async def test_a_body_that_does_not_fit_is_told_why(admin, path, body, error):
    answer = await admin.post(path, body)
    assert (answer.status, answer.json()) == (400, {"error": error})
    assert admin.control.commands == []


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"spread=3",
        b'{"spread": NaN}',
        b'{"spread": Infinity}',
        b'{"spread": 1, "spread": 2}',
        b"\xff",
        b"[" * 10000,
        "{}".encode("utf-16"),
        b'{"spread": ' + b"9" * 5000 + b"}",
    ],
)
async def test_what_is_no_json_is_400(admin, body):
    answer = await admin.post(DRAIN, body)
    assert answer.status == 400
    assert answer.json()["error"].startswith("the body: not valid JSON: ")
    assert admin.control.commands == []


@pytest.mark.parametrize("code", [1000, 1003, 1007, 1011, 1012, 1014, 3000, 4999])
async def test_every_code_that_may_be_sent_is_taken(admin, code):
    assert (await admin.post(CLOSE, {"code": code})).status == 200


@pytest.mark.parametrize("path", COMMANDS)
async def test_a_body_above_the_bound_is_413(admin, path):
    answer = await admin.post(path, b'{"spread": 1' + b" " * MAX_BODY_BYTES + b"}")
    assert answer.status == 413 and "error" in answer.json()
    assert admin.control.commands == []


@pytest.mark.parametrize("path", COMMANDS)
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""])
async def test_a_body_of_another_type_is_415(admin, path, kind):
    answer = await admin.post(path, {}, content_type=kind)
    assert answer.status == 415 and "application/json" in answer.json()["error"]
    assert admin.control.commands == []


@pytest.mark.parametrize("path", COMMANDS)
@pytest.mark.rule("cross-site")
async def test_a_form_of_a_page_elsewhere_sends_no_type_that_gets_through(admin, path):
    """Without a Content-Type nothing is JSON; `no-cors` requests cannot name it."""
    answer = await admin.get(path, method="POST", body=b"{}")
    assert answer.status == 415
    assert admin.control.commands == []


async def test_the_type_may_have_parameters(admin):
    assert (await admin.post(DRAIN, {}, content_type="Application/JSON; charset=utf-8")).status == 200


@pytest.mark.parametrize("path", COMMANDS)
async def test_a_command_is_posted_and_preflights_get_nowhere(admin, path):
    for method in ("GET", "PUT", "DELETE", "OPTIONS"):
        answer = await admin.get(path, method=method, origin="https://evil.example")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert admin.control.commands == []


# Who gets through


API = (*(("GET", path) for path in READ if path.startswith("/api")), *(("POST", path) for path in COMMANDS))
each_of_the_api = pytest.mark.parametrize(("method", "path"), API)


async def asked(admin, method, path, **how):
    return await (admin.post(path, **how) if method == "POST" else admin.get(path, **how))


@each_of_the_api
@pytest.mark.rule("cross-site")
async def test_the_api_refuses_a_host_that_is_not_its_own(admin, method, path):
    answer = await asked(admin, method, path, host="evil.example")
    assert answer.status == 403
    assert "admin.hosts" in answer.json()["error"]
    assert admin.control.commands == []


@each_of_the_api
async def test_the_api_knows_its_loopback_name(admin, method, path):
    port = admin.address.rpartition(":")[2]
    assert (await asked(admin, method, path, host=f"localhost:{port}")).status == 200


@each_of_the_api
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1", "http://evil.example:PORT", ""])
@pytest.mark.rule("cross-site")
async def test_the_api_refuses_an_origin_that_is_not_its_own(admin, method, path, origin):
    port = admin.address.rpartition(":")[2]
    answer = await asked(admin, method, path, origin=origin.replace("PORT", port))
    assert answer.status == 403
    assert "Origin" in answer.json()["error"]
    assert admin.control.commands == []


@each_of_the_api
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.rule("cross-site")
async def test_the_api_refuses_what_another_sites_page_has_fetched_without_an_origin(admin, method, path, site):
    answer = await asked(admin, method, path, sec_fetch_site=site, sec_fetch_mode="no-cors")
    assert answer.status == 403
    assert "other sites" in answer.json()["error"]
    assert admin.control.commands == []
    assert (await asked(admin, method, path, sec_fetch_site=site, sec_fetch_mode="navigate")).status == 200
    assert (await asked(admin, method, path, sec_fetch_site="same-origin", sec_fetch_mode="cors")).status == 200


@pytest.mark.parametrize("path", [*READ, "/api/live", *COMMANDS])
@pytest.mark.parametrize("origin", ["https://evil.example", "http://ADMIN", None])
@pytest.mark.rule("cross-site")
async def test_no_page_opens_a_websocket_to_the_admin_address(admin, path, origin):
    lines = () if origin is None else (f"Origin: {origin.replace('ADMIN', admin.address)}",)
    async with await admin.dial() as stream:
        await stream.send_all(upgrade_request(path, *lines, host=admin.address))
        answer = b""
        while b"\r\n" not in answer:
            answer += await stream.receive_some()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert admin.control.commands == []


@each_of_the_api
async def test_the_api_takes_what_its_own_pages_send(admin, method, path):
    assert (await asked(admin, method, path, origin=f"http://{admin.address}")).status == 200


@each_of_the_api
async def test_hosts_of_the_configuration_are_accepted(method, path):
    async with open_admin(hosts=("proxy.example",)) as admin:
        answer = await asked(admin, method, path, host="proxy.example:443", origin="https://proxy.example")
        assert answer.status == 200


@pytest.fixture
async def guarded(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    async with open_admin(token_file=str(tmp_path / "token")) as running:
        yield running


@each_of_the_api
async def test_with_a_token_the_api_asks_for_it(guarded, method, path):
    missing = await asked(guarded, method, path)
    assert (missing.status, missing.headers["www-authenticate"]) == (401, "Bearer")
    assert (await asked(guarded, method, path, authorization="Bearer wrong")).status == 401
    refused = await asked(guarded, method, path, host="evil.example", authorization="Bearer secret")
    assert refused.status == 403
    assert guarded.control.commands == []
    assert (await asked(guarded, method, path, authorization="Bearer secret")).status == 200


async def test_who_has_no_token_is_told_nothing_of_what_is_wrong_with_a_command(guarded):
    for how in ({"body": b"{"}, {"content_type": "text/plain"}, {"body": {"code": 1}}):
        assert (await guarded.post(CLOSE, **how)).status == 401


async def test_with_a_token_nothing_else_asks_for_it(guarded):
    for path in READ:
        if not path.startswith("/api"):
            assert (await guarded.get(path)).status == 200
