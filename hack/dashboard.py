"""The Grafana dashboard: its panels, and their JSON as Grafana imports it.

Each replica serves metrics, so what all of them know alike is taken as a maximum and what each counts for itself as a sum.
"""

import json
from dataclasses import dataclass
from typing import Any

JSON = dict[str, Any]

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WHERE = 'namespace=~"$namespace"'
_RATE = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; `legend` names its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A time series, or with `single` one number."""

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    description: str = ""
    single: bool = False
    stacked: bool = False


def _by_resource(metric: str) -> str:
    return f"max by (resource) ({metric})"


PANELS = (
    Panel(
        "Replica that acts",
        (Query('sum(leader_election_master_status) or sum(up{job=~".*kubetask.*"}) * 0'),),
        description="1 when all is well; 0 means that nobody starts or ends anything.",
        single=True,
    ),
    Panel(
        "Running tasks",
        (
            Query(
                f'sum(max by (namespace) (kubetask_tasks{{phase="Running",{_WHERE}}})) or vector(0)'
            ),
        ),
        single=True,
    ),
    Panel(
        "Waiting tasks",
        (
            Query(
                f'sum(max by (namespace) (kubetask_tasks{{phase="Pending",{_WHERE}}})) or vector(0)'
            ),
        ),
        single=True,
    ),
    Panel(
        "Failed of all that ended",
        (
            Query(
                f'(sum(kubetask_tasks_finished_total{{phase="Failed",{_WHERE}}}) or vector(0))'
                f" / clamp_min(sum(kubetask_tasks_finished_total{{{_WHERE}}}), 1) or vector(0)"
            ),
        ),
        unit="percentunit",
        single=True,
    ),
    Panel(
        "Cost that agents tell of",
        (Query(f"sum(kubetask_task_cost_usd_total{{{_WHERE}}}) or vector(0)"),),
        unit="currencyUSD",
        single=True,
    ),
    Panel(
        "Tasks by phase",
        (
            Query(
                f"sum by (phase) (max by (namespace, phase) (kubetask_tasks{{{_WHERE}}}))",
                "{{phase}}",
            ),
        ),
        stacked=True,
    ),
    Panel(
        "Ends by reason",
        (
            Query(
                f"sum by (reason) (rate(kubetask_tasks_finished_total{{{_WHERE}}}{_RATE})) * 60",
                "{{reason}}",
            ),
        ),
        description="Tasks a minute that ended, by the reason in their status.",
    ),
    Panel(
        "How long agents work",
        tuple(
            Query(
                f"histogram_quantile({q}, sum by (le) (rate(kubetask_task_duration_seconds_bucket"
                f"{{{_WHERE}}}{_RATE})))",
                f"{q:.0%}",
            )
            for q in (0.5, 0.95)
        ),
        unit="s",
    ),
    Panel(
        "How long tasks wait for their start",
        tuple(
            Query(
                "histogram_quantile("
                f"{q}, sum by (le) (rate(kubetask_task_queue_duration_seconds_bucket{{{_WHERE}}}{_RATE})))",
                f"{q:.0%}",
            )
            for q in (0.5, 0.95)
        ),
        unit="s",
        description="From the creation of the run or Task, so a run with a low parallelism waits by intent.",
    ),
    Panel(
        "Places of a WorkspaceConfig in use",
        (
            Query(
                f"max by (namespace, workspace_config) (kubetask_concurrency_used{{{_WHERE}}})",
                "{{namespace}}/{{workspace_config}} used",
            ),
            Query(
                f"max by (namespace, workspace_config) (kubetask_concurrency_limit{{{_WHERE}}})",
                "{{namespace}}/{{workspace_config}} limit",
            ),
        ),
    ),
    Panel(
        "Tokens",
        (
            Query(
                f"sum by (direction) (rate(kubetask_task_tokens_total{{{_WHERE}}}{_RATE}))",
                "{{direction}}",
            ),
        ),
        description="Tokens a second that agents tell of.",
    ),
    Panel(
        "Reconciles",
        (
            Query(
                f"sum by (controller, result) (rate(controller_runtime_reconcile_total{_RATE}))",
                "{{controller}} {{result}}",
            ),
        ),
        unit="ops",
    ),
    Panel(
        "Time of a reconcile, 99%",
        (
            Query(
                "histogram_quantile(0.99, sum by (le, controller)"
                f" (rate(controller_runtime_reconcile_time_seconds_bucket{_RATE})))",
                "{{controller}}",
            ),
        ),
        unit="s",
    ),
    Panel(
        "Requests to the API server by answer",
        (Query(f"sum by (code) (rate(rest_client_requests_total{_RATE}))", "{{code}}"),),
        unit="ops",
        description="429 is an API server that is too busy, <error> one that did not answer.",
    ),
    Panel(
        "Silence of watches",
        (Query(_by_resource("informer_last_event_age_seconds"), "{{resource}}"),),
        unit="s",
        description="Bookmarks come about once a minute, so more than two minutes is a watch that hangs.",
    ),
    Panel(
        "Objects held",
        (Query(_by_resource("informer_objects"), "{{resource}}"),),
    ),
    Panel(
        "Memory",
        (Query('process_resident_memory_bytes{job=~".*kubetask.*"}', "{{instance}}"),),
        unit="bytes",
    ),
)

_ACROSS = 24


def render_dashboard() -> str:
    """The JSON that Grafana imports."""
    variables: list[JSON] = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {
            "name": "namespace",
            "label": "Namespace",
            "type": "query",
            "datasource": _DATASOURCE,
            "query": "label_values(kubetask_tasks, namespace)",
            "includeAll": True,
            "allValue": ".*",
            "multi": True,
            "refresh": 2,
            "current": {"text": "All", "value": "$__all"},
        },
    ]
    whole = {
        "uid": "kubetask",
        "title": "KubeTask",
        "tags": ["kubetask"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables},
        "panels": _panels(),
    }
    return json.dumps(whole, indent=2) + "\n"


def _panels() -> list[JSON]:
    found, x, y = [], 0, 0
    for number, panel in enumerate(PANELS, start=1):
        width, height = (_ACROSS // 5, 4) if panel.single else (_ACROSS // 2, 8)
        if x + width > _ACROSS or (number > 1 and panel.single != PANELS[number - 2].single):
            x, y = 0, y + (4 if PANELS[number - 2].single else 8)
        found.append(_panel(number, panel, {"x": x, "y": y, "w": width, "h": height}))
        x += width
    return found


def _panel(number: int, panel: Panel, place: JSON) -> JSON:
    custom = {"stacking": {"mode": "normal"}, "fillOpacity": 30} if panel.stacked else {}
    return {
        "id": number,
        "type": "stat" if panel.single else "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "custom": custom}, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": _DATASOURCE,
                "expr": query.expr,
                "legendFormat": query.legend,
            }
            for i, query in enumerate(panel.queries)
        ],
    }
