import asyncio
import contextlib
import os
import ssl
import subprocess

import aiohttp
import pytest
from cryptography import x509
from prometheus_client.parser import text_string_to_metric_families

from kubetask_controller.client.errors import APIStatusError, TransportError
from kubetask_controller.client.resources import SUBJECTACCESSREVIEWS, TOKENREVIEWS
from kubetask_controller.runtime.metrics import server as metricsserver
from kubetask_controller.runtime.metrics.auth import MetricsAuthorizer
from kubetask_controller.runtime.metrics.clients import (
    InformerMetrics,
    InformerStatistics,
    PrometheusRestMetrics,
)
from support.runtime.overhttp import eventually, fetch, serving


class Reviews:
    """An API server that knows two tokens of one user, and lets its group GET what a test says."""

    def __init__(self):
        self.allowed = {"/metrics"}
        self.asked = []
        self.failure = None

    async def create(self, resource, namespace, body, *, timeout):
        if self.failure is not None:
            raise self.failure
        self.asked.append((resource, body["spec"]))
        if resource == TOKENREVIEWS:
            groups = {"good": ["scrapers"], "weak": []}.get(body["spec"]["token"])
            if groups is None:
                return {"status": {"authenticated": False}}
            user = {"username": "prometheus", "uid": "u1", "groups": groups}
            return {"status": {"authenticated": True, "user": user}}
        path = body["spec"]["nonResourceAttributes"]["path"]
        allowed = path in self.allowed and "scrapers" in body["spec"].get("groups", [])
        return {"status": {"allowed": allowed}}

    def count(self, resource):
        return sum(asked == resource for asked, _ in self.asked)


class Elapsed:
    """A clock that a test moves, beside real sockets."""

    seconds = 0.0

    def monotonic(self):
        return self.seconds


def trusting():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture
def reviews():
    return Reviews()


@pytest.fixture
def elapsed():
    return Elapsed()


async def test_metrics_are_served_as_prometheus_reads_them(metrics, routes):
    metrics.controller("batchrun")
    metrics.queue("batchrun")
    async with serving(routes) as port:
        status, text = await fetch(port)
        assert status == 200
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["controller_runtime_reconcile"].type == "counter"
    assert "process_resident_memory_bytes" in families
    (retries,) = families["workqueue_retries"].samples
    assert retries.name == "workqueue_retries_total"
    assert retries.labels == {"name": "batchrun", "controller": "batchrun"}
    assert "_created" not in text


async def test_every_family_bears_its_name_in_controller_runtime_and_client_go(metrics, routes):
    metrics.controller("c").active_workers.set(0)
    metrics.queue("c").depth(0).set(0)
    metrics.leader.labels("lock").set(0)
    metrics.leader_slowpath.labels("lock")
    rest = PrometheusRestMetrics(metrics.registry)
    rest.request_finished(method="GET", host="h", code="200", seconds=0.1)
    rest.sizes(method="GET", host="h", request_bytes=0, response_bytes=100)
    rest.request_retried(method="GET", host="h", code="429")
    rest.rate_limited(method="GET", host="h", seconds=0.0)
    rest.resolved("h", 0.0)
    async with serving(routes) as port:
        _, text = await fetch(port)
    names = {
        line.partition(" ")[0].partition("{")[0]
        for line in text.splitlines()
        if not line.startswith("#")
    }
    assert {
        "controller_runtime_reconcile_total",
        "controller_runtime_reconcile_errors_total",
        "controller_runtime_terminal_reconcile_errors_total",
        "controller_runtime_reconcile_panics_total",
        "controller_runtime_reconcile_timeouts_total",
        "controller_runtime_reconcile_time_seconds_bucket",
        "controller_runtime_max_concurrent_reconciles",
        "controller_runtime_active_workers",
        "workqueue_depth",
        "workqueue_adds_total",
        "workqueue_retries_total",
        "workqueue_queue_duration_seconds_bucket",
        "workqueue_work_duration_seconds_bucket",
        "workqueue_unfinished_work_seconds",
        "workqueue_longest_running_processor_seconds",
        "rest_client_requests_total",
        "rest_client_request_duration_seconds_bucket",
        "rest_client_rate_limiter_duration_seconds_bucket",
        "rest_client_request_size_bytes_bucket",
        "rest_client_response_size_bytes_bucket",
        "rest_client_request_retries_total",
        "leader_election_master_status",
        "leader_election_slowpath_total",
        "rest_client_dns_resolution_duration_seconds_bucket",
        "certwatcher_read_certificate_total",
        "certwatcher_read_certificate_errors_total",
    } <= names
    assert 'rest_client_requests_total{code="200",host="h",method="GET"} 1.0' in text
    assert 'workqueue_queue_duration_seconds_bucket{controller="c",le="1e-08",name="c"}' in text


