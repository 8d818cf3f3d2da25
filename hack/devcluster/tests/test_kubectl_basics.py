"""The usual commands of kubectl: get, create, apply, change, wait, delete."""

import json
import subprocess

from devcluster.base import Cluster
from kubectl_lab import Kubectl, columns, config_map, job, names, rows, widget

LAST = "kubectl.kubernetes.io/last-applied-configuration"


def test_it_knows_the_server(kubectl: Kubectl, cluster: Cluster) -> None:
    said = json.loads(kubectl("version", "-o", "json"))
    assert said["serverVersion"]["gitVersion"] == cluster.version
    versions = kubectl("api-versions").splitlines()
    assert {"v1", "batch/v1", "apps/v1", "events.k8s.io/v1"} <= set(versions)
    listed = [line.split() for line in kubectl("api-resources").splitlines()]
    assert ["jobs", "batch/v1", "true", "Job"] in listed
    assert ["pods", "po", "v1", "true", "Pod"] in listed
    assert ["clusterroles", "rbac.authorization.k8s.io/v1", "false", "ClusterRole"] in listed


def test_it_shows_tables(settings: Kubectl) -> None:
    table = settings("get", "configmaps")
    assert columns(table) == ["NAME", "DATA", "AGE"]
    assert ["a", "2"] in [row[:2] for row in rows(table)]
    assert names(settings("get", "cm", "--sort-by={.data.one}")) == ["b", "a"]
    assert names(settings("get", "cm", "-l", "app in (x, y)")) == ["a"]
    assert names(settings("get", "cm", "--field-selector=metadata.name!=a")) == ["b"]
    labels = settings("get", "cm", "a", "--show-labels", "--no-headers").split()
    assert labels[-1] == "app=x"
    everywhere = settings("get", "cm", "-A", "--field-selector=metadata.name=a")
    assert [settings.namespace, "a", "2"] in [row[:3] for row in rows(everywhere)]


def test_it_prints_objects(settings: Kubectl) -> None:
    assert '  one: "1"\n' in settings("get", "cm", "a", "-o", "yaml")
    assert settings("get", "cm/a", "cm/b", "-o", "name").split() == ["configmap/a", "configmap/b"]
    assert settings("get", "cm", "a", "-o", "jsonpath={.data.two}") == "2"
    assert settings.get("cm", "-l", "app=x")["kind"] == "List"
    template = "{{range $k, $v := .data}}{{$k}}={{$v}} {{end}}"
    assert settings("get", "cm", "a", "-o", f"go-template={template}") == "one=1 two=2 "
    custom = settings("get", "cm", "b", "-o", "custom-columns=IT:.metadata.name,ONE:.data.one")
    assert custom.split() == ["IT", "ONE", "b", "0"]


def test_what_is_not_there_is_said(settings: Kubectl) -> None:
    said = settings.fails("get", "cm", "nope")
    assert said == 'Error from server (NotFound): configmaps "nope" not found\n'
    assert 'doesn\'t have a resource type "gadgets"' in settings.fails("get", "gadgets")
    assert settings.run("get", "pods").stderr == (
        f"No resources found in {settings.namespace} namespace.\n"
    )
    assert settings("get", "cm", "nope", "--ignore-not-found") == ""


def test_applying_creates_configures_and_prunes(kubectl: Kubectl) -> None:
    def apply(**data: str) -> str:
        return kubectl("apply", "-f", "-", stdin=config_map("a", None, **data))

    assert apply(one="1", two="2") == "configmap/a created\n"
    assert apply(one="1", two="2") == "configmap/a unchanged\n"
    kubectl("patch", "cm", "a", "--type=merge", "-p", '{"data": {"theirs": "3"}}')
    assert apply(one="5") == "configmap/a configured\n"
    found = kubectl.get("cm", "a")
    assert found["data"] == {"one": "5", "theirs": "3"}
    assert json.loads(found["metadata"]["annotations"][LAST])["data"] == {"one": "5"}


def test_server_side_apply_minds_who_owns_a_field(kubectl: Kubectl) -> None:
    def apply(manager: str, value: str, *more: str) -> subprocess.CompletedProcess[str]:
        options = ["--server-side", f"--field-manager={manager}", *more, "-f", "-"]
        return kubectl.run("apply", *options, stdin=config_map("a", one=value))

    assert apply("me", "1").stdout == "configmap/a serverside-applied\n"
    refused = apply("you", "2")
    assert refused.returncode == 1
    assert 'Apply failed with 1 conflict: conflict with "me": .data.one' in refused.stderr
    assert apply("you", "2", "--force-conflicts").returncode == 0
    assert kubectl.get("cm", "a")["data"] == {"one": "2"}


