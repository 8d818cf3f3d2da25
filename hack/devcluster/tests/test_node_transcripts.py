"""Every recording of a Pod on a real node, made again with processes: states, reasons, messages and Events are compared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from devcluster.apiserver.local import EVENTS, PERSISTENTVOLUMECLAIMS
from devcluster.images import ImageSpec
from devcluster.node.podsubresources import PodSubresources
from node_lab import CONFIGMAPS, NAMESPACE, PODS, SECRETS, NodeLab, load, open_lab

Object = dict[str, Any]

SPEED = 20.0
SLOW = 4.0
LIMIT_SECONDS = 40.0
AT_ONCE = 8
TIMES = (
    "lastTransitionTime",
    "lastProbeTime",
    "startTime",
    "startedAt",
    "finishedAt",
    "containerID",
    "imageID",
)
NOT_RECORDED = ("hostIP", "hostIPs", "podIP", "podIPs", "qosClass")
ALIKE = {
    # The text of a registry that cannot be found is the machine's; ours says that the image is not registered.
    'failed to resolve image: failed to do request: Head "https://registry.example.com/v2/local/nothing/manifests/1": '
    "dial tcp: lookup registry.example.com on 192.0.2.53:53: no such host": (
        "failed to resolve image: no such image is registered with the development cluster"
    ),
    'failed to resolve image: failed to do request: Head "https://registry-1.docker.io/v2/local/nothing/manifests/1": '
    "dial tcp: lookup registry-1.docker.io on 10.0.0.53:53: no such host": (
        "failed to resolve image: no such image is registered with the development cluster"
    ),
    " to node-1": " to node1",
    # The runc of that recording puts it so.
    "unable to start container process: error during container init: ": "unable to start container process: ",
}
IMAGES = {
    "docker.io/local/agent:1": ImageSpec(),
    "docker.io/local/named-user:1": ImageSpec(user="games"),
}
CASES = [case for case in (*load("pods.jsonl"), *load("pods-with-init.jsonl")) if case["pod_watch"]]


def first_pod(case: Object) -> str:
    return str(case["pod_watch"][0]["name"])


def states_of(case: Object) -> list[Object]:
    """The distinct states that were recorded of a case's first Pod."""
    return distinct(
        event["status"] for event in case["pod_watch"] if event["name"] == first_pod(case)
    )


def distinct(statuses: Any) -> list[Object]:
    states: list[Object] = []
    for status in statuses:
        state = timeless({key: value for key, value in status.items() if key not in NOT_RECORDED})
        if not states or states[-1] != state:
            states.append(state)
    return states


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(each) for key, each in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [timeless(each) for each in value]
    if isinstance(value, str):
        for theirs, ours in ALIKE.items():
            value = value.replace(theirs, ours)
    return value


def events_of(case: Object) -> list[tuple[str, str, str, str]]:
    return [
        (each["type"], each["reason"], timeless(each["message"]), each["source"])
        for each in case["events"]
        if each["object"] == f"Pod/{first_pod(case)}"
    ]


