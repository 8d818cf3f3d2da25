"""The alerts fire when they should, and every query is over metrics that there are."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from hack.dashboard import PANELS, render_dashboard
from hack.metricsref import families

ROOT = Path(__file__).resolve().parents[2]
RULES = yaml.safe_load((ROOT / "config" / "prometheus" / "rules.yaml").read_text())["spec"]
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}
CASES = Path(__file__).with_name("alerts.yaml")
QUERIES = {f"{x.title} {i}": q.expr for x in PANELS for i, q in enumerate(x.queries)}
STATE = yaml.safe_load((ROOT / "config" / "prometheus" / "kube-state-metrics.yaml").read_text())
OF_KUBE_STATE_METRICS = {
    f"{resource['metricNamePrefix']}_{metric['name']}"
    for resource in STATE["spec"]["resources"]
    for metric in resource["metrics"]
}
OF_PROMETHEUS = {"up", "process_resident_memory_bytes"}
SUFFIXES = ("_bucket", "_sum", "_count")


def plain(expr: str) -> str:
    """A dashboard's query with its variables as Grafana fills them in."""
    return expr.replace("$__rate_interval", "1m").replace("$namespace", ".*")


def _selectors(node: Any) -> list[str]:
    """Names of the metrics in a query."""
    found = []
    if isinstance(node, promql_parser.VectorSelector):
        return [node.name] if node.name else []
    for name in ("lhs", "rhs", "expr", "vs", "vector_selector", "args", "param"):
        inner = getattr(node, name, None)
        for each in inner if isinstance(inner, list) else [inner]:
            if each is not None:
                found += _selectors(each)
    return found


@pytest.mark.parametrize(
    "expr",
    [*(x["expr"] for x in ALERTS.values()), *QUERIES.values()],
    ids=[*ALERTS, *QUERIES],
)
def test_a_query_is_over_documented_metrics(expr: str) -> None:
    documented = {x.name: x.type for x in families()}
    names = _selectors(promql_parser.parse(plain(expr)))
    assert names
    for name in set(names) - OF_PROMETHEUS - OF_KUBE_STATE_METRICS:
        base = next((name.removesuffix(x) for x in SUFFIXES if name.endswith(x)), name)
        if base != name:
            assert documented[base] == "histogram"
        else:
            assert name in documented


def test_every_alert_says_where_to_read_on() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    anchors = {
        x.lstrip("# ").lower().replace(" ", "-") for x in page.splitlines() if x.startswith("#")
    }
    for alert in ALERTS.values():
        file, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert file == "docs/operations.md"
        assert anchor in anchors


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    cases = yaml.safe_load(CASES.read_text())["tests"]
    fired = {x["alertname"] for case in cases for x in case["alert_rule_test"] if "exp_alerts" in x}
    assert fired == set(ALERTS)


@pytest.mark.processes
def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's package prometheus has it)")
    (tmp_path / "whole.yaml").write_text(yaml.safe_dump(RULES))
    # promtool wants annotations word for word, which would only repeat the rules.
    bare = json.loads(json.dumps(RULES))
    for group in bare["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(bare))
    shutil.copy(CASES, tmp_path)
    for command in (["check", "rules", "whole.yaml"], ["test", "rules", "alerts.yaml"]):
        done = subprocess.run(
            [promtool, *command], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_shows_every_panel_once_and_none_over_another() -> None:
    panels = json.loads(render_dashboard())["panels"]
    assert [x["title"] for x in panels] == [x.title for x in PANELS]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