def test_an_object_is_changed(settings: Kubectl) -> None:
    assert settings("label", "cm", "a", "app=z", "--overwrite") == "configmap/a labeled\n"
    settings("annotate", "cm", "a", "note=it")
    said = settings("patch", "cm", "a", "-p", '{"data": {"one": null}}')
    assert said == "configmap/a patched\n"
    add = [{"op": "add", "path": "/data/six", "value": "6"}]
    settings("patch", "cm", "a", "--type=json", "-p", json.dumps(add))
    found = settings.get("cm", "a")
    assert found["data"] == {"two": "2", "six": "6"}
    assert found["metadata"]["labels"] == {"app": "z"}
    assert found["metadata"]["annotations"]["note"] == "it"
    found["data"] = {"seven": "7"}
    assert settings("replace", "-f", "-", stdin=found) == "configmap/a replaced\n"
    found["data"] = {"eight": "8"}
    assert "the object has been modified" in settings.fails("replace", "-f", "-", stdin=found)
    assert settings.get("cm", "a")["data"] == {"seven": "7"}


def test_a_job_runs_to_its_end(kubectl: Kubectl, cluster: Cluster) -> None:
    cluster.require("job-controller")
    said = kubectl("create", "job", "one", f"--image={cluster.test_image}", "--", "true")
    assert said == "job.batch/one created\n"
    said = kubectl("wait", "--for=condition=complete", "job/one", "--timeout=30s")
    assert said == "job.batch/one condition met\n"
    table = kubectl("get", "jobs")
    assert columns(table) == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"]
    assert rows(table)[0][:3] == ["one", "Complete", "1/1"]
    pods = kubectl("get", "pods", "-l", "job-name=one")
    assert columns(pods) == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert rows(pods)[0][1:4] == ["0/1", "Completed", "0"]
    described = kubectl("describe", "job", "one")
    assert "0 Active (0 Ready) / 1 Succeeded / 0 Failed" in described
    assert "SuccessfulCreate" in described
    assert "job-controller" in described


def test_a_custom_resource_is_as_good_as_any(kubectl: Kubectl, widgets: str) -> None:
    said = kubectl("apply", "-f", "-", stdin=widget(widgets, "w"))
    assert said == f"widget.{widgets}/w created\n"
    table = kubectl("get", "wdg")
    assert columns(table) == ["NAME", "COLOR", "PHASE"]
    assert rows(table) == [["w", "red"]]
    assert rows(kubectl("get", "things", "-o", "wide")) == [["w", "red", "3"]]
    status = '{"status": {"phase": "Done"}}'
    kubectl("patch", "wdg", "w", "--subresource=status", "--type=merge", "-p", status)
    kubectl("wait", "wdg/w", "--for=jsonpath={.status.phase}=Done", "--timeout=10s")
    assert "Phase:  Done" in kubectl("describe", "widget", "w")
    assert "Its color." in kubectl("explain", "widget.spec.color")
    assert kubectl("delete", "widgets", "--all").startswith(f'widget.{widgets} "w" deleted')
    assert kubectl.get("widgets")["items"] == []


def test_a_wrong_field_is_refused_by_name(kubectl: Kubectl, widgets: str) -> None:
    wrong = widget(widgets, "w", "green")
    assert 'spec.color: Unsupported value: "green"' in kubectl.fails(
        "apply", "-f", "-", stdin=wrong
    )
    said = kubectl.fails("create", "-f", "-", stdin=widget(widgets, "w", sise=3))
    assert 'unknown field "spec.sise"' in said
    wrong = job("j", "image") | {"spec": {"tempalte": {}}}
    said = kubectl.fails("apply", "-f", "-", stdin=wrong)
    assert 'unknown field "spec.tempalte"' in said


def test_delete_waits_for_the_end(settings: Kubectl) -> None:
    finalizer = {"metadata": {"finalizers": ["devcluster.dev/held"]}}
    settings("patch", "cm", "a", "--type=merge", "-p", json.dumps(finalizer))
    said = settings.fails("delete", "cm", "a", "--timeout=300ms")
    assert "timed out waiting for the condition" in said
    assert "deletionTimestamp" in settings.get("cm", "a")["metadata"]
    settings(
        "patch",
        "cm",
        "a",
        "--type=json",
        "-p",
        '[{"op": "remove", "path": "/metadata/finalizers"}]',
    )
    settings("wait", "--for=delete", "cm/a", "--timeout=10s")
    assert settings("delete", "cm", "b").startswith('configmap "b" deleted')
    assert "NotFound" in settings.fails("delete", "cm", "b")


def test_diff_tells_by_its_exit_code(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=config_map("c", one="1"))
    assert kubectl("diff", "-f", "-", stdin=config_map("c", one="1")) == ""
    done = kubectl.run("diff", "-f", "-", stdin=config_map("c", one="2"))
    assert done.returncode == 1, done.stderr
    assert '+  one: "2"' in done.stdout
