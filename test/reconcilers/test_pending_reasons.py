"""Why an agent has not started: what Job, Pod and Events say, as a reason and as a sentence that names what to change."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from kubetask_controller.api.constants import Reason
from kubetask_controller.client.errors import APIStatusError
from kubetask_controller.client.resources import CORE_EVENTS
from kubetask_controller.reconcilers.taskrun.pending_reasons import (
    LOOKUP_BURST,
    LOOKUPS_A_SECOND,
    REFRESH,
    PendingReason,
    Stage,
    from_event,
    is_silent,
    pending_reason,
    silence,
)
from support.reconcilers.cluster import Cluster, server_error
from support.reconcilers.views import at, complete, container, exited, failed, job, pod, waiting

EVENT = PendingReason(Reason.VOLUME_NOT_READY, "claim is not bound")
WORKED = exited(name="workspace")


@pytest.mark.parametrize(
    ("container_reason", "message", "expected", "words"),
    [
        ("ErrImagePull", "no such image", Reason.IMAGE_PULL_BACK_OFF, "no such image"),
        ("ImagePullBackOff", "Back-off", Reason.IMAGE_PULL_BACK_OFF, "Back-off"),
        ("ErrImageNeverPull", "", Reason.IMAGE_PULL_BACK_OFF, "ErrImageNeverPull"),
        ("RegistryUnavailable", "", Reason.IMAGE_PULL_BACK_OFF, ""),
        ("InvalidImageName", "couldn't parse", Reason.INVALID_IMAGE_NAME, "couldn't parse"),
        ("CreateContainerConfigError", 'secret "s" not found', Reason.CONTEXT_NOT_FOUND, '"s"'),
        (
            "CreateContainerConfigError",
            "couldn't find key k in Secret team/s",
            Reason.CONTEXT_NOT_FOUND,
            "key k",
        ),
        (
            "CreateContainerConfigError",
            "container has runAsNonRoot and image will run as root",
            Reason.CREATE_CONTAINER_CONFIG_ERROR,
            "set securityContext.runAsUser",
        ),
        ("RunContainerError", "no", Reason.CREATE_CONTAINER_CONFIG_ERROR, "no"),
        ("ContainerCreating", "", Reason.STARTING, "is starting"),
    ],
)
def test_a_waiting_container_gives_the_reason(
    container_reason: str, message: str, expected: Reason, words: str
) -> None:
    found = pending_reason(job(), pod(waiting(container_reason, message)), None)
    assert found.reason == expected
    assert words in found.message


def test_the_first_container_that_is_stuck_counts_those_that_prepare_first() -> None:
    found = pod(waiting("ErrImagePull"), waiting("InvalidImageName", name="workspace"))
    assert pending_reason(job(), found, None).reason == Reason.INVALID_IMAGE_NAME


@pytest.mark.parametrize(
    ("the_job", "the_pod", "event", "expected"),
    [
        (job(suspended=True), pod(), EVENT, Reason.QUEUED),
        (job(), None, None, Reason.STARTING),
        (job(), None, EVENT, Reason.VOLUME_NOT_READY),
        (job(), pod(exited(1)), None, Reason.STARTING),
        (job(), pod(exited(1)), replace(EVENT, seen=at(-1)), Reason.VOLUME_NOT_READY),
        # It is about an earlier Pod.
        (job(), pod(exited(1)), replace(EVENT, seen=at(-3)), Reason.STARTING),
        (job(), pod(waiting()), replace(EVENT, stage=Stage.SCHEDULING), Reason.STARTING),
        (job(), pod(waiting(), node=""), replace(EVENT, stage=Stage.SCHEDULING), EVENT.reason),
        (job(), pod(waiting()), replace(EVENT, stage=Stage.SANDBOX), EVENT.reason),
        (job(), pod(WORKED, waiting()), replace(EVENT, stage=Stage.SANDBOX), Reason.STARTING),
        (
            job(),
            pod(waiting(), ready_to_start=True),
            replace(EVENT, stage=Stage.SANDBOX),
            Reason.STARTING,
        ),
        (job(), pod(unschedulable="Insufficient memory"), EVENT, Reason.UNSCHEDULABLE),
        (
            job(),
            pod(unschedulable='persistentvolumeclaim "w" not found'),
            None,
            Reason.VOLUME_NOT_READY,
        ),
        (job(), pod(waiting("ErrImagePull")), EVENT, Reason.IMAGE_PULL_BACK_OFF),
        (job(), pod(waiting()), EVENT, Reason.VOLUME_NOT_READY),
    ],
)
def test_what_job_and_pod_say_goes_before_what_an_event_says(
    the_job: Any, the_pod: Any, event: Any, expected: Reason
) -> None:
    assert pending_reason(the_job, the_pod, event).reason == expected


@pytest.mark.parametrize(
    ("reason", "message", "expected"),
    [
        (
            "FailedCreate",
            "Error creating: pods is forbidden: exceeded quota: q",
            Reason.QUOTA_EXCEEDED,
        ),
        ("FailedCreate", "Error creating: failed quota: q", Reason.QUOTA_EXCEEDED),
        ("FailedCreate", "maximum memory usage per Container is 1Gi", Reason.QUOTA_EXCEEDED),
        (
            "FailedCreate",
            'error looking up service account a/b: serviceaccount "b" not found',
            Reason.SERVICE_ACCOUNT_NOT_FOUND,
        ),
        ("FailedCreate", "Error creating: violates PodSecurity", Reason.ADMISSION_DENIED),
        ("FailedMount", 'configmap "c" not found', Reason.CONTEXT_NOT_FOUND),
        ("FailedMount", "references non-existent secret key: k", Reason.CONTEXT_NOT_FOUND),
        ("FailedMount", "timed out", Reason.VOLUME_NOT_READY),
        ("FailedAttachVolume", "Multi-Attach error", Reason.VOLUME_NOT_READY),
        ("ProvisioningFailed", "no class", Reason.VOLUME_NOT_READY),
        ("FailedScheduling", "0/3 nodes are available", Reason.UNSCHEDULABLE),
        ("FailedScheduling", "unbound immediate PersistentVolumeClaims", Reason.VOLUME_NOT_READY),
        ("FailedCreatePodSandBox", "cni", Reason.CREATE_CONTAINER_CONFIG_ERROR),
        ("Failed", "Error: container has runAsNonRoot", Reason.CREATE_CONTAINER_CONFIG_ERROR),
        ("Failed", 'Error: secret "s" not found', Reason.CONTEXT_NOT_FOUND),
        ("Failed", "Error: ErrImagePull", None),
        ("BackoffLimitExceeded", "x", None),
    ],
)
def test_a_warning_event_means_a_reason(reason: str, message: str, expected: Reason | None) -> None:
    found = from_event(reason, message)
    assert (found.reason if found else None) == expected
    assert found is None or "Error creating" not in found.message


@pytest.mark.parametrize(
    ("the_job", "the_pod", "silent"),
    [
        (job(), None, True),
        (job(), pod(waiting()), True),
        (job(), pod(exited(name="workspace", init=True), waiting()), True),
        (job(), pod(container("workspace"), waiting()), False),
        (job(), pod(waiting("ErrImagePull")), False),
        (job(), pod(container()), False),
        (job(), pod(exited(1)), False),
        # Only Events of the Job show why the next Pod does not come.
        (job(backoff_limit=3, failed_pods=1), pod(exited(1)), True),
        (job(backoff_limit=3, failed_pods=4), pod(exited(1)), False),
        (job(suspended=True), None, False),
        (job(deleting=True), None, False),
        (job(failed=failed()), None, False),
        (job(complete=complete()), None, False),
    ],
)
def test_only_what_gives_no_reason_by_itself_is_looked_up(
    the_job: Any, the_pod: Any, silent: bool
) -> None:
    assert is_silent(the_job, the_pod) == silent


async def test_silence_counts_from_the_last_change() -> None:
    clock = Cluster().clock
    assert silence(job(started=at(-40)), None, clock) == 40
    prepared = exited(name="workspace", init=True, finished_at=at(-3))
    assert silence(job(), pod(prepared, waiting(), created=at(-30)), clock) == 3


# What to change -------------------------------------------------------------------------------------

AGENT, CLONE, SIDECAR = "agent", "workspace", "db"
NOT_ROOT = (
    'container has runAsNonRoot and image will run as root (pod: "p_team(u)", container: agent)'
)

# Reason and message of a waiting container, which it is, and the task's reason and words of its message.
CONTAINERS = [
    (
        "ImagePullBackOff",
        'image "e.com/a:2": not found',
        AGENT,
        Reason.IMAGE_PULL_BACK_OFF,
        "correct agentImage",
    ),
    (
        "ErrImagePull",
        "manifest unknown",
        CLONE,
        Reason.IMAGE_PULL_BACK_OFF,
        "--workspace-image of the controller",
    ),
    ("ErrImagePull", "401 Unauthorized", AGENT, Reason.IMAGE_PULL_BACK_OFF, "imagePullSecrets"),
    (
        "ErrImagePull",
        "pull access denied, repository does not exist",
        SIDECAR,
        Reason.IMAGE_PULL_BACK_OFF,
        "image of sidecar db",
    ),
    ("ErrImagePull", "dial tcp: i/o timeout", AGENT, Reason.IMAGE_PULL_BACK_OFF, "see agentImage"),
    (
        "ErrImageNeverPull",
        "is not present with pull policy of Never",
        AGENT,
        Reason.IMAGE_PULL_BACK_OFF,
        "imagePullPolicy",
    ),
    (
        "SignatureValidationFailed",
        "",
        AGENT,
        Reason.IMAGE_PULL_BACK_OFF,
        "does not trust the image",
    ),
    ("RegistryUnavailable", "", SIDECAR, Reason.IMAGE_PULL_BACK_OFF, "RegistryUnavailable"),
    ("ImageInspectError", "no space left", AGENT, Reason.IMAGE_PULL_BACK_OFF, "no space left"),
    (
        "InvalidImageName",
        "couldn't parse",
        SIDECAR,
        Reason.INVALID_IMAGE_NAME,
        "correct the image of sidecar db",
    ),
    (
        "CreateContainerConfigError",
        'configmap "c" not found',
        SIDECAR,
        Reason.CONTEXT_NOT_FOUND,
        'container db: configmap "c"',
    ),
    (
        "CreateContainerConfigError",
        'object "team"/"s" not registered',
        AGENT,
        Reason.CONTEXT_NOT_FOUND,
        '"s"',
    ),
    (
        "CreateContainerConfigError",
        NOT_ROOT,
        AGENT,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        "runAsNonRoot to false",
    ),
    (
        "CreateContainerConfigError",
        NOT_ROOT,
        SIDECAR,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        "runAsUser of sidecar db",
    ),
    (
        "CreateContainerConfigError",
        "container's runAsUser breaks non-root policy",
        AGENT,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        "securityContext.runAsUser",
    ),
    (
        "CreateContainerConfigError",
        'failed to prepare subPath for volumeMount "cache" of container "agent"',
        AGENT,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        "see volumeMounts",
    ),
    (
        "CreateContainerError",
        "cannot load seccomp profile",
        AGENT,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        "see securityContext",
    ),
    (
        "RunContainerError",
        'exec: "claude": executable file not found in $PATH',
        AGENT,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        "see command",
    ),
    (
        "PostStartHookError",
        "exit status 1",
        SIDECAR,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        "exit status 1",
    ),
    (
        "CreatePodSandboxError",
        "",
        AGENT,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        "CreatePodSandboxError",
    ),
    (
        "ReasonOfALaterKubelet",
        "",
        AGENT,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        "ReasonOfALaterKubelet",
    ),
    (
        "CrashLoopBackOff",
        "back-off 10s restarting failed container=db pod=p_team(u)",
        SIDECAR,
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        "kubectl logs r-task-0-abcde -c db",
    ),
]


@pytest.mark.parametrize(("why", "message", "name", "reason", "words"), CONTAINERS)
def test_a_container_that_cannot_start_is_named_with_what_to_change(
    why: str, message: str, name: str, reason: Reason, words: str
) -> None:
    found = pending_reason(job(), pod(waiting(why, message, name=name)), None)
    assert found.reason == reason
    assert words in found.message
    assert f"container {name}: {message or why}" in found.message


# Reason and message of a Warning Event, and the task's reason and words of its message.
EVENTS = [
    (
        "FailedCreate",
        'pods "p" is forbidden: no PriorityClass with name high was found',
        Reason.ADMISSION_DENIED,
        "see priorityClassName",
    ),
    (
        "FailedCreate",
        'pods "p" is forbidden: pod rejected: RuntimeClass "gvisor" not found',
        Reason.ADMISSION_DENIED,
        "see runtimeClassName",
    ),
    (
        "FailedCreate",
        "failed quota: q: must specify limits.cpu for: agent",
        Reason.QUOTA_EXCEEDED,
        "set resources (agent)",
    ),
    (
        "FailedCreate",
        "minimum cpu usage per Container is 500m, but request is 100m",
        Reason.QUOTA_EXCEEDED,
        "workspace.resources",
    ),
    (
        "FailedCreate",
        "maximum memory usage per Pod is 1Gi, but limit is 5Gi",
        Reason.QUOTA_EXCEEDED,
        "LimitRange",
    ),
    (
        "FailedCreate",
        "memory max limit to request ratio per Container is 2",
        Reason.QUOTA_EXCEEDED,
        "LimitRange",
    ),
    (
        "FailedCreate",
        "insufficient quota to match these scopes: [{PriorityClass In [high]}]",
        Reason.QUOTA_EXCEEDED,
        "scopes",
    ),
    (
        "FailedCreate",
        "status unknown for quota: q, resources: pods",
        Reason.QUOTA_EXCEEDED,
        "status unknown",
    ),
    (
        "FailedCreate",
        'serviceaccount "bot" not found',
        Reason.SERVICE_ACCOUNT_NOT_FOUND,
        "serviceAccountName",
    ),
    (
        "FailedCreate",
        'admission webhook "p.kyverno.svc" denied the request: \n\nblocked by:\n\nrequire-labels:\n  check: team',
        Reason.ADMISSION_DENIED,
        '"p.kyverno.svc" denied the request: blocked by: require-labels: check: team',
    ),
    (
        "FailedCreate",
        'Internal error occurred: failed calling webhook "m": timeout',
        Reason.ADMISSION_DENIED,
        "failed calling webhook",
    ),
    (
        "FailedMount",
        'MountVolume.SetUp failed for volume "s" : secrets "none" not found',
        Reason.CONTEXT_NOT_FOUND,
        '"none"',
    ),
    (
        "FailedMount",
        'MountVolume.SetUp failed for volume "v" : mount failed: exit status 32',
        Reason.VOLUME_NOT_READY,
        "exit status 32",
    ),
    (
        "FailedMount",
        "driver name smb.csi.k8s.io not found in the list of registered CSI drivers",
        Reason.VOLUME_NOT_READY,
        "smb.csi",
    ),
    ("FailedMountOnFilesystemMismatch", "fs", Reason.VOLUME_NOT_READY, "fs"),
    (
        "FailedAttachVolume",
        'Multi-Attach error for volume "pvc-1" Volume is already exclusively attached to one node',
        Reason.VOLUME_NOT_READY,
        "ReadWriteMany",
    ),
    ("FileSystemResizeFailed", "no space", Reason.VOLUME_NOT_READY, "no space"),
    ("ClaimLost", "Bound claim has lost its PersistentVolume", Reason.VOLUME_NOT_READY, "lost"),
    (
        "FailedCreatePodSandBox",
        'no runtime for "runsc" is configured',
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        "see runtimeClassName",
    ),
    (
        "NetworkNotReady",
        "network is not ready",
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        "network is not ready",
    ),
    ("FailedPostStartHook", "exit status 1", Reason.CREATE_CONTAINER_CONFIG_ERROR, "exit status 1"),
    (
        "Failed",
        "Error: container's runAsUser breaks non-root policy",
        Reason.CREATE_CONTAINER_CONFIG_ERROR,
        "securityContext.runAsUser",
    ),
    (
        "Unhealthy",
        "Startup probe failed: dial tcp 10.0.0.1:5432",
        Reason.STARTING,
        "sidecar has not started",
    ),
]


@pytest.mark.parametrize(("why", "message", "reason", "words"), EVENTS)
def test_an_event_that_explains_a_wait_says_what_to_change(
    why: str, message: str, reason: Reason, words: str
) -> None:
    found = from_event(why, f"Error creating: {message}" if why == "FailedCreate" else message)
    assert found is not None
    assert found.reason == reason
    assert words in found.message
    assert "\n" not in found.message


@pytest.mark.parametrize(
    ("why", "message"),
    [
        ("FailedToRetrieveImagePullSecret", "Unable to retrieve some image pull secrets (regcred)"),
        ("DNSConfigForming", "Search Line limits were exceeded"),
        ("Unhealthy", "Readiness probe failed: x"),
        ("TaintManagerEviction", "Marking for deletion"),
        ("NodeNotReady", "Node is not ready"),
    ],
)
def test_an_event_that_holds_nothing_up_is_no_reason(why: str, message: str) -> None:
    assert from_event(why, message) is None


# The scheduler's message, and the task's reason and words of its message.
UNSCHEDULED = [
    ("3 Insufficient nvidia.com/gpu", Reason.UNSCHEDULABLE, "see resources of the WorkspaceConfig"),
    (
        "1 Insufficient cpu, 2 node(s) had untolerated taint(s)",
        Reason.UNSCHEDULABLE,
        "see resources and tolerations",
    ),
    (
        "1 node(s) didn't match Pod's node affinity/selector",
        Reason.UNSCHEDULABLE,
        "see nodeSelector and affinity",
    ),
    ("2 node(s) didn't match pod anti-affinity rules", Reason.UNSCHEDULABLE, "see affinity"),
    ("1 node(s) were unschedulable", Reason.UNSCHEDULABLE, "were unschedulable"),
    ("1 Too many pods", Reason.UNSCHEDULABLE, "Too many pods"),
    ('persistentvolumeclaim "cache" not found', Reason.VOLUME_NOT_READY, "create the claim"),
    (
        "pod has unbound immediate PersistentVolumeClaims",
        Reason.VOLUME_NOT_READY,
        "kubectl describe pvc",
    ),
    (
        'persistentvolumeclaim "c" bound to non-existent persistentvolume "v"',
        Reason.VOLUME_NOT_READY,
        "kubectl describe pvc",
    ),
    ('persistentvolumeclaim "c" is being deleted', Reason.VOLUME_NOT_READY, "being deleted"),
    ("1 node(s) had volume node affinity conflict", Reason.VOLUME_NOT_READY, "conflict"),
    (
        "1 node(s) didn't match PersistentVolume's node affinity",
        Reason.VOLUME_NOT_READY,
        "affinity",
    ),
    (
        "1 node(s) didn't find available persistent volumes to bind",
        Reason.VOLUME_NOT_READY,
        "persistent volumes",
    ),
    (
        'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded',
        Reason.VOLUME_NOT_READY,
        "kubectl describe pvc",
    ),
    (
        "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
        Reason.VOLUME_NOT_READY,
        "ReadWriteMany",
    ),
    ("1 node(s) exceed max volume count", Reason.VOLUME_NOT_READY, "max volume count"),
    ("Scheduling is blocked due to non-empty scheduling gates", Reason.QUEUED, "scheduling gates"),
]


@pytest.mark.parametrize(("message", "reason", "words"), UNSCHEDULED)
def test_a_pod_without_a_node_says_what_it_waits_for(
    message: str, reason: Reason, words: str
) -> None:
    told = pending_reason(job(), pod(unschedulable=f"0/3 nodes are available: {message}."), None)
    assert told.reason == reason
    assert words in told.message
    assert told.message.startswith("Pod r-task-0-abcde: 0/3 nodes")


def test_what_to_change_is_told_however_much_the_cluster_says() -> None:
    found = pending_reason(
        job(), pod(waiting("ErrImagePull", "x" * 2000 + " 401 Unauthorized")), None
    )
    assert "see imagePullSecrets" in found.message
    assert len(found.message) < 512


def test_a_pod_that_its_node_turned_away_says_why_while_the_job_tries_again() -> None:
    gone = pod(phase="Failed", reason="OutOfcpu", message="Node didn't have enough resource: cpu")
    found = pending_reason(job(), gone, None)
    assert found.reason == Reason.STARTING
    assert "didn't have enough resource: cpu" in found.message


# Reading Events ------------------------------------------------------------------------------------


@pytest.fixture
async def cluster() -> Cluster:
    cluster = Cluster()
    cluster.run(tasks=5)
    await cluster.settle()
    # What was looked up so far is not used again.
    cluster.clock.passed += REFRESH
    cluster.requests.clear()
    return cluster


def uids(cluster: Cluster, count: int) -> list[str]:
    return [cluster.job(f"r-task-{i}")["metadata"]["uid"] for i in range(count)]


@pytest.mark.parametrize(("count", "lists"), [(1, 1), (2, 2), (5, 1)])
async def test_many_objects_are_explained_by_one_list(
    cluster: Cluster, count: int, lists: int
) -> None:
    for name in cluster.jobs():
        cluster.tell(name, "FailedCreate", "Error creating: exceeded quota: q")
    asked = uids(cluster, count)
    found = await cluster.context.lookup.explain("team", asked)
    assert {x: y.reason for x, y in found.items()} == dict.fromkeys(asked, Reason.QUOTA_EXCEEDED)
    assert len(cluster.sent("list", CORE_EVENTS)) == lists


async def test_an_answer_is_used_again_for_a_while(cluster: Cluster) -> None:
    asked = uids(cluster, 1)
    for passed in (0.0, REFRESH / 2, REFRESH / 2):
        cluster.clock.passed += passed
        assert await cluster.context.lookup.explain("team", asked) == {}
    assert len(cluster.sent("list", CORE_EVENTS)) == 2


async def test_the_latest_event_that_explains_something_counts(cluster: Cluster) -> None:
    cluster.tell("r-task-0", "FailedCreate", "exceeded quota: q")
    cluster.clock.passed += 5
    cluster.tell("r-task-0", "FailedCreate", "violates PodSecurity")
    cluster.clock.passed += 5
    cluster.tell("r-task-0", "Unrelated", "x")
    asked = uids(cluster, 1)
    found = await cluster.context.lookup.explain("team", asked)
    assert found[asked[0]].reason == Reason.ADMISSION_DENIED


async def test_why_a_mount_fails_goes_before_that_it_has_timed_out(cluster: Cluster) -> None:
    said = 'MountVolume.SetUp failed for volume "s" : secret "none" not found'
    cluster.tell("r-task-0", "FailedMount", said)
    cluster.clock.passed += 120
    later = "Unable to attach or mount volumes: unmounted volumes=[s]: timed out waiting for the condition"
    cluster.tell("r-task-0", "FailedMount", later)
    asked = uids(cluster, 1)
    found = await cluster.context.lookup.explain("team", asked)
    assert found[asked[0]].reason == Reason.CONTEXT_NOT_FOUND


async def test_an_event_of_a_container_names_it(cluster: Cluster) -> None:
    (uid,) = uids(cluster, 1)
    involved = {"kind": "Pod", "uid": uid, "fieldPath": "spec.initContainers{db}"}
    event = {
        "metadata": {"name": "probe"},
        "involvedObject": involved,
        "type": "Warning",
        "reason": "Unhealthy",
        "message": "Startup probe failed: connection refused",
        "lastTimestamp": at(0),
    }
    cluster.store(CORE_EVENTS, event)
    found = await cluster.context.lookup.explain("team", [uid])
    assert found[uid].message == (
        "sidecar db has not started: Startup probe failed: connection refused"
    )


async def test_events_that_cannot_be_read_are_an_error(cluster: Cluster) -> None:
    cluster.refuse("list", CORE_EVENTS, server_error())
    with pytest.raises(APIStatusError):
        await cluster.context.lookup.explain("team", uids(cluster, 1))


async def test_answers_do_not_pile_up(cluster: Cluster) -> None:
    for batch in range(3):
        asked = [f"u-{batch}-{i}" for i in range(2000)]
        await cluster.context.lookup.explain("team", asked)
        cluster.clock.passed += 2 * REFRESH
    await cluster.context.lookup.explain("team", ["u-last"])
    assert len(cluster.context.lookup._answers) == 1


async def test_a_thousand_owners_that_look_for_events_send_a_few_requests_a_second(
    cluster: Cluster,
) -> None:
    lookup = cluster.context.lookup
    for moment in range(100):
        for owner in range(10):
            await lookup.explain("team", [f"u-{moment}-{owner}"])
        cluster.clock.passed += 0.1
    assert len(cluster.sent("list", CORE_EVENTS)) <= LOOKUP_BURST + 10 * LOOKUPS_A_SECOND


async def test_namespaces_share_the_limit_and_each_is_served(cluster: Cluster) -> None:
    lookup = cluster.context.lookup
    for number in range(20):
        await lookup.explain(f"team-{number}", [f"u-{number}"])
    assert len(cluster.sent("list", CORE_EVENTS)) == LOOKUP_BURST
    waiting = [x for x in range(20) if lookup.due_in(f"team-{x}")]
    assert len(waiting) == 20 - LOOKUP_BURST
    cluster.clock.passed += lookup.due_in("team-19")
    for number in waiting:
        await lookup.explain(f"team-{number}", [f"u-{number}"])
        assert lookup.due_in(f"team-{number}") == 0.0
    assert len(cluster.sent("list", CORE_EVENTS)) == 20


async def test_what_waits_for_the_limit_is_looked_up_together_when_it_is_due(
    cluster: Cluster,
) -> None:
    for name in cluster.jobs():
        cluster.tell(name, "FailedCreate", "Error creating: exceeded quota: q")
    lookup = cluster.context.lookup
    for number in range(LOOKUP_BURST):
        await lookup.explain(f"other-{number}", [f"u-{number}"])
    cluster.requests.clear()
    asked = uids(cluster, 5)
    for uid in asked:
        assert await lookup.explain("team", [uid]) == {}
    assert cluster.sent("list", CORE_EVENTS) == []
    cluster.clock.passed += lookup.due_in("team")
    found = [await lookup.explain("team", [uid]) for uid in asked]
    assert [x[uid].reason for x, uid in zip(found, asked, strict=True)] == [
        Reason.QUOTA_EXCEEDED
    ] * 5
    assert len(cluster.sent("list", CORE_EVENTS)) == 1
    assert lookup.due_in("team") == 0.0


async def test_an_answer_counts_until_the_limit_admits_the_next_look_up(cluster: Cluster) -> None:
    cluster.tell("r-task-0", "FailedCreate", "Error creating: exceeded quota: q")
    asked, lookup = uids(cluster, 1), cluster.context.lookup
    before = await lookup.explain("team", asked)
    cluster.clock.passed += REFRESH
    for number in range(LOOKUP_BURST):
        await lookup.explain(f"other-{number}", [f"u-{number}"])
    cluster.requests.clear()
    assert await lookup.explain("team", asked) == before != {}
    assert cluster.sent("list", CORE_EVENTS) == []


async def test_owners_that_ask_at_the_same_time_share_one_look_up(cluster: Cluster) -> None:
    for name in cluster.jobs():
        cluster.tell(name, "FailedCreate", "Error creating: exceeded quota: q")
    asked, lookup = uids(cluster, 5), cluster.context.lookup
    found = await asyncio.gather(*(lookup.explain("team", asked) for _ in range(10)))
    assert all(len(x) == 5 for x in found)
    assert len(cluster.sent("list", CORE_EVENTS)) == 1


async def test_a_look_up_that_failed_is_sent_again(cluster: Cluster) -> None:
    cluster.tell("r-task-0", "FailedCreate", "Error creating: exceeded quota: q")
    cluster.refuse("list", CORE_EVENTS, server_error())
    asked, lookup = uids(cluster, 1), cluster.context.lookup
    with pytest.raises(APIStatusError):
        await lookup.explain("team", asked)
    assert len(await lookup.explain("team", asked)) == 1


async def test_a_job_that_had_a_pod_is_known_by_its_event_and_no_other_is(cluster: Cluster) -> None:
    cluster.tell("r-task-0", "SuccessfulCreate", "Created pod", type="Normal")
    cluster.tell("r-task-1", "SuccessfulCreate", "Created pod", type="Normal")
    cluster.tell("r-task-2", "FailedCreate", "exceeded quota")
    look = cluster.context.lookup.jobs_that_had_pods
    assert set(await look("team", {"r-task-0", "r-task-2"}, at(-60))) == {"r-task-0"}
    assert set(await look("team", {"r-task-1"}, at(-60))) == {"r-task-1"}
    # Events of an earlier object of that name do not count.
    assert await look("team", {"r-task-1"}, at(3600)) == {}
