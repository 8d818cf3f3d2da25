"""How containers are run: program, environment, identity, limits, ends and restarts."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from devcluster.images import ImageSpec
from node_lab import CONFIGMAPS, IMAGE, NAMESPACE, PODS, SECRETS, NodeLab, open_lab, state_of

Object = dict[str, Any]
ROOT_HOME = pwd.getpwuid(0).pw_dir
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="other uids can be had by root only")


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[NodeLab]:
    async with open_lab(tmp_path, api=("127.0.0.1", 6443)) as lab:
        yield lab


@pytest.fixture
def foreign_mount(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A mount of the machine, such as a kubelet makes."""
    foreign = tmp_path_factory.mktemp("foreign") / "kubelet"
    foreign.mkdir()
    mount = ["mount", "-t", "tmpfs", "none", str(foreign)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this machine does not let root mount")
    yield foreign
    subprocess.run(["umount", "--lazy", str(foreign)], check=True)


# --- program and image


async def test_without_a_command_the_images_entrypoint_is_run(lab: NodeLab, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "agent"
    program.write_text('#!/bin/sh\necho "$0 $*" in $PWD with $GREETING\n')
    program.chmod(0o755)
    spec = ImageSpec(
        entrypoint=["agent"],
        cmd=["default"],
        env={"GREETING": "hello"},
        path=[str(program.parent)],
        working_dir="/usr",
    )
    lab.images.register("quay.io/myorg/claude-agent:v1.0", spec)
    image = "quay.io/myorg/claude-agent:v1.0"
    assert await lab.output("a", "", image=image) == f"{program} default in /usr with hello\n"
    assert await lab.output(
        "b", "", image=image, args=["$(X)", "$$(X)"], env=[{"name": "X", "value": "1"}]
    ) == (f"{program} 1 $(X) in /usr with hello\n")
    lab.run("c", image=image, command=["agent", "own"], workingDir="/new/folder")
    pod = await lab.ended("c")
    assert lab.log(pod) == f"{program} own in /new/folder with hello\n"


async def test_a_volume_above_an_images_programs_does_not_hide_them(
    lab: NodeLab, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "agent"
    program.write_text("#!/bin/sh\nls -A $1 && touch $1/mine && echo written\n")
    program.chmod(0o755)
    spec = ImageSpec(entrypoint=["agent"], path=[str(program.parent)])
    lab.images.register("quay.io/myorg/claude-agent:v1.0", spec)
    lab.run(
        "p",
        image="quay.io/myorg/claude-agent:v1.0",
        args=[str(tmp_path)],
        pod={"volumes": [{"name": "tmp", "emptyDir": {}}]},
        volumeMounts=[{"name": "tmp", "mountPath": str(tmp_path)}],
    )
    assert lab.log(await lab.ended("p")) == "bin\nwritten\n"
    assert not (tmp_path / "mine").exists()


async def test_a_pod_starts_when_its_image_becomes_known(lab: NodeLab) -> None:
    lab.run("p", "true", image="ghcr.io/late/agent")
    await lab.waiting("p", "ImagePullBackOff")
    lab.images.register("ghcr.io/late/agent:latest", ImageSpec())
    pod = await lab.ended("p")
    assert pod["status"]["phase"] == "Succeeded"
    assert "Pulled" in [reason for reason, _ in lab.events("p")]


async def test_a_program_that_is_not_in_path_fails_the_start(lab: NodeLab) -> None:
    lab.run("p", command=["no-such-program"])
    pod = await lab.ended("p")
    state = state_of(pod)["terminated"]
    assert (state["reason"], state["exitCode"]) == ("StartError", 128)
    assert state["message"].endswith('exec: "no-such-program": executable file not found in $PATH')


# --- environment


async def test_variables_come_from_the_pod_its_resources_config_maps_and_secrets(
    lab: NodeLab,
) -> None:
    lab.create(CONFIGMAPS, "c", data={"KEY": "of c", "OTHER": "x"})
    lab.create(SECRETS, "s", data={"KEY": "b2YgcyQoQSk="})

    def field(path: str) -> Object:
        return {"fieldRef": {"fieldPath": path}}

    def resource(name: str) -> Object:
        return {"resourceFieldRef": {"resource": name, "divisor": "1Mi"}}

    values: dict[str, Any] = {
        "A": "one",
        "B": "$(A) $(KEY) $(KUBERNETES_SERVICE_PORT) $(NONE) $$(A)",
        "NAME": field("metadata.name"),
        "UID": field("metadata.uid"),
        "LABEL": field("metadata.labels['x/y']"),
        "NODE": field("spec.nodeName"),
        "IP": field("status.podIP"),
        "LIMIT": resource("limits.memory"),
        "FROM_S": {"secretKeyRef": {"name": "s", "key": "KEY"}},
        "FROM_C": {"configMapKeyRef": {"name": "c", "key": "none", "optional": True}},
    }
    env = [
        {"name": name, "value": value}
        if isinstance(value, str)
        else {"name": name, "valueFrom": value}
        for name, value in values.items()
    ]
    sources = [
        {"configMapRef": {"name": "c"}},
        {"secretRef": {"name": "s"}, "prefix": "S_"},
        {"secretRef": {"name": "none", "optional": True}},
    ]
    names = " ".join(
        [*values, "KEY", "OTHER", "S_KEY", "HOSTNAME", "KUBERNETES_SERVICE_HOST", "HOME"]
    )
    made = lab.run(
        "p",
        f"for n in {names}; do eval echo $n=\\${{$n-unset}}; done",
        pod={"metadata": {"labels": {"x/y": "z"}}},
        env=env,
        envFrom=sources,
        resources={"limits": {"memory": "64Mi"}},
    )
    pod = await lab.ended("p")
    got = dict(line.split("=", 1) for line in lab.log(pod).splitlines())
    assert got == {
        "A": "one",
        "B": "one of c 6443 $(NONE) $(A)",
        "NAME": "p",
        "UID": made["metadata"]["uid"],
        "LABEL": "z",
        "NODE": "node1",
        "IP": pod["status"]["podIP"],
        "LIMIT": "64",
        "FROM_S": "of s$(A)",
        "FROM_C": "unset",
        "KEY": "of c",
        "OTHER": "x",
        "S_KEY": "of s$(A)",
        "HOSTNAME": "p",
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "HOME": ROOT_HOME,
    }


async def test_a_container_starts_when_its_missing_secret_appears(lab: NodeLab) -> None:
    env = [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "late", "key": "a"}}}]
    lab.run("p", "echo $T", env=env)
    pod = await lab.waiting("p", "CreateContainerConfigError")
    assert state_of(pod)["waiting"]["message"] == 'secret "late" not found'
    lab.create(SECRETS, "late", data={"a": "aGVsbG8="})
    assert lab.log(await lab.ended("p")) == "hello\n"


