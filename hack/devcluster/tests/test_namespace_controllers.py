"""Namespaces: what they get, and how they go; conditions and order as on a real control plane."""

import pytest
from controllers_lab import JOBS, PODS, ROOT_CA, ControllersLab, conditions, job, open_lab
from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.local import CONFIGMAPS, GVR, NAMESPACES, SERVICEACCOUNTS

HOLD = "example.com/hold"
WIDGETS = GVR("example.com", "v1", "widgets")
GRACE = 5
DONE = [
    ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions"),
    ("NamespaceDeletionContentFailure", "False", "ContentDeleted"),
    ("NamespaceContentRemaining", "False", "ContentRemoved"),
    ("NamespaceFinalizersRemaining", "False", "ContentHasNoFinalizers"),
]
LEFT = [
    *DONE[:3],
    ("NamespaceContentRemaining", "True", "SomeResourcesRemain"),
    ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain"),
]


def make(
    lab: ControllersLab, resource: GVR, name: str, *, held: bool = False, **rest: object
) -> None:
    metadata = {"name": name, **({"finalizers": [HOLD]} if held else {})}
    lab.client.create(resource, "team", {"metadata": metadata, **rest})


def release(lab: ControllersLab, resource: GVR, name: str) -> None:
    lab.client.patch(resource, "team", name, {"metadata": {"finalizers": None}})


async def test_every_namespace_gets_its_account_and_the_root_certificate() -> None:
    async with open_lab("team") as lab:
        assert lab.exists(SERVICEACCOUNTS, "team", "default")
        configmap = lab.client.get(CONFIGMAPS, "team", "kube-root-ca.crt")
        assert configmap["data"] == {"ca.crt": ROOT_CA}
        text = configmap["metadata"]["annotations"]["kubernetes.io/description"]
        assert text.startswith("Contains a CA bundle that can be used to verify the kube-apiserver")


async def test_account_and_certificate_come_back_when_taken_or_changed() -> None:
    async with open_lab("team") as lab:
        lab.client.delete(SERVICEACCOUNTS, "team", "default")
        lab.client.delete(CONFIGMAPS, "team", "kube-root-ca.crt")
        await lab.settle()
        assert lab.exists(SERVICEACCOUNTS, "team", "default")
        assert lab.exists(CONFIGMAPS, "team", "kube-root-ca.crt")
        lab.client.patch(CONFIGMAPS, "team", "kube-root-ca.crt", {"data": {"ca.crt": "forged"}})
        await lab.settle()
        configmap = lab.client.get(CONFIGMAPS, "team", "kube-root-ca.crt")
        assert configmap["data"] == {"ca.crt": ROOT_CA}


async def test_namespaces_that_were_there_before_get_them_too() -> None:
    async with open_lab() as lab:
        await lab.controllers.stop()
        lab.namespace("team")
        await lab.settle()
        assert not lab.exists(SERVICEACCOUNTS, "team", "default")
        await lab.controllers.start()
        await lab.settle()
        assert lab.exists(SERVICEACCOUNTS, "team", "default")


async def test_namespace_goes_with_everything_in_it() -> None:
    async with open_lab("team", "other") as lab:
        await lab.serve_custom_resource(WIDGETS, "Widget")
        make(lab, CONFIGMAPS, "c")
        make(lab, WIDGETS, "w", apiVersion="example.com/v1", kind="Widget")
        lab.client.create(JOBS, "team", job("j"))
        lab.client.create(JOBS, "other", job("j"))
        await lab.settle()
        assert len(lab.pods("team")) == 1
        lab.client.delete(NAMESPACES, None, "team")
        await lab.pass_time(GRACE - 1)
        assert lab.client.get(NAMESPACES, None, "team")["status"]["phase"] == "Terminating"
        assert lab.exists(CONFIGMAPS, "team", "c")
        with pytest.raises(StatusError, match="because it is being terminated"):
            make(lab, CONFIGMAPS, "late")
        await lab.pass_time(2)
        assert not lab.exists(NAMESPACES, None, "team")
        for resource, name in ((CONFIGMAPS, "c"), (WIDGETS, "w"), (JOBS, "j")):
            assert not lab.exists(resource, "team", name)
        assert lab.pods("team") == []
        assert lab.exists(JOBS, "other", "j")
        assert len(lab.pods("other")) == 1


async def test_namespace_waits_for_pods_first_and_tells_what_remains() -> None:
    async with open_lab("team") as lab:
        containers = [{"name": "a", "image": "x"}]
        make(lab, CONFIGMAPS, "held", held=True)
        make(lab, CONFIGMAPS, "free")
        make(lab, PODS, "p", held=True, spec={"containers": containers})
        lab.client.delete(NAMESPACES, None, "team")
        await lab.pass_time(GRACE + 1)
        assert "deletionTimestamp" in lab.client.get(PODS, "team", "p")["metadata"]
        assert lab.exists(CONFIGMAPS, "team", "free")
        assert conditions(lab.get(NAMESPACES, None, "team")) == DONE
        release(lab, PODS, "p")
        await lab.settle()
        assert not lab.exists(CONFIGMAPS, "team", "free")
        namespace = lab.client.get(NAMESPACES, None, "team")
        assert conditions(namespace) == LEFT
        messages = [each["message"] for each in namespace["status"]["conditions"]]
        assert messages[3:] == [
            "Some resources are remaining: configmaps. has 1 resource instances",
            "Some content in the namespace has finalizers remaining: "
            "example.com/hold in 1 resource instances",
        ]
        release(lab, CONFIGMAPS, "held")
        await lab.settle()
        assert not lab.exists(NAMESPACES, None, "team")


async def test_namespace_of_the_same_name_can_be_made_again() -> None:
    async with open_lab("team") as lab:
        lab.client.delete(NAMESPACES, None, "team")
        await lab.pass_time(GRACE + 1)
        lab.namespace("team")
        await lab.settle()
        assert lab.exists(SERVICEACCOUNTS, "team", "default")
        lab.client.create(JOBS, "team", job("j"))
        await lab.settle()
        assert len(lab.pods("team")) == 1
