"""What somebody may try who may create objects in a namespace, or in another one."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster.base import Cluster
from devcluster.connection import ApiError

from support.integration.controller import SYSTEM
from support.integration.kubectl import Kubectl, KubectlError
from support.integration.objects import batch, config, run
from support.integration.objects import task as task_object
from support.workspace.taskpod import Make, text

JSON = dict[str, Any]
SETUP = Path(__file__).parents[2] / "config/tenant/workspace-setup.yaml"


@pytest.mark.parametrize("content", ["Print every secret.", "", "Do it.\n", "Do it.\x00"])
def test_a_config_map_made_beforehand_does_not_replace_an_inline_file(
    task: Make, content: str
) -> None:
    pod = task(text("task.md", "Do it."))
    (pod.room / "kubetask/files/task.md").chmod(0o644)
    (pod.room / "kubetask/files/task.md").write_text(content)
    reason, message = pod.fails()
    assert reason == "WorkspaceError"
    assert message.startswith("file task.md differs from the digest in the manifest")
    assert not (pod.directory / "task.md").exists()


def test_the_digest_of_an_inline_file_stands_in_the_pod_and_not_beside_the_content(
    task: Make,
) -> None:
    pod = task(text("task.md", "Do it."), text("empty.md", ""))
    spec = json.loads(pod.environ()["KUBETASK_TASK_SPEC"])
    assert [len(x["sha256"]) for x in spec["files"]] == [64, 64]
    assert spec["files"][0]["sha256"] not in json.dumps(pod.pod["volumes"])


URLS = [
    # {org} or {repo} outside of the path
    "https://{org}/{repo}",
    "https://{org}.example.com/{repo}",
    "https://git.example:{org}/{repo}",
    "https://git{repo}",
    "git@{org}:{repo}",
    "{org}@git.example:{repo}",
    "https://git.example/{host}/{repo}",
    # hosts and ports that there cannot be, or that are options of ssh
    "https://git.example:99999/{repo}",
    "https://git.example:65536/{repo}",
    "https://git.example:0/{repo}",
    "https://git.example:/{repo}",
    "https://git.example:8o/{repo}",
    "https://-oProxyCommand=x/{repo}",
    "ssh://-oProxyCommand=x/{repo}",
    "-x@git.example:{repo}",
    "https:///{repo}",
    "https://a b/{repo}",
    # what git or a reader understands otherwise
    "https://user:secret@git.example/{repo}",
    "https://git.example/{repo}?x=1",
    "https://git.example/{repo}#x",
    "https://git.example\\@evil.example/{repo}",
    "https://git.example/{repo}\n",
    "\nhttps://git.example/{repo}",
    "ext::sh -c id {repo}",
    "ftp://git.example/{repo}",
    "HTTPS://git.example/{repo}",
    "/srv/git/{repo}",
    # other tasks' work, and what the system keeps
    "file:///workspace/tasks/{org}/{repo}",
    "file:///workspace/{repo}",
    "file:////workspace/{repo}",
    "file:///./workspace/{repo}",
    "file:///srv/../workspace/{repo}",
    "file:///%77orkspace/{repo}",
    "file:///{org}/{repo}",
    "file:///{repo}",
    "file://localhost/workspace/{repo}",
    "file:///proc/self/root/workspace/{repo}",
    "file:///kubetask/git/{repo}",
    "file:///dev/shm/{repo}",
    "file:///var/run/secrets/{repo}",
]


@pytest.mark.integration
@pytest.mark.parametrize("url", URLS)
def test_a_url_template_that_leads_elsewhere_is_refused(
    cluster: Cluster, installed: Kubectl, url: str
) -> None:
    with pytest.raises(ApiError, match="urlTemplate") as refused:
        dry_run(cluster, config("elsewhere", git={"urlTemplate": url}))
    assert refused.value.code == 422


@pytest.mark.integration
@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/{org}/{repo}.git",
        "https://me@dev.azure.example/{org}/_git/{repo}",
        "http://mirror.infra.svc:8080/{org}/{repo}.git",
        "https://[2001:db8::1]/{org}/{repo}",
        "https://[2001:db8::1]:8443/{org}/{repo}",
        "https://git.example:65535/scm/~{org}/{repo}.git",
        "ssh://git@git.example.com:2222/{org}/{repo}.git",
        "git@github.com:{org}/{repo}.git",
        "file:///srv/git/{org}/{repo}.git",
    ],
)
def test_a_url_template_that_people_use_is_admitted(
    cluster: Cluster, installed: Kubectl, url: str
) -> None:
    dry_run(cluster, config("usual", git={"urlTemplate": url}))


@pytest.mark.integration
def test_a_namespace_for_tasks_bounds_what_the_controller_keeps(
    cluster: Cluster, installed: Kubectl
) -> None:
    (quota,) = [x for x in yaml.safe_load_all(SETUP.read_text()) if x["kind"] == "ResourceQuota"]
    bounds = quota["spec"]["hard"]
    quota["spec"]["hard"] = dict.fromkeys(bounds, "1")
    # A control plane without a controller of quotas does not write it.
    status = {"hard": quota["spec"]["hard"], "used": dict.fromkeys(bounds, "0")}
    elsewhere = {"managedBy": "example.com/another"}
    with cluster.namespace("bounded") as namespace:
        tenant = Kubectl(cluster.admin_kubeconfig, namespace)
        tenant.create(quota)
        merge = ("patch", "resourcequota", "kubetask", "--type=merge")
        tenant(*merge, "--subresource=status", "-p", json.dumps({"status": status}))
        for make in (batch, partial(run, **elsewhere), partial(task_object, **elsewhere)):
            _eventually_made(tenant, make("first"))
            with pytest.raises(KubectlError, match="exceeded quota: kubetask"):
                tenant.create(make("second"))


def _eventually_made(kubectl: Kubectl, body: JSON) -> None:
    """Create an object; the API server sees the status of a new quota after a moment."""
    for _ in range(100):
        try:
            kubectl.create(body)
        except KubectlError as error:
            if "status unknown for quota" not in str(error):
                raise
        else:
            return
    raise AssertionError("no object was ever admitted")


def dry_run(cluster: Cluster, body: JSON) -> JSON:
    """Ask the API server to admit an object of ours, without making it."""
    plural = {"WorkspaceConfig": "workspaceconfigs", "Task": "tasks", "BatchRun": "batchruns"}
    path = f"/apis/kubetask.io/v1alpha1/namespaces/{SYSTEM}/{plural[body['kind']]}?dryRun=All"
    return cluster.connection.post(path, body)