class Again:
    """One case, made again in a namespace of its own."""

    def __init__(self, lab: NodeLab, case: Object, number: int) -> None:
        self.lab = lab
        self.case = case
        self.namespace = f"{NAMESPACE}{number}"
        self.name = first_pod(case)
        self.seen: list[Object] = []
        self.uid = ""
        self.log: tuple[int, str] = (0, "")
        self._written = asyncio.Event()

    async def play(self, turn: asyncio.Semaphore) -> None:
        async with turn:
            await self._play()

    async def _play(self) -> None:
        self._prepare()
        self.lab.registry.after_write.append(self._see_write)
        self._create()
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await self._people()
                await self._until(self._complete)
                await self._await_end()
        except TimeoutError:
            pass  # the comparison shows the missing entries
        self.log = await self.lab.get_log(self.name, self.namespace)

    def _prepare(self) -> None:
        self.lab.namespace(self.namespace)
        root_ca = {"ca.crt": "certificate"}
        self.lab.create(CONFIGMAPS, "kube-root-ca.crt", self.namespace, data=root_ca)
        self.lab.create(SECRETS, "s", self.namespace, data={"a": "aGVsbG8="})
        if self.case["note"] == "claim that no class provisions":
            spec = {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Gi"}},
                "storageClassName": "",
            }
            kind = "PersistentVolumeClaim"
            self.lab.create(PERSISTENTVOLUMECLAIMS, "w", self.namespace, kind=kind, spec=spec)

    def _create(self) -> None:
        template = patient(self.case)
        metadata = dict(template["metadata"])
        if self.case["note"] == "running agent's Pod deleted by force":
            metadata["finalizers"] = ["example.com/kept"]  # the Job controller's, in the recording
        made = self.lab.create(
            PODS, self.name, self.namespace, metadata=metadata, spec=template["spec"]
        )
        self.uid = made["metadata"]["uid"]

    async def _until(self, condition: Callable[[], Any]) -> None:
        """Look again after each write in the case's namespace."""
        while not condition():
            self._written.clear()
            await self._written.wait()

    def _see_write(self, info: Any, new: Object | None, old: Object | None) -> None:
        if (new or old or {})["metadata"].get("namespace") != self.namespace:
            return
        if info.plural == "pods" and new is not None:
            self.seen.append(new)
        self._written.set()

    async def _await_end(self) -> None:
        """Until the Pod is removed, where it was."""
        where = (PODS, self.namespace, self.name)
        if self.case["log_at_the_end"][0] == 404:
            await self._until(lambda: self.lab.client.find(*where) is None)

    def _complete(self) -> bool:
        """Whether as many states were seen as were recorded, or the Pod has ended."""
        if len(self.states) < len(states_of(self.case)):
            return False
        return len(self.events) >= len(events_of(self.case))

    @property
    def states(self) -> list[Object]:
        return distinct(self._as_recorded(each.get("status") or {}) for each in self.seen)

    @property
    def events(self) -> list[tuple[str, str, str, str]]:
        every = self.lab.client.list(EVENTS, self.namespace)
        found = [each for each in every if each["involvedObject"]["name"] == self.name]
        found.sort(key=lambda each: int(each["metadata"]["name"].rpartition(".")[2], 16))
        return [
            (
                each["type"],
                each["reason"],
                self._as_recorded(each["message"]),
                each["source"]["component"],
            )
            for each in found
        ]

    def _as_recorded(self, value: Any) -> Any:
        """Names of this run as the recording has them."""
        if isinstance(value, dict):
            return {key: self._as_recorded(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._as_recorded(each) for each in value]
        if isinstance(value, str):
            return value.replace(self.uid, recorded_uid(self.case)).replace(
                self.namespace, NAMESPACE
            )
        return value

    # --- requests of a person, or of controllers, while a recording ran

    async def _people(self) -> None:
        note, client = self.case["note"], self.lab.client
        where = (PODS, self.namespace, self.name)
        if note == "the missing ConfigMap appears after 6 s":
            await self._until(lambda: self.events[1:])
            self.lab.create(CONFIGMAPS, "late", self.namespace, data={"a": "hello"})
        elif note == "init container done, the agent's Secret appears after 8 s":
            await self._until(lambda: any(each[1] == "Failed" for each in self.events))
            self.lab.create(SECRETS, "none", self.namespace, data={"a": "Yg=="})
        elif note == "running agent's Pod deleted by force":
            await self._after_start(0.3)
            client.delete(*where, grace_period_seconds=0)
            await self._until(lambda: self.seen[-1]["status"]["observedGeneration"] == 2)
            client.patch(*where, {"metadata": {"finalizers": None}})
        elif note.startswith(("agent evicted", "evicted, ")):
            await self._after_start(0.3)
            PodSubresources(self.lab.registry).evict(self.namespace, self.name)
        elif "activeDeadlineSeconds is set to 1" in note:
            await self._after_start(2.0)
            client.patch(*where, {"spec": {"activeDeadlineSeconds": 1}})
        elif note in ("Pod deleted by hand while it runs", "activeDeadlineSeconds 3 on the Job"):
            await self._after_start(0.3)
            client.delete(*where)
        elif note.startswith(("Job suspended while", "Job deleted")):
            await self._after_start(1.5)
            client.delete(*where)
        elif "evicted through the API" in note:
            await self._after_start(0.3)
            PodSubresources(self.lab.registry).evict(self.namespace, self.name)

    async def _after_start(self, seconds: float) -> None:
        await self._until(lambda: self.seen and self.seen[-1]["status"]["phase"] == "Running")
        await asyncio.sleep(seconds)


def recorded_uid(case: Object) -> str:
    """The uid of the Pod in the messages of a recording."""
    text = str(case)
    at = text.find(f"{first_pod(case)}_{NAMESPACE}(")
    return text[at:].split("(", 1)[1].split(")", 1)[0] if at >= 0 else "the Pod's uid"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Again]:
    """All cases, made again at the same time."""

    async def play() -> dict[str, Again]:
        folder: Path = tmp_path_factory.mktemp("node")
        async with (
            open_lab(folder / "fast", speed=SPEED) as fast,
            open_lab(folder / "slow", speed=SLOW) as slow,
        ):
            for name, image in IMAGES.items():
                fast.images.register(name, image)
                slow.images.register(name, image)
            every = [
                Again(slow if waits(case) else fast, case, number)
                for number, case in enumerate(CASES)
            ]
            turn = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*(each.play(turn) for each in every))
            return {each.case["note"]: each for each in every}

    return asyncio.run(play())


def patient(case: Object) -> Object:
    """The template, with time for a busy machine where an agent that works is ended from outside."""
    template = case["job"]["spec"]["template"]
    text = json.dumps(template)
    for recorded, played in (
        ("sleep 8", "sleep 60"),
        ("sleep 12 ", "sleep 60 "),
        ('sleep 3"', 'sleep 1"'),
    ):
        text = text.replace(recorded, played)
    return json.loads(text)


def waits(case: Object) -> bool:
    """Whether the recording ends before the kubelet tries a container again, so that there must be time to look."""
    note = case["note"]
    return bool(note.startswith("init container done") or "image runs as root" in note)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["note"])
def test_a_pod_passes_through_the_recorded_states(case: Object, played: dict[str, Again]) -> None:
    expected = states_of(case)
    assert played[case["note"]].states[: len(expected)] == expected


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["note"])
def test_a_pod_gets_the_recorded_events(case: Object, played: dict[str, Again]) -> None:
    assert played[case["note"]].events == events_of(case)


# The log was requested of a later Pod, or of one that the Job controller had removed.
OTHER_LOG = (
    "Job suspended while its Pod runs, resumed later",
    "agent evicted through the API after its init container, podFailurePolicy ignores DisruptionTarget",
    "agent evicted three times, podFailurePolicy ignores DisruptionTarget",
    "evicted, and the replacement finds no node; later its activeDeadlineSeconds is set to 1",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [each for each in CASES if each["note"] not in OTHER_LOG], ids=lambda case: case["note"]
)
def test_the_log_is_answered_as_recorded(case: Object, played: dict[str, Again]) -> None:
    code, text = case["log_at_the_end"]
    got_code, got_text = played[case["note"]].log
    # A container's two streams are two pipes: in which order their lines are read is chance, here as on a real node.
    assert (got_code, sorted(got_text.splitlines(True))) == (code, sorted(text.splitlines(True)))
