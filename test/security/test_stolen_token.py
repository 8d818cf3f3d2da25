"""What somebody may try who has the token of the controller's ServiceAccount: RBAC and the policies of config/policy."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster.base import Cluster

from kubetask_controller.api.podparts import BASELINE_CAPABILITIES, VOLUME_SOURCES
from kubetask_controller.reconcilers.taskrun.files import Owner, pack
from kubetask_controller.reconcilers.taskrun.job_template import Template
from kubetask_controller.reconcilers.taskrun.pod_template import Images
from support.integration.controller import SYSTEM
from support.integration.kubectl import Kubectl
from support.integration.objects import task, text
from support.security.holders import (
    JOBS,
    KUBETASK,
    NS,
    RBAC,
    Holder,
    config_map,
    existing,
    job,
    pod,
    secret,
)

JSON = dict[str, Any]
CONFIG = Path(__file__).parents[2] / "config"
Change = Callable[[JSON], object]

pytestmark = pytest.mark.integration

LABELS = {"kubetask.io/task": "t", "app.kubernetes.io/managed-by": "kubetask"}
ELSEWHERE = "example.com/another"
"""Who manages what lies ready here, so that no controller acts on it."""


@dataclass(frozen=True)
class Booty:
    """A thief, and a namespace in which a task's Job and Pod lie beside somebody else's."""

    thief: Holder
    owner: JSON

    def job(self, config: JSON | None = None) -> JSON:
        """A Job as the controller makes it of a WorkspaceConfig."""
        contexts = [text()]
        owner = Owner("Task", self.thief.namespace, "t", self.owner["uid"])
        images, inline = Images("workspace:1", "agent:1"), pack(owner, contexts).places
        return Template(owner, {}, {}, config or {}, "default", images, inline).job(contexts, None)


@pytest.fixture(scope="module")
def booty(cluster: Cluster, installed: Kubectl) -> Iterator[Booty]:
    with cluster.namespace("stolen") as namespace:
        admin = Kubectl(cluster.admin_kubeconfig, namespace)
        owner = _reference(admin.create(task("t", managedBy=ELSEWHERE)))
        strayed = {"kubetask.io/task": "t"}
        admin.create(config_map())
        for name, labels, references in (
            ("ours", LABELS, [owner]),
            ("theirs", {}, []),
            ("strayed", strayed, [owner]),
        ):
            made = job(name)
            made["metadata"] |= {"labels": labels, "ownerReferences": references}
            made["spec"] |= {"suspend": True, "managedBy": ELSEWHERE}
            controller = _reference(admin.create(made))
            held = pod(schedulingGates=[{"name": "example.com/held"}], restartPolicy="Never")
            held["metadata"] |= {
                "name": name,
                "labels": labels,
                "ownerReferences": [controller] if labels else [],
            }
            admin.create(held)
        thief = existing(cluster, SYSTEM, "kubetask-controller")
        yield Booty(Holder(thief.connection, namespace), owner)


def _reference(made: JSON) -> JSON:
    metadata = made["metadata"]
    return {
        "apiVersion": made["apiVersion"],
        "kind": made["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }


def _spec(made: JSON) -> JSON:
    found: JSON = made["spec"]["template"]["spec"]
    return found


def _context(made: JSON) -> JSON:
    """The securityContext of the agent's container."""
    found: JSON = _spec(made)["containers"][0]["securityContext"]
    return found


