"""A controller with some of its rights, and what its users notice of that.

Each bench is a namespace with an account of its own, the controller's roles for it less one right, and a manager that runs
in this process as that account. All benches play the same scenario at once.
"""

import asyncio
import copy
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from kubetask_controller.app import options, wiring
from kubetask_controller.client import Client, load_config
from kubetask_controller.client.errors import APIStatusError, is_not_found
from kubetask_controller.client.resources import CONTROLLERREVISIONS, LEASES, Resource
from kubetask_controller.reconcilers.setup import setup_with_manager
from kubetask_controller.reconcilers.taskrun import files, names
from kubetask_controller.runtime.manager import Manager
from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.metrics.clients import PrometheusRestMetrics
from support.integration.controller import free_port
from support.integration.objects import batch, obj, run, scripted, task

JSON = dict[str, Any]

RBAC = Path(__file__).resolve().parents[3] / "config" / "rbac"
LEASE = options.parse([], {}).leader_election_id
ACCOUNT, IMAGE = "kubetask-controller", "registry.example.com/agent:1"
FILES = ("controller_role.yaml", "leader_election_role.yaml", "metrics_auth_role.yaml")
KINDS = {
    "BatchRun": Resource("kubetask.io", "v1alpha1", "batchruns", "BatchRun"),
    "Batch": Resource("kubetask.io", "v1alpha1", "batches", "Batch"),
    "Task": Resource("kubetask.io", "v1alpha1", "tasks", "Task"),
    "WorkspaceConfig": Resource("kubetask.io", "v1alpha1", "workspaceconfigs", "WorkspaceConfig"),
    "Job": Resource("batch", "v1", "jobs", "Job"),
    "Event": Resource("events.k8s.io", "v1", "events", "Event"),
}
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False)
CLUSTER_ROLE_BINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False
)
ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")

FOREVER = {"runSeconds": None}


@dataclass(frozen=True)
class Right:
    """One verb on one resource."""

    file: str
    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}"


def rules(file: str) -> list[JSON]:
    """The rules of a role in config/rbac."""
    return list(yaml.safe_load((RBAC / file).read_text())["rules"])


