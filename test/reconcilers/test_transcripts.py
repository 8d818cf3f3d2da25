"""Every way in which a real kubelet let a task's Pod go, replayed state by state: what the user is shown."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kubetask_controller.api.constants import Phase, Reason
from kubetask_controller.reconcilers.projections import project_job, project_pod
from kubetask_controller.reconcilers.taskrun.pending_reasons import PendingReason, from_event
from kubetask_controller.reconcilers.taskrun.state import (
    Action,
    Decision,
    Needs,
    TaskFacts,
    TaskRules,
    TaskState,
    decide,
)

TRANSCRIPTS = Path(__file__).parents[2] / "hack" / "devcluster" / "tests" / "transcripts"
CANCEL = TaskRules(halt=PendingReason(Reason.CANCELLED, "cancelled"), cancel=True)
LATER = 60.0
"""Seconds after the recording at which the task is looked at once more, with what its Events say."""

Json = dict[str, Any]


@cache
def scenarios(name: str) -> dict[str, Json]:
    lines = (TRANSCRIPTS / name).read_text().splitlines()
    return {x["note"]: x for x in map(json.loads, lines)}


START, RUN = "Pending/Starting", "Running/TaskRunning"
DONE = f"{START} > {RUN} > Succeeded/TaskSucceeded"


def waits(reason: str) -> str:
    return f"{START} > Pending/{reason}"


def fails(reason: str) -> str:
    return f"{START} > {RUN} > Failed/{reason}"


# The note of a recording: the way of the task, and words of its last message.
EXPECTED = {
    "pods.jsonl": {
        "success with a termination message": (DONE, "3 files changed"),
        "exit code 3": (fails("AgentError"), "exit code 3"),
        "exit code 3, terminationMessagePolicy FallbackToLogsOnError": (
            fails("AgentError"),
            "exit code 3: boom",
        ),
        "termination message of 6000 bytes": (DONE, "xxx"),
        "out of memory (limit 40Mi)": (fails("OOMKilled"), "resources.limits.memory"),
        "image that does not exist": (waits("ImagePullBackOff"), "registry.example.com/nothing:1"),
        "image with imagePullPolicy Never that is not there": (
            waits("ImagePullBackOff"),
            "is not present",
        ),
        "image name that is invalid": (waits("InvalidImageName"), "couldn't parse image"),
        "command that is not in the image": (
            f"{START} > Failed/AgentError",
            "the agent could not be started",
        ),
        "env from a Secret key that is missing (Secret exists)": (
            waits("ContextNotFound"),
            "key nope in Secret",
        ),
        "env from a Secret that is missing": (waits("ContextNotFound"), "not found"),
        "projected volume from a ConfigMap that is missing": (
            waits("ContextNotFound"),
            'configmap "none" not found',
        ),
        "projected volume from a ConfigMap key that is missing": (
            waits("ContextNotFound"),
            "non-existent config key",
        ),
        "projected volume from a Secret that is missing": (
            waits("ContextNotFound"),
            'secret "none" not found',
        ),
        "projected volume from a ConfigMap that is missing but optional": (DONE, ""),
        "the missing ConfigMap appears after 6 s": (DONE, ""),
        "persistent volume claim that does not exist": (
            waits("VolumeNotReady"),
            'persistentvolumeclaim "kubetask-workspace" not found',
        ),
        "runAsNonRoot with an image that runs as root": (
            waits("CreateContainerConfigError"),
            "securityContext.runAsUser",
        ),
        "restricted security context, arbitrary uid, read-only root": (DONE, ""),
        "no node fits a nodeSelector": (waits("Unschedulable"), "node affinity/selector"),
        "no node has the memory asked for": (waits("Unschedulable"), "Insufficient memory"),
        "ServiceAccount that does not exist": (
            waits("ServiceAccountNotFound"),
            'serviceaccount "kubetask-agent" not found',
        ),
        "ServiceAccount appears after 5 s": (DONE, ""),
        "namespace enforces the restricted Pod Security Standard": (
            waits("AdmissionDenied"),
            "PodSecurity",
        ),
        "quota of zero Pods": (waits("QuotaExceeded"), "exceeded quota: q"),
        "activeDeadlineSeconds 3 on the Pod template": (fails("TimedOut"), "longer than 3 s"),
        "activeDeadlineSeconds 3 on the Job": (
            fails("TimedOut"),
            "the agent ran too long",
        ),
        "a running Pod's activeDeadlineSeconds is set to 1": (fails("Cancelled"), "user's request"),
        "a running Pod's activeDeadlineSeconds is set to 1, the agent ignores TERM": (
            fails("Cancelled"),
            "user's request",
        ),
        "Job suspended while its Pod runs, resumed later": (
            fails("Disrupted"),
            "its Job was suspended while the agent ran",
        ),
        "Job deleted in the background while its Pod runs": (fails("JobLost"), "was deleted"),
        "Pod deleted by hand while it runs": (
            fails("AgentError"),
            "was deleted while the agent ran",
        ),
        # The agent used its grace period, and ended by itself.
        "Pod evicted through the API, no podFailurePolicy": (DONE, ""),
        "Pod evicted through the API, podFailurePolicy ignores DisruptionTarget": (DONE, ""),
        "backoffLimit 2, every try fails": (
            f"{f'{START} > {RUN} > ' * 3}{START} > Failed/AgentError",
            "exit code 1",
        ),
        "init container succeeds": (DONE, ""),
        "init container fails with a message": (
            f"{START} > Failed/WorkspaceError",
            "fatal: repository not found",
        ),
    },
    "pods-with-init.jsonl": {
        "init container done, then the agent's image does not exist": (
            waits("ImagePullBackOff"),
            "container agent: Back-off pulling",
        ),
        "init container done, then the agent's Secret for env is missing": (
            waits("ContextNotFound"),
            'secret "none" not found',
        ),
        "init container done, the agent's Secret appears after 8 s": (
            f"{waits('ContextNotFound')} > {RUN} > Succeeded/TaskSucceeded",
            "done",
        ),
        "init container done, the agent's image has a named user under runAsNonRoot": (
            waits("CreateContainerConfigError"),
            "securityContext.runAsUser",
        ),
        "init container done, the agent's command is not in the image": (
            f"{START} > Failed/AgentError",
            "the agent could not be started",
        ),
        "init container runs when the Pod's activeDeadlineSeconds passes": (
            f"{START} > Failed/TimedOut",
            "the preparation of the workspace ran longer than 4 s",
        ),
        "init container is killed for memory": (
            f"{START} > Failed/OOMKilled",
            "workspace.resources.limits.memory",
        ),
        "agent's activeDeadlineSeconds passes after a slow init container (deadline 6 s, init 3 s)": (
            fails("TimedOut"),
            "the agent ran longer than 6 s",
        ),
        "native sidecar first, agent succeeds": (DONE, "3 files changed"),
        "native sidecar first, init container fails": (
            f"{START} > Failed/WorkspaceError",
            "fatal: repository not found",
        ),
        "native sidecar that ignores TERM, agent succeeds": (DONE, "3 files changed"),
        "agent evicted through the API after its init container, podFailurePolicy ignores DisruptionTarget": (
            f"{START} > {RUN} > {DONE}",
            "",
        ),
        "agent evicted three times, podFailurePolicy ignores DisruptionTarget": (
            f"{f'{START} > {RUN} > ' * 2}{START} > {RUN}",
            "",
        ),
        "agent evicted, podFailurePolicy FailJob on DisruptionTarget": (
            fails("Disrupted"),
            "EvictionByEvictionAPI while the agent ran",
        ),
        "running agent's Pod deleted by force": (
            fails("AgentError"),
            "was deleted while the agent ran",
        ),
        "quota on cpu and memory: init container without resources, agent with": (
            waits("QuotaExceeded"),
            "must specify limits.cpu for: workspace",
        ),
        "quota on cpu is used up, later there is room": (DONE, "3 files changed"),
        "LimitRange with a maximum below what is asked for": (
            waits("QuotaExceeded"),
            "maximum memory usage per Container",
        ),
        "claim that no class provisions": (
            waits("VolumeNotReady"),
            "unbound immediate PersistentVolumeClaims",
        ),
        "restricted namespace, Pod says runAsNonRoot, agent's image runs as root": (
            waits("CreateContainerConfigError"),
            "securityContext.runAsUser",
        ),
        "Job suspended before it has a Pod, then resumed": (
            f"{waits('Queued')} > {DONE}",
            "3 files changed",
        ),
        "Job suspended while the agent runs after its init container, stays suspended": (
            fails("Disrupted"),
            "its Job was suspended",
        ),
        "sidecar that runs on after the agent succeeded, then the Pod's deadline of 10 s": (
            DONE,
            "3 files changed",
        ),
        "sidecar runs on after the agent failed": (fails("AgentError"), "exit code 3"),
        "sidecar fails, agent succeeds": (DONE, "3 files changed"),
        "evicted, and the replacement finds no node; later its activeDeadlineSeconds is set to 1": (
            f"{START} > {RUN} > {waits('Unschedulable')} > {START} > Failed/TimedOut",
            "the preparation of the workspace ran longer than 1 s",
        ),
    },
}


class Replay(NamedTuple):
    """What a task went through: its states as shown, one after another without repetition, and the last decision."""

    path: list[tuple[Phase, str]]
    last: Decision
    actions: set[Action]

    @property
    def state(self) -> TaskState:
        assert self.last.state is not None
        return self.last.state

    def told(self) -> str:
        """The way as one line: ``Pending/Starting > Running/TaskRunning > …``."""
        return " > ".join(f"{phase}/{reason}" for phase, reason in self.path)


def replay(scenario: Json, rules: TaskRules = TaskRules()) -> Replay:  # noqa: B008
    """Show each state to ``decide`` in the order in which the API server wrote it; each live read shows the same."""
    spec, changes = scenario["job"]["spec"], []
    changes += [("job", x) for x in scenario["job_watch"]]
    changes += [("pod", x) for x in scenario["pod_watch"]]
    changes.sort(key=lambda x: int(x[1]["resourceVersion"]))
    begin, first = _begin(scenario), {}
    for _, entry in changes:
        first.setdefault(entry["name"], begin + timedelta(seconds=entry["at"]))
    job: Any = None
    pods: dict[str, Any] = {}
    gone: dict[str, Any] = {}
    known, decision = None, Decision(None)
    path: list[tuple[Phase, str]] = []
    actions: set[Action] = set()
    ended_at = None

    def look(seconds: float, event: PendingReason | None = None) -> Decision:
        live = [x for x in pods.values() if x.agent and x.agent.state == "terminated"]
        nonlocal ended_at
        runs_on = any(not x.terminal for x in live)
        ended_at = (seconds if ended_at is None else ended_at) if runs_on else None
        facts = TaskFacts(
            job=job if job and job.name not in gone else None,
            now=begin + timedelta(seconds=seconds),
            pods=tuple(pods.values()),
            deleted_job=gone.get(job.name),
            deleted_pods=tuple(x for name, x in gone.items() if name != job.name),
            created=True,
            event=event,
            ended_for=seconds - ended_at if ended_at is not None else 0.0,
        )
        decision = decide(job.name, known, facts, rules, None)
        if decision.needs is Needs.NOTHING:
            return decision
        verified = replace(facts, job_verified=True, pods_verified=decision.needs is Needs.PODS)
        return decide(job.name, known, verified, rules, None)

    for kind, entry in [*changes, ("end", {"at": (changes[-1][1]["at"]) + LATER})]:
        event = None
        if kind == "job":
            job = project_job(_object(entry, spec, first[entry["name"]]))
            if entry["type"] == "DELETED":
                gone[job.name] = job
        elif kind == "pod":
            pod = project_pod(_object(entry, spec, first[entry["name"]]))
            (gone if entry["type"] == "DELETED" else pods)[pod.name] = pod
            if entry["type"] == "DELETED":
                pods.pop(pod.name, None)
        else:
            event = _event(scenario, bool(pods))
        decision = look(entry["at"], event)
        actions.add(decision.action)
        known = decision.state
        assert known is not None
        if not path or path[-1] != (known.phase, known.reason):
            path.append((known.phase, known.reason))
    return Replay(path, decision, actions)


def _begin(scenario: Json) -> datetime:
    times = [x["status"].get("startTime") for x in scenario["job_watch"]]
    text = next((x for x in times if x), "2026-11-27T08:00:00Z")
    return datetime.fromisoformat(text).astimezone(UTC)


def _event(scenario: Json, has_pods: bool) -> PendingReason | None:
    """What the Warning Events of the recording say of what is silent."""
    told = None
    for event in scenario["events"]:
        if event["type"] == "Warning" and event["object"].startswith(
            "Pod/" if has_pods else "Job/"
        ):
            told = from_event(event["reason"], event["message"]) or told
    return told


def _object(entry: Json, job_spec: Json, created: datetime) -> Json:
    status = entry["status"]
    metadata = {
        "namespace": "case",
        "name": entry["name"],
        "uid": f"uid-of-{entry['name']}",
        "resourceVersion": entry["resourceVersion"],
        "creationTimestamp": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "ownerReferences": [],
    }
    if entry.get("deletionTimestamp") or entry["type"] == "DELETED":
        metadata["deletionTimestamp"] = "2026-11-27T08:00:00Z"
    conditions = {x["type"]: x["status"] for x in status.get("conditions", ())}
    spec: Json = {"backoffLimit": job_spec.get("backoffLimit", 6)}
    spec["suspend"] = conditions.get("Suspended") == "True"
    if conditions.get("PodScheduled") == "True":
        spec["nodeName"] = "node1"
    if "spec.activeDeadlineSeconds" in entry:
        spec["activeDeadlineSeconds"] = entry["spec.activeDeadlineSeconds"]
    elif status.get("reason") == "DeadlineExceeded":
        spec["activeDeadlineSeconds"] = job_spec["template"]["spec"].get("activeDeadlineSeconds", 1)
    return {"metadata": metadata, "spec": spec, "status": status}


ALL = [(file, note) for file, notes in EXPECTED.items() for note in notes]
every_recording = pytest.mark.parametrize(("file", "note"), ALL, ids=[x[1] for x in ALL])


@cache
def recorded(file: str, note: str) -> Replay:
    cancelled = file == "pods.jsonl" and "activeDeadlineSeconds is set to 1" in note
    return replay(scenarios(file)[note], CANCEL if cancelled else TaskRules())


@pytest.mark.parametrize("file", EXPECTED)
def test_every_recorded_scenario_has_an_expectation(file: str) -> None:
    assert set(scenarios(file)) == set(EXPECTED[file])


@every_recording
def test_a_task_shows_what_happened_to_its_pod_in_each_state_and_at_the_end(
    file: str, note: str
) -> None:
    found = recorded(file, note)
    way, words = EXPECTED[file][note]
    assert found.told() == way
    assert words in found.state.message
    assert "\n" not in found.state.message


@every_recording
def test_a_start_is_that_of_the_agent_and_an_attempt_counts_once(file: str, note: str) -> None:
    found = recorded(file, note)
    ran = found.told().count(RUN)
    assert bool(found.state.start_time) == (ran > 0)
    assert found.state.attempts == ran


@every_recording
def test_an_end_and_nothing_else_has_a_completion_time(file: str, note: str) -> None:
    state = recorded(file, note).state
    assert bool(state.completion_time) == state.final


def test_a_pod_that_a_sidecar_keeps_is_ended_after_its_grace() -> None:
    found = recorded("pods-with-init.jsonl", "sidecar runs on after the agent failed")
    assert found.last.action is Action.END


def test_a_cancelled_task_ends_its_running_pod() -> None:
    found = recorded("pods.jsonl", "a running Pod's activeDeadlineSeconds is set to 1")
    assert Action.END in found.actions