TOKEN = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
CERTIFICATE = {
    "projected": {
        "sources": [
            {
                "podCertificate": {
                    "signerName": "example.com/signer",
                    "keyType": "ED25519",
                    "credentialBundlePath": "bundle.pem",
                }
            }
        ]
    }
}
UNCONFINED = {"type": "Unconfined"}
VOLUMES: JSON = {
    "nfs": {"server": "nfs.example.com", "path": "/"},
    "iscsi": {"targetPortal": "10.0.0.1:3260", "iqn": "iqn.2001-04.com.example:a", "lun": 0},
    "flexVolume": {"driver": "example.com/driver"},
    "fc": {"targetWWNs": ["500a0982991b8dc5"], "lun": 2},
    "image": {"reference": "registry.example.com/image:1"},
}
CREATES: dict[str, Change] = {
    "no owner": lambda x: x["metadata"].pop("ownerReferences"),
    "an owner that does not control": lambda x: x["metadata"]["ownerReferences"][0].pop(
        "controller"
    ),
    "an owner of another kind": lambda x: x["metadata"]["ownerReferences"][0].update(
        apiVersion="apps/v1", kind="ReplicaSet"
    ),
    "an owner of a group that looks like ours": lambda x: x["metadata"]["ownerReferences"][
        0
    ].update(apiVersion="kubetask.io.evil.example/v1"),
    "a second owner": lambda x: x["metadata"]["ownerReferences"].append(
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1"}
    ),
    "no labels of a task": lambda x: x["metadata"].update(labels={"a": "b"}),
    "another manager": lambda x: x["metadata"]["labels"].update(
        {"app.kubernetes.io/managed-by": "helm"}
    ),
    "no container named agent": lambda x: _spec(x)["containers"][0].update(name="other"),
    "no init container": lambda x: _spec(x).pop("initContainers"),
    "a token by default": lambda x: _spec(x).pop("automountServiceAccountToken"),
    "a token by wish": lambda x: _spec(x).update(automountServiceAccountToken=True),
    "a token in a volume": lambda x: _spec(x)["volumes"].append({"name": "token", **TOKEN}),
    "a folder of the node": lambda x: _spec(x)["volumes"].append(
        {"name": "host", "hostPath": {"path": "/"}}
    ),
    "a privileged agent": lambda x: _spec(x)["containers"][0]["securityContext"].update(
        privileged=True, allowPrivilegeEscalation=True
    ),
    "a privileged init container": lambda x: _spec(x)["initContainers"][0][
        "securityContext"
    ].update(privileged=True, allowPrivilegeEscalation=True),
    **{
        f"the capability {x}": lambda y, x=x: _context(y).update(capabilities={"add": [x]})
        for x in ("SYS_MODULE", "SYS_ADMIN", "DAC_READ_SEARCH", "NET_RAW", "ALL")
    },
    "no seccomp profile of the agent": lambda x: _context(x).update(seccompProfile=UNCONFINED),
    "no seccomp profile of the Pod": lambda x: _spec(x)["securityContext"].update(
        seccompProfile=UNCONFINED
    ),
    "no AppArmor profile": lambda x: _context(x).update(appArmorProfile=UNCONFINED),
    "no AppArmor profile by an annotation": lambda x: x["spec"]["template"]["metadata"].update(
        annotations={"container.apparmor.security.beta.kubernetes.io/agent": "unconfined"}
    ),
    "all of /proc": lambda x: [
        _spec(x).update(hostUsers=False),
        _context(x).update(procMount="Unmasked"),
    ],
    "settings for Windows": lambda x: _context(x).update(windowsOptions={"runAsUserName": "a"}),
    "settings of the Pod for Windows": lambda x: _spec(x)["securityContext"].update(
        windowsOptions={"runAsUserName": "a"}
    ),
    "a port of the node": lambda x: _spec(x)["containers"][0].update(
        ports=[{"containerPort": 80, "hostPort": 80}]
    ),
    **{
        f"a volume of {kind}": lambda x, kind=kind, source=source: _spec(x)["volumes"].append(
            {"name": "other", kind: source}
        )
        for kind, source in VOLUMES.items()
    },
    "a certificate in a volume": lambda x: _spec(x)["volumes"].append(
        {"name": "certificate", **CERTIFICATE}
    ),
    "the node's network": lambda x: _spec(x).update(hostNetwork=True),
    "the node's processes": lambda x: _spec(x).update(hostPID=True),
    "the node's shared memory": lambda x: _spec(x).update(hostIPC=True),
    "a node of choice": lambda x: _spec(x).update(nodeName="control-plane"),
}


def test_a_job_as_the_controller_makes_it_is_admitted(booty: Booty) -> None:
    assert booty.thief.code("POST", JOBS, booty.job()) == 200


def test_a_job_of_every_supported_shape_is_admitted(booty: Booty) -> None:
    given: JSON = {
        "configMap": {"name": "c"},
        "secret": {"secretName": "s"},
        "downwardAPI": {},
        "emptyDir": {},
        "persistentVolumeClaim": {"claimName": "p"},
        "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": True},
        "ephemeral": {
            "volumeClaimTemplate": {
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}},
                }
            }
        },
        "projected": {
            "sources": [
                {"configMap": {"name": "c"}},
                {"secret": {"name": "s"}},
                {"downwardAPI": {}},
            ]
        },
    }
    assert set(given) == set(VOLUME_SOURCES)
    config = {
        "volumes": [{"name": f"given-{x.lower()}", x: y} for x, y in given.items()],
        "containerSecurityContext": {"capabilities": {"add": list(BASELINE_CAPABILITIES)}},
        "sidecars": [{"name": "db", "image": "db:1", "ports": [{"containerPort": 5432}]}],
    }
    assert booty.thief.code("POST", JOBS, booty.job(config)) == 200


