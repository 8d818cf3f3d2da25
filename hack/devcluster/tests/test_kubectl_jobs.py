"""kubectl with what runs: Jobs and their Pods, waiting for them, watching them, their logs, their end."""

import json
import re

import pytest
from devcluster.base import Cluster
from kubectl_lab import Kubectl, columns, job, rows, widget

AGE = re.compile(r"^(\d+[dhms])+$")
COUNTS = re.compile(
    r"^Pods Statuses: +0 Active \(0 Ready\) / 1 Succeeded / 0 Failed$", re.MULTILINE
)


@pytest.fixture
def held(kubectl: Kubectl, cluster: Cluster) -> Kubectl:
    """A Job `held`, which is suspended."""
    cluster.require("job-controller")
    kubectl("create", "-f", "-", stdin=job("held", cluster.test_image, suspend=True))
    kubectl("wait", "--for=condition=Suspended", "job/held", "--timeout=20s")
    return kubectl


def run_job(kubectl: Kubectl, cluster: Cluster, name: str, *script: str) -> None:
    command = ["sh", "-c", *script] if script else []
    kubectl("create", "-f", "-", stdin=job(name, cluster.test_image, *command))


def test_a_table_of_jobs(held: Kubectl, cluster: Cluster) -> None:
    run_job(held, cluster, "done")
    held("wait", "--for=condition=Complete", "job/done", "--timeout=20s")
    table = held("get", "jobs", "-o", "wide")
    wide = ["CONTAINERS", "IMAGES", "SELECTOR"]
    assert columns(table) == ["NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE", *wide]
    done, suspended = rows(table)
    assert done[:3] == ["done", "Complete", "1/1"]
    assert all(AGE.match(each) for each in done[3:5])
    assert done[5:7] == ["agent", cluster.test_image]
    assert done[7].startswith("batch.kubernetes.io/controller-uid=")
    assert suspended[:3] == ["held", "Suspended", "0/1"]
    assert held("get", "jobs", "--field-selector=status.successful=1", "-o", "name") == (
        "job.batch/done\n"
    )
    both = held("get", "job,pod", "--no-headers")
    assert "pod/done-" in both
    assert "job.batch/held" in both


def test_describing_a_job_and_its_pod(held: Kubectl, cluster: Cluster) -> None:
    run_job(held, cluster, "done")
    held("wait", "--for=condition=Complete", "job/done", "--timeout=20s")
    said = held("describe", "job", "done")
    assert COUNTS.search(said)
    assert f"    Image:         {cluster.test_image}\n" in said
    assert re.search(
        r"Normal  SuccessfulCreate +\S+ +job-controller +Created pod: done-\w{5}\n", said
    )
    assert re.search(r"Normal  Completed +\S+ +job-controller +Job completed\n", said)
    assert re.search(
        r"Normal  Suspended +\S+ +job-controller +Job suspended\n", held("describe", "job", "held")
    )
    pod = held("describe", "pod", "-l", "job-name=done")
    assert re.search(r"^Controlled By: +Job/done$", pod, re.MULTILINE)
    assert re.search(r"^Status: +Succeeded$", pod, re.MULTILINE)
    assert re.search(r"^ +Reason: +Completed$", pod, re.MULTILINE)
    assert "      Exit Code:    0\n" in pod


def test_events_in_three_views(held: Kubectl) -> None:
    table = held("get", "events")
    assert columns(table)[:5] == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT"]
    assert rows(table)[0][1:4] == ["Normal", "Suspended", "job/held"]
    selector = "--field-selector=regarding.kind=Job,reportingController=job-controller"
    selected = held("get", "events.events.k8s.io", selector)
    assert "Suspended" in selected
    assert "Job/held" in held("events", "--for", "job/held")
    assert "No events found" in held.run("events", "--types=Warning").stderr


def test_a_job_is_made_of_a_cronjob(kubectl: Kubectl, cluster: Cluster) -> None:
    never = ["--schedule=0 0 31 2 *", f"--image={cluster.test_image}"]
    kubectl("create", "cronjob", "nightly", *never, "--", "true")
    table = kubectl("get", "cronjobs")
    assert columns(table)[:4] == ["NAME", "SCHEDULE", "TIMEZONE", "SUSPEND"]
    assert kubectl.get("cronjob", "nightly")["spec"]["concurrencyPolicy"] == "Allow"
    kubectl("create", "job", "tonight", "--from=cronjob/nightly")
    made = kubectl.get("job", "tonight")
    assert made["metadata"]["ownerReferences"][0]["name"] == "nightly"
    assert made["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"] == "manual"
    assert made["spec"]["template"]["spec"]["containers"][0]["command"] == ["true"]
    assert "Successful Job History Limit:  3\n" in kubectl("describe", "cronjob", "nightly")


def test_what_cannot_change_is_said(held: Kubectl) -> None:
    said = held.fails("patch", "job", "held", "-p", '{"spec": {"completions": 4}}')
    assert (
        'The Job "held" is invalid: spec.completions: Invalid value: 4: field is immutable' in said
    )
    held("patch", "job", "held", "-p", '{"spec": {"parallelism": 3}}')
    said = held.fails("create", "-f", "-", stdin={**job("j", "image"), "spec": {}})
    assert "spec.template.spec.containers: Required value" in said
    said = held.fails("create", "-f", "-", stdin=job("j" * 64, "image"))
    assert "must be no more than 63" in said