async def test_informers_are_measured_at_each_scrape(metrics, routes):
    informers = InformerMetrics(metrics.registry)
    now = InformerStatistics(synced=False, objects=0, last_event_age=None, resource_version="")
    informers.track("jobs.batch", lambda: now)
    async with serving(routes) as port:
        _, text = await fetch(port)
        assert 'informer_synced{resource="jobs.batch"} 0.0' in text
        assert 'informer_relists_total{resource="jobs.batch"} 0.0' in text
        assert "informer_last_event_age_seconds{" not in text
        now = InformerStatistics(
            synced=True, objects=7, last_event_age=1.5, resource_version="12345678901234567"
        )
        informers.listed("jobs.batch")
        informers.watch_ended("jobs.batch", "expired")
        informers.handler_failed("jobs.batch")
        informers.event_dropped("jobs.batch")
        _, text = await fetch(port)
    for line in (
        'informer_synced{resource="jobs.batch"} 1.0',
        'informer_objects{resource="jobs.batch"} 7.0',
        'informer_last_event_age_seconds{resource="jobs.batch"} 1.5',
        'informer_store_resource_version{resource="jobs.batch"} 3.45678901234567e+14',
        'informer_relists_total{resource="jobs.batch"} 1.0',
        'informer_watch_reconnects_total{reason="expired",resource="jobs.batch"} 1.0',
        'informer_handler_failures_total{resource="jobs.batch"} 1.0',
        'informer_events_dropped_total{resource="jobs.batch"} 1.0',
    ):
        assert line in text


async def test_a_self_signed_certificate_serves_tls_and_only_modern_tls(routes):
    context = metricsserver.new_context()
    metricsserver.load_self_signed(context)
    async with serving(routes, tls=context) as port:
        status, text = await fetch(port, tls=trusting())
        assert (status, "process_" in text) == (200, True)
        strict = ssl.create_default_context()
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await fetch(port, tls=strict)
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("token", "path", "status"),
    [
        (None, "/metrics", 401),
        ("bad", "/metrics", 401),
        ("good", "/metrics", 200),
        ("good", "/elsewhere", 403),
        ("bäd", "/metrics", 401),
    ],
)
async def test_only_who_may_get_the_path_may_scrape(routes, reviews, elapsed, token, path, status):
    guard = MetricsAuthorizer(reviews, elapsed).middleware()
    async with serving(routes, middlewares=[guard]) as port:
        assert (await fetch(port, path, token=token))[0] == status


async def test_a_password_is_no_bearer_token(routes, reviews, elapsed):
    guard = MetricsAuthorizer(reviews, elapsed).middleware()
    async with serving(routes, middlewares=[guard]) as port, aiohttp.ClientSession() as session:
        headers = {"Authorization": aiohttp.encode_basic_auth("a", "good")}
        async with session.get(f"http://127.0.0.1:{port}/metrics", headers=headers) as response:
            assert response.status == 401
    assert reviews.asked == []


async def test_the_api_server_is_told_who_wants_what(routes, reviews, elapsed):
    guard = MetricsAuthorizer(reviews, elapsed).middleware()
    async with serving(routes, middlewares=[guard]) as port:
        await fetch(port, token="good")
    assert reviews.asked == [
        (TOKENREVIEWS, {"token": "good"}),
        (
            SUBJECTACCESSREVIEWS,
            {
                "user": "prometheus",
                "uid": "u1",
                "groups": ["scrapers"],
                "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
            },
        ),
    ]


async def test_answers_are_kept_for_a_while(routes, reviews, elapsed):
    guard = MetricsAuthorizer(reviews, elapsed).middleware()
    async with serving(routes, middlewares=[guard]) as port:
        for seconds, tokens, classes in ((0, 1, 1), (59, 1, 1), (2, 2, 1), (240, 3, 2)):
            elapsed.seconds += seconds
            assert (await fetch(port, token="good"))[0] == 200
            assert (reviews.count(TOKENREVIEWS), reviews.count(SUBJECTACCESSREVIEWS)) == (
                tokens,
                classes,
            )