@pytest.mark.parametrize("change", CREATES.values(), ids=CREATES)
def test_a_job_of_another_shape_cannot_be_created(booty: Booty, change: Change) -> None:
    made = copy.deepcopy(booty.job())
    change(made)
    assert booty.thief.code("POST", JOBS, made) == 403


@pytest.mark.parametrize("namespace", ["kube-system", "kube-public"])
def test_no_job_can_be_created_beside_the_system(booty: Booty, namespace: str) -> None:
    made = booty.job()
    made["metadata"]["namespace"] = namespace
    assert booty.thief.code("POST", JOBS.replace("{ns}", namespace), made) == 403


PODS = f"{NS}/pods"
MAY = {
    "ends a task's Pod": ("PATCH", f"{PODS}/ours", {"spec": {"activeDeadlineSeconds": 1}}),
    "takes the retries of a task's Job": ("PATCH", f"{JOBS}/ours", {"spec": {"backoffLimit": 0}}),
    "notes why it ends a Job": (
        "PATCH",
        f"{JOBS}/ours",
        {"metadata": {"annotations": {"kubetask.io/stopped-for": "Cancelled"}}},
    ),
    "deletes a task's Job": ("DELETE", f"{JOBS}/ours"),
    "restores the label by which it watches": (
        "PATCH",
        f"{JOBS}/strayed",
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": "kubetask"}}},
    ),
}


@pytest.mark.parametrize("row", MAY)
def test_what_the_controller_does_is_admitted(booty: Booty, row: str) -> None:
    assert booty.thief.code(*MAY[row]) == 200


IMAGE = {"spec": {"containers": [{"name": "c", "image": "registry.example/worse:1"}]}}
ONLY_WHERE_GATED = (
    "lets a task's Pod go",
    "sends a task's Pod to a node",
    "lets a task's Pod onto every node",
)
EXISTING = {
    "changes the image of a task's Pod": ("PATCH", f"{PODS}/ours", IMAGE),
    "changes the image of another Pod": ("PATCH", f"{PODS}/theirs", IMAGE),
    "ends another Pod": ("PATCH", f"{PODS}/theirs", {"spec": {"activeDeadlineSeconds": 1}}),
    "labels another Pod as a task's": ("PATCH", f"{PODS}/theirs", {"metadata": {"labels": LABELS}}),
    "takes the labels of a task's Pod": (
        "PATCH",
        f"{PODS}/ours",
        {"metadata": {"labels": {"kubetask.io/task": None}}},
    ),
    "takes the owner of a task's Pod": (
        "PATCH",
        f"{PODS}/ours",
        {"metadata": {"ownerReferences": None}},
    ),
    "holds a task's Pod by a finalizer": (
        "PATCH",
        f"{PODS}/ours",
        {"metadata": {"finalizers": ["example.com/held"]}},
    ),
    "lets a task's Pod onto every node": (
        "PATCH",
        f"{PODS}/ours",
        {"spec": {"tolerations": [{"operator": "Exists"}]}},
    ),
    "lets a task's Pod go": (
        "PATCH",
        f"{PODS}/ours",
        {"spec": {"schedulingGates": [{"name": "example.com/held", "$patch": "delete"}]}},
    ),
    "sends a task's Pod to a node": (
        "PATCH",
        f"{PODS}/ours",
        {"spec": {"nodeSelector": {"kubernetes.io/hostname": "control-plane"}}},
    ),
    "creates a Pod": ("POST", PODS, pod()),
    "adds a container to a Pod": ("PATCH", f"{PODS}/ours/ephemeralcontainers", IMAGE),
    "evicts a Pod": (
        "POST",
        f"{PODS}/theirs/eviction",
        {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "theirs"}},
    ),
    "changes the template of a task's Job": (
        "PATCH",
        f"{JOBS}/ours",
        {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}},
    ),
    "changes the template of another Job": (
        "PATCH",
        f"{JOBS}/theirs",
        {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}},
    ),
    "starts another Job": ("PATCH", f"{JOBS}/theirs", {"spec": {"suspend": False}}),
    "takes over another Job": ("PATCH", f"{JOBS}/theirs", {"metadata": {"labels": LABELS}}),
    "deletes another Job": ("DELETE", f"{JOBS}/theirs"),
    "gives a task's Job away": ("PATCH", f"{JOBS}/ours", {"metadata": {"ownerReferences": None}}),
    "relabels a task's Job": (
        "PATCH",
        f"{JOBS}/ours",
        {"metadata": {"labels": {"kubetask.io/task": "other"}}},
    ),
    "takes the label by which a task's Job is watched": (
        "PATCH",
        f"{JOBS}/ours",
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}},
    ),
    "deletes somebody's ConfigMap": ("DELETE", f"{NS}/configmaps/c"),
    "deletes a ConfigMap of the system": (
        "DELETE",
        "/api/v1/namespaces/kube-system/configmaps/kube-root-ca.crt",
    ),
    "holds a task's Job by a finalizer": (
        "PATCH",
        f"{JOBS}/ours",
        {"metadata": {"finalizers": ["example.com/held"]}},
    ),
    "creates a ConfigMap of nobody": ("POST", f"{NS}/configmaps", config_map("new")),
    "creates a ConfigMap beside the system": (
        "POST",
        "/api/v1/namespaces/kube-system/configmaps",
        config_map("new"),
    ),
    "reads a Secret": ("GET", f"{NS}/secrets/s"),
    "lists all Secrets": ("GET", "/api/v1/secrets"),
    "creates a Secret": ("POST", f"{NS}/secrets", secret("new")),
    "reads a ConfigMap": ("GET", f"{NS}/configmaps/c"),
    "lists the nodes": ("GET", "/api/v1/nodes"),
    "runs a command in a Pod": ("POST", f"{PODS}/ours/exec"),
    "reads a log": ("GET", f"{PODS}/ours/log"),
    "creates a WorkspaceConfig": (
        "POST",
        f"{KUBETASK}/namespaces/{{ns}}/workspaceconfigs",
        {
            "apiVersion": "kubetask.io/v1alpha1",
            "kind": "WorkspaceConfig",
            "metadata": {"name": "new"},
            "spec": {},
        },
    ),
    "creates a Task": ("POST", f"{KUBETASK}/namespaces/{{ns}}/tasks", task("new")),
    "reads who may do what": ("GET", f"{RBAC}/rolebindings"),
    "takes away the policy": (
        "DELETE",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/kubetask-controller-jobs",
    ),
    "takes a token of another account": (
        "POST",
        "/api/v1/namespaces/kube-system/serviceaccounts/default/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    ),
}


