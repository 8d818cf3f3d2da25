"""What operators see of a controller: its metrics endpoint, a Prometheus, the alerts and the dashboard."""

import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from devcluster.base import Cluster
from hack.dashboard import PANELS
from hack.metricsref import families
from hack.picture import Series, draw
from prometheus_client.parser import text_string_to_metric_families

from support.integration.controller import SYSTEM, ControllerProcess, free_port
from support.integration.kubectl import Kubectl
from support.integration.objects import run, scripted, task
from support.integration.prometheus import Prometheus, scraping

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RULES = yaml.safe_load((ROOT / "config" / "prometheus" / "rules.yaml").read_text())["spec"]
RESULT = {"summary": "done", "usage": {"inputTokens": 1200, "outputTokens": 80, "costUSD": "0.25"}}
WINDOW = 40.0
"""Seconds that the picture shows."""

Samples = dict[str, float]


@dataclass
class Observed:
    """A controller that serves metrics over HTTPS, and somebody who may scrape them."""

    address: str
    token: str
    namespace: str

    def fetch(self, token: str | None = None) -> tuple[int, str]:
        """Status and text of /metrics."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"https://{self.address}/metrics", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def sums(self) -> Samples:
        """Metric → the sum of its series; of a histogram, how often it was observed."""
        found: Samples = {}
        for family in text_string_to_metric_families(self.fetch(self.token)[1]):
            for sample in family.samples:
                if sample.name.endswith(("_bucket", "_sum")):
                    continue
                # Namespaces of other tests may be on their way out.
                if sample.labels.get("namespace", self.namespace) != self.namespace:
                    continue
                name = sample.name.removesuffix("_count")
                found[name] = found.get(name, 0.0) + sample.value
        return found


@pytest.fixture(scope="module")
def observed(
    cluster: Cluster,
    installed: Kubectl,
    _controller: ControllerProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Observed]:
    """A controller of its own in place of the others' one, which comes back with the next test that wants it."""
    if _controller.running:
        _controller.stop()
    installed("create", "serviceaccount", "prometheus")
    installed(
        *("create", "clusterrolebinding", "test-scraper"),
        "--clusterrole=kubetask-metrics-reader",
        f"--serviceaccount={SYSTEM}:prometheus",
    )
    token = installed("create", "token", "prometheus").strip()
    address = f"127.0.0.1:{free_port()}"
    process = ControllerProcess(
        cluster.service_account_kubeconfig(SYSTEM, "kubetask-controller"),
        tmp_path_factory.mktemp("observed") / "controller.log",
        *("--leader-elect", f"--leader-election-namespace={SYSTEM}"),
        *("--metrics-secure", f"--metrics-bind-address={address}"),
        f"--agent-image={cluster.test_image}",
        f"--workspace-image={cluster.test_image}",
        "--kube-api-qps=500",
    )
    process.start()
    process.wait_ready()
    with cluster.namespace("observed") as namespace:
        Kubectl(cluster.admin_kubeconfig, namespace)("create", "serviceaccount", "kubetask-agent")
        yield Observed(address, token, namespace)
    assert process.stop() == 0
    installed("delete", "clusterrolebinding", "test-scraper")
    installed("delete", "serviceaccount", "prometheus")


@pytest.fixture
def users(cluster: Cluster, observed: Observed) -> Kubectl:
    return Kubectl(cluster.admin_kubeconfig, observed.namespace)


def test_only_who_may_get_metrics_is_told(observed: Observed, users: Kubectl) -> None:
    assert observed.fetch()[0] == 401
    assert observed.fetch("nonsense")[0] == 401
    other = users("create", "token", "kubetask-agent").strip()
    assert observed.fetch(other)[0] == 403
    assert observed.fetch(observed.token)[0] == 200


MOVED = {
    "kubetask_tasks_finished_total": 5,
    "kubetask_batchruns_finished_total": 2,
    "kubetask_task_duration_seconds": 5,
    "kubetask_task_queue_duration_seconds": 5,
    "kubetask_task_tokens_total": 3 * 1280,
    "kubetask_task_cost_usd_total": 0.75,
    "kubetask_batchruns": 3,
    "kubetask_tasks": 6,
    "kubetask_concurrency_limit": 7,
    "kubetask_concurrency_used": 1,
    "kubetask_build_info": 0,
}
"""By how much the scenario moves each metric of tasks, exactly."""
GROWS = {
    "controller_runtime_reconcile_total",
    "controller_runtime_reconcile_time_seconds",
    "workqueue_adds_total",
    "workqueue_queue_duration_seconds",
    "workqueue_work_duration_seconds",
    "informer_store_resource_version",
    "rest_client_requests_total",
    "rest_client_request_duration_seconds",
    "rest_client_request_size_bytes",
    "rest_client_response_size_bytes",
    "rest_client_rate_limiter_duration_seconds",
}
"""Metrics that work moves."""


