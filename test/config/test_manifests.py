"""What lies in config/ renders, is what published schemas describe, and each overlay changes what it says."""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from kubetask_controller.app import options
from kubetask_controller.version import __version__
from support.config.manifests import (
    CONFIG,
    FOLDERS,
    ROOT,
    by_kind,
    controller,
    loaded,
    objects,
    rendered,
)
from support.integration.documents import blocks

pytestmark = pytest.mark.processes

NAMESPACE = "kubetask-system"
CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace"}


@cache
def _validate(text: str) -> None:
    """Check an object; most are the same in several folders, and all schemas are read for each."""
    kubernetes_validate.validate(
        json.loads(text), kubernetes_validate.latest_version(), strict=True
    )


def _environ(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {x["name"]: x.get("value", x.get("valueFrom")) for x in controller(found)["env"]}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_is_what_its_published_schema_describes(folder: str) -> None:
    found = objects(folder)
    assert found
    for each in found:
        group = each["apiVersion"].partition("/")[0]
        if group not in ("kubetask.io", "monitoring.coreos.com"):
            _validate(json.dumps(each, sort_keys=True))


def test_a_namespace_for_tasks_needs_no_storage_class_unless_it_asks_for_one() -> None:
    assert not by_kind(objects("tenant"), "PersistentVolumeClaim")
    overlay = objects("overlays/tenant-claim")
    (claim,) = by_kind(overlay, "PersistentVolumeClaim")
    config = by_kind(overlay, "WorkspaceConfig")["default"]["spec"]
    assert config["workspace"] == {"persistentVolumeClaim": {"claimName": claim}}


INTEGRATIONS = sorted((CONFIG / "integrations").rglob("*.yaml"))
BUILT_IN = {"v1", "batch/v1", "rbac.authorization.k8s.io/v1"}


@pytest.mark.parametrize("file", INTEGRATIONS, ids=lambda x: str(x.relative_to(CONFIG)))
def test_what_pipelines_apply_is_what_its_published_schema_describes(file: Path) -> None:
    for each in loaded(file.read_text()):
        if each.get("apiVersion") in BUILT_IN:
            _validate(json.dumps(each, sort_keys=True))


@pytest.mark.parametrize("folder", [x for x in FOLDERS if x.startswith(("default", "overlays"))])
def test_every_object_belongs_to_one_namespace_or_to_the_cluster(folder: str) -> None:
    tenant = "tenant" in folder
    for each in objects(folder):
        namespace = each["metadata"].get("namespace")
        expected = None if tenant or each["kind"] in CLUSTER_SCOPED else NAMESPACE
        assert namespace == expected, each["metadata"]["name"]


@pytest.mark.parametrize("folder", [x for x in FOLDERS if "tenant" not in x])
def test_every_binding_binds_a_role_and_an_account_that_are_there(folder: str) -> None:
    found = objects(folder)
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        for binding in by_kind(found, kind).values():
            role = binding["roleRef"]
            assert role["name"] in by_kind(found, role["kind"])
            for subject in binding["subjects"]:
                assert subject["name"] in by_kind(found, "ServiceAccount")


def test_two_replicas_elect_a_leader_and_run_this_version() -> None:
    found = objects("default")
    deployment = by_kind(found, "Deployment")["kubetask-controller"]
    container = controller(found)
    assert deployment["spec"]["replicas"] == 2
    assert "--leader-elect" in container["args"]
    assert container["image"].endswith(f":v{__version__}")
    assert options.DEFAULT_WORKSPACE_IMAGE.endswith(f":v{__version__}")
    assert by_kind(found, "PodDisruptionBudget")


@pytest.mark.parametrize(
    "folder", [x for x in FOLDERS if x.startswith(("default", "overlays")) and "tenant" not in x]
)
def test_the_controller_understands_its_flags_and_variables(folder: str) -> None:
    found = objects(folder)
    environ = {k: v if isinstance(v, str) else NAMESPACE for k, v in _environ(found).items()}
    parsed = options.parse(controller(found)["args"], environ)
    ports = {x["name"]: x["containerPort"] for x in controller(found)["ports"]}
    assert parsed.metrics_bind_address == f":{ports['metrics']}"
    assert parsed.health_probe_bind_address == f":{ports['health']}"
    grace = by_kind(found, "Deployment")["kubetask-controller"]["spec"]["template"]["spec"]
    assert parsed.graceful_shutdown_timeout < grace["terminationGracePeriodSeconds"]
    service = by_kind(found, "Service")["kubetask-controller-metrics"]["spec"]["ports"][0]
    assert service["port"] == ports["metrics"]
    assert parsed.metrics_secure == ("kubetask-metrics-auth" in by_kind(found, "ClusterRole"))


def test_the_controller_of_one_namespace_has_no_right_outside_of_it() -> None:
    found = objects("overlays/one-namespace")
    assert by_kind(found, "ClusterRoleBinding") == {}
    assert "kubetask-controller" in by_kind(found, "Role")
    assert _environ(found)["KUBETASK_NAMESPACE"] == {
        "fieldRef": {"fieldPath": "metadata.namespace"}
    }


def test_the_namespace_that_is_served_stands_in_one_place(tmp_path: Path) -> None:
    config = tmp_path / "config"
    shutil.copytree(CONFIG, config)
    file = config / "overlays" / "one-namespace" / "kustomization.yaml"
    text = file.read_text().replace(f"namespace: {NAMESPACE}", "namespace: team-platform")
    file.write_text(text)
    assert NAMESPACE not in rendered("overlays/one-namespace", config)


def test_metrics_are_secured_unless_asked_otherwise() -> None:
    assert _environ(objects("default"))["KUBETASK_METRICS_SECURE"] == "true"
    plain = objects("overlays/metrics-plain")
    assert _environ(plain)["KUBETASK_METRICS_SECURE"] == "false"
    assert not any("metrics" in x for x in by_kind(plain, "ClusterRole"))


def test_a_certificate_is_mounted_where_the_controller_looks_for_it() -> None:
    found = objects("overlays/metrics-certificate")
    (path,) = [
        x["mountPath"] for x in controller(found)["volumeMounts"] if x["name"] == "metrics-tls"
    ]
    assert _environ(found)["KUBETASK_METRICS_CERT_PATH"] == path


def test_what_is_scraped_is_what_the_service_offers() -> None:
    found = objects("overlays/monitoring")
    service = by_kind(found, "Service")["kubetask-controller-metrics"]
    spec = by_kind(found, "ServiceMonitor")["kubetask-controller"]["spec"]
    wanted = spec["selector"]["matchLabels"].items()
    assert wanted <= service["metadata"]["labels"].items()
    assert [x["port"] for x in spec["endpoints"]] == [x["name"] for x in service["spec"]["ports"]]


def test_what_a_scraper_speaks_follows_what_the_controller_serves(tmp_path: Path) -> None:
    config = tmp_path / "config"
    shutil.copytree(CONFIG, config)
    overlay = config / "overlays" / "both"
    overlay.mkdir()
    text = (CONFIG / "overlays" / "monitoring" / "kustomization.yaml").read_text()
    text += "  - ../../components/metrics-plain\n"
    (overlay / "kustomization.yaml").write_text(text)
    found = objects("overlays/both", config)
    (endpoint,) = by_kind(found, "ServiceMonitor")["kubetask-controller"]["spec"]["endpoints"]
    assert endpoint == {"port": "metrics", "path": "/metrics", "honorLabels": True}
    policy = by_kind(found, "NetworkPolicy")["kubetask-controller"]["spec"]
    assert policy["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 8080}]


def test_the_overlay_of_the_installation_guide_names_another_registry(tmp_path: Path) -> None:
    config = tmp_path / "config"
    shutil.copytree(CONFIG, config)
    overlay = config / "overlays" / "own-registry"
    overlay.mkdir()
    (block,) = [x for x in blocks("install.md") if x.language == "yaml"]
    (overlay / "kustomization.yaml").write_text(block.text)
    found = objects("overlays/own-registry", config)
    own = "registry.example.com/kubetask-{}:v" + __version__
    assert controller(found)["image"] == own.format("controller")
    assert _environ(found)["KUBETASK_WORKSPACE_IMAGE"] == own.format("workspace")


@pytest.mark.parametrize(
    ("folder", "directions"),
    [("default", ["Ingress"]), ("overlays/network-policy", ["Egress", "Ingress"])],
)
def test_a_network_policy_selects_the_controllers_pods(folder: str, directions: list[str]) -> None:
    found = objects(folder)
    policies = by_kind(found, "NetworkPolicy").values()
    template = by_kind(found, "Deployment")["kubetask-controller"]["spec"]["template"]
    for policy in policies:
        selector = policy["spec"]["podSelector"]["matchLabels"]
        assert selector.items() <= template["metadata"]["labels"].items()
    assert sorted(x for policy in policies for x in policy["spec"]["policyTypes"]) == directions


def test_a_network_policy_of_tenants_selects_the_pods_of_tasks() -> None:
    (policy,) = by_kind(objects("overlays/tenant-network-policy"), "NetworkPolicy").values()
    selector = policy["spec"]["podSelector"]
    assert selector == {"matchExpressions": [{"key": "kubetask.io/task", "operator": "Exists"}]}


def test_no_network_policy_lets_traffic_out_to_pods_of_every_namespace() -> None:
    policies = [x for f in FOLDERS for x in by_kind(objects(f), "NetworkPolicy").values()]
    peers = [y for x in policies for e in x["spec"].get("egress", ()) for y in e.get("to", ())]
    assert [x for x in peers if "podSelector" in x]
    assert all(x["namespaceSelector"] for x in peers if "namespaceSelector" in x)


def test_the_rendered_file_is_the_default() -> None:
    found = loaded((ROOT / "config" / "install.yaml").read_text())
    assert found == objects("default")


def test_nobody_may_read_secrets() -> None:
    for folder in FOLDERS:
        for kind in ("Role", "ClusterRole"):
            for role in by_kind(objects(folder), kind).values():
                for rule in role["rules"]:
                    assert not {"secrets", "*"} & set(rule.get("resources", []))
                    assert "*" not in rule["verbs"]
