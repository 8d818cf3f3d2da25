"""The webhook at a run's end: signed, sent again until it is taken, and never in a run's way."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from kubetask_controller.app.webhook import (
    DELIVERY_SECONDS,
    ENABLED_LEASE,
    FIRST_DELAY,
    LAST_DELAY,
    Notifier,
    Receiver,
    WebhookConfigError,
    enabled_since,
    signed_headers,
    signing_key,
)
from kubetask_controller.client.errors import APIStatusError
from kubetask_controller.reconcilers.projections import project_resource
from kubetask_controller.runtime.reconcile import Request

JSON = dict[str, Any]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ENABLED = NOW - timedelta(days=7)
SILENCE = 0
RUN = Request("team", "nightly")


def ended(**more: Any) -> JSON:
    """A BatchRun that has just ended."""
    task = {"index": 1, "status": "Failed", "reason": "AgentError", "message": "exit code 1"}
    good = {"index": 0, "status": "Succeeded", "result": {"pullRequest": "https://git.example/1"}}
    status = {
        "phase": "Failed",
        "reason": "TasksFailed",
        "completionTime": "2026-03-01T11:59:58Z",
        "progress": {"total": 2, "failed": 1},
        "usage": {"costUSD": "1.25"},
        "tasks": [good, task],
    }
    metadata = {"namespace": "team", "name": "nightly", "uid": "u1", "resourceVersion": "5"}
    spec = {"batchSpec": {"commonContext": [{"file": {"source": {"inline": "the prompt"}}}]}}
    return {
        "metadata": metadata | {"labels": {"team": "platform"}} | more.pop("metadata", {}),
        "spec": spec | more.pop("spec", {}),
        "status": status | more.pop("status", {}),
    }


@dataclass
class Site:
    """A receiver: what came, and what it answers next."""

    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        self.came.append((dict(request.headers), await request.read()))
        status = self.answers.pop(0) if self.answers else 204
        if status == SILENCE:
            await asyncio.Event().wait()
        headers = {"Location": f"{self.url}/elsewhere"} if status == 302 else {}
        return web.Response(status=status, headers=headers)


@dataclass
class Cluster:
    """What the notifier uses of a controller."""

    run: JSON | None
    patches: list[JSON] = field(default_factory=list)
    events: list[JSON] = field(default_factory=list)
    refuses: int = 0

    def get(self, namespace: str, name: str) -> Any:
        return project_resource(self.run) if self.run and name == "nightly" else None

    async def patch(self, resource: Any, namespace: str, name: str, body: JSON) -> JSON:
        if self.refuses:
            raise APIStatusError(
                code=self.refuses, reason="Conflict" if self.refuses == 409 else ""
            )
        self.patches.append(body)
        return body

    def event(self, regarding: Any, **fields: str) -> None:
        self.events.append({"about": regarding, **fields})


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site, app = Site(), web.Application()
    app.router.add_post("/{path:.*}", site.take)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield site
    await runner.cleanup()


@pytest.fixture
def folder(tmp_path: Path, site: Site) -> Path:
    (tmp_path / "url").write_text(f"{site.url}/hooks/T0KEN\n")
    (tmp_path / "secret").write_text(SECRET)
    return tmp_path


def notifier(cluster: Cluster, folder: Path, now: datetime = NOW) -> Notifier:
    return Notifier(
        cluster, folder, client=cluster, events=cluster, now=lambda: now, enabled=ENABLED,  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_signature_is_that_of_the_specification() -> None:
    body = b'{"test": 2432232314}'
    headers = signed_headers(signing_key(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_an_end_is_sent_once_signed_and_recorded(site: Site, folder: Path) -> None:
    cluster = Cluster(ended())
    sender = notifier(cluster, folder)
    await sender.reconcile(RUN)
    # The cache is late: the annotation is not there yet.
    await sender.reconcile(RUN)
    ((headers, body),) = site.came
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    assert headers["webhook-id"] == "batchrun_u1_ended"
    data = json.loads(body)["data"]
    assert (data["namespace"], data["name"], data["phase"]) == ("team", "nightly", "Failed")
    assert data["labels"] == {"team": "platform"}
    assert data["usage"] == {"costUSD": "1.25"}
    assert data["failedTasks"] == [{"index": 1, "reason": "AgentError", "message": "exit code 1"}]
    assert data["pullRequests"] == [{"index": 0, "url": "https://git.example/1"}]
    assert b"the prompt" not in body
    assert cluster.patches[0]["metadata"]["uid"] == "u1"
    assert list(cluster.patches[0]["metadata"]["annotations"]) == ["kubetask.io/notified"]
    assert cluster.events == []


@pytest.mark.parametrize("answer", [500, 503, 404, 302])
async def test_what_is_not_taken_is_sent_again_under_the_same_id(
    site: Site, folder: Path, answer: int
) -> None:
    site.answers = [answer, answer]
    cluster = Cluster(ended())
    sender = notifier(cluster, folder)
    delays = [(await sender.reconcile(RUN)).requeue_after for _ in range(3)]
    assert delays == [FIRST_DELAY, 2 * FIRST_DELAY, 0.0]
    assert {x["webhook-id"] for x, _ in site.came} == {"batchrun_u1_ended"}
    assert len(site.came) == 3
    assert len(cluster.patches) == 1
    (event,) = cluster.events
    assert (event["reason"], event["type"]) == ("WebhookFailed", "Warning")
    assert f"answered {answer}" in event["note"]
    assert "T0KEN" not in event["note"]


async def test_a_receiver_that_is_gone_is_asked_later_and_later_and_no_secret_is_told(
    site: Site, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "url").write_text("http://127.0.0.1:1/hooks/T0KEN")
    sender = notifier(Cluster(ended()), folder)
    delays = [(await sender.reconcile(RUN)).requeue_after for _ in range(12)]
    assert delays[:3] == [2.0, 4.0, 8.0]
    assert delays[-1] == LAST_DELAY
    told = "".join(capsys.readouterr())
    assert "127.0.0.1" in told
    assert "T0KEN" not in told
    assert SECRET not in told


@pytest.mark.parametrize(
    "run",
    [
        None,
        ended(status={"phase": "Running"}),
        ended(metadata={"annotations": {"kubetask.io/notified": "2026-03-01T11:59:59Z"}}),
        ended(metadata={"deletionTimestamp": "2026-03-01T11:59:59Z"}),
        ended(spec={"managedBy": "kueue.x-k8s.io/multikueue"}),
        ended(status={"completionTime": (NOW - timedelta(seconds=DELIVERY_SECONDS)).isoformat()}),
        ended(status={"completionTime": "odd"}),
    ],
)
async def test_nothing_is_sent_of_a_run_that_has_not_ended_now_or_was_sent(
    site: Site, folder: Path, run: JSON | None
) -> None:
    cluster = Cluster(run)
    assert (await notifier(cluster, folder).reconcile(RUN)).requeue_after == 0
    assert (site.came, cluster.patches) == ([], [])


GONE = [
    None,
    ended(metadata={"annotations": {"kubetask.io/notified": "2026-03-01T11:59:59Z"}}),
    ended(metadata={"deletionTimestamp": "2026-03-01T11:59:59Z"}),
    ended(status={"completionTime": "2026-02-27T11:59:58Z"}),
]


@pytest.mark.parametrize("gone", GONE, ids=["deleted", "sent", "being deleted", "too late"])
async def test_the_tries_of_a_run_that_needs_none_are_forgotten(
    site: Site, folder: Path, gone: JSON | None
) -> None:
    site.answers = [500] * 3
    cluster = Cluster(ended())
    sender = notifier(cluster, folder)
    delays = [(await sender.reconcile(RUN)).requeue_after for _ in range(2)]
    cluster.run = gone
    delays.append((await sender.reconcile(RUN)).requeue_after)
    cluster.run = ended()
    delays.append((await sender.reconcile(RUN)).requeue_after)
    assert delays == [FIRST_DELAY, 2 * FIRST_DELAY, 0, FIRST_DELAY]


async def test_a_new_run_of_the_same_name_has_tries_of_its_own(site: Site, folder: Path) -> None:
    site.answers = [500] * 3
    cluster = Cluster(ended())
    sender = notifier(cluster, folder)
    delays = [(await sender.reconcile(RUN)).requeue_after for _ in range(2)]
    cluster.run = ended(metadata={"uid": "u2"})
    delays.append((await sender.reconcile(RUN)).requeue_after)
    assert delays == [FIRST_DELAY, 2 * FIRST_DELAY, FIRST_DELAY]
    assert [x["about"].uid for x in cluster.events] == ["u1", "u2"]


@dataclass
class Leases:
    """The Leases of a namespace."""

    stored: dict[str, JSON] = field(default_factory=dict)
    hidden: bool = False
    """The first read comes before another replica's create."""

    async def get(self, resource: Any, namespace: str, name: str) -> JSON:
        if self.hidden or name not in self.stored:
            self.hidden = False
            raise APIStatusError(code=404, reason="NotFound")
        return self.stored[name]

    async def create(self, resource: Any, namespace: str, body: JSON) -> JSON:
        name = body["metadata"]["name"]
        if name in self.stored:
            raise APIStatusError(code=409, reason="AlreadyExists")
        self.stored[name] = body
        return body