def test_every_documented_metric_is_there_with_its_type_and_moves_when_it_should(
    observed: Observed, users: Kubectl
) -> None:
    users("wait", "--for=jsonpath={.spec.holderIdentity}", "-n", SYSTEM, "lease", "--all")
    before = observed.sums()
    users.apply(
        scripted("good", outcome={"message": json.dumps(RESULT)}),
        scripted("bad", outcome={"exitCode": 3, "message": "tests fail"}),
        scripted("lasts", outcome={"runSeconds": None}, maxConcurrentTasks=7),
    )
    users.apply(
        run("good", tasks=2, workspaceConfigRef="good"),
        run("bad", tasks=2, workspaceConfigRef="bad"),
        run("lasts", workspaceConfigRef="lasts"),
        task("good", workspaceConfigRef="good"),
    )
    users.wait_phase("batchrun/good", "Succeeded")
    users.wait_phase("batchrun/bad", "Failed")
    users.wait_phase("task/good", "Succeeded")
    users.wait_phase("batchrun/lasts", "Running")
    after = observed.sums()
    moved = {x: round(after[x] - before.get(x, 0.0), 6) for x in MOVED}
    assert moved == MOVED
    assert {x for x in GROWS if not after[x] > before[x]} == set()
    # Objects of earlier tests may still be going.
    assert after["informer_objects"] > 0
    assert after["leader_election_master_status"] == 1
    assert after["informer_synced"] == 6
    status, text = observed.fetch(observed.token)
    served = {x.name: x.type for x in text_string_to_metric_families(text)}
    assert status == 200
    for family in families():
        assert served.pop(family.name.removesuffix("_total")) == family.type
    assert all(x.startswith("process_") for x in served)
    labels = {
        sample.name: set(sample.labels) - {"le"}
        for x in text_string_to_metric_families(text)
        for sample in x.samples
    }
    for family in families():
        for name in (family.name, f"{family.name}_bucket"):
            assert labels.get(name, set(family.labels)) == set(family.labels)


TROUBLES = {
    "rest_client_request_retries_total": {"kind": "too-many-requests", "verbs": ["update"]},
    "controller_runtime_reconcile_errors_total": {"kind": "server-error", "verbs": ["update"]},
    "workqueue_retries_total": {"kind": "conflict", "verbs": ["update"]},
    "informer_watch_reconnects_total": {"kind": "closed-watch", "seconds": 0.1, "mode": "cut"},
}
"""Metrics that must not move when all is well, and what makes each of them move."""


@pytest.mark.parametrize("metric", TROUBLES)
def test_what_goes_wrong_is_counted(
    cluster: Cluster, observed: Observed, users: Kubectl, metric: str
) -> None:
    cluster.require("faults")
    before = observed.sums().get(metric, 0.0)
    users.apply(scripted("good", outcome={}))
    name = metric.replace("_", "-")
    with cluster.faults.inject(
        **TROUBLES[metric], users=["*:kubetask-controller"], resources=["batchruns*"]
    ):
        users.apply(run(name, workspaceConfigRef="good"))
        deadline = time.monotonic() + 20
        while observed.sums().get(metric, 0.0) <= before:
            assert time.monotonic() < deadline, f"{metric} does not move"
            time.sleep(0.2)
    users.wait_phase(f"batchrun/{name}", "Succeeded")


@pytest.fixture(scope="module")
def prometheus(
    observed: Observed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    with scraping(directory, observed.address, observed.token, RULES) as found:
        found.wait('up{job="kubetask-controller-metrics"} == 1')
        yield found


def test_prometheus_takes_every_metric_with_its_type(prometheus: Prometheus) -> None:
    prometheus.wait("kubetask_build_info")
    known = prometheus.get("/api/v1/metadata")
    for family in families():
        assert known[family.name][0]["type"] == family.type


def test_prometheus_takes_the_alerts_and_none_fires_when_all_is_well(
    prometheus: Prometheus,
) -> None:
    prometheus.wait("leader_election_master_status == 1")
    groups = prometheus.get("/api/v1/rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == sum(len(x["rules"]) for x in RULES["groups"])
    assert {x["health"] for x in rules} <= {"ok", "unknown"}
    assert prometheus.query('ALERTS{alertstate="firing"}') == []


def _plain(expr: str) -> str:
    """A query as Grafana sends it."""
    return expr.replace("$__rate_interval", "5s").replace("$namespace", "observed.*")


def test_every_query_of_the_dashboard_shows_something(
    observed: Observed, users: Kubectl, prometheus: Prometheus, tmp_path: Path
) -> None:
    users.apply(
        scripted("short", outcome={"runSeconds": 2, "message": json.dumps(RESULT)}),
        scripted("flaky", outcome={"runSeconds": 1, "exitCode": 1}),
        scripted("capped", outcome={"runSeconds": 3}, maxConcurrentTasks=3),
        run("first", tasks=12, parallelism=4, workspaceConfigRef="short"),
        run("second", tasks=4, parallelism=2, workspaceConfigRef="flaky"),
        run("third", tasks=8, workspaceConfigRef="capped"),
    )
    for name, phase in (("first", "Succeeded"), ("second", "Failed"), ("third", "Succeeded")):
        users.wait_phase(f"batchrun/{name}", phase)
    found: dict[str, list[Series]] = {}
    start = time.time() - WINDOW
    for panel in PANELS:
        found[panel.title] = []
        for query in panel.queries:
            answer = prometheus.values(_plain(query.expr), seconds=WINDOW)
            assert answer or panel.exporter, f"{panel.title}: {query.expr}"
            for each in answer:
                name = query.legend
                for key, value in each["metric"].items():
                    name = name.replace("{{" + key + "}}", value)
                points = [(max(at - start, 0.0), float(x)) for at, x in each["values"]]
                found[panel.title].append(Series(name.replace(observed.namespace, "team"), points))
    (used,) = [x for x in found["Concurrency slots in use"] if "capped used" in x.name]
    assert max(value for _, value in used.points) == 3
    picture = draw(found, seconds=WINDOW)
    root = ElementTree.fromstring(picture)
    shown = {x.text for x in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {x.title for x in PANELS} <= shown
    target = Path(os.environ.get("KUBETASK_PICTURE", tmp_path / "dashboard.svg"))
    target.write_text(picture)
