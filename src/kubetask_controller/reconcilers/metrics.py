"""The project's own metrics, ``kubetask_*``: current objects, ended tasks by reason, durations, tokens and cost.

Gauges are counted from the cache at each scrape, so they are right after a restart too. Counters count what this process
has recorded; like every counter they begin at 0 with the process.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Phase
from kubetask_controller.api.times import parse_time
from kubetask_controller.reconcilers.concurrency import Pool
from kubetask_controller.reconcilers.projections import AnyView
from kubetask_controller.reconcilers.taskrun.state import TaskState

DURATION_BUCKETS = (5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800)
"""Seconds. An agent works for minutes, now and then for hours."""
QUEUE_BUCKETS = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400)
"""Seconds between a task's object and its first running Pod."""


class Recorder(Protocol):
    """Records ends, once they are in a status."""

    def task_ended(self, owner: AnyView, state: TaskState) -> None:
        """A task of a run, or a Task, has ended."""

    def run_ended(self, run: AnyView, phase: str, reason: str) -> None:
        """A BatchRun has ended."""


class ReconcilerMetrics:
    """The families; a Recorder."""

    def __init__(self, registry: CollectorRegistry, *, version: str) -> None:
        place = ["namespace"]
        self._tasks = Counter(
            c.METRIC_TASKS_FINISHED.removesuffix("_total"),
            "Tasks that have ended, those of runs and single ones, by phase and reason",
            [*place, "phase", "reason"],
            registry=registry,
        )
        self._runs = Counter(
            c.METRIC_BATCHRUNS_FINISHED.removesuffix("_total"),
            "BatchRuns that have ended, by phase and reason",
            [*place, "phase", "reason"],
            registry=registry,
        )
        self._duration = Histogram(
            c.METRIC_TASK_DURATION,
            "Seconds from the start of a task's first container to the end of its last",
            [*place, "phase"],
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self._queue = Histogram(
            c.METRIC_TASK_QUEUE_DURATION,
            "Seconds from the creation of a BatchRun or Task to the start of a task's first container",
            place,
            buckets=QUEUE_BUCKETS,
            registry=registry,
        )
        self._tokens = Counter(
            c.METRIC_TASK_TOKENS.removesuffix("_total"),
            "Tokens reported by agents, by direction: input or output",
            [*place, "direction"],
            registry=registry,
        )
        self._cost = Counter(
            c.METRIC_TASK_COST.removesuffix("_total"),
            "Cost reported by agents in US dollars",
            place,
            registry=registry,
        )
        info = Gauge(c.METRIC_BUILD_INFO, "1, with the version", ["version"], registry=registry)
        info.labels(version).set(1)

    def task_ended(self, owner: AnyView, state: TaskState) -> None:
        """Count the end of a task, its waiting and working time, and the usage that its agent reported."""
        place = owner.namespace
        self._tasks.labels(place, state.phase.value, str(state.reason)).inc()
        if state.start_time:
            started = parse_time(state.start_time)
            waited = (started - parse_time(owner.created)).total_seconds()
            self._queue.labels(place).observe(max(0.0, waited))
            if state.completion_time:
                worked = (parse_time(state.completion_time) - started).total_seconds()
                self._duration.labels(place, state.phase.value).observe(max(0.0, worked))
        self._used(place, (state.result or {}).get("usage") or {})

    def run_ended(self, run: AnyView, phase: str, reason: str) -> None:
        """Count the end of a run."""
        self._runs.labels(run.namespace, phase, reason).inc()

    def _used(self, namespace: str, usage: dict[str, Any]) -> None:
        for field, direction in (("inputTokens", "input"), ("outputTokens", "output")):
            self._tokens.labels(namespace, direction).inc(max(0, usage.get(field) or 0))
        try:
            cost = float(Decimal(usage.get("costUSD") or 0))
        except InvalidOperation:
            return
        self._cost.labels(namespace).inc(max(0.0, cost))


class NoRecorder:
    """Counts nothing."""

    def task_ended(self, owner: AnyView, state: TaskState) -> None:
        """Ignored."""

    def run_ended(self, run: AnyView, phase: str, reason: str) -> None:
        """Ignored."""


class _Listed(Protocol):
    def list(self) -> list[AnyView]:
        """Everything that the cache holds."""


class StateCollector(Collector):
    """Gauges of what the cache holds, counted at each scrape.

    Args:
        runs, tasks, configs: the cache's views.
        used: slots in use of a WorkspaceConfig (namespace, name).
    """

    def __init__(
        self, runs: _Listed, tasks: _Listed, configs: _Listed, used: Callable[[Pool], int]
    ) -> None:
        self._runs, self._tasks, self._configs, self._used = runs, tasks, configs, used

    def describe(self) -> Iterable[Metric]:
        """Nothing is collected at registration: the cache is empty then."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families."""
        runs, tasks = self._runs.list(), self._tasks.list()
        yield _family(c.METRIC_BATCHRUNS, "BatchRuns that exist, by phase", _by_phase(runs))
        text = "Tasks that exist, those of BatchRuns and single ones, by phase"
        yield _family(c.METRIC_TASKS, text, _by_phase(tasks) + _progress(runs))
        limit = GaugeMetricFamily(
            c.METRIC_CONCURRENCY_LIMIT,
            "maxConcurrentTasks of a WorkspaceConfig",
            labels=["namespace", "workspace_config"],
        )
        used = GaugeMetricFamily(
            c.METRIC_CONCURRENCY_USED,
            "Unfinished tasks that use a WorkspaceConfig with maxConcurrentTasks",
            labels=["namespace", "workspace_config"],
        )
        for config in self._configs.list():
            most = config.spec.get("maxConcurrentTasks")
            if most is not None:
                labels = [config.namespace, config.name]
                limit.add_metric(labels, most)
                used.add_metric(labels, self._used((config.namespace, config.name)))
        yield limit
        yield used


def _family(name: str, text: str, tally: Tally[tuple[str, str]]) -> GaugeMetricFamily:
    """One series for each namespace that has any, and phase: all phases, so that none appears out of nothing."""
    family = GaugeMetricFamily(name, text, labels=["namespace", "phase"])
    for namespace in sorted({place for place, _ in tally}):
        for phase in Phase:
            family.add_metric([namespace, phase.value], tally[(namespace, phase.value)])
    return family


def _by_phase(views: Iterable[AnyView]) -> Tally[tuple[str, str]]:
    return Tally((x.namespace, x.status.get("phase") or Phase.PENDING.value) for x in views)


def _progress(runs: Iterable[AnyView]) -> Tally[tuple[str, str]]:
    tally: Tally[tuple[str, str]] = Tally()
    for run in runs:
        progress = run.status.get("progress") or {}
        for field, phase in (
            ("pending", Phase.PENDING),
            ("running", Phase.RUNNING),
            ("completed", Phase.SUCCEEDED),
            ("failed", Phase.FAILED),
        ):
            tally[(run.namespace, phase.value)] += progress.get(field, 0)
    return tally
