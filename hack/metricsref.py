"""The reference of metrics as Markdown, from the code that registers them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from kubetask_controller.reconcilers import metrics as tasks
from kubetask_controller.runtime import metrics as runtime
from kubetask_controller.runtime.metrics.clients import (
    InformerMetrics,
    PrometheusRestMetrics,
)

_INTRODUCTION = """# Metrics

<!-- Generated from the code by `make generate`. Do not edit. -->

What the controller serves under `/metrics`, in Prometheus' text format. The names, labels and buckets of
`controller_runtime_*`, `workqueue_*`, `rest_client_*` and `leader_election_*` are those of controller-runtime and client-go,
so dashboards made for other operators work. How to scrape it: [operations](../operations.md#metrics); alerts are in
`config/prometheus`, a dashboard in `config/grafana`.

A replica that does not lead serves metrics too: its gauges `kubetask_tasks` and `kubetask_batchruns` have the same values
as the leader's, so take their maximum and not their sum.
"""
_PARTS = (
    ("kubetask_", "Tasks and runs"),
    ("controller_runtime_", "Reconciling"),
    ("workqueue_", "Queues"),
    ("informer_", "Watches and what they hold"),
    ("rest_client_", "Requests to the API server"),
    ("leader_election_", "Leader election"),
    ("certwatcher_", "Certificate of the metrics endpoint"),
)
_PROCESS = """## The process

On Linux the processor time, memory and files of the process too: `process_cpu_seconds_total`,
`process_resident_memory_bytes`, `process_virtual_memory_bytes`, `process_open_fds`, `process_max_fds`,
`process_start_time_seconds`.
"""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. A counter's name ends in ``_total``, as it is written in queries."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


class _Empty:
    def list(self) -> list[Any]:
        return []


def families() -> list[Family]:
    """Every metric of a controller, by name."""
    registry = CollectorRegistry()
    runtime.Metrics(registry)
    PrometheusRestMetrics(registry)
    InformerMetrics(registry)
    tasks.ReconcilerMetrics(registry, version="")
    registry.register(tasks.StateCollector(_Empty(), _Empty(), _Empty(), lambda _: 0))
    return sorted(_families(registry), key=lambda x: x.name)


def render_metrics() -> str:
    """The page."""
    found = families()
    lines = [_INTRODUCTION]
    for prefix, title in _PARTS:
        lines += [f"## {title}", "", "| metric | type | labels | meaning |", "|---|---|---|---|"]
        for family in [x for x in found if x.name.startswith(prefix)]:
            labels = ", ".join(f"`{x}`" for x in family.labels)
            lines.append(f"| `{family.name}` | {family.type} | {labels} | {family.meaning} |")
        lines.append("")
    left = [x.name for x in found if not x.name.startswith(tuple(x for x, _ in _PARTS))]
    if left:
        raise ValueError(f"no part of the page is for {', '.join(left)}")
    return "\n".join([*lines, _PROCESS])


def _families(registry: CollectorRegistry) -> Iterator[Family]:
    for collector in list(registry._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            labels = tuple(collector._labelnames)
            for each in collector.describe():
                yield _family(each, labels)
        else:
            for each in collector.collect():
                yield _family(each, tuple(getattr(each, "_labelnames", ())))


def _family(metric: Metric, labels: tuple[str, ...]) -> Family:
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    return Family(name, metric.type, labels, metric.documentation.rstrip("."))
