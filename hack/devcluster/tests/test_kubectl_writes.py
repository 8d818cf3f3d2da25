"""What kubectl writes, in every way that it has: create, apply, patch, replace, edit, delete."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from devcluster.base import Cluster
from kubectl_lab import Kubectl, config_map, job, manifests, widget

FORCE = "--force-conflicts"


def server_side(kubectl: Kubectl, manager: str, body: Any, *more: str) -> str:
    options = ["--server-side", f"--field-manager={manager}", *more]
    return kubectl("apply", *options, "-f", "-", stdin=body)


def managers(kubectl: Kubectl, *which: str) -> set[tuple[str, str]]:
    fields = kubectl.get(*which, "--show-managed-fields")["metadata"]["managedFields"]
    return {(each["manager"], each["operation"]) for each in fields}


def test_create_makes_what_a_manifest_says(kubectl: Kubectl) -> None:
    generated = config_map("", one="1")
    generated["metadata"] = {"generateName": "made-"}
    first, second = (kubectl("create", "-f", "-", "-o", "name", stdin=generated) for _ in "12")
    assert first.startswith("configmap/made-")
    assert first != second
    assert "cannot use generate name with apply" in kubectl.fails(
        "apply", "-f", "-", stdin=generated
    )
    several = [config_map("a"), config_map("b")]
    said = kubectl("create", "-f", "-", stdin=several)
    assert said == "configmap/a created\nconfigmap/b created\n"
    said = kubectl.fails("create", "-f", "-", stdin=config_map("a"))
    assert 'Error from server (AlreadyExists): error when creating "STDIN"' in said
    assert 'configmaps "a" already exists' in said


def test_create_without_a_manifest(kubectl: Kubectl, tmp_path: Path) -> None:
    file = tmp_path / "prompt.md"
    file.write_text("do it")
    kubectl("create", "configmap", "files", f"--from-file={file}", "--from-literal=one=1")
    assert kubectl.get("cm", "files")["data"] == {"prompt.md": "do it", "one": "1"}
    kubectl("create", "secret", "generic", "keys", "--from-literal=token=abc")
    assert kubectl.get("secret", "keys")["data"] == {"token": "YWJj"}
    described = kubectl("describe", "secret", "keys")
    assert "token:  3 bytes" in described
    assert "YWJj" not in described
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,jobs.batch")
    kubectl("create", "rolebinding", "reads", "--role=reader", "--serviceaccount=default:robot")
    assert kubectl.get("role", "reader")["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get", "list"]},
    ]
    said = kubectl.fails("create", "secret", "generic", "t", "--type=kubernetes.io/tls")
    assert "data[tls.crt]: Required value" in said


def test_a_namespace_is_made_and_goes(kubectl: Kubectl) -> None:
    name = kubectl.namespace + "-2"
    assert kubectl("create", "namespace", name) == f"namespace/{name} created\n"
    assert "Status:       Active" in kubectl("describe", "namespace", name)
    kubectl("delete", "namespace", name, "--wait=false")
    going = kubectl("get", "namespace", name, "--no-headers", "--ignore-not-found").split()
    assert going[:2] in ([name, "Terminating"], [])
    said = kubectl.fails("create", "configmap", "late", "--namespace", name)
    assert "being terminated" in said or "NotFound" in said


def test_a_quota_counts_and_refuses(kubectl: Kubectl, cluster: Cluster) -> None:
    cluster.require("job-controller")
    kubectl("create", "quota", "few", "--hard=secrets=1")
    kubectl("wait", "quota/few", "--for=jsonpath={.status.used.secrets}=0", "--timeout=10s")
    kubectl("create", "secret", "generic", "one")
    said = kubectl.fails("create", "secret", "generic", "two")
    assert "exceeded quota: few, requested: secrets=1, used: secrets=1, limited: secrets=1" in said
    assert "secrets: 1/1" in kubectl("get", "quota")


@pytest.mark.parametrize("dry", ["client", "server"])
def test_a_dry_run_leaves_nothing(kubectl: Kubectl, dry: str) -> None:
    said = kubectl("create", "-f", "-", f"--dry-run={dry}", stdin=config_map("a"))
    assert said == f"configmap/a created ({'server ' if dry == 'server' else ''}dry run)\n"
    assert "NotFound" in kubectl.fails("get", "cm", "a")


def test_server_side_apply_takes_over_from_client_side(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=config_map("a", one="1", two="2"))
    assert managers(kubectl, "cm", "a") == {("kubectl-client-side-apply", "Update")}
    kubectl("apply", "--server-side", "-f", "-", stdin=config_map("a", one="1"))
    assert kubectl.get("cm", "a")["data"] == {"one": "1"}
    assert ("kubectl", "Apply") in managers(kubectl, "cm", "a")
    assert ("kubectl-client-side-apply", "Update") not in managers(kubectl, "cm", "a")


def test_server_side_apply_shares_and_gives_up_fields(kubectl: Kubectl, widgets: str) -> None:
    server_side(kubectl, "me", widget(widgets, "w", size=5))
    server_side(kubectl, "you", widget(widgets, "w"))
    with pytest.raises(AssertionError, match=r'conflict with "me": \.spec\.size'):
        server_side(kubectl, "you", widget(widgets, "w", size=6))
    server_side(kubectl, "you", widget(widgets, "w", size=6), FORCE)
    server_side(kubectl, "me", widget(widgets, "w", size=7), FORCE)
    without = widget(widgets, "w")
    server_side(kubectl, "me", without)
    assert kubectl.get("wdg", "w")["spec"] == {"color": "red", "size": 3}  # the default
    assert managers(kubectl, "wdg", "w") == {("me", "Apply"), ("you", "Apply")}


def test_an_apply_that_changes_nothing_has_no_time(kubectl: Kubectl, widgets: str) -> None:
    def times() -> dict[str, bool]:
        metadata = kubectl.get("wdg", "w", "--show-managed-fields")["metadata"]
        return {each["manager"]: "time" in each for each in metadata["managedFields"]}

    server_side(kubectl, "me", widget(widgets, "w", size=3))
    server_side(kubectl, "you", widget(widgets, "w"))
    assert times() == {"me": True, "you": False}
    server_side(kubectl, "you", widget(widgets, "w", size=4), FORCE)
    assert times() == {"me": True, "you": True}


def test_patches_of_every_type(kubectl: Kubectl, cluster: Cluster) -> None:
    kubectl("create", "-f", "-", stdin=job("j", cluster.test_image, suspend=True))
    containers = {"containers": [{"name": "agent", "env": [{"name": "A", "value": "1"}]}]}
    body = json.dumps({"spec": {"template": {"spec": containers}}})
    assert "spec.template" in kubectl.fails("patch", "job", "j", "--type=merge", "-p", body)
    quick = [{"op": "replace", "path": "/spec/parallelism", "value": 2}]
    kubectl("patch", "job", "j", "--type=json", "-p", json.dumps(quick))
    labels = '{"metadata": {"labels": {"a": "b"}}}'
    assert kubectl("patch", "job", "j", "-p", labels) == "job.batch/j patched\n"
    assert kubectl("patch", "job", "j", "-p", labels) == "job.batch/j patched (no change)\n"
    found = kubectl.get("job", "j")
    assert found["spec"]["parallelism"] == 2
    assert found["metadata"]["labels"]["a"] == "b"
    wrong = [{"op": "test", "path": "/spec/parallelism", "value": 3}]
    said = kubectl.fails("patch", "job", "j", "--type=json", "-p", json.dumps(wrong))
    assert "the server rejected our request due to an error in our request" in said


def test_strategic_patches_merge_lists_by_name(kubectl: Kubectl) -> None:
    def names(kind: str = "secrets") -> list[str]:
        return [each["name"] for each in kubectl.get("sa", "robot")[kind]]

    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}}
    kubectl("create", "-f", "-", stdin={**account, "secrets": [{"name": "a"}]})
    kubectl("patch", "sa", "robot", "-p", '{"secrets": [{"name": "b"}]}')
    assert names() == ["b", "a"]
    gone = '{"secrets": [{"name": "a", "$patch": "delete"}]}'
    kubectl("patch", "sa", "robot", "-p", gone)
    assert names() == ["b"]
    kubectl("patch", "sa", "robot", "--type=merge", "-p", '{"secrets": [{"name": "c"}]}')
    assert names() == ["c"]


def test_a_custom_resource_knows_no_strategic_patch(kubectl: Kubectl, widgets: str) -> None:
    kubectl("create", "-f", "-", stdin=widget(widgets, "w"))
    body = '{"spec": {"size": 4}}'
    said = kubectl.fails("patch", "wdg", "w", "--type=strategic", "-p", body)
    assert "application/strategic-merge-patch+json is not supported by" in said
    kubectl(
        "patch",
        "wdg",
        "w",
        "--subresource=status",
        "--type=merge",
        "-p",
        '{"status": {"phase": "Done"}, "spec": {"size": 9}}',
    )
    kubectl(
        "patch",
        "wdg",
        "w",
        "--type=merge",
        "-p",
        '{"status": {"phase": "Mine"}, "spec": {"size": 4}}',
    )
    found = kubectl.get("wdg", "w")
    assert (found["spec"]["size"], found["status"]["phase"]) == (4, "Done")
    table = kubectl("get", "wdg", "w", "--subresource=status", "--no-headers")
    assert table.split() == ["w", "red", "Done"]
    assert "not found" in kubectl.fails("scale", "wdg", "w", "--replicas=3")


def test_replace_by_force_makes_it_anew(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=config_map("a", one="1"))
    uid = kubectl.get("cm", "a")["metadata"]["uid"]
    kubectl("replace", "-f", "-", stdin=config_map("a", two="2"))
    assert kubectl.get("cm", "a")["data"] == {"two": "2"}
    assert kubectl.get("cm", "a")["metadata"]["uid"] == uid
    kubectl("replace", "--force", "-f", "-", stdin=config_map("a", three="3"))
    found = kubectl.get("cm", "a")
    assert found["data"] == {"three": "3"}
    assert found["metadata"]["uid"] != uid


def editor(tmp_path: Path, change: str) -> dict[str, str]:
    script = tmp_path / "editor.py"
    script.write_text(
        "import pathlib, sys\n"
        "file = pathlib.Path(sys.argv[1])\n"
        f"file.write_text(file.read_text(){change})\n"
    )
    return {"KUBE_EDITOR": f"{sys.executable} {script}"}


def test_edit_sends_what_was_changed(kubectl: Kubectl, widgets: str, tmp_path: Path) -> None:
    kubectl("create", "-f", "-", stdin=[config_map("a", one="1"), widget(widgets, "w")])
    environ = editor(tmp_path, ".replace('one: \"1\"', 'one: \"2\"')")
    assert kubectl("edit", "cm", "a", environ=environ) == "configmap/a edited\n"
    assert kubectl.get("cm", "a")["data"] == {"one": "2"}
    said = kubectl.run("edit", "cm", "a", environ=editor(tmp_path, ""))
    assert said.stderr == "Edit cancelled, no changes made.\n"
    environ = editor(tmp_path, ".replace('color: red', 'color: blue')")
    assert kubectl("edit", "wdg", "w", environ=environ) == f"widget.{widgets}/w edited\n"
    assert kubectl.get("wdg", "w")["spec"]["color"] == "blue"


def test_labels_and_annotations(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=[config_map("a"), config_map("b")])
    kubectl("label", "cm", "a", "b", "team=x")
    assert "already has a value (x), and --overwrite is false" in kubectl.fails(
        "label", "cm", "a", "team=y"
    )
    assert kubectl("label", "cm", "-l", "team=x", "team-").count("unlabeled") == 2
    assert "labels" not in kubectl.get("cm", "a")["metadata"]
    kubectl("annotate", "cm", "a", "text=with spaces, and more")
    listed = kubectl("annotate", "cm", "a", "--list")
    assert "text=with spaces, and more" in listed
    assert "a lowercase RFC 1123" in kubectl.fails("create", "configmap", "A_b")


def test_apply_reads_folders_and_kustomizations(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(manifests([config_map("a", one="1"), config_map("b")]))
    assert kubectl("apply", "-f", str(tmp_path)) == "configmap/a created\nconfigmap/b created\n"
    kustomization = {"resources": ["a.yaml"], "nameSuffix": "-2"}
    (tmp_path / "kustomization.yaml").write_text(manifests(kustomization))
    said = kubectl("apply", "--server-side", "-k", str(tmp_path))
    assert said == "configmap/a-2 serverside-applied\nconfigmap/b-2 serverside-applied\n"
    assert 'one: "1"' in kubectl("apply", "view-last-applied", "cm", "a")
    assert kubectl("delete", "-k", str(tmp_path)).count("deleted") == 2
    assert kubectl("delete", "-f", str(tmp_path / "a.yaml")).count("deleted") == 2
