"""Every field of a WorkspaceConfig that shapes a Pod: what is refused when it is applied, and that the rest is admitted."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster.base import Cluster
from devcluster.connection import ApiError, Connection

from support.integration.kubectl import Kubectl
from support.integration.objects import config, dry_run, run, scripted

JSON = dict[str, Any]
CRD = Path(__file__).parents[2] / "config" / "crd" / "kubetask.io_workspaceconfigs.yaml"
CACHE = {"name": "cache", "emptyDir": {}}
DATABASE = {"name": "db", "image": "postgres:18"}


def _mount(path: str, name: str = "cache") -> JSON:
    return {"volumes": [CACHE], "volumeMounts": [{"name": name, "mountPath": path}]}


def _credential(**fields: Any) -> JSON:
    return {"credentials": [{"name": "c", "secretRef": {"name": "s", "key": "k"}, **fields}]}


def _resources(requests: JSON, limits: JSON) -> JSON:
    return {"resources": {"requests": requests, "limits": limits}}


def _toleration(**fields: Any) -> JSON:
    return {"tolerations": [{"key": "k", **fields}]}


def _node(*, field: str = "matchExpressions", key: str = "zone", **fields: Any) -> JSON:
    terms = {"nodeSelectorTerms": [{field: [{"key": key, **fields}]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    return {"affinity": {"nodeAffinity": required}}


def _pod(**fields: Any) -> JSON:
    selector = {"matchExpressions": [{"key": "app", **fields}]}
    term = {"labelSelector": selector, "topologyKey": "zone"}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    return {"affinity": {"podAntiAffinity": required}}


def _sidecar(**fields: Any) -> JSON:
    return {"sidecars": [{**DATABASE, **fields}]}


def _credentials(*entries: JSON) -> JSON:
    secret = {"name": "s", "key": "k"}
    return {
        "credentials": [
            {"name": f"c{i}", "secretRef": secret, **entry} for i, entry in enumerate(entries)
        ]
    }


def _variable(**source: Any) -> JSON:
    return {"env": [{"name": "E", "valueFrom": source}]}


def _file(**source: Any) -> JSON:
    return {"volumes": [{"name": "pod", "downwardAPI": {"items": [{"path": "a", **source}]}}]}


def _claim(*modes: str, storage_class: str = "", **requests: Any) -> JSON:
    spec = {
        "accessModes": list(modes),
        "storageClassName": storage_class,
        "resources": {"requests": requests},
    }
    return {"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": spec}}}]}


def _projected(*sources: JSON) -> JSON:
    return {"volumes": [{"name": "v", "projected": {"sources": list(sources)}}]}


def _items(*paths: str) -> list[JSON]:
    return [{"key": f"k{i}", "path": path} for i, path in enumerate(paths)]


def _driver(name: str) -> JSON:
    return {"volumes": [{"name": "v", "csi": {"driver": name}}]}


def _near(**fields: Any) -> JSON:
    term = {"podAffinityTerm": {"topologyKey": "zone", **fields}, "weight": 1}
    return {
        "affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}
    }


APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
PODS = {"matchLabels": {"app": "a"}}
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
    "no AppArmor profile, by an annotation": (
        {"podAnnotations": {f"{APP_ARMOR}agent": "unconfined"}},
        "podAnnotations must not turn AppArmor off",
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
    **{
        f"the resource {name}": ({"resources": {"limits": {name: 1}}}, "such as nvidia.com/gpu")
        for name in ("mem", "ram", "gpu", "storage", "nvidia.com/", "-a.com/gpu", "a..com/gpu")
    },
    "a request above its limit": (
        _resources({"memory": "4Gi"}, {"memory": "2048Mi"}),
        "resources.requests: Invalid value",
    ),
    "a request above its limit as numbers": (
        _resources({"cpu": 2}, {"cpu": "1500m"}),
        "each of requests must not exceed its limit",
    ),
    "a request of the preparation above its limit": (
        {"workspace": _resources({"memory": "4Gi"}, {"memory": "2Gi"})},
        "workspace.resources.requests: Invalid value",
    ),
    "a request of a sidecar above its limit": (
        _sidecar(**_resources({"cpu": "1001m"}, {"cpu": 1})),
        "each of requests must not exceed its limit",
    ),
    "an extended resource without a limit": (
        {"resources": {"requests": {"nvidia.com/gpu": 1}}},
        "need the same value in limits",
    ),
    "an extended resource below its limit": (
        _resources({"nvidia.com/gpu": 1}, {"nvidia.com/gpu": 2}),
        "need the same value in limits",
    ),
    "huge pages without a limit": (
        _resources({"hugepages-2Mi": "4Mi"}, {"memory": "1Gi"}),
        "need the same value in limits",
    ),
    "two credentials at one path": (
        _credentials({"mountPath": "/secrets"}, {"mountPath": "/secrets"}),
        "two credentials have the same mountPath",
    ),
    "two credentials as one variable": (
        _credentials({"env": "TOKEN"}, {"env": "TOKEN"}),
        "two credentials have the same env",
    ),
    "a credential as a variable of env": (
        _credential(env="TOKEN") | {"env": [{"name": "TOKEN", "value": "x"}]},
        "env and credentials set the same variable",
    ),
    "seconds of a toleration that is not of NoExecute": (
        _toleration(operator="Exists", effect="NoSchedule", tolerationSeconds=60),
        "tolerationSeconds needs the effect NoExecute",
    ),
    "seconds of a toleration of every effect": (
        _toleration(operator="Exists", effect="", tolerationSeconds=60),
        "tolerationSeconds needs the effect NoExecute",
    ),
    "a value of a taint that only has to exist": (
        _toleration(operator="Exists", value="v"),
        "value must not be set with the operator Exists",
    ),
    **{
        f"{operator} without values for {what}": (
            requirement(operator=operator, **values),
            "values must be set with the operators In and NotIn",
        )
        for what, requirement in (("nodes", _node), ("Pods", _pod))
        for operator, values in (("In", {}), ("NotIn", {"values": []}))
    },
    **{
        f"{operator} with values for {what}": (
            requirement(operator=operator, values=["a"]),
            "values must not be set with the operators Exists and DoesNotExist",
        )
        for what, requirement in (("nodes", _node), ("Pods", _pod))
        for operator in ("Exists", "DoesNotExist")
    },
    **{
        f"{operator} with the values {values}": (
            _node(operator=operator, values=values),
            "values must be one integer",
        )
        for operator, values in (("Gt", []), ("Lt", ["1", "2"]), ("Gt", ["many"]))
    },
    "another field of a node": (
        _node(field="matchFields", key="metadata.uid", operator="In", values=["a"]),
        "matchFields[0].key",
    ),
    "a field of a node that exists": (
        _node(field="matchFields", key="metadata.name", operator="Exists"),
        "matchFields[0].operator",
    ),
    "two names of one node": (
        _node(field="matchFields", key="metadata.name", operator="In", values=["a", "b"]),
        "matchFields[0].values",
    ),
    "a budget below 0": ({"agent": {"maxCostUSD": -5}}, "agent.maxCostUSD"),
    **{
        f"a port of the name {name!r}": (
            _sidecar(ports=[{"containerPort": 80, "name": name}]),
            "ports[0].name",
        )
        for name in ("", "HTTP", "my_port", "80", "a--b", "-a", "sixteen-letters-")
    },
    "two ports of one name": (
        _sidecar(ports=[{"containerPort": x, "name": "sql"} for x in (1, 2)]),
        "two ports have the same name",
    ),
    **{
        f"a probe of the port {port!r}": (
            _sidecar(startupProbe={"tcpSocket": {"port": port}}),
            "startupProbe.tcpSocket.port",
        )
        for port in (0, 65536, "8080", "", "my_port")
    },
    "a probe without a command": (
        _sidecar(livenessProbe={"exec": {"command": []}}),
        "livenessProbe.exec.command",
    ),
    **{
        f"two successes of a {probe}": (
            _sidecar(**{probe: {"tcpSocket": {"port": 1}, "successThreshold": 2}}),
            f"{probe}.successThreshold",
        )
        for probe in ("livenessProbe", "startupProbe")
    },
    **{
        f"a variable of {path}": (_variable(fieldRef={"fieldPath": path}), "fieldRef.fieldPath")
        for path in ("metadata.labels", "metadata.annotations", "metadata.labels['a b']")
    },
    **{
        f"a file of {path}": (_file(fieldRef={"fieldPath": path}), "fieldRef.fieldPath")
        for path in ("status.podIP", "spec.nodeName", "metadata.labels['-a']")
    },
    "a file with a resource of no container": (
        _file(resourceFieldRef={"resource": "limits.cpu"}),
        "resourceFieldRef.containerName",
    ),
    "a claim without access modes": (_claim(storage="1Gi"), "spec.accessModes"),
    "a claim of one Pod and of many": (
        _claim("ReadWriteOncePod", "ReadWriteMany", storage="1Gi"),
        "must not contain ReadWriteOncePod with another mode",
    ),
    "a claim of a StorageClass with two dots": (
        _claim("ReadWriteOnce", storage="1Gi", storage_class="a..b"),
        "storageClassName",
    ),
    "a claim without a size": (_claim("ReadWriteOnce"), "requests.storage"),
    **{
        f"a claim of the size {size!r}": (_claim("ReadWriteOnce", storage=size), "requests.storage")
        for size in (0, "0Gi", "0.0", "-1Gi", -1, "Gi")
    },
    **{
        f"{field} with the key {key!r}": ({field: {key: "x"}}, f"each key of {field} must be")
        for field in ("podLabels", "podAnnotations", "nodeSelector")
        for key in ("my team", "-team", "/team", "a/b/c", "", "x" * 64)
    },
    **{
        f"the Job controller's label {key}": (
            {"podLabels": {key: "x"}},
            "must not contain job-name or controller-uid",
        )
        for prefix in ("", "batch.kubernetes.io/")
        for key in (f"{prefix}job-name", f"{prefix}controller-uid")
    },
    "an image with a line feed": ({"agentImage": "agent:v1\n"}, "agentImage"),
    "an image of a sidecar with a space": (_sidecar(image="postgres: 18"), "sidecars[0].image"),
    **{
        f"{field} with two dots": ({field: "a..b"}, field)
        for field in ("serviceAccountName", "priorityClassName", "runtimeClassName")
    },
    "variables of a ConfigMap with two dots": (
        {"envFrom": [{"configMapRef": {"name": "a..b"}}]},
        "configMapRef.name",
    ),
    **{
        f"two projected files of one path, {where}": (
            _projected(*sources),
            "projected.sources: Invalid value",
        )
        for where, sources in {
            "in a ConfigMap": [{"configMap": {"name": "s", "items": _items("a", "b/c", "b/c")}}],
            "of the Pod": [
                {
                    "downwardAPI": {
                        "items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.uid"}}] * 2
                    }
                }
            ],
            "of two sources": [
                {"secret": {"name": "s", "items": _items("b", "ca.crt")}},
                {"configMap": {"name": "c"}},
                {"configMap": {"name": "s", "items": _items("ca.crt")}},
            ],
        }.items()
    },
    "a resource of a quota": (
        {"resources": {"limits": {"requests.nvidia.com/gpu": 1}}},
        "must not contain a resource with the prefix requests.",
    ),
    **{
        f"{amount} of a GPU": (
            {"resources": {"limits": {"nvidia.com/gpu": amount}}},
            "must have a whole number for an extended resource",
        )
        for amount in ("500m", "1.5", "1e-1")
    },
    "huge pages of no size": (
        {"resources": {"limits": {"hugepages-large": "4Mi", "memory": "1Gi"}}},
        "hugepages-<size>",
    ),
    **{
        f"{which} with huge pages alone": (
            spec,
            "resources with hugepages must have cpu or memory too",
        )
        for which, spec in {
            "an agent": {"resources": {"limits": {"hugepages-2Mi": "4Mi"}}},
            "a sidecar": _sidecar(resources={"limits": {"hugepages-2Mi": "4Mi"}}),
        }.items()
    },
    **{
        f"the CSI driver {name}": (_driver(name), "volumes[0].csi.driver")
        for name in ("a b", "a/b", "a_b", "-a", "a..b", "x" * 64)
    },
    **{
        f"{field} without a selector": (_near(**{field: ["app"]}), f"{field} needs labelSelector")
        for field in ("matchLabelKeys", "mismatchLabelKeys")
    },
    "a label that must match and must not": (
        _near(labelSelector=PODS, matchLabelKeys=["a", "b"], mismatchLabelKeys=["b"]),
        "matchLabelKeys and mismatchLabelKeys contain the same label",
    ),
    **{
        f"Pods of the namespace {name!r}": (
            _near(labelSelector=PODS, namespaces=[name]),
            "podAffinityTerm.namespaces[0]",
        )
        for name in ("", "Team", "a.b", "x" * 64)
    },
    **{
        f"variables with the prefix {prefix!r}": (
            {"envFrom": [{"prefix": prefix, "secretRef": {"name": "s"}}]},
            "envFrom[0].prefix",
        )
        for prefix in ("A=", "1_", "MY ")
    },
    "a kernel parameter twice": (
        {"securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}] * 2}},
        "two sysctls have the same name",
    ),
    **{
        f"the seccomp profile {path}": (
            {field: {"seccompProfile": {"type": "Localhost", "localhostProfile": path}}},
            "localhostProfile must be a relative path without ..",
        )
        for field, path in (
            ("securityContext", "/etc/profile.json"),
            ("containerSecurityContext", "a/../../b"),
        )
    },
    **{
        f"a mount at {path}": (_mount(path), "/dev except /dev/shm")
        for path in ("/dev", "/dev/shm/x", "/dev/shmx", "/dev/mqueue")
    },
}


@pytest.mark.parametrize(("spec", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_a_workspace_config_that_takes_what_is_not_its_own_is_refused(
    installed: Kubectl, cluster: Cluster, spec: JSON, sentence: str
) -> None:
    with pytest.raises(ApiError) as refused:
        cluster.connection.post(dry_run("workspaceconfigs"), config("c", **spec))
    assert sentence in str(refused.value)


VOLUMES: list[JSON] = [
    {"name": "settings", "configMap": {"name": "s", "optional": True, "defaultMode": 0o440}},
    {"name": "key", "secret": {"secretName": "s", "items": [{"key": "a", "path": "b/c"}]}},
    {"name": "cache", "persistentVolumeClaim": {"claimName": "cache", "readOnly": True}},
    {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
    {"name": "store", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": True}},
    {
        "name": "pod",
        "downwardAPI": {
            "items": [
                {"path": "name", "fieldRef": {"fieldPath": "metadata.name"}},
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {
                    "path": "team",
                    "fieldRef": {"fieldPath": "metadata.annotations['Acme.com/team']"},
                },
                {
                    "path": "memory",
                    "resourceFieldRef": {"resource": "limits.memory", "containerName": "agent"},
                },
            ]
        },
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
        {"name": "scratch", "mountPath": "/dev/shm"},
    ],
    "sidecars": [
        {
            "name": "db",
            "image": "registry.example.com/postgres:18",
            "imagePullPolicy": "IfNotPresent",
            "args": ["-c", "fsync=off"],
            "env": [{"name": "POSTGRES_PASSWORD", "value": "test"}],
            "envFrom": [{"secretRef": {"name": "s", "optional": True}}],
            "ports": [
                {"containerPort": 5432, "name": "sql", "protocol": "TCP"},
                {"containerPort": 8080, "name": "health-2-check"},
                {"containerPort": 8081},
                {"containerPort": 8082},
            ],
            "resources": {"limits": {"cpu": "500m", "memory": "256Mi"}},
            "volumeMounts": [{"name": "scratch", "mountPath": "/var/lib/postgresql"}],
            "startupProbe": {"tcpSocket": {"port": "sql"}, "periodSeconds": 1},
            "readinessProbe": {"httpGet": {"port": 8080, "path": "/"}, "successThreshold": 2},
            "livenessProbe": {"exec": {"command": ["pg_isready"]}, "successThreshold": 1},
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
    "podLabels": {"team": "a", "example.com/Team": "", "x" * 63: "v"},
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [
        {"key": "gpu", "operator": "", "value": "v", "effect": ""},
        {"operator": "Exists", "value": "", "effect": "NoExecute", "tolerationSeconds": 60},
    ],
    **_credentials(
        {"env": "TOKEN", "mountPath": "/secrets/a"}, {"env": "OTHER"}, {"mountPath": "/secrets/b"}
    ),
    "env": [
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "TEAM", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['team']"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
    ],
}
ADMITTED: dict[str, JSON] = {
    "everything": EVERYTHING,
    "annotations": {
        "podAnnotations": {
            "Example.com/team": "a",
            "team": "b",
            f"{APP_ARMOR}agent": "runtime/default",
        }
    },
    "a GPU": _resources({"nvidia.com/gpu": 1, "cpu": "0.5"}, {"nvidia.com/gpu": "1", "cpu": ".5"}),
    "a GPU by its limit": {"resources": {"limits": {"nvidia.com/gpu": 1}}},
    "huge pages": _resources(
        {"hugepages-2Mi": "4Mi", "memory": "1Gi"}, {"hugepages-2Mi": "4096Ki", "memory": "1024Mi"}
    ),
    "requests in other units": _resources(
        {"cpu": 1, "memory": "1e3"}, {"cpu": "1000m", "memory": "1k"}
    ),
    "a node by its long name": _node(
        field="matchFields", key="metadata.name", operator="In", values=[f"{'n' * 63}.example.com"]
    ),
    "nodes by number": _node(operator="Gt", values=["3"]),
    "nodes by existence": _node(operator="Exists", values=[]),
    "Pods by values": _pod(operator="NotIn", values=["a", ""]),
    "a claim of one Pod": _claim("ReadWriteOncePod", storage="0.5Gi", storage_class="fast.ssd"),
    "a claim of bytes": _claim("ReadWriteOnce", "ReadOnlyMany", storage=1),
    "resources of the cluster": _resources(
        {"example.com/huge": "1k", "requestsx.com/a": 1, "cpu": "1.5"},
        {"example.com/huge": "1k", "requestsx.com/a": 1, "cpu": "1500m"},
    ),
    "huge pages of the preparation": {
        "workspace": {"resources": {"limits": {"hugepages-1Gi": "1Gi"}}}
    },
    "huge pages beside a request": _resources(
        {"cpu": 1, "hugepages-2Mi": "4Mi"}, {"hugepages-2Mi": "4Mi"}
    ),
    "a CSI driver in upper case": _driver("Secrets-Store.CSI.example.com"),
    "projected files": _projected(
        {"secret": {"name": "s", "items": _items("a/b", "a/c")}},
        {"configMap": {"name": "c", "items": _items("b")}},
        {"configMap": {"name": "c"}},
        *({"configMap": {"name": "c", "items": _items(f"d/{i}")}} for i in range(9)),
    ),
    "labels of Pods": _near(
        labelSelector={}, matchLabelKeys=["a"], mismatchLabelKeys=["b"], namespaces=["team-a"]
    ),
    "no labels of Pods": _near(matchLabelKeys=[]),
    "variables with prefixes": {
        "envFrom": [{"prefix": x, "secretRef": {"name": "s"}} for x in ("", "MY_", "_.-a")]
    },
    "profiles of the node": {
        "securityContext": {
            "seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/..a.json"},
            "appArmorProfile": {"type": "Localhost", "localhostProfile": "/usr/bin/agent"},
        }
    },
    "two sidecars with one name of a port": {
        "sidecars": [
            {**DATABASE, "name": name, "ports": [{"containerPort": 1, "name": "sql"}]}
            for name in ("a", "b")
        ]
    },
}


@pytest.mark.parametrize("spec", ADMITTED.values(), ids=ADMITTED.keys())
def test_a_workspace_config_of_valid_values_is_admitted(
    installed: Kubectl, cluster: Cluster, spec: JSON
) -> None:
    cluster.connection.post(dry_run("workspaceconfigs"), config("c", **spec))


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


def _without_rules(node: Any) -> Any:
    """The schema of an earlier version: without rules and patterns."""
    if isinstance(node, list):
        return [_without_rules(x) for x in node]
    if not isinstance(node, dict):
        return node
    dropped = ("x-kubernetes-validations", "pattern")
    kept = {k: v for k, v in node.items() if k not in dropped or isinstance(v, dict)}
    return {k: _without_rules(v) for k, v in kept.items()}


STORED: JSON = {
    **_near(matchLabelKeys=["a"], mismatchLabelKeys=["a"], namespaces=["A.b"]),
    "resources": {"limits": {"requests.nvidia.com/gpu": "500m", "hugepages-2Mi": "4Mi"}},
    "securityContext": {
        "sysctls": [{"name": "a.b", "value": "1"}] * 2,
        "seccompProfile": {"type": "Localhost", "localhostProfile": "/a"},
    },
    "envFrom": [{"prefix": "A=", "secretRef": {"name": "s"}}],
    "volumes": [
        *_driver("a b")["volumes"],
        {
            "name": "p",
            "projected": {"sources": [{"secret": {"name": "s", "items": _items("a", "a")}}]},
        },
    ],
}


def test_a_stored_config_that_newer_rules_refuse_can_be_changed(cluster: Cluster) -> None:
    crd = yaml.safe_load(CRD.read_text())
    group, plural = "stored.kubetask.io", "workspaceconfigs"
    crd["metadata"]["name"] = f"{plural}.{group}"
    crd["spec"]["group"] = group
    crd["spec"]["names"] = {"plural": plural, "kind": "WorkspaceConfig"}
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    objects = f"/apis/{group}/v1alpha1/namespaces/default/{plural}"
    body = {**config("c", **STORED), "apiVersion": f"{group}/v1alpha1"}
    connection = cluster.connection
    connection.post(definitions, _without_rules(crd))
    try:
        _until(lambda: _takes(connection, objects, body), "the definition is served")
        connection.post(objects, body)
        connection.merge_patch(f"{definitions}/{plural}.{group}", {"spec": crd["spec"]})
        _until(lambda: not _takes(connection, objects, body), "the rules hold")
        changed = connection.merge_patch(f"{objects}/c", {"spec": {"maxConcurrentTasks": 3}})
        assert changed["spec"] == {**STORED, "maxConcurrentTasks": 3}
        profile = {"type": "Localhost", "localhostProfile": "/b"}
        security = {"securityContext": {"seccompProfile": profile}}
        with pytest.raises(ApiError, match="localhostProfile must be a relative path"):
            connection.merge_patch(f"{objects}/c", {"spec": security})
    finally:
        connection.delete(f"{definitions}/{plural}.{group}")


def _takes(connection: Connection, objects: str, body: JSON) -> bool:
    other = {**body, "metadata": {"name": "other"}}
    try:
        connection.post(f"{objects}?dryRun=All", other)
    except ApiError:
        return False
    return True


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, what