async def test_an_answer_for_one_does_not_let_another_pass(routes, reviews, elapsed):
    guard = MetricsAuthorizer(reviews, elapsed).middleware()
    async with serving(routes, middlewares=[guard]) as port:
        assert (await fetch(port, token="good"))[0] == 200
        assert (await fetch(port, "/elsewhere", token="good"))[0] == 403
        assert (await fetch(port, token="weak"))[0] == 403


async def test_a_right_that_is_granted_or_taken_away_is_noticed(routes, reviews, elapsed):
    reviews.allowed.clear()
    guard = MetricsAuthorizer(reviews, elapsed).middleware()
    async with serving(routes, middlewares=[guard]) as port:
        assert (await fetch(port, token="good"))[0] == 403
        reviews.allowed.add("/metrics")
        elapsed.seconds += 31
        assert (await fetch(port, token="good"))[0] == 200
        reviews.allowed.clear()
        elapsed.seconds += 301
        assert (await fetch(port, token="good"))[0] == 403


@pytest.mark.parametrize(
    "failure", [TransportError("down"), APIStatusError(code=403, message="secret reason")]
)
async def test_when_nobody_can_be_asked_nothing_is_told(routes, reviews, elapsed, failure):
    reviews.failure = failure
    guard = MetricsAuthorizer(reviews, elapsed).middleware()
    async with serving(routes, middlewares=[guard]) as port:
        status, text = await fetch(port, token="good")
    assert (status, text) == (500, "Internal Server Error\n")


async def test_what_is_kept_of_scrapers_is_bounded(routes, reviews, elapsed):
    authorizer = MetricsAuthorizer(reviews, elapsed)
    for number in range(3000):
        elapsed.seconds += 0.01
        address = f"10.0.{number % 12}.{number % 250}"
        with contextlib.suppress(Exception):
            assert await authorizer._user(f"token-{number}", address) is None
    kept = (authorizer._users, authorizer._rejected, authorizer._addresses)
    assert all(len(x) <= 1024 for x in kept)


def make_certificate(folder, name):
    """A certificate and its key, as cert-manager puts them into a volume."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-subj", f"/CN={name}", "-days", "1", "-keyout", folder / "tls.key", "-out", folder / "tls.crt"],
        check=True, capture_output=True,
    )  # fmt: skip


async def served_name(port):
    """Common name of the certificate that a new connection sees."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting())
    certificate = x509.load_der_x509_certificate(
        writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    )
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return certificate.subject.rfc4514_string()


@contextlib.asynccontextmanager
async def watched(watcher):
    stop = asyncio.Event()
    running = asyncio.create_task(watcher.run(stop))
    try:
        yield
    finally:
        stop.set()
        await running


@pytest.mark.processes
async def test_a_certificate_that_is_rotated_is_served_without_a_restart(
    routes, tmp_path, monkeypatch
):
    monkeypatch.setattr(metricsserver, "RELOAD_SECONDS", 0.02)
    make_certificate(tmp_path, "first")
    context = metricsserver.new_context()
    watcher = metricsserver.CertificateWatcher(context, tmp_path)
    async with serving(routes, tls=context) as port, watched(watcher):
        assert await served_name(port) == "CN=first"
        fresh = tmp_path / "new"
        fresh.mkdir()
        make_certificate(fresh, "second")
        # Half of a rotation must not break what is served.
        os.replace(fresh / "tls.crt", tmp_path / "tls.crt")
        await asyncio.sleep(0.2)
        assert await served_name(port) == "CN=first"
        os.replace(fresh / "tls.key", tmp_path / "tls.key")

        async def rotated():
            return await served_name(port) == "CN=second"

        await eventually(rotated)


@pytest.mark.processes
async def test_a_certificate_that_vanishes_is_served_on(routes, tmp_path, monkeypatch):
    monkeypatch.setattr(metricsserver, "RELOAD_SECONDS", 0.02)
    make_certificate(tmp_path, "first")
    context = metricsserver.new_context()
    watcher = metricsserver.CertificateWatcher(context, tmp_path)
    async with serving(routes, tls=context) as port, watched(watcher):
        (tmp_path / "tls.crt").unlink()
        await asyncio.sleep(0.1)
        assert await served_name(port) == "CN=first"


def test_a_missing_or_broken_certificate_is_an_error_at_start(tmp_path):
    with pytest.raises(FileNotFoundError):
        metricsserver.CertificateWatcher(metricsserver.new_context(), tmp_path)
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_text("nonsense")
    with pytest.raises(ssl.SSLError):
        metricsserver.CertificateWatcher(metricsserver.new_context(), tmp_path)
