"""The Pod of a task with real processes: what the fields of a WorkspaceConfig do, and the examples of docs/pods.md.

What clusters do to the Pods of agents, and where the tests of it are:

1.  An agent that cannot start after its preparation waits with the reason, until its deadline: CANNOT_START and
    `..._is_ended_by_its_deadline` here; test/reconcilers' test_transcripts, test_pending_reasons, test_state.
2.  Disruption: test_disruption; test/reconcilers' test_state.
3.  Quotas and LimitRanges: REFUSED in test_why; `..._with_every_field_...` in test_workspaceconfig; test_readme.
4.  Sidecars, declared or injected: `sidecars` here; test_meshes; test_transcripts.
5.  A proxy: `test_behind_a_proxy_...` here.
6.  A read-only root in every container: `test_tools_find_their_folders_writable_on_a_read_only_root` here.
7.  The restricted standard: test_why, test_readme, test_documents; images that want root: `..._names_the_field` here.
8.  Claims, and none: UNBOUND here; test_readme; EVENTS and UNSCHEDULED in test_pending_reasons.
9.  A Job that was never able to start is mended: `..._are_mended_...` here; REFUSED in test_why; test_batchrun_flow.
10. Process 1 reaps orphans: test_agent_process in test/workspace.
11. Storage without Unix modes or locks: test_storage in test/workspace; git's findings are kept: test_git_hosts.
12. Volumes, sidecars and files of HOME: here; refusals: test_workspaceconfig; each field: test_workspaceconfig_fields.
13. Meshes: test_meshes; the YAML of docs/meshes.md: test_workspace_guide.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster.base import Cluster

from support.integration.controller import free_port
from support.integration.documents import blocks
from support.integration.githost import GitHost
from support.integration.httpproxy import proxy
from support.integration.kubectl import Kubectl
from support.integration.objects import config, obj, repository, run, task, text

pytestmark = pytest.mark.slow

JSON = dict[str, Any]
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"


@pytest.fixture(autouse=True)
def _processes(cluster: Cluster) -> None:
    cluster.require("processes")


def shell(*lines: str) -> JSON:
    """An agent that is a shell here."""
    return {"command": ["sh", "-euc", "\n".join(lines)]}


def example(name: str, change: Callable[[JSON], None]) -> list[JSON]:
    """The objects of docs/pods.md around the WorkspaceConfig of a name, with a change to its spec."""
    for block in blocks("pods.md"):
        found = list(yaml.safe_load_all(block.text)) if block.language == "yaml" else []
        if any(x["kind"] == "WorkspaceConfig" and x["metadata"]["name"] == name for x in found):
            found[-1]["spec"].pop("agentImage", None)
            found[-1]["metadata"]["name"] = "default"
            change(found[-1]["spec"])
            return found
    raise AssertionError(f"docs/pods.md has no example {name}")


def succeeds(kubectl: Kubectl, *objects: JSON, name: str = "t", contexts: list[JSON] = []) -> JSON:  # noqa: B006
    kubectl.apply(*objects, task(name, text(), *contexts))
    return dict(kubectl.wait_phase(f"task/{name}", "Succeeded", timeout=60)["status"])


# --- security


def test_tools_find_their_folders_writable_on_a_read_only_root(kubectl: Kubectl) -> None:
    agent = shell(
        'for x in "$HOME" /tmp /var/tmp "$KUBETASK_TASK_DIR"; do echo ok > "$x/file"; done',
        "! touch /etc/file 2> /dev/null; ! touch /usr/file 2> /dev/null; ! touch /opt/file 2> /dev/null",
    )
    kubectl("label", "namespace", kubectl.namespace, RESTRICTED)
    succeeds(kubectl, *example("read-only-root", lambda spec: spec.update(agent)))


def test_one_field_runs_an_image_that_needs_root(kubectl: Kubectl, cluster: Cluster) -> None:
    cluster.require("images")
    image = {"agentImage": "registry.example.com/root:1"}
    agent = shell('test "$(id -u)" = 0')
    succeeds(kubectl, *example("root", lambda spec: spec.update(agent | image)))


def test_a_named_user_runs_with_its_number(kubectl: Kubectl, cluster: Cluster) -> None:
    cluster.require("images")
    image = {"agentImage": "registry.example.com/named-user:1"}
    agent = shell('test "$(id -u)" = 1000')
    kubectl("label", "namespace", kubectl.namespace, RESTRICTED)
    succeeds(kubectl, *example("named-user", lambda spec: spec.update(agent | image)))


def test_what_the_preparation_leaves_in_tmp_is_not_seen_by_the_agent(kubectl: Kubectl) -> None:
    # The development cluster's node shows the programs of a checkout below /tmp on top of the volume.
    places = (Path(__file__).resolve(), Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve())
    shown = {x.parts[2] for x in places if x.is_relative_to("/tmp")} or {"nothing"}
    seen = f"ls -A /tmp | grep -vxF -e {' -e '.join(sorted(shown))} || true"
    succeeds(kubectl, config(**shell(f'test -z "$({seen})"', "echo x > /tmp/x")))


# --- preparation


def test_a_preparation_without_enough_memory_says_so(kubectl: Kubectl) -> None:
    small = {"resources": {"limits": {"memory": "8Mi"}}}
    kubectl.apply(config(workspace=small), task("t"))
    status = kubectl.wait_phase("task/t", "Failed")["status"]
    assert status["reason"] == "OOMKilled"
    assert "workspace" in status["message"]


# --- proxy


@pytest.mark.parametrize("login", ["", "agents:not-a-real-password"])
def test_behind_a_proxy_repositories_are_cloned_and_the_agent_reaches_the_world(
    kubectl: Kubectl, cluster: Cluster, git_host: GitHost, login: str
) -> None:
    git_host.make("acme", "proxied")
    with proxy(git_host.url, cluster.test_address, login=login) as server:
        objects: list[JSON] = []
        spec: JSON = {"http": f"http://{server.address}", "noProxy": "elsewhere.example.com"}
        if login:
            data = {"http": f"http://{login}@{server.address}"}
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "proxy"}}
            objects.append({**secret, "stringData": data})
            spec = {"secretRef": {"name": "proxy"}}
        host = "git.example.invalid"
        agent = shell(
            'test "$http_proxy" = "$HTTP_PROXY"; test "$no_proxy" = "$NO_PROXY"',
            "git -C proxied fetch --quiet origin",
        )
        git = {"urlTemplate": f"http://{host}/{{org}}/{{repo}}.git"}
        settings = config(proxy=spec, git=git, **agent)
        succeeds(kubectl, *objects, settings, contexts=[repository("proxied")])
        assert set(server.passed) == {host}
        # The preparation and the agent: each asks for the references at least.
        assert len(server.passed) >= 3


# --- volumes


def test_tasks_share_a_cache(kubectl: Kubectl) -> None:
    def change(spec: JSON) -> None:
        spec |= shell('test "$npm_config_cache" = /cache/npm', "echo $TASK_NAME >> /cache/npm/log")
        spec["args"] = []

    succeeds(kubectl, *example("cached-packages", change), name="first")
    succeeds(kubectl, name="second")
    reads = config("reads", **shell("cat /cache/npm/log > /dev/termination-log"))
    default = kubectl.get("workspaceconfig", "default")["spec"]
    reads["spec"] = default | reads["spec"]
    kubectl.apply(reads, task("third", workspaceConfigRef="reads"))
    status = kubectl.wait_phase("task/third", "Succeeded")["status"]
    assert status["message"] == "second"


def test_settings_and_scratch_space_are_mounted(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "settings", "--from-literal=tool.toml=level = 3")
    volumes = [
        {"name": "settings", "configMap": {"name": "settings", "defaultMode": 0o444}},
        {
            "name": "pod",
            "downwardAPI": {
                "items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]
            },
        },
        {"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}},
    ]
    mounts = [
        {"name": "settings", "mountPath": "/etc/tool", "readOnly": True},
        {"name": "pod", "mountPath": "/etc/pod"},
        {"name": "scratch", "mountPath": "/home/agent/.cache"},
    ]
    agent = shell(
        'test "$(cat /etc/tool/tool.toml)" = "level = 3"; ! touch /etc/tool/x 2> /dev/null',
        'test "$(cat /etc/pod/name)" = "$(hostname)"; touch "$HOME/.cache/x"',
    )
    succeeds(kubectl, config(volumes=volumes, volumeMounts=mounts, **agent))


# --- sidecars

SERVER = """
import signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
time.sleep(1)
with socket.create_server(("", {port})) as server:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"ready")
"""
CLIENT = """
import os, socket, urllib.parse
url = urllib.parse.urlsplit(os.environ["DATABASE_URL"])
with socket.create_connection((url.hostname, url.port)) as connection:
    assert connection.recv(5) == b"ready"