@pytest.mark.parametrize("row", EXISTING)
def test_nothing_else_is_in_its_reach(booty: Booty, row: str) -> None:
    code = booty.thief.code(*EXISTING[row])
    # Where the API server itself allows nobody to change that of a Pod, it says so first.
    assert code == 403 or (row in ONLY_WHERE_GATED and code == 422)


def test_a_refusal_names_the_policy(booty: Booty, cluster: Cluster) -> None:
    made = booty.job()
    del made["metadata"]["ownerReferences"]
    kubectl = Kubectl(
        cluster.service_account_kubeconfig(SYSTEM, "kubetask-controller"), booty.thief.namespace
    )
    with pytest.raises(AssertionError, match="only Jobs that a BatchRun or Task controls"):
        kubectl.create(made)


def test_with_the_overlay_jobs_are_made_in_labelled_namespaces_alone(
    cluster: Cluster, installed: Kubectl
) -> None:
    file = CONFIG / "components" / "labelled-namespaces" / "namespace_policy.yaml"
    policy, binding = yaml.safe_load_all(file.read_text())
    thief = existing(cluster, SYSTEM, "kubetask-controller")
    with cluster.namespace("labelled") as namespace:
        # Other tests' namespaces have no label.
        own = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
        binding["spec"]["matchResources"] = {"namespaceSelector": own}
        installed.apply(policy, binding)
        booty = Booty(Holder(thief.connection, namespace), {"uid": "1"})
        _until(lambda: booty.thief.code("POST", JOBS, booty.job()) == 403)
        installed("label", "namespace", namespace, "kubetask.io/tasks=enabled")
        _until(lambda: booty.thief.code("POST", JOBS, booty.job()) == 200)
        installed("delete", "-f", str(file))


def _until(true: Callable[[], bool]) -> None:
    """A real API server takes a moment until a policy is in force."""
    for _ in range(300):
        if true():
            return
    raise AssertionError("it never comes true")