async def test_the_time_when_the_webhook_was_first_enabled_survives_restarts_of_all_replicas() -> (
    None
):
    leases = Leases()
    first = NOW.replace(microsecond=250_000)
    assert await enabled_since(leases, "system", first) == NOW  # type: ignore[arg-type]
    assert await enabled_since(leases, "system", NOW + timedelta(days=9)) == NOW  # type: ignore[arg-type]
    leases.hidden = True
    assert await enabled_since(leases, "system", NOW + timedelta(days=9)) == NOW  # type: ignore[arg-type]
    assert list(leases.stored) == [ENABLED_LEASE]


@pytest.mark.parametrize(("before", "count"), [(timedelta(seconds=1), 0), (timedelta(0), 1)])
async def test_a_run_that_ended_before_the_webhook_was_first_enabled_is_never_delivered(
    site: Site, folder: Path, before: timedelta, count: int
) -> None:
    cluster = Cluster(ended(status={"completionTime": (ENABLED - before).isoformat()}))
    await notifier(cluster, folder, now=ENABLED + timedelta(seconds=5)).reconcile(RUN)
    assert (len(site.came), len(cluster.patches)) == (count, count)


async def test_an_end_that_could_not_be_recorded_is_not_sent_twice_by_the_same_process(
    site: Site, folder: Path
) -> None:
    cluster = Cluster(ended(), refuses=500)
    sender = notifier(cluster, folder)
    with pytest.raises(APIStatusError):
        await sender.reconcile(RUN)
    cluster.refuses = 0
    await sender.reconcile(RUN)
    assert (len(site.came), len(cluster.patches)) == (1, 1)
    # The next process knows nothing of it, and says it again under the same id.
    await notifier(Cluster(ended()), folder).reconcile(RUN)
    assert {x["webhook-id"] for x, _ in site.came} == {"batchrun_u1_ended"}