"""


def test_an_agent_finds_its_database_ready_and_ends_before_it(
    kubectl: Kubectl, cluster: Cluster
) -> None:
    port = free_port()  # Pods may share the machine's network

    def change(spec: JSON) -> None:
        (url,) = spec["env"]
        url["value"] = url["value"].replace("5432", str(port))
        (sidecar,) = spec["sidecars"]
        sidecar |= {
            "image": cluster.test_image,
            "command": ["python3", "-c", SERVER.format(port=port)],
            "startupProbe": {
                "tcpSocket": {"port": port},
                "periodSeconds": 1,
                "failureThreshold": 60,
            },
        }
        spec["command"] = ["python3", "-c", CLIENT]

    kubectl("label", "namespace", kubectl.namespace, RESTRICTED)
    succeeds(kubectl, *example("with-postgres", change))
    (pod,) = kubectl.items("pods")
    assert pod["status"]["phase"] == "Succeeded"


def test_how_a_sidecar_ends_is_no_matter_for_the_task(kubectl: Kubectl, cluster: Cluster) -> None:
    stubborn = {
        "name": "stubborn",
        "image": cluster.test_image,
        "command": ["sh", "-c", "trap 'exit 3' TERM; while true; do sleep 0.1; done"],
    }
    left = json.dumps({"summary": "Done"})
    status = succeeds(
        kubectl, config(sidecars=[stubborn], **shell(f"echo '{left}' > /dev/termination-log"))
    )
    assert status["result"] == {"summary": "Done"}


# --- files below HOME


def test_settings_and_skills_lie_below_home_and_may_be_changed(kubectl: Kubectl) -> None:
    agent = shell(
        'cd "$HOME"',
        "grep -q WebFetch .claude/settings.json; grep -q 'name: review' .claude/skills/review/SKILL.md",
        "grep -q mcpServers mcp.json",
        "echo '{}' > .claude/settings.json; echo x > .claude/skills/review/more.md; rm mcp.json",
    )
    kubectl("label", "namespace", kubectl.namespace, RESTRICTED)
    succeeds(kubectl, *example("with-settings", lambda spec: spec.update(agent, args=[])))


def test_files_below_home_wait_for_their_config_map(kubectl: Kubectl) -> None:
    files = [{"path": ".tool", "configMapRef": {"name": "later"}}]
    kubectl.apply(
        config(homeFiles=files, **shell("test -f .tool/a || test -f $HOME/.tool/a")), task("t")
    )
    kubectl.wait_phase("task/t", "Pending")
    kubectl("create", "configmap", "later", "--from-literal=a=b")
    kubectl.wait_phase("task/t", "Succeeded", timeout=60)


def test_a_run_of_many_tasks_has_the_same_files_in_each_home(kubectl: Kubectl) -> None:
    files = [{"path": "a", "inline": "$(HOME) $$"}]
    inline = {"commonContext": [], "variableContexts": [[text(f"{i}.md")] for i in range(3)]}
    # Kubernetes expands $(HOME) in a command, and reads $$ as $.
    agent = shell("test \"$(cat $HOME/a)\" = '$$(HOME) $$$$'")
    kubectl.apply(config(homeFiles=files, **agent), obj("BatchRun", "r", {"batchSpec": inline}))
    kubectl.wait_phase("batchrun/r", "Succeeded", timeout=60)


# --- agents that cannot start after the preparation

CANNOT_START: dict[str, tuple[JSON, str, str]] = {
    "a Secret that is not there": (
        {"env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]},
        "ContextNotFound",
        '"none"',
    ),
    "an image that no registry can have": (
        {"agentImage": "registry.example.com/UPPER:1"},
        "InvalidImageName",
        "registry.example.com/UPPER:1",
    ),
}


@pytest.mark.parametrize(
    ("spec", "reason", "named"), CANNOT_START.values(), ids=CANNOT_START.keys()
)
def test_an_agent_that_cannot_start_is_pending_with_the_reason(
    kubectl: Kubectl, spec: JSON, reason: str, named: str
) -> None:
    kubectl.apply(config(**shell("true"), **spec), task("t"))
    status = kubectl.wait_reason("task/t", reason, timeout=60)["status"]
    assert status["phase"] == "Pending"
    assert named in status["message"]


def test_an_agent_that_cannot_start_after_its_preparation_is_ended_by_its_deadline(
    kubectl: Kubectl,
) -> None:
    spec, reason, named = CANNOT_START["a Secret that is not there"]
    kubectl.apply(config(**shell("true"), **spec), task("t", pendingDeadlineSeconds=6))
    status = kubectl.wait_phase("task/t", "Failed", timeout=90)["status"]
    assert status["reason"] == "PendingTimeout"
    assert f"6 s: {reason}" in status["message"]
    assert named in status["message"]
    # The kubelet writes an end for the agent's container, which has never been there: that is no start.
    assert status.get("attempts", 0) == 0
    assert "startTime" not in status
    (pod,) = kubectl.items("pods")
    assert pod["status"]["phase"] == "Failed"


def test_agents_that_cannot_start_are_mended_by_their_workspace_configs(kubectl: Kubectl) -> None:
    for number, (spec, _, _) in enumerate(CANNOT_START.values()):
        name = f"c{number}"
        kubectl.apply(config(name, **shell("true"), **spec), run(name, workspaceConfigRef=name))
    for number, (_, reason, _) in enumerate(CANNOT_START.values()):
        kubectl.wait_reason(f"batchrun/c{number}", reason, timeout=45)
        kubectl("delete", "workspaceconfig", f"c{number}")
        kubectl.apply(config(f"c{number}", **shell("true")))
    for number in range(len(CANNOT_START)):
        status = kubectl.wait_phase(f"batchrun/c{number}", "Succeeded", timeout=45)["status"]
        (entry,) = status["tasks"]
        assert entry.get("attempts", 1) == 1


UNBOUND: dict[str, tuple[list[JSON], str]] = {
    "missing": ([], 'persistentvolumeclaim "missing" not found'),
    "unprovisioned": (
        [
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "unprovisioned"},
                "spec": {
                    "accessModes": ["ReadWriteMany"],
                    "storageClassName": "",
                    "resources": {"requests": {"storage": "1Gi"}},
                },
            }
        ],
        "kubectl describe pvc",
    ),
}


def test_a_task_without_its_volume_says_which_and_what_to_do(kubectl: Kubectl) -> None:
    expected: dict[str, str] = {}
    for name, (objects, words) in UNBOUND.items():
        source = {"persistentVolumeClaim": {"claimName": name}}
        places: dict[str, JSON] = {
            f"{name}-workspace": {"workspace": source},
            f"{name}-volume": {"volumes": [{"name": "w", **source}]},
        }
        for each, spec in places.items():
            kubectl.apply(
                *objects, config(each, **shell("true"), **spec), task(each, workspaceConfigRef=each)
            )
            expected[each] = words
    for name, words in expected.items():
        status = kubectl.wait_reason(f"task/{name}", "VolumeNotReady", timeout=45)["status"]
        assert status["phase"] == "Pending"
        assert words in status["message"]


@pytest.mark.parametrize("image", ["root", "named-user"])
def test_an_image_whose_user_is_refused_names_the_field(
    kubectl: Kubectl, cluster: Cluster, image: str
) -> None:
    cluster.require("images")
    kubectl.apply(config(agentImage=f"registry.example.com/{image}:1", **shell("true")), task("t"))
    status = kubectl.wait_reason("task/t", "CreateContainerConfigError", timeout=60)["status"]
    assert status["phase"] == "Pending"
    assert "securityContext.runAsUser" in status["message"]
    assert "securityContext.runAsNonRoot" in status["message"]
