"""Sends one signed POST when a BatchRun ends, for chat, tickets and pipelines.

A separate controller with its own queue and workers delivers it, so a slow or unavailable receiver never delays a run. The
request follows the Standard Webhooks specification (headers webhook-id, webhook-timestamp and webhook-signature), so
receivers can use its libraries.

Guarantees: each run that ends after the webhook was enabled is delivered at least once, within DELIVERY_SECONDS of its end.
The Lease ENABLED_LEASE records when the webhook was first enabled, so a restart loses no delivery, and enabling the webhook
does not deliver runs that ended before. An annotation of the run records the delivery; if the controller fails between the
two, the request is sent again with the same webhook-id. Redirects are not followed. Neither the URL nor the secret is
logged: chat services put tokens into URLs.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import structlog
from pydantic_core import to_json
from yarl import URL

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import EventReason, Phase
from kubetask_controller.client.errors import (
    APIStatusError,
    is_already_exists,
    is_conflict,
    is_not_found,
)
from kubetask_controller.client.resources import LEASES, Resource
from kubetask_controller.client.rest import Client
from kubetask_controller.reconcilers.projections import RunView
from kubetask_controller.runtime.builder import Builder
from kubetask_controller.runtime.events import EventRecorder
from kubetask_controller.runtime.informer import Informer
from kubetask_controller.runtime.manager import Manager
from kubetask_controller.runtime.meta import ObjectReference, micro_time
from kubetask_controller.runtime.reconcile import Request, Result
from kubetask_controller.types import JSON

REQUEST_TIMEOUT = 10.0
"""Seconds for one request."""
FIRST_DELAY, LAST_DELAY = 2.0, 600.0
"""Seconds before the second try, and before late ones; each delay is twice the one before."""
DELIVERY_SECONDS = 24 * 3600.0
"""Seconds after a run's end during which delivery is tried."""
WORKERS = 4
MAX_LISTED = 50
"""Maximum number of failed tasks, and of pull requests, in a body."""
ENABLED_LEASE = "kubetask-webhook"
"""A Lease in the controller's namespace; its acquireTime is the time when the webhook was first enabled. A Lease, because the
controller may already create and read Leases there, and has no right to read ConfigMaps."""
_MAX_DELIVERED = 10_000
_BATCH_RUNS = Resource(c.GROUP, c.VERSION, c.PLURAL_BATCH_RUN, c.KIND_BATCH_RUN)
_SECRET_PREFIX = "whsec_"

logger = structlog.get_logger("webhook")


class WebhookConfigError(ValueError):
    """The folder has no usable URL or secret; the message names the file."""


