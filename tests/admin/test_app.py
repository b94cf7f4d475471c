"""What each path answers, to whom, with which headers: asked over real sockets."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.admin import FakeControl, exchange, open_admin

from trioproxy.admin import make_app
from trioproxy.config import AdminConfig, Config
from trioproxy.metrics import CONNECTIONS

PATHS = ("/", "/metrics", "/healthz", "/readyz", "/api/status")


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
    for path in PATHS[1:]:
        assert f'href="{path}"'.encode() in answer.body


@pytest.mark.parametrize("path", PATHS)
async def test_head_answers_as_get_without_a_body(admin, path):
    async with await admin.dial() as stream:
        head = await exchange(stream, "HEAD", path, admin.address, {})
        after = await exchange(stream, "GET", "/healthz", admin.address, {})  # nothing of a body is in the way
    assert head.status == 200 and head.body == b"" and int(head.headers["content-length"]) > 0
    assert after.body == b"ok\n"


@pytest.mark.parametrize("path", PATHS)
async def test_other_methods_are_told_what_is_allowed(admin, path):
    for method in ("POST", "DELETE", "OPTIONS"):
        answer = await admin.get(path, method=method)
        assert answer.status == 405
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/api", "/api/", "/api/nothing", "//metrics"])
async def test_what_is_not_there_is_404(admin, path):
    assert (await admin.get(path)).status == 404


@pytest.mark.parametrize("path", [*PATHS, "/nothing", "/api/nothing"])
async def test_every_answer_has_the_security_headers(admin, path):
    headers = (await admin.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


async def test_the_api_refuses_a_host_that_is_not_its_own(admin):
    answer = await admin.get("/api/status", host="evil.example")
    assert answer.status == 403
    assert "admin.hosts" in answer.json()["error"]


async def test_the_api_knows_its_loopback_name(admin):
    port = admin.address.rpartition(":")[2]
    assert (await admin.get("/api/status", host=f"localhost:{port}")).status == 200


@pytest.mark.parametrize("path", [path for path in PATHS if not path.startswith("/api")])
async def test_probes_and_scrapes_need_no_particular_host(admin, path):
    assert (await admin.get(path, host="10.1.2.3:9464")).status == 200


async def test_hosts_of_the_configuration_are_accepted():
    async with open_admin(hosts=("proxy.example",)) as admin:
        assert (await admin.get("/api/status", host="proxy.example:443")).status == 200


async def test_with_a_token_the_api_asks_for_it_and_nothing_else_does(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    async with open_admin(token_file=str(tmp_path / "token")) as admin:
        missing = await admin.get("/api/status")
        assert (missing.status, missing.headers["www-authenticate"]) == (401, "Bearer")
        assert (await admin.get("/api/status", authorization="Bearer wrong")).status == 401
        assert (await admin.get("/api/status", authorization="Bearer secret")).status == 200
        for path in PATHS[:-1]:
            assert (await admin.get(path)).status == 200


async def test_a_token_does_not_help_with_a_wrong_host(tmp_path):
    (tmp_path / "token").write_text("secret")
    async with open_admin(token_file=str(tmp_path / "token")) as admin:
        answer = await admin.get("/api/status", host="evil.example", authorization="Bearer secret")
        assert answer.status == 403


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
