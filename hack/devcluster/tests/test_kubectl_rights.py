"""kubectl's questions about the cluster: who may do what, what there is, what a field means."""

import json
import time

from devcluster.base import Cluster
from kubectl_lab import Kubectl, rows


def test_what_a_service_account_may_do(kubectl: Kubectl) -> None:
    robot = f"--as=system:serviceaccount:{kubectl.namespace}:robot"
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,pods/log")
    kubectl(
        "create",
        "rolebinding",
        "reads",
        "--role=reader",
        f"--serviceaccount={kubectl.namespace}:robot",
    )
    assert kubectl("auth", "can-i", "list", "pods", robot) == "yes\n"
    assert kubectl("auth", "can-i", "get", "pods", "--subresource=log", robot) == "yes\n"
    refused = kubectl.run("auth", "can-i", "delete", "pods", robot)
    assert (refused.returncode, refused.stdout) == (1, "no\n")
    assert kubectl("auth", "can-i", "*", "*") == "yes\n"
    listed = kubectl("auth", "can-i", "--list", robot).splitlines()
    assert ["pods", "[]", "[]", "[get", "list]"] in [line.split() for line in listed]
    assert any("selfsubjectaccessreviews.authorization.k8s.io" in line for line in listed)
    assert any("[/healthz]" in line for line in listed)
    assert kubectl("get", "pods", "-o", "name", robot) == ""
    said = kubectl.fails("get", "secrets", robot)
    who = f'User "system:serviceaccount:{kubectl.namespace}:robot"'
    assert f'secrets is forbidden: {who} cannot list resource "secrets" in API group ""' in said
    described = kubectl("describe", "rolebinding", "reads")
    assert f"ServiceAccount  robot  {kubectl.namespace}" in described


def test_a_token_tells_who_its_holder_is(kubectl: Kubectl, cluster: Cluster) -> None:
    kubectl("create", "serviceaccount", "robot")
    token = kubectl("create", "token", "robot", "--duration=10m").strip()
    assert token.count(".") == 2
    name = f"system:serviceaccount:{kubectl.namespace}:robot"
    me = json.loads(kubectl("auth", "whoami", f"--as={name}", "-o", "json"))
    assert me["status"]["userInfo"]["username"] == name
    assert f"system:serviceaccounts:{kubectl.namespace}" in me["status"]["userInfo"]["groups"]
    table = kubectl("auth", "whoami")
    assert rows(table)[0][0] == "Username"
    said = kubectl.fails("create", "token", "nope")
    assert 'serviceaccounts "nope" not found' in said


def test_what_there_is(kubectl: Kubectl, widgets: str) -> None:
    said = kubectl("api-resources", "--no-headers", "--api-group=batch", "-o", "wide")
    assert "create,delete,deletecollection,get,list,patch,update,watch" in said
    things = kubectl("api-resources", "--no-headers", "--categories=things")
    assert things.split() == ["widgets", "wdg", f"{widgets}/v1", "true", "Widget"]
    assert f"widgets.{widgets}" in kubectl("api-resources", "-o", "name", "--namespaced=true")
    assert f"{widgets}/v1" in kubectl("api-versions").splitlines()
    definition = kubectl("describe", "crd", f"widgets.{widgets}")
    assert "Short Names:\n      wdg\n" in definition
    assert "NoConflicts" in definition


def test_fields_are_explained(kubectl: Kubectl, widgets: str) -> None:
    assert "FIELD: completionMode <string>" in kubectl("explain", "job.spec.completionMode")
    assert "KIND:       Pod\nVERSION:    v1\n" in kubectl("explain", "pod")
    whole = kubectl("explain", "job.spec", "--recursive")
    assert "  backoffLimit\t<integer>\n" in whole
    assert "<[]Container> -required-" in whole
    assert 'field "nope" does not exist' in kubectl.fails("explain", "pod.spec.nope")
    assert "doesn't have a resource type" in kubectl.fails("explain", "gadgets")
    said = explained(kubectl, "widgets.spec")
    assert f"GROUP:      {widgets}\nKIND:       Widget\nVERSION:    v1\n" in said
    assert "What the widget should be." in said
    assert "  color\t<string> -required-\n  enum: red, blue\n    Its color.\n" in said
    recursive = kubectl("explain", "widget", "--recursive")
    assert "    phase\t<string>\n" in recursive


def explained(kubectl: Kubectl, what: str) -> str:
    """A control plane publishes schemas a moment after a definition is Established."""
    for _ in range(50):
        done = kubectl.run("explain", what)
        if done.returncode == 0:
            break
        time.sleep(0.1)
    return done.stdout