def test_waiting_for_what_comes_and_what_goes(held: Kubectl, widgets: str) -> None:
    held("wait", "job/held", "--for=jsonpath={.spec.suspend}=true", "--timeout=5s")
    said = held.fails("wait", "job/held", "--for=condition=Complete", "--timeout=200ms")
    assert "timed out waiting for the condition on jobs/held" in said
    assert "NotFound" in held.fails("wait", "job/nope", "--for=condition=Complete")
    with held.watching("wait", "wdg/w", "--for=create", "--timeout=20s") as lines:
        held("create", "-f", "-", stdin=widget(widgets, "w"))
        assert next(lines) == f"widget.{widgets}/w condition met\n"
    with held.watching("wait", "job/held", "--for=delete", "--timeout=20s") as lines:
        held("delete", "job", "held")
        # It prints nothing when the object was gone before it looked.
        assert list(lines) in (["job.batch/held condition met\n"], [])


def test_watching_shows_each_state(held: Kubectl) -> None:
    with held.watching("get", "job", "held", "-w", "--no-headers") as lines:
        assert next(lines).split()[:3] == ["held", "Suspended", "0/1"]
        held("patch", "job", "held", "-p", '{"spec": {"suspend": false}}')
        assert any(line.split()[:3] == ["held", "Complete", "1/1"] for line in lines)
    with held.watching("get", "pods", "-w", "-o", "json", "--output-watch-events") as lines:
        event = json.loads(next(lines))
        assert (event["type"], event["object"]["kind"]) == ("ADDED", "Pod")
    with held.watching("get", "job", "held", "-w", "-o", "name") as lines:
        assert next(lines) == "job.batch/held\n"
        held("delete", "job", "held", "--wait=false")
        assert next(lines) == "job.batch/held\n"


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
def test_a_job_goes_with_or_without_its_pods(held: Kubectl, cluster: Cluster, cascade: str) -> None:
    run_job(held, cluster, "done")
    held("wait", "--for=condition=Complete", "job/done", "--timeout=20s")
    pod = held("get", "pod", "-l", "job-name=done", "-o", "name").strip()
    said = held("delete", "job", "done", f"--cascade={cascade}")
    assert said.startswith('job.batch "done" deleted')
    if cascade == "orphan":
        assert "ownerReferences" not in held.get(pod)["metadata"]
        held("delete", pod)
    else:
        held("wait", "--for=delete", pod, "--timeout=20s")
    assert "NotFound" in held.fails("get", "job", "done")


# --- logs


LINES = "for i in 1 2 3; do echo line $i; done; echo error >&2"


def test_logs_of_a_job(kubectl: Kubectl, cluster: Cluster) -> None:
    cluster.require("processes")
    run_job(kubectl, cluster, "talks", LINES)
    kubectl("wait", "--for=condition=Complete", "job/talks", "--timeout=20s")
    assert kubectl("logs", "job/talks").splitlines() == ["line 1", "line 2", "line 3", "error"]
    assert kubectl("logs", "job/talks", "--tail=1") == "error\n"
    first, *_ = kubectl("logs", "job/talks", "--timestamps").splitlines()
    assert re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z line 1$", first)
    assert kubectl("logs", "job/talks", "--limit-bytes=6") == "line 1"
    labelled = kubectl("logs", "-l", "job-name=talks", "--prefix", "--tail=-1").splitlines()
    assert re.match(r"^\[pod/talks-\w{5}/agent\] line 1$", labelled[0])
    said = kubectl.fails("logs", "job/talks", "--previous")
    assert re.search(r'previous terminated container "agent" in pod "talks-\w{5}" not found', said)
    assert "container nope is not valid for pod" in kubectl.fails("logs", "job/talks", "-c", "nope")
    assert 'pods "nope" not found' in kubectl.fails("logs", "nope")


def test_logs_are_followed_to_their_end(kubectl: Kubectl, cluster: Cluster) -> None:
    cluster.require("processes")
    script = "trap 'echo ends; exit 0' TERM; echo begins; while :; do sleep 0.05; done"
    run_job(kubectl, cluster, "talks", script)
    kubectl("wait", "--for=jsonpath={.status.ready}=1", "job/talks", "--timeout=20s")
    pod = kubectl("get", "pod", "-l", "job-name=talks", "-o", "name").strip()
    with kubectl.watching("logs", "-f", pod) as lines:
        assert next(lines) == "begins\n"
        kubectl("delete", "job", "talks", "--wait=false")
        assert list(lines) == ["ends\n"]


def test_a_pod_that_fails_says_why(kubectl: Kubectl, cluster: Cluster) -> None:
    cluster.require("job-controller", "scripted-pods")
    outcome = {"exitCode": 3, "message": "boom"}
    body = job("fails", cluster.test_image)
    annotations = {"devcluster.dev/outcome": json.dumps(outcome)}
    body["spec"]["template"]["metadata"] = {"annotations": annotations}
    kubectl("create", "-f", "-", stdin=body)
    kubectl("wait", "--for=condition=Failed", "job/fails", "--timeout=20s")
    pod = kubectl("describe", "pod", "-l", "job-name=fails")
    assert "      Exit Code:    3\n" in pod
    assert "boom" in pod
    assert rows(kubectl("get", "pods"))[0][1:3] == ["0/1", "Error"]
    assert rows(kubectl("get", "jobs"))[0][:3] == ["fails", "Failed", "0/1"]
    assert "BackoffLimitExceeded" in kubectl("describe", "job", "fails")
