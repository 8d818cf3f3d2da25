"""Every field of a WorkspaceConfig that shapes a Pod: what is refused when it is applied, and that the rest is admitted."""

from typing import Any

import pytest
import yaml

from support.integration.kubectl import Kubectl, KubectlError
from support.integration.objects import config, run, scripted

JSON = dict[str, Any]
CACHE = {"name": "cache", "emptyDir": {}}
DATABASE = {"name": "db", "image": "postgres:18"}


def _mount(path: str, name: str = "cache") -> JSON:
    return {"volumes": [CACHE], "volumeMounts": [{"name": name, "mountPath": path}]}


def _credential(**fields: Any) -> JSON:
    return {"credentials": [{"name": "c", "secretRef": {"name": "s", "key": "k"}, **fields}]}


REFUSED: dict[str, tuple[JSON, str]] = {
    "a folder of the node": (
        {"volumes": [{"name": "node", "hostPath": {"path": "/"}}]},
        "hostPath is not allowed",
    ),
    "a volume with two sources": (
        {"volumes": [{**CACHE, "secret": {"secretName": "s"}}]},
        "exactly one source",
    ),
    "a volume with no source": ({"volumes": [{"name": "cache"}]}, "exactly one source"),
    "a volume of our own": ({"volumes": [{"name": "workspace", "emptyDir": {}}]}, "volumes"),
    "a volume of ours by prefix": (
        {"volumes": [{"name": "credential-0", "emptyDir": {}}]},
        "volume of KubeTask",
    ),
    "two volumes of one name": ({"volumes": [CACHE, CACHE]}, "Duplicate value"),
    "a mount of a volume that is not there": (_mount("/cache", "other"), "add the volume"),
    "a mount over the workspace": (_mount("/workspace"), "choose another path"),
    "a mount below the workspace": (_mount("/workspace/repos"), "choose another path"),
    "a mount over our files": (_mount("/kubetask/files"), "choose another path"),
    "a mount over /tmp": (_mount("/tmp"), "choose another path"),
    "a mount over HOME": (_mount("/home/agent"), "choose another path"),
    "a mount over /proc": (_mount("/proc/sys"), "choose another path"),
    "a mount by a detour": (_mount("/cache/../workspace"), "must not contain . or .."),
    "a mount with a slash at its end": (_mount("/workspace/"), "mountPath"),
    "a mount with two slashes": (_mount("//workspace"), "mountPath"),
    "a mount with a line feed": (_mount("/cache\n"), "mountPath"),
    "two mounts at one path": (
        {
            "volumes": [CACHE],
            "volumeMounts": [{"name": "cache", "mountPath": "/cache"}] * 2,
        },
        "Duplicate value",
    ),
    "a mount where a credential is": (
        _mount("/secrets") | _credential(mountPath="/secrets"),
        "use the same mountPath",
    ),
    "a credential over the workspace": (_credential(mountPath="/workspace"), "another path"),
    "a credential as our variable": (_credential(env="TASK_NAME"), "another name"),
    "a credential as our folder": (_credential(env="KUBETASK_TASK_DIR"), "another name"),
    "our variable": ({"env": [{"name": "KUBETASK_HOME_FILES", "value": "[]"}]}, "another name"),
    "a privileged agent": (
        {"containerSecurityContext": {"privileged": True}},
        "privileged must not be true",
    ),
    "a privileged sidecar": (
        {"sidecars": [{**DATABASE, "securityContext": {"privileged": True}}]},
        "privileged must not be true",
    ),
    "root that is not admitted to": (
        {"securityContext": {"runAsUser": 0}},
        "set runAsNonRoot to false",
    ),
    "root in the agent's container": (
        {"containerSecurityContext": {"runAsUser": 0}},
        "set runAsNonRoot to false",
    ),
    "a sidecar called agent": ({"sidecars": [{**DATABASE, "name": "agent"}]}, "another name"),
    "a sidecar called workspace": (
        {"sidecars": [{**DATABASE, "name": "workspace"}]},
        "another name",
    ),
    "a sidecar without an image": ({"sidecars": [{"name": "db"}]}, "image"),
    "a sidecar with our workspace": (
        {"sidecars": [{**DATABASE, "volumeMounts": [{"name": "workspace", "mountPath": "/w"}]}]},
        "add the volume",
    ),
    "a probe with two actions": (
        {
            "sidecars": [
                {
                    **DATABASE,
                    "startupProbe": {"tcpSocket": {"port": 1}, "exec": {"command": ["true"]}},
                }
            ]
        },
        "exactly one of exec",
    ),
    **{
        f"an agent with {field} that are too long": ({field: ["x" * 30000] * 3}, "command and args")
        for field in ("command", "args")
    },
    "a command that is too long with its arguments": (
        {"command": ["x" * 30000], "args": ["x" * 20000] * 2},
        "command and args must not exceed 65536 characters in total",
    ),
    "variables that are too long": (
        {"env": [{"name": f"E{i}", "value": "x" * 30000} for i in range(3)]},
        "the values of env must not exceed 65536 characters in total",
    ),
    "annotations that are too long": (
        {"podAnnotations": {f"a{i}": "x" * 30000 for i in range(3)}},
        "podAnnotations must not exceed 65536 characters in total",
    ),
    "sidecars that are too long together": (
        {
            "sidecars": [
                {**DATABASE, "name": "a", "args": ["x" * 30000]},
                {**DATABASE, "name": "b", "command": ["x" * 30000]},
                {**DATABASE, "name": "c", "env": [{"name": "E", "value": "x" * 30000}]},
            ]
        },
        "of all sidecars must not exceed 65536 characters in total",
    ),
    "a probe that is too long": (
        {"sidecars": [{**DATABASE, "startupProbe": {"exec": {"command": ["x" * 9000]}}}]},
        "command must not exceed 8192 characters in total",
    ),
    "volumes that are too long": (
        {
            "volumes": [
                {
                    "name": f"v{i}",
                    "csi": {"driver": "d.example.com", "volumeAttributes": {"a": "x" * 30000}},
                }
                for i in range(3)
            ]
        },
        "the volumeAttributes of all volumes must not exceed 65536 characters in total",
    ),
    "a capability that controls the node": (
        {"containerSecurityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
        'containerSecurityContext.capabilities.add[0]: Unsupported value: "SYS_ADMIN"',
    ),
    "a capability of a sidecar that controls the node": (
        {"sidecars": [{**DATABASE, "securityContext": {"capabilities": {"add": ["ALL"]}}}]},
        'securityContext.capabilities.add[0]: Unsupported value: "ALL"',
    ),
    "no seccomp profile": (
        {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
        'seccompProfile.type: Unsupported value: "Unconfined"',
    ),
    "a file outside of HOME": ({"homeFiles": [{"path": "../x", "inline": ""}]}, "path"),
    "an absolute file of HOME": ({"homeFiles": [{"path": "/etc/x", "inline": ""}]}, "path"),
    "git's settings as a file": (
        {"homeFiles": [{"path": ".gitconfig", "inline": ""}]},
        "use spec.git",
    ),
    "our own file of HOME": (
        {"homeFiles": [{"path": ".kubetask-ssh", "inline": ""}]},
        "choose another path",
    ),
    "a file of HOME with two sources": (
        {"homeFiles": [{"path": "x", "inline": "", "secretRef": {"name": "s"}}]},
        "exactly one of inline",
    ),
    "a file of HOME with no source": ({"homeFiles": [{"path": "x"}]}, "exactly one of inline"),
    "files of HOME that are too long": (
        {"homeFiles": [{"path": f"f{i}", "inline": "x" * 8000} for i in range(5)]},
        "32768 characters",
    ),
    "a proxy with a password in sight": (
        {"proxy": {"http": "http://me:secret@proxy:3128"}},
        "must not contain a user or a password",
    ),
    "a proxy twice": (
        {"proxy": {"http": "http://proxy:3128", "secretRef": {"name": "p"}}},
        "put the URLs into the Secret",
    ),
    "a proxy without an address": ({"proxy": {"noProxy": ".corp"}}, "set the URL"),
    "a proxy that is no URL": ({"proxy": {"http": "proxy:3128"}}, "http"),
    "two kinds of workspace": (
        {"workspace": {"emptyDir": {}, "persistentVolumeClaim": {"claimName": "c"}}},
        "at most one",
    ),
    "resources that are no quantity": (
        {"workspace": {"resources": {"limits": {"memory": "much"}}}},
        "memory",
    ),
}


@pytest.mark.parametrize(("spec", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_a_workspace_config_that_takes_what_is_not_its_own_is_refused(
    installed: Kubectl, spec: JSON, sentence: str
) -> None:
    manifest = yaml.safe_dump(config("c", **spec))
    with pytest.raises(KubectlError) as refused:
        installed("apply", "--dry-run=server", "-f", "-", stdin=manifest)
    assert sentence in str(refused.value)


VOLUMES: list[JSON] = [
    {"name": "settings", "configMap": {"name": "s", "optional": True, "defaultMode": 0o440}},
    {"name": "key", "secret": {"secretName": "s", "items": [{"key": "a", "path": "b/c"}]}},
    {"name": "cache", "persistentVolumeClaim": {"claimName": "cache", "readOnly": True}},
    {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
    {"name": "store", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": True}},
    {
        "name": "pod",
        "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]},
    },
    {
        "name": "large",
        "ephemeral": {
            "volumeClaimTemplate": {
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "100Gi"}},
                }
            }
        },
    },
    {
        "name": "identity",
        "projected": {
            "sources": [
                {"configMap": {"name": "s", "optional": True}},
                {"secret": {"name": "s", "optional": True}},
                {
                    "downwardAPI": {
                        "items": [{"path": "uid", "fieldRef": {"fieldPath": "metadata.uid"}}]
                    }
                },
            ]
        },
    },
]
EVERYTHING: JSON = {
    "containerSecurityContext": {
        "readOnlyRootFilesystem": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "securityContext": {"fsGroup": 1000, "supplementalGroups": [2000]},
    "workspace": {
        "emptyDir": {"sizeLimit": "5Gi"},
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"cpu": "200m"}},
    },
    "resources": {
        "requests": {"cpu": "100m", "memory": "64Mi"},
        "limits": {"cpu": 1, "memory": "1Gi"},
    },
    "proxy": {"http": "http://proxy.example.com:3128", "noProxy": "127.0.0.1,.svc"},
    "volumes": VOLUMES,
    "volumeMounts": [
        *({"name": x["name"], "mountPath": f"/mnt/{x['name']}"} for x in VOLUMES),
        {"name": "scratch", "mountPath": "/scratch", "subPath": "a/b", "readOnly": True},
    ],
    "sidecars": [
        {
            "name": "db",
            "image": "registry.example.com/postgres:18",
            "imagePullPolicy": "IfNotPresent",
            "args": ["-c", "fsync=off"],
            "env": [{"name": "POSTGRES_PASSWORD", "value": "test"}],
            "envFrom": [{"secretRef": {"name": "s", "optional": True}}],
            "ports": [{"containerPort": 5432, "name": "sql", "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}},
            "volumeMounts": [{"name": "scratch", "mountPath": "/var/lib/postgresql"}],
            "startupProbe": {"tcpSocket": {"port": "sql"}, "periodSeconds": 1},
            "readinessProbe": {"httpGet": {"port": 8080, "path": "/"}},
            "livenessProbe": {"exec": {"command": ["pg_isready"]}},
            "securityContext": {"runAsUser": 999, "readOnlyRootFilesystem": True},
        }
    ],
    "homeFiles": [
        {"path": ".claude/settings.json", "inline": "{}"},
        {"path": ".netrc", "secretKeyRef": {"name": "s", "key": "netrc"}, "mode": 0o600},
        {"path": ".codex/config.toml", "configMapKeyRef": {"name": "s", "key": "codex"}},
        {"path": ".claude/skills/review", "configMapRef": {"name": "review"}},
        {"path": ".aws", "secretRef": {"name": "aws"}},
    ],
}


@pytest.mark.slow
def test_a_pod_with_every_field_is_admitted_to_a_restricted_namespace_with_a_quota(
    kubectl: Kubectl,
) -> None:
    label = "pod-security.kubernetes.io/enforce=restricted"
    kubectl("label", "namespace", kubectl.namespace, label)
    hard = "--hard=requests.cpu=4,requests.memory=4Gi,limits.cpu=8,limits.memory=8Gi"
    kubectl("create", "quota", "q", hard)
    kubectl.apply(scripted(outcome={}, **EVERYTHING), run("r"))
    kubectl.wait_phase("batchrun/r", "Succeeded")
    (pod,) = kubectl.items("pods")
    assert {x["name"] for x in VOLUMES} <= {x["name"] for x in pod["spec"]["volumes"]}
    assert [x["name"] for x in pod["spec"]["initContainers"]] == ["db", "workspace"]
