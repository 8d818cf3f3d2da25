"""The files of config/integrations start runs and wait for them, on a cluster and with no more rights than they ask for."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from devcluster.base import Cluster

from support.integration.kubectl import KUBECTL, Kubectl
from support.integration.objects import batch, scripted

pytestmark = pytest.mark.slow

INTEGRATIONS = Path(__file__).resolve().parents[2] / "config" / "integrations"
BATCH, ACCOUNT = "update-dependencies", "kubetask-pipeline"


def _documents(file: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((INTEGRATIONS / file).read_text()))


@pytest.fixture
def team(kubectl: Kubectl) -> Kubectl:
    """A namespace with a Batch, and the account of pipelines."""
    kubectl("apply", "-f", str(INTEGRATIONS / "rbac.yaml"))
    kubectl.apply(batch(BATCH, tasks=2))
    return kubectl


@pytest.fixture
def pipeline(cluster: Cluster, team: Kubectl) -> Kubectl:
    """kubectl as a pipeline's account."""
    return Kubectl(cluster.service_account_kubeconfig(team.namespace, ACCOUNT), team.namespace)


@pytest.mark.parametrize(("exit_code", "phase"), [(0, "Succeeded"), (3, "Failed")])
def test_a_tekton_step_waits_for_the_end_and_tells_it(
    cluster: Cluster, team: Kubectl, tmp_path: Path, exit_code: int, phase: str
) -> None:
    team.apply(scripted(outcome={"exitCode": exit_code}))
    (definition,) = _documents("tekton/task.yaml")
    (step,) = definition["spec"]["steps"]
    values = {"params.batch": BATCH, "params.timeout": "30s"}
    values |= {f"results.{x['name']}.path": str(tmp_path / x["name"]) for x in _results(definition)}
    environ = {x["name"]: values[x["value"][2:-1]] for x in step["env"]}
    script = tmp_path / "script"
    script.write_text(step["script"])
    script.chmod(0o755)
    kubeconfig = cluster.service_account_kubeconfig(team.namespace, ACCOUNT)
    path = f"{KUBECTL.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [script],
        env={**os.environ, **environ, "KUBECONFIG": str(kubeconfig), "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == (exit_code != 0), done.stderr
    name = (tmp_path / "run").read_text()
    assert team.get("batchrun", name)["status"]["phase"] == phase
    assert (tmp_path / "done").read_text() == "2/2"


def _results(definition: dict[str, Any]) -> list[dict[str, Any]]:
    return list(definition["spec"]["results"])


def test_a_workflows_resource_is_made_with_its_rights_and_gives_its_outputs(
    team: Kubectl, pipeline: Kubectl
) -> None:
    team.apply(scripted(outcome={}))
    (definition,) = _documents("argo-workflows/workflow-template.yaml")
    (template,) = definition["spec"]["templates"]
    manifest = template["resource"]["manifest"].replace("{{inputs.parameters.batch}}", BATCH)
    made = pipeline.create(yaml.safe_load(manifest))
    name = made["metadata"]["name"]
    pipeline.wait_phase(f"batchrun/{name}", "Succeeded")
    paths = {x["name"]: x["valueFrom"]["jsonPath"] for x in template["outputs"]["parameters"]}
    told = {k: pipeline("get", "batchrun", name, "-o", f"jsonpath={v}") for k, v in paths.items()}
    assert told == {"run": name, "done": "2/2"}


def test_a_cron_job_starts_a_run(cluster: Cluster, team: Kubectl) -> None:
    cluster.require("processes")
    label = "pod-security.kubernetes.io/enforce=restricted"
    team("label", "namespace", team.namespace, label)
    team.apply(scripted(outcome={}))
    team("apply", "-f", str(INTEGRATIONS / "cronjob" / "nightly.yaml"))
    job = team(
        "create", "job", "tonight", "--from=cronjob/nightly", "--dry-run=client", "-o", "yaml"
    )
    team.apply(job)
    team.wait("job/tonight", "condition=Complete")
    (run,) = team.items("batchruns")
    name = run["metadata"]["name"]
    assert name.startswith("nightly-")
    team.wait(f"batchrun/{name}", "condition=Complete")


def test_a_hook_of_argo_cd_makes_a_run_of_its_own_each_time(team: Kubectl) -> None:
    team.apply(scripted(outcome={}))
    (hook,) = _documents("argocd/hook.yaml")
    names = {team.create(hook)["metadata"]["name"] for _ in range(2)}
    for name in names:
        team.wait(f"batchrun/{name}", "condition=Ready")
    # What Argo CD tracks by its labels and annotations, it would prune: none of them reaches a Job.
    for job in team.items("jobs"):
        text = str(job["metadata"]).lower()
        assert "argocd" not in text


def test_labels_of_kueue_reach_the_jobs_of_a_run(team: Kubectl) -> None:
    team("apply", "-f", str(INTEGRATIONS / "kueue" / "batchrun.yaml"))
    team("patch", "batchrun", "queued", "--type=merge", "-p", '{"spec":{"parallelism":1}}')
    team("wait", "--for=create", "job/queued-task-0", "--timeout=20s")
    labels = team.get("job", "queued-task-0")["metadata"]["labels"]
    (_, run) = _documents("kueue/batchrun.yaml")
    assert run["metadata"]["labels"].items() <= labels.items()
    queue = next(x for x in _documents("kueue/queue.yaml") if x["kind"] == "LocalQueue")
    assert labels["kueue.x-k8s.io/queue-name"] == queue["metadata"]["name"]


def test_the_account_of_pipelines_may_start_runs_and_nothing_else(pipeline: Kubectl) -> None:
    for verb, resource in (("delete", "batchruns"), ("create", "batches"), ("get", "secrets")):
        with pytest.raises(AssertionError):
            pipeline("auth", "can-i", verb, resource)


@pytest.mark.parametrize(
    ("exit_code", "condition", "other"), [(0, "Complete", "Failed"), (1, "Failed", "Complete")]
)
def test_kubectl_wait_ends_with_the_run(
    team: Kubectl, exit_code: int, condition: str, other: str
) -> None:
    team.apply(scripted(outcome={"exitCode": exit_code}))
    team.create({**_documents("argocd/hook.yaml")[0], "metadata": {"name": "r"}})
    team.wait("batchrun/r", f"condition={condition}")
    team.wait("batchrun/r", f"condition={other}=False")
    team.wait("batchrun/r", "jsonpath={.status.completionTime}")
