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
    exporter: str = ""
    """The source of the metrics, if it is not the controller."""


def _by_resource(metric: str) -> str:
    return f"max by (resource) ({metric})"


PANELS = (
    Panel(
        "Leader",
        (Query('sum(leader_election_master_status) or sum(up{job=~".*kubetask.*"}) * 0'),),
        description="1 if a replica holds the Lease. With 0, no task starts, and no end is recorded.",
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
        "Pending tasks",
        (
            Query(
                f'sum(max by (namespace) (kubetask_tasks{{phase="Pending",{_WHERE}}})) or vector(0)'
            ),
        ),
        single=True,
    ),
    Panel(
        "Failed tasks, of all that ended",
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
        "Cost reported by agents",
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
        "Tasks ended per minute, by reason",
        (
            Query(
                f"sum by (reason) (rate(kubetask_tasks_finished_total{{{_WHERE}}}{_RATE})) * 60",
                "{{reason}}",
            ),
        ),
        description="The reason in the status of the task.",
    ),
    Panel(
        "Task duration",
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
        "Time until a task starts",
        tuple(
            Query(
                "histogram_quantile("
                f"{q}, sum by (le) (rate(kubetask_task_queue_duration_seconds_bucket{{{_WHERE}}}{_RATE})))",
                f"{q:.0%}",
            )
            for q in (0.5, 0.95)
        ),
        unit="s",
        description="From the creation of the run or Task. A low parallelism increases it.",
    ),
    Panel(
        "Concurrency slots in use",
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
        "Cost by team",
        (
            Query(
                f"sum by (team) (max by (namespace, batchrun, team) (kubetask_batchrun_cost_usd{{{_WHERE}}}))",
                "{{team}}",
            ),
        ),
        unit="currencyUSD",
        description="Cost of existing runs by their label team.",
        stacked=True,
        exporter="kube-state-metrics",
    ),
    Panel(
        "Tokens per second",
        (
            Query(
                f"sum by (direction) (rate(kubetask_task_tokens_total{{{_WHERE}}}{_RATE}))",
                "{{direction}}",
            ),
        ),
        description="As reported by agents.",
    ),
    Panel(
        "Reconciles per second",
        (
            Query(
                f"sum by (controller, result) (rate(controller_runtime_reconcile_total{_RATE}))",
                "{{controller}} {{result}}",
            ),
        ),
        unit="ops",
    ),
    Panel(
        "Reconcile time, 99th percentile",
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
        "API requests by status code",
        (Query(f"sum by (code) (rate(rest_client_requests_total{_RATE}))", "{{code}}"),),
        unit="ops",
        description="429: the API server is overloaded. <error>: no response.",
    ),
    Panel(
        "Time since the last watch event",
        (Query(_by_resource("informer_last_event_age_seconds"), "{{resource}}"),),
        unit="s",
        description="Bookmarks arrive about once a minute. A watch without one for two minutes hangs.",
    ),
    Panel(
        "Objects in the cache",
        (Query(_by_resource("informer_objects"), "{{resource}}"),),
    ),
    Panel(
        "Memory of the controller",
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