@pytest.mark.parametrize("code", [404, 409])
async def test_a_run_that_was_deleted_meanwhile_is_no_failure(
    site: Site, folder: Path, code: int
) -> None:
    await notifier(Cluster(ended(), refuses=code), folder).reconcile(RUN)
    assert len(site.came) == 1


async def test_a_secret_that_changes_counts_from_the_next_end(site: Site, folder: Path) -> None:
    sender = notifier(Cluster(ended()), folder)
    (folder / "secret").write_text("another secret that is long")
    await sender.reconcile(RUN)
    ((headers, body),) = site.came
    expected = signed_headers(
        b"another secret that is long", "batchrun_u1_ended", int(NOW.timestamp()), body
    )
    assert headers["webhook-signature"] == expected["webhook-signature"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"secret": SECRET}, "url cannot be read"),
        ({"url": "https://a.example"}, "secret cannot be read"),
        ({"url": "ftp://a.example", "secret": SECRET}, "url contains no http or https URL"),
        ({"url": "hooks/x", "secret": SECRET}, "url contains no http or https URL"),
        ({"url": "https://a.example", "secret": "short"}, "fewer than 16 characters"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, files: dict[str, str], says: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(WebhookConfigError, match=says) as error:
        Receiver.read(tmp_path)
    assert SECRET not in str(error.value)
    assert SECRET not in repr(error.value)


async def test_a_silent_receiver_costs_one_worker_ten_seconds(
    site: Site, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubetask_controller.app.webhook.REQUEST_TIMEOUT", 0.1)
    site.answers = [SILENCE]
    cluster = Cluster(ended())
    assert (await notifier(cluster, folder).reconcile(RUN)).requeue_after == FIRST_DELAY
    assert "did not answer" in cluster.events[0]["note"]