# --- identity


@as_root
async def test_a_container_runs_as_whom_its_security_contexts_say(lab: NodeLab) -> None:
    pod = {"securityContext": {"runAsUser": 4321, "runAsGroup": 55, "supplementalGroups": [66]}}
    own = {
        "runAsUser": 1234,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    script = (
        "id -u; id -g; id -G; echo $HOME; touch /tmp/x 2>&- || echo read-only; "
        "grep -E 'CapBnd|NoNewPrivs' /proc/self/status"
    )
    text = await lab.output("p", script, pod=pod, securityContext=own)
    lines = text.splitlines()
    assert lines[:5] == ["1234", "55", "55 66", "/", "read-only"]
    assert set(lines[5:]) == {"CapBnd:\t0000000000000000", "NoNewPrivs:\t1"}


async def test_a_volume_at_a_folder_of_a_read_only_root_takes_writes(lab: NodeLab) -> None:
    pod = {"volumes": [{"name": "tmp", "emptyDir": {}}]}
    text = await lab.output(
        "p",
        "touch /tmp/x && echo written; touch /etc/x 2>&- || echo read-only",
        pod=pod,
        volumeMounts=[{"name": "tmp", "mountPath": "/tmp"}],
        securityContext={"readOnlyRootFilesystem": True},
    )
    assert text == "written\nread-only\n"


@as_root
async def test_mounts_of_the_machine_that_a_volume_hides_do_not_stop_a_read_only_root(
    lab: NodeLab, foreign_mount: Path
) -> None:
    folder = foreign_mount.parent
    text = await lab.output(
        "p",
        f"touch {folder}/x && echo written; touch /etc/x 2>&- || echo read-only",
        pod={"volumes": [{"name": "tmp", "emptyDir": {}}]},
        volumeMounts=[{"name": "tmp", "mountPath": str(folder)}],
        securityContext={"readOnlyRootFilesystem": True},
    )
    assert text == "written\nread-only\n"


@as_root
@pytest.mark.parametrize("read_only", [True, False])
async def test_a_program_below_a_folder_of_mode_0700_is_run_by_every_user(
    lab: NodeLab, tmp_path: Path, read_only: bool
) -> None:
    private = tmp_path / "private"
    (private / "checkout" / "bin").mkdir(parents=True)
    (private / "other").mkdir()
    private.chmod(0o700)
    program = private / "checkout" / "bin" / "agent"
    program.write_text(f"#!/bin/sh\nls {private}; touch {private}/x 2>&- || echo refused\n")
    program.chmod(0o755)
    spec = ImageSpec(entrypoint=["agent"], path=[str(program.parent)], user="1000")
    lab.images.register("quay.io/x/y:1", spec)
    own = {"readOnlyRootFilesystem": read_only}
    text = await lab.output("p", "", image="quay.io/x/y:1", securityContext=own)
    assert text == "checkout\nrefused\n"


@as_root
async def test_the_images_user_counts_where_no_context_names_one(lab: NodeLab) -> None:
    lab.images.register("quay.io/x/y:1", ImageSpec(user="1000:2000"))
    context = {"securityContext": {"runAsNonRoot": True}}
    assert (
        await lab.output("p", "id -u; id -g", image="quay.io/x/y:1", pod=context) == "1000\n2000\n"
    )


async def test_root_in_a_container_has_the_usual_capabilities_only(lab: NodeLab) -> None:
    script = "mount -t tmpfs none /mnt 2>/dev/null || echo refused; grep CapEff /proc/self/status"
    assert await lab.output("p", script) == "refused\nCapEff:\t00000000a80425fb\n"


async def test_a_container_sees_its_own_processes_and_host_name(lab: NodeLab) -> None:
    text = await lab.output("p", "hostname; ls /proc | grep -c '^[0-9]'; echo $$$$")
    host, count, number = text.split()
    assert (host, number) == ("p", "1")
    assert int(count) <= 4


# --- ends


@pytest.mark.parametrize(("name", "code"), [("KILL", 137), ("TERM", 143), ("SEGV", 139)])
async def test_a_signal_becomes_128_plus_its_number(lab: NodeLab, name: str, code: int) -> None:
    lab.run("p", f"sh -c 'kill -{name} $$$$'; exit $?")
    pod = await lab.ended("p")
    assert (state_of(pod)["terminated"]["exitCode"], pod["status"]["phase"]) == (code, "Failed")


async def test_what_a_container_leaves_running_dies_with_it(lab: NodeLab, tmp_path: Path) -> None:
    mark = tmp_path / "marks"
    mark.mkdir()
    volumes = [{"name": "v", "hostPath": {"path": str(mark)}}]
    lab.run(
        "p",
        "(setsid sh -c 'trap \"\" TERM HUP; sleep 1; touch /marks/late') >/dev/null 2>&1 & sleep 0.1",
        pod={"volumes": volumes},
        volumeMounts=[{"name": "v", "mountPath": "/marks"}],
    )
    await lab.ended("p")
    await lab.pause(1.2)
    assert not list(mark.iterdir())


async def test_a_container_over_its_memory_limit_is_killed(lab: NodeLab) -> None:
    code = "x = [bytearray(1 << 20) for _ in range(400)]"
    lab.run(
        "p", command=["python3", "-c", code], resources={"limits": {"memory": "48Mi", "cpu": "1"}}
    )
    pod = await lab.ended("p")
    state = state_of(pod)["terminated"]
    assert (state["reason"], state["exitCode"]) == ("OOMKilled", 137)
    assert pod["status"]["qosClass"] == "Guaranteed"
    assert pod["status"]["allocatedResources"] == {"memory": "48Mi", "cpu": "1"}


async def test_a_container_within_its_memory_limit_lives(lab: NodeLab) -> None:
    code = "x = bytearray(30 << 20); import time; time.sleep(0.3); print(len(x))"
    lab.run("p", command=["python3", "-c", code], resources={"limits": {"memory": "64Mi"}})
    assert (await lab.ended("p"))["status"]["phase"] == "Succeeded"


async def message(lab: NodeLab, script: str, **container: Any) -> str:
    name = f"p{len(lab.client.list(PODS))}"
    lab.run(name, script, **container)
    return str(state_of(await lab.ended(name))["terminated"].get("message", ""))


async def test_a_termination_message_keeps_its_last_4096_bytes(lab: NodeLab) -> None:
    assert await message(lab, "printf '%5000s' end > /dev/termination-log") == " " * 4093 + "end"


async def test_the_log_stands_in_for_a_message_when_a_container_fails(lab: NodeLab) -> None:
    fallback = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    lines = "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done"
    expected = "".join(f"line {number}\n" for number in range(20, 100))
    assert await message(lab, f"{lines}; exit 1", **fallback) == expected
    assert await message(lab, lines, **fallback) == ""
    assert (
        await message(lab, "echo log; echo own > /dev/termination-log; exit 1", **fallback)
        == "own\n"
    )
    assert await message(lab, "printf '%3000s' end; exit 1", **fallback) == " " * 2045 + "end"


async def test_a_termination_message_may_lie_elsewhere(lab: NodeLab) -> None:
    assert (
        await message(lab, "echo hi > /result/of/it", terminationMessagePath="/result/of/it")
        == "hi\n"
    )


# --- restarts, init containers, sidecars


async def test_on_failure_a_container_is_started_again_until_it_succeeds(lab: NodeLab) -> None:
    script = "echo try >> /data/tries; cat /data/tries; [ $(wc -l < /data/tries) -ge 3 ]"
    volumes = [{"name": "v", "emptyDir": {}}]
    lab.run(
        "p",
        script,
        pod={"restartPolicy": "OnFailure", "volumes": volumes},
        volumeMounts=[{"name": "v", "mountPath": "/data"}],
    )
    waiting = await lab.waiting("p", "CrashLoopBackOff")
    uid = waiting["metadata"]["uid"]
    assert state_of(waiting)["waiting"]["message"] == (
        f"back-off 10s restarting failed container=agent pod=p_case({uid})"
    )
    pod = await lab.ended("p")
    status = pod["status"]["containerStatuses"][0]
    assert (pod["status"]["phase"], status["restartCount"]) == ("Succeeded", 2)
    assert status["lastState"]["terminated"]["exitCode"] == 1
    assert lab.log(pod, attempt=2) == "try\ntry\ntry\n"
    assert await lab.get_log("p", previous="true") == (200, "try\ntry\n")
    assert (
        "BackOff",
        f"Back-off restarting failed container agent in pod p_case({uid})",
    ) in lab.events("p")


def helper(name: str, script: str, **more: Any) -> Object:
    mounts = [{"name": "v", "mountPath": "/data"}]
    return {
        "name": name,
        "image": IMAGE,
        "command": ["sh", "-c", script],
        "volumeMounts": mounts,
        **more,
    }


async def test_init_containers_run_one_after_the_other_and_sidecars_beside_all(
    lab: NodeLab,
) -> None:
    note = "echo {} >> /data/notes"
    sidecar = (
        "trap 'echo sidecar ends >> /data/notes; exit 0' TERM; echo sidecar >> /data/notes; "
        "while :; do sleep 0.02; done"
    )
    ready = "while [ ! -f /data/notes ]; do sleep 0.02; done; "
    inits = [
        helper("side", sidecar, restartPolicy="Always"),
        helper("one", ready + "sleep 0.1; " + note.format("one")),
        helper("two", note.format("two")),
    ]
    volumes = [
        {"name": "v", "hostPath": {"path": str(lab.folder / "shared"), "type": "DirectoryOrCreate"}}
    ]
    lab.run(
        "p",
        note.format("main"),
        pod={"initContainers": inits, "volumes": volumes},
        volumeMounts=[{"name": "v", "mountPath": "/data"}],
    )
    pod = await lab.ended("p")
    assert pod["status"]["phase"] == "Succeeded"
    notes = (lab.folder / "shared" / "notes").read_text().splitlines()
    assert notes == ["sidecar", "one", "two", "main", "sidecar ends"]
    assert [each["name"] for each in pod["status"]["initContainerStatuses"]] == [
        "side",
        "one",
        "two",
    ]


async def test_containers_of_a_pod_run_at_the_same_time(lab: NodeLab) -> None:
    volumes = [{"name": "v", "emptyDir": {}}]
    wait = "while [ ! -f /data/{} ]; do sleep 0.02; done"
    one = helper("one", "touch /data/one; " + wait.format("two"))
    two = helper("two", "touch /data/two; " + wait.format("one") + "; exit 4")
    spec = {"containers": [one, two], "volumes": volumes, "restartPolicy": "Never"}
    lab.create(PODS, "p", spec=spec)
    pod = await lab.ended("p")
    codes = [state_of(pod, index)["terminated"]["exitCode"] for index in (0, 1)]
    assert (codes, pod["status"]["phase"]) == ([0, 4], "Failed")


async def test_pods_with_the_annotation_of_the_stand_in_are_left_alone(lab: NodeLab) -> None:
    lab.run("left", "true", pod={"metadata": {"annotations": {"devcluster.dev/outcome": "{}"}}})
    lab.run("taken", "true")
    await lab.ended("taken")
    left = lab.client.get(PODS, NAMESPACE, "left")
    assert "nodeName" not in left["spec"]
    assert lab.events("left") == []


# --- sidecars


async def test_what_follows_a_sidecar_waits_for_its_startup_probe(lab: NodeLab) -> None:
    port = 20000 + os.getpid() % 10000
    server = (
        "import http.server, sys, time; time.sleep(0.5); "
        f"http.server.HTTPServer(('0.0.0.0', {port}), http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    sidecar = {
        "name": "server",
        "image": IMAGE,
        "restartPolicy": "Always",
        "command": [sys.executable, "-c", server],
        "ports": [{"name": "web", "containerPort": port}],
        "startupProbe": {"httpGet": {"port": "web", "path": "/"}, "periodSeconds": 1},
    }
    client = f"import socket; socket.create_connection(('localhost', {port})).close()"
    lab.run(
        "p",
        pod={"initContainers": [sidecar], "terminationGracePeriodSeconds": 0},
        command=[sys.executable, "-c", client],
    )
    waiting = await lab.until(
        "p",
        lambda pod: (
            "running" in pod["status"].get("initContainerStatuses", [{}])[0].get("state", {})
        ),
    )
    (status,) = waiting["status"]["initContainerStatuses"]
    assert status["started"] is status["ready"] is False
    assert waiting["status"]["phase"] == "Pending"
    pod = await lab.ended("p")
    assert pod["status"]["phase"] == "Succeeded", lab.log(pod)
