"""What a container sees of its Pod's volumes, at their real paths."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from devcluster.apiserver.local import PERSISTENTVOLUMECLAIMS
from devcluster.node.claims import PERSISTENTVOLUMES
from node_lab import (
    CONFIGMAPS,
    NAMESPACE,
    PODS,
    SECRETS,
    SERVICEACCOUNTS,
    NodeLab,
    has_ended,
    open_lab,
)

Object = dict[str, Any]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="other uids can be had by root only")


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[NodeLab]:
    async with open_lab(tmp_path, tokens=FakeTokens()) as lab:
        yield lab


class FakeTokens:
    """Records its requests."""

    def issue(self, account: Object, **options: Any) -> tuple[str, float]:
        bound = options.pop("bound")
        text = {"account": account["metadata"]["name"], "pod": bound.name, **options}
        return json.dumps(text), 0.0


def mounted(*paths: str, read_only: bool = False, **more: str) -> list[Object]:
    """Mounts of the volume `v`."""
    extra: Object = {"readOnly": True} if read_only else {}
    return [{"name": "v", "mountPath": path, **extra, **more} for path in paths]


def on_this_machine(path: str) -> bool:
    return Path(path).exists()


def volume(**source: Any) -> Object:
    return {"volumes": [{"name": "v", **source}]}


async def shown(lab: NodeLab, script: str, source: Object, **container: Any) -> str:
    """What a script prints that finds the volume at /data."""
    container.setdefault("volumeMounts", mounted("/data"))
    return await lab.output("p", script, pod=volume(**source), **container)


async def test_containers_share_an_empty_dir_which_goes_with_the_pod(lab: NodeLab) -> None:
    init = {
        "name": "first",
        "image": "registry.example.com/agent:1",
        "command": ["sh", "-c", "echo hello > /workspace/deep/file"],
        "volumeMounts": mounted("/workspace/deep"),
    }
    lab.run(
        "p",
        "cat /home/agent/file; stat -c %a /home/agent",
        pod={**volume(emptyDir={}), "initContainers": [init]},
        volumeMounts=mounted("/home/agent"),
    )
    pod = await lab.ended("p")
    assert lab.log(pod) == "hello\n777\n"
    assert not on_this_machine("/workspace/deep")
    assert not on_this_machine("/home/agent")
    await lab.quiet()
    assert not list((lab.folder / "pods").iterdir())


async def test_what_a_container_writes_elsewhere_does_not_reach_the_machine(lab: NodeLab) -> None:
    text = await lab.output(
        "p", "touch /usr/of-a-container /of-a-container && ls /usr/of-a-container"
    )
    assert text == "/usr/of-a-container\n"
    assert not on_this_machine("/usr/of-a-container")
    assert not on_this_machine("/of-a-container")


async def test_a_config_map_is_shown_as_links_to_files_that_cannot_be_written(lab: NodeLab) -> None:
    binary = base64.b64encode(b"\x00\xff").decode()
    lab.create(CONFIGMAPS, "c", data={"a": "text"}, binaryData={"b": binary})
    script = (
        "cat /data/a; od -An -tx1 /data/b; readlink /data/a; (: > /data/a) 2>&- || echo refused"
    )
    text = await shown(lab, script, {"configMap": {"name": "c", "defaultMode": 0o644}})
    assert text == "text 00 ff\n..data/a\nrefused\n"


async def test_items_choose_keys_their_paths_and_modes(lab: NodeLab) -> None:
    lab.create(SECRETS, "s", data={"token": "c2VjcmV0", "other": "eA=="})
    items = [{"key": "token", "path": "deep/er/t", "mode": 0o400}]
    script = "cat /data/deep/er/t; echo; ls /data; stat -Lc %a /data/deep/er/t"
    text = await shown(lab, script, {"secret": {"secretName": "s", "items": items}})
    assert text == "secret\ndeep\n400\n"


async def test_a_sub_path_shows_one_file_of_a_volume(lab: NodeLab) -> None:
    lab.create(SECRETS, "s", data={"token": "c2VjcmV0"})
    text = await shown(
        lab,
        "cat /etc/agent/token; touch /etc/agent/token 2>&- || echo ' refused'",
        {"secret": {"secretName": "s"}},
        volumeMounts=mounted("/etc/agent/token", subPath="token"),
    )
    assert text == "secret refused\n"


async def test_a_projected_volume_brings_sources_together(lab: NodeLab) -> None:
    lab.create(CONFIGMAPS, "c", data={"a": "text"})
    lab.create(SECRETS, "s", data={"b": "c2VjcmV0"})
    lab.create(SERVICEACCOUNTS, "default")
    uid = {"fieldRef": {"fieldPath": "metadata.labels"}, "path": "labels"}
    cpu = {"resource": "limits.cpu", "divisor": "1m", "containerName": "agent"}
    sources = [
        {"configMap": {"name": "c", "items": [{"key": "a", "path": "task.md"}]}},
        {"secret": {"name": "s"}},
        {"secret": {"name": "none", "optional": True}},
        {"downwardAPI": {"items": [uid, {"resourceFieldRef": cpu, "path": "cpu"}]}},
        {"serviceAccountToken": {"path": "token", "audience": "vault", "expirationSeconds": 700}},
    ]
    script = (
        "cd /data; for f in task.md b labels cpu token; do cat $f; echo; done; stat -Lc %a token b"
    )
    lab.run(
        "p",
        script,
        pod={
            **volume(projected={"sources": sources, "defaultMode": 0o444}),
            "serviceAccountName": "default",
            "metadata": {"labels": {"a": "b"}},
        },
        volumeMounts=mounted("/data"),
        resources={"limits": {"cpu": "1500m"}},
    )
    pod = await lab.ended("p")
    *lines, token, token_mode, mode = lab.log(pod).splitlines()
    assert lines == ["text", "secret", 'a="b"', "1500"]
    assert json.loads(token) == {
        "account": "default",
        "pod": "p",
        "seconds": 700,
        "audiences": ["vault"],
    }
    assert (token_mode, mode) == ("444", "444")


async def test_a_read_only_mount_cannot_be_written(lab: NodeLab) -> None:
    text = await shown(
        lab,
        "touch /data/x 2>&- || echo refused",
        {"emptyDir": {}},
        volumeMounts=mounted("/data", read_only=True),
    )
    assert text == "refused\n"


async def test_a_host_path_is_the_machines_own(lab: NodeLab, tmp_path: Path) -> None:
    folder = tmp_path / "of the machine"
    await shown(
        lab, "echo x > /data/file", {"hostPath": {"path": str(folder), "type": "DirectoryOrCreate"}}
    )
    assert (folder / "file").read_text() == "x\n"


async def test_a_host_path_that_is_not_there_keeps_the_pod_waiting(lab: NodeLab) -> None:
    lab.run("p", "true", pod=volume(hostPath={"path": "/nowhere", "type": "Directory"}))
    message = 'MountVolume.SetUp failed for volume "v" : hostPath type check failed: /nowhere is not a directory'
    await lab.event("p", "FailedMount")
    assert ("FailedMount", message) in lab.events("p")


@as_root
async def test_files_belong_to_the_group_of_the_pod(lab: NodeLab) -> None:
    lab.create(SECRETS, "s", data={"token": "c2VjcmV0"})
    lab.create(SERVICEACCOUNTS, "default")
    sources = [{"secret": {"name": "s"}}, {"serviceAccountToken": {"path": "t"}}]
    volumes = [
        {"name": "v", "projected": {"sources": sources, "defaultMode": 0o400}},
        {"name": "w", "emptyDir": {}},
    ]
    script = "id -u; id -G; cat /data/token; echo; stat -Lc '%u:%g %a' /data/token /data/t /w; touch /w/x; stat -c %g /w/x"
    text = await lab.output(
        "p",
        script,
        pod={
            "serviceAccountName": "default",
            "volumes": volumes,
            "securityContext": {"runAsUser": 1234, "fsGroup": 777},
        },
        volumeMounts=[*mounted("/data"), {"name": "w", "mountPath": "/w"}],
    )
    assert text == "1234\n0 777\nsecret\n0:777 440\n0:777 640\n0:777 2777\n777\n"


def claim(**spec: Any) -> Object:
    storage = {"requests": {"storage": "1Gi"}}
    return {"accessModes": ["ReadWriteOnce"], "resources": storage, **spec}


async def test_a_claim_is_a_folder_that_outlives_pods_and_goes_with_the_claim(lab: NodeLab) -> None:
    where: tuple[Any, ...] = (PERSISTENTVOLUMECLAIMS, NAMESPACE, "w")
    lab.create(PERSISTENTVOLUMECLAIMS, "w", kind="PersistentVolumeClaim", spec=claim())
    use = volume(persistentVolumeClaim={"claimName": "w"})
    await lab.output("one", "echo kept > /data/file", pod=use, volumeMounts=mounted("/data"))
    assert (
        await lab.output("two", "cat /data/file", pod=use, volumeMounts=mounted("/data"))
        == "kept\n"
    )
    bound = lab.client.get(*where)
    assert bound["status"]["phase"] == "Bound"
    assert bound["status"]["capacity"] == {"storage": "1Gi"}
    lab.client.delete(*where)
    await lab.quiet()
    assert lab.client.list(PERSISTENTVOLUMES) == []
    assert not list((lab.folder / "claims" / NAMESPACE).iterdir())


async def test_a_claim_may_name_a_volume_which_then_stays(lab: NodeLab, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "2Gi"},
        "hostPath": {"path": str(tmp_path / "mine")},
        "persistentVolumeReclaimPolicy": "Retain",
    }
    lab.create(PERSISTENTVOLUMES, "mine", kind="PersistentVolume", spec=spec)
    lab.create(
        PERSISTENTVOLUMECLAIMS, "w", kind="PersistentVolumeClaim", spec=claim(volumeName="mine")
    )
    await shown(lab, "touch /data/x", {"persistentVolumeClaim": {"claimName": "w"}})
    assert (tmp_path / "mine" / "x").exists()
    lab.client.delete(PERSISTENTVOLUMECLAIMS, NAMESPACE, "w")
    await lab.quiet()
    assert lab.client.get(PERSISTENTVOLUMES, None, "mine")["status"]["phase"] == "Released"


async def test_a_pod_starts_when_its_claim_appears(lab: NodeLab) -> None:
    lab.run("p", "true", pod=volume(persistentVolumeClaim={"claimName": "w"}))
    await lab.event("p", "FailedScheduling")
    lab.create(PERSISTENTVOLUMECLAIMS, "w", kind="PersistentVolumeClaim", spec=claim())
    pod = await lab.ended("p")
    assert pod["status"]["phase"] == "Succeeded"


async def test_a_volume_of_a_kind_without_plugin_is_told(lab: NodeLab) -> None:
    lab.run("p", "true", pod=volume(nfs={"server": "s", "path": "/"}))
    await lab.event("p", "FailedMount")
    assert "this node has no volume plugin for nfs" in lab.events("p")[1][1]
    assert not has_ended(lab.client.get(PODS, NAMESPACE, "p"))