def every_right() -> list[Right]:
    """All that the controller may do."""
    return [
        Right(file, group, resource, verb)
        for file in FILES
        for rule in rules(file)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def without(found: list[JSON], right: Right | None) -> list[JSON]:
    """Rules that grant the same less one right."""
    left = []
    for rule in copy.deepcopy(found):
        split = right and right.group in rule["apiGroups"] and right.resource in rule["resources"]
        if not split:
            left.append(rule)
            continue
        others = [x for x in rule["resources"] if x != right.resource]
        left.append({**rule, "resources": others})
        left.append(
            {
                **rule,
                "resources": [right.resource],
                "verbs": [x for x in rule["verbs"] if x != right.verb],
            }
        )
    return [x for x in left if x["resources"] and x["verbs"]]


class RecordingClient(Client):
    """A client that keeps the rights that its requests need.

    Attributes:
        needed: pairs of a verb and a resource, such as ``update batchruns/status.kubetask.io``.
    """

    needed: set[str]


def _recording(verb: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: RecordingClient, resource: Resource, *args: Any, **more: Any) -> Any:
        of = resource.plural + (f"/{sub}" if (sub := more.get("subresource")) else "")
        self.needed.add(str(Right("", resource.group, of, verb)))
        return method(self, resource, *args, **more)

    return call


for _name in ("get", "list", "create", "update", "patch", "delete", "list_stream", "watch"):
    _verb = _name.removesuffix("_stream")
    setattr(RecordingClient, _name, _recording(_verb, getattr(Client, _name)))


@dataclass
class Bench:
    """One namespace, one account, one manager.

    Attributes:
        right: what the account lacks.
        standby: another process leads when the manager starts; it releases the Lease during the scenario.
        needed: the rights that the requests of the manager need.
    """

    right: Right | None
    namespace: str
    admin: Client
    standby: bool
    metrics: Metrics = field(default_factory=Metrics)
    port: int = field(default_factory=free_port)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None
    left: bool = False
    needed: set[str] = field(default_factory=set)

    async def grant(self) -> None:
        """The account, its roles without the right, and those of the cluster's scope."""
        mine: list[JSON] = []
        for file in FILES[:2]:
            mine += without(rules(file), self.right)
        for name in (ACCOUNT, "kubetask-agent"):
            await self._create(ACCOUNTS, {"metadata": {"name": name}})
        await self._create(ROLES, {"metadata": {"name": "controller"}, "rules": mine})
        await self.bind(ROLE_BINDINGS, "controller", "controller")
        name = f"rights-{self.namespace}"
        scope = without(rules(FILES[2]), self.right)
        await self._create(CLUSTER_ROLES, {"metadata": {"name": name}, "rules": scope})
        await self.bind(CLUSTER_ROLE_BINDINGS, name, name)
        if self.standby:
            held = {"holderIdentity": "another", "leaseDurationSeconds": 600, "renewTime": _now()}
            lease = {"metadata": {"name": LEASE}, "spec": held}
            await self._create(LEASES, lease)

    async def revoke(self) -> None:
        """Take away what does not go with the namespace."""
        name = f"rights-{self.namespace}"
        await self.admin.delete(CLUSTER_ROLES, None, name)
        await self.admin.delete(CLUSTER_ROLE_BINDINGS, None, name)

    async def bind(
        self, resource: Resource, name: str, role: str, subjects: list[JSON] | None = None
    ) -> None:
        """Bind a role; to the bench's own account unless others are named."""
        own = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": self.namespace}
        kind = resource.kind.removesuffix("Binding")
        reference = {"apiGroup": resource.group, "kind": kind, "name": role}
        body = {"metadata": {"name": name}, "roleRef": reference, "subjects": subjects or [own]}
        await self._create(resource, body)

    async def _create(self, resource: Resource, body: JSON) -> None:
        whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        namespace = self.namespace if resource.namespaced else None
        await self.admin.create(resource, namespace, whole)

    async def run(self, kubeconfig: Path) -> None:
        """The controller as the account, until stopped; a part that fails is what some rights lead to."""
        flags = [f"--namespace={self.namespace}", "--leader-elect", "--metrics-secure"]
        flags += [f"--leader-election-namespace={self.namespace}", f"--agent-image={IMAGE}"]
        flags += [f"--metrics-bind-address=127.0.0.1:{self.port}", f"--workspace-image={IMAGE}"]
        flags += ["--health-probe-bind-address=0"]
        # Forty managers in one process may be late; the one that cannot renew has to notice it soon.
        short = self.right is not None and self.right.resource == "leases" and not self.standby
        timings = (15, 10, 1) if short else (120, 90, 2)
        for flag, seconds in zip(
            ("lease-duration", "renew-deadline", "retry-period"),
            (600, 90, 60) if self.standby else timings,
            strict=True,
        ):
            flags.append(f"--leader-elect-{flag}={seconds}s")
        parsed = options.parse(flags, {})
        config = await load_config(kubeconfig=str(kubeconfig))
        counted = PrometheusRestMetrics(self.metrics.registry)
        client = RecordingClient(config, user_agent=wiring.user_agent(), metrics=counted)
        client.needed = self.needed
        async with client:
            manager = Manager(client, wiring.manager_options(parsed, config), metrics=self.metrics)
            setup_with_manager(manager, wiring.settings(parsed))
            wiring.add_metrics_server(manager, client, parsed)
            try:
                await manager.start(self.stop)
            except Exception as error:
                self.failure = error

    @property
    def refused(self) -> float:
        """Requests that were answered with 403."""
        found = self._samples("rest_client_requests_total")
        return sum(value for labels, value in found if labels["code"] == "403")

    def _samples(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        for family in self.metrics.registry.collect():
            for sample in family.samples:
                if sample.name == name:
                    yield sample.labels, sample.value

    async def play(self) -> None:
        """What users do."""
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "taken-task-0"},
            "spec": {"suspend": True, "template": {"spec": _pod()}},
        }
        made = [
            job,
            scripted("ends", outcome={}),
            scripted("lasts", outcome=FOREVER),
            scripted("stuck", outcome={}, serviceAccountName="nobody"),
            batch("b"),
            obj("BatchRun", "whole", {"batchRef": "b", "workspaceConfigRef": "ends"}),
            run("swept", workspaceConfigRef="ends", ttlSecondsAfterFinished=0),
            run("gone", workspaceConfigRef="ends", ttlSecondsAfterFinished=0, ttlPolicy="All"),
            task("t", workspaceConfigRef="ends"),
            task("gone", workspaceConfigRef="ends", ttlSecondsAfterFinished=0, ttlPolicy="All"),
            run("cut", workspaceConfigRef="lasts", backoffLimit=2),
            run("taken", workspaceConfigRef="ends"),
            run("stuck", workspaceConfigRef="stuck"),
            obj("BatchRun", "toggled", {"batchRef": "nowhere"}),
            obj("BatchRun", "again", {"retryOf": "cut", "workspaceConfigRef": "ends"}),
            obj("BatchRun", "forged", {"batchRef": "late", "workspaceConfigRef": "ends"}),
        ]
        for each in made:
            await self.admin.create(KINDS[each["kind"]], self.namespace, each)
        await self._forge()
        await self.admin.create(KINDS["Batch"], self.namespace, batch("late"))

    async def _forge(self) -> None:
        """Somebody puts a snapshot of theirs under the name that the run's own will have."""
        run = await self.admin.get(KINDS["BatchRun"], self.namespace, "forged")
        name, uid = run["metadata"]["name"], run["metadata"]["uid"]
        body = {
            "metadata": {
                "name": names.owned_name(name, uid, "snapshot"),
                "ownerReferences": [files.Owner("BatchRun", self.namespace, name, uid).reference()],
            },
            "data": {"variableContexts": []},
            "revision": 1,
        }
        await self.admin.create(CONTROLLERREVISIONS, self.namespace, body)

    async def steer(self) -> None:
        """What users do later: cancel what runs, suspend and resume what waits. And the other leader leaves."""
        watched = f"watch {LEASES}" in self.needed
        if self.standby and not self.left and watched and (self.right is None or self.refused):
            gone = {"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}}
            name = LEASE
            await self.admin.patch(LEASES, self.namespace, name, gone)
            self.left = True
        cut = await self._status("cut")
        if cut.get("phase") == "Running":
            await self._patch("cut", cancel=True)
        toggled = await self._status("toggled")
        found = await self.admin.get(KINDS["BatchRun"], self.namespace, "toggled")
        suspended = bool(found["spec"].get("suspend"))
        if (toggled.get("reason") == "Suspended") == suspended and toggled:
            await self._patch("toggled", suspend=not suspended)

    async def facts(self, token: str) -> dict[str, bool]:
        """What users notice; all true where nothing is wrong."""
        cut, taken, stuck = [await self._status(x) for x in ("cut", "taken", "stuck")]
        jobs = await self._list("Job")
        backoff = [x["spec"]["backoffLimit"] for x in jobs if x["metadata"]["name"] == "cut-task-0"]
        return {
            "a run succeeds": (await self._status("whole")).get("phase") == "Succeeded",
            "a retry succeeds": (await self._status("again")).get("phase") == "Succeeded",
            "a forged snapshot is replaced": (await self._status("forged")).get("phase")
            == "Succeeded",
            "a task succeeds": (await self._status("t", "Task")).get("phase") == "Succeeded",
            "Jobs are swept": (await self._status("swept")).get("phase") == "Succeeded"
            and not any(x["metadata"]["name"].startswith("swept") for x in jobs),
            "runs are swept": await self._gone("BatchRun"),
            "tasks are swept": await self._gone("Task"),
            "a run is cancelled": cut.get("reason") == "Cancelled" and backoff == [0],
            "a name that is taken is told": _first_reason(taken) == "NameConflict",
            "a missing account is told": stuck.get("reason") == "ServiceAccountNotFound",
            "Events count up": await self._counted(),
            # Without a watch all goes on by listing again and again, only later and later.
            "changes are heard at once": all(
                value == 1 for _, value in self._samples("informer_relists_total")
            ),
            "metrics are scraped": await self._scraped(token),
        }

    async def _status(self, name: str, kind: str = "BatchRun") -> JSON:
        found = await self.admin.get(KINDS[kind], self.namespace, name)
        status = found.get("status") or {}
        return status if "phase" in status else {}

    async def _gone(self, kind: str) -> bool:
        try:
            await self.admin.get(KINDS[kind], self.namespace, "gone")
        except APIStatusError as error:
            return is_not_found(error)
        return False

    async def _list(self, kind: str) -> list[JSON]:
        page = await self.admin.list(KINDS[kind], self.namespace)
        return list(page.get("items") or ())

    async def _counted(self) -> bool:
        events = await self._list("Event")
        return any((x.get("series") or {}).get("count", 0) > 1 for x in events)

    async def _scraped(self, token: str) -> bool:
        url = f"https://127.0.0.1:{self.port}/metrics"
        headers = {"Authorization": f"Bearer {token}"}
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.get(url, ssl=context) as answer,
            ):
                return answer.status == 200
        except OSError:
            return False

    async def _patch(self, name: str, **spec: object) -> None:
        await self.admin.patch(KINDS["BatchRun"], self.namespace, name, {"spec": spec})


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _first_reason(status: JSON) -> str:
    return next((str(x.get("reason")) for x in status.get("tasks") or ()), "")


def _pod() -> JSON:
    return {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}


def cases() -> Iterator[tuple[Right | None, bool]]:
    """No right and each right that a bench lacks, and whether it is a standby first."""
    yield None, True
    for right in every_right():
        yield right, (right.resource, right.verb) == ("leases", "watch")