@dataclass(frozen=True, slots=True, repr=False)
class Receiver:
    """The URL to send to, and the key to sign with."""

    url: URL
    key: bytes

    @classmethod
    def read(cls, folder: Path) -> "Receiver":
        """From the files ``url`` and ``secret`` of a mounted Secret.

        Raises:
            WebhookConfigError: one of them is missing or cannot be used.
        """
        texts = {}
        for name in ("url", "secret"):
            try:
                texts[name] = (folder / name).read_text("utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise WebhookConfigError(f"{folder / name} cannot be read") from error
        try:
            url = URL(texts["url"])
        except ValueError as error:
            raise WebhookConfigError(f"{folder / 'url'} contains no URL") from error
        if url.scheme not in ("http", "https") or not url.host:
            raise WebhookConfigError(f"{folder / 'url'} contains no http or https URL")
        if len(texts["secret"]) < 16:
            raise WebhookConfigError(f"{folder / 'secret'} has fewer than 16 characters")
        return cls(url, signing_key(texts["secret"]))


def signing_key(secret: str) -> bytes:
    """The bytes of a secret: of ``whsec_…`` the base64 after it, else the text itself."""
    if secret.startswith(_SECRET_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def signed_headers(key: bytes, identity: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of the Standard Webhooks specification; `at` is in seconds since 1970."""
    signed = f"{identity}.{at}.".encode() + body
    digest = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return {
        "Content-Type": "application/json",
        "webhook-id": identity,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{digest}",
    }


def identity_of(run: RunView) -> str:
    """The webhook-id: equal for all tries of one run, unique for each run."""
    return f"batchrun_{run.uid}_ended"


def body_of(run: RunView) -> JSON:
    """The body: how the run ended. It contains no prompt and no Secret."""
    status: Mapping[str, Any] = run.status
    tasks = [x for x in status.get("tasks") or () if isinstance(x, dict)]
    failed = [x for x in tasks if x.get("status") == Phase.FAILED]
    pulls = [
        {"index": x.get("index"), "url": x["result"]["pullRequest"]}
        for x in tasks
        if (x.get("result") or {}).get("pullRequest")
    ]
    return {
        "type": "batchrun.ended",
        "timestamp": status.get("completionTime"),
        "data": {
            "namespace": run.namespace,
            "name": run.name,
            "uid": run.uid,
            "labels": dict(run.labels),
            "phase": status.get("phase"),
            "reason": status.get("reason"),
            "message": status.get("message"),
            "startTime": status.get("startTime"),
            "completionTime": status.get("completionTime"),
            "progress": status.get("progress"),
            "usage": status.get("usage"),
            "failedTasks": [
                {key: x.get(key) for key in ("index", "reason", "message")}
                for x in failed[:MAX_LISTED]
            ],
            "pullRequests": pulls[:MAX_LISTED],
        },
    }


async def enabled_since(client: Client, namespace: str, now: datetime) -> datetime:
    """When the webhook was first enabled, to the second, as completionTime has it.

    Call it before the first run can end: the Lease ENABLED_LEASE in `namespace` is created where it does not exist.

    Raises:
        ClientError: the Lease could not be read or created.
    """
    try:
        found = await client.get(LEASES, namespace, ENABLED_LEASE)
    except APIStatusError as error:
        if not is_not_found(error):
            raise
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": ENABLED_LEASE, "namespace": namespace},
            "spec": {"acquireTime": micro_time(now)},
        }
        try:
            found = await client.create(LEASES, namespace, body)
        except APIStatusError as conflict:
            if not is_already_exists(conflict):
                raise
            found = await client.get(LEASES, namespace, ENABLED_LEASE)
    # A Lease without the field was edited by a user: runs that ended before now are not delivered.
    since = _time((found.get("spec") or {}).get("acquireTime")) or now
    return since.replace(microsecond=0)


def setup_webhook(
    manager: Manager, runs: Informer[RunView], folder: Path, *, enabled: datetime
) -> "Notifier":
    """Add the controller that delivers the end of each BatchRun in `runs`.

    Args:
        manager: runs the controller.
        runs: the BatchRuns.
        folder: contains the files ``url`` and ``secret`` of the receiver.
        enabled: result of `enabled_since`; runs that ended before are not delivered.

    Raises:
        WebhookConfigError: the folder has no usable URL or secret.
    """
    Receiver.read(folder)
    notifier = Notifier(
        runs, folder, client=manager.client, events=manager.event_recorder("kubetask-controller"),
        now=manager.clock.now, enabled=enabled,
    )  # fmt: skip
    Builder(manager, name="webhook").for_(runs).with_options(
        max_concurrent_reconciles=WORKERS
    ).complete(notifier)
    return notifier


class Notifier:
    """Delivers the ends of runs; a Reconciler."""

    def __init__(
        self,
        runs: Informer[RunView],
        folder: Path,
        *,
        client: Client,
        events: EventRecorder,
        now: Callable[[], datetime],
        enabled: datetime,
    ) -> None:
        """`now` returns the time, with its zone; runs that ended before `enabled` are not delivered."""
        self._runs = runs
        self._folder = folder
        self._client = client
        self._events = events
        self._now = now
        self._enabled = enabled
        self._delivered: OrderedDict[str, None] = OrderedDict()
        self._tries: dict[Request, tuple[str, int]] = {}
        """The uid of a run that is not delivered yet, and the number of tries."""

    async def reconcile(self, request: Request) -> Result:
        """Deliver the end of a run unless it was delivered before. Failures of the receiver do not raise.

        Raises:
            ClientError: the annotation could not be written.
        """
        run = self._runs.get(request.namespace, request.name)
        if run is None or not self._is_due(run):
            self._tries.pop(request, None)
            return Result()
        if run.uid not in self._delivered:
            problem = await self._send(run)
            if problem:
                return self._later(request, run, problem)
            self._tries.pop(request, None)
            self._delivered[run.uid] = None
            while len(self._delivered) > _MAX_DELIVERED:
                self._delivered.popitem(last=False)
            logger.info("Webhook delivered", namespace=run.namespace, batchrun=run.name)
        await self._record(run)
        return Result()

    def _is_due(self, run: RunView) -> bool:
        if run.status.get("phase") not in (Phase.SUCCEEDED, Phase.FAILED) or run.deleting:
            return False
        if run.spec.get("managedBy") not in (None, c.MANAGED_BY):
            return False
        if c.ANNOTATION_NOTIFIED in run.annotations:
            return False
        ended = _time(run.status.get("completionTime"))
        if ended is None or ended < self._enabled:
            return False
        return (self._now() - ended).total_seconds() < DELIVERY_SECONDS

    async def _send(self, run: RunView) -> str:
        """Send once; returns what failed, or an empty string."""
        try:
            receiver = await asyncio.to_thread(Receiver.read, self._folder)
        except WebhookConfigError as error:
            return str(error)
        body = to_json(body_of(run))
        headers = signed_headers(receiver.key, identity_of(run), int(self._now().timestamp()), body)
        try:
            # One session per request: ends are rare, and the address of a receiver may change.
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)) as http,
                http.post(receiver.url, data=body, headers=headers, allow_redirects=False) as found,
            ):
                good = 200 <= found.status < 300
                return "" if good else f"{receiver.url.host} answered {found.status}"
        except TimeoutError:
            return f"{receiver.url.host} did not answer within {REQUEST_TIMEOUT:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return f"{receiver.url.host} cannot be reached: {type(error).__name__}"

    def _later(self, request: Request, run: RunView, problem: str) -> Result:
        uid, tries = self._tries.get(request, (run.uid, 0))
        tries = tries + 1 if uid == run.uid else 1
        self._tries[request] = run.uid, tries
        delay = min(FIRST_DELAY * 2 ** min(tries - 1, 20), LAST_DELAY)
        logger.warning(
            "Webhook not delivered; retrying",
            namespace=run.namespace, batchrun=run.name, problem=problem, seconds=delay,
        )  # fmt: skip
        if tries == 1:
            about = ObjectReference(
                c.API_VERSION, c.KIND_BATCH_RUN, run.name, run.namespace, run.uid
            )
            self._events.event(
                about,
                type="Warning",
                reason=EventReason.WEBHOOK_FAILED,
                action="Notify",
                note=f"The webhook was not delivered: {problem}. The controller retries it.",
            )
        return Result(requeue_after=delay)

    async def _record(self, run: RunView) -> None:
        at = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        patch = {"metadata": {"uid": run.uid, "annotations": {c.ANNOTATION_NOTIFIED: at}}}
        try:
            await self._client.patch(_BATCH_RUNS, run.namespace, run.name, patch)
        except Exception as error:
            # The run was deleted, or replaced by another object of that name: there is nothing to record.
            if not (is_not_found(error) or is_conflict(error)):
                raise


def _time(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
