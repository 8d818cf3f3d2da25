"""The runtime's metrics, under controller-runtime's names, labels and buckets.

Dashboards and alerts of other operators work unchanged. Guarantees: nothing is registered globally
(each Metrics has a registry of its own); every series whose labels are known exists from the start,
with 0. Differences: no native histograms (the client library has none), and no webhook metrics
(there are no webhooks).
"""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from kubetask_controller.runtime.metrics import instruments
from kubetask_controller.runtime.metrics.instruments import Number

# fmt: off
RECONCILE_BUCKETS = (
    .005, .01, .025, .05, .1, .15, .2, .25, .3, .35, .4, .45, .5, .6, .7, .8, .9, 1, 1.25, 1.5,
    1.75, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9, 10, 15, 20, 25, 30, 40, 50, 60,
)
# fmt: on
WORKQUEUE_BUCKETS = tuple(float(f"1e{exponent}") for exponent in range(-8, 4))
MAX_PRIORITY_SERIES = 25
"""Distinct priorities of one queue that get a series of their own."""
OTHER_PRIORITIES = "exceeded_cardinality_limit"
RESULTS = ("success", "error", "requeue", "requeue_after")


def new_registry() -> CollectorRegistry:
    """A registry with the ``process_*`` metrics, such as memory and processor time."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def render(registry: CollectorRegistry) -> bytes:
    """The registry in Prometheus' text format 0.0.4."""
    return generate_latest(_WithoutCreated(registry))


class Metrics:
    """The families that controllers, queues and leader election share."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Raises ValueError when the registry has these families already."""
        self.registry = registry = registry if registry is not None else new_registry()
        self.leader = Gauge(
            "leader_election_master_status",
            "Gauge of if the reporting system is master of the relevant lease, "
            "0 indicates backup, 1 indicates master. 'name' is the string used to identify "
            "the lease.",
            ["name"],
            registry=registry,
        )
        self.leader_slowpath = Counter(
            "leader_election_slowpath",
            "Total number of slow path exercised in renewing leader leases",
            ["name"],
            registry=registry,
        )
        self.certificate_reads = Counter(
            "certwatcher_read_certificate",
            "Total number of certificate reads",
            registry=registry,
        )
        self.certificate_read_errors = Counter(
            "certwatcher_read_certificate_errors",
            "Total number of certificate read errors",
            registry=registry,
        )
        self._controller = _ControllerFamilies(registry)
        self._queue = _QueueFamilies(registry)
        self._controllers: set[str] = set()

    def controller(self, name: str) -> "ControllerMetrics":
        """The series of one controller, each starting at 0.

        Raises:
            ValueError: another controller has that name, and so the same series.
        """
        if name in self._controllers:
            raise ValueError(
                f"controller {name} exists already: give each controller a name of its own"
            )
        self._controllers.add(name)
        return ControllerMetrics(self._controller, name)

    def queue(self, name: str) -> "QueueMetrics":
        """The series of one controller's queue, each starting at 0."""
        return QueueMetrics(self._queue, name)


class _ControllerFamilies:
    def __init__(self, registry: CollectorRegistry) -> None:
        by_controller = ["controller"]
        self.reconcile_total = instruments.counter(
            "controller_runtime_reconcile",
            "Total number of reconciliations per controller",
            ["controller", "result"],
            registry,
        )
        self.reconcile_errors = Counter(
            "controller_runtime_reconcile_errors",
            "Total number of reconciliation errors per controller",
            by_controller,
            registry=registry,
        )
        self.terminal_errors = Counter(
            "controller_runtime_terminal_reconcile_errors",
            "Total number of terminal reconciliation errors per controller",
            by_controller,
            registry=registry,
        )
        self.reconcile_panics = Counter(
            "controller_runtime_reconcile_panics",
            "Total number of reconciliations that ended with an unexpected exception",
            by_controller,
            registry=registry,
        )
        self.reconcile_timeouts = Counter(
            "controller_runtime_reconcile_timeouts",
            "Total number of reconciliations cancelled at their time limit",
            by_controller,
            registry=registry,
        )
        self.reconcile_time = instruments.histogram(
            "controller_runtime_reconcile_time_seconds",
            "Length of time per reconciliation per controller",
            by_controller,
            RECONCILE_BUCKETS,
            registry,
        )
        self.max_concurrent_reconciles = Gauge(
            "controller_runtime_max_concurrent_reconciles",
            "Maximum number of concurrent reconciles per controller",
            by_controller,
            registry=registry,
        )
        self.active_workers = instruments.gauge(
            "controller_runtime_active_workers",
            "Number of currently used workers per controller",
            by_controller,
            registry,
        )


class ControllerMetrics:
    """One controller's series."""

    def __init__(self, families: _ControllerFamilies, name: str) -> None:
        self.results = {r: families.reconcile_total.labels(name, r) for r in RESULTS}
        self.errors = families.reconcile_errors.labels(name)
        self.terminal_errors = families.terminal_errors.labels(name)
        self.panics = families.reconcile_panics.labels(name)
        self.timeouts = families.reconcile_timeouts.labels(name)
        self.time = families.reconcile_time.labels(name)
        self.max_concurrent = families.max_concurrent_reconciles.labels(name)
        self.active_workers = families.active_workers.labels(name)


class _QueueFamilies:
    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["name", "controller"]
        self.depth = instruments.gauge(
            "workqueue_depth",
            "Current depth of workqueue by workqueue and priority",
            [*labels, "priority"],
            registry,
        )
        self.adds = instruments.counter(
            "workqueue_adds", "Total number of adds handled by workqueue", labels, registry
        )
        self.retries = instruments.counter(
            "workqueue_retries",
            "Total number of retries handled by workqueue",
            labels,
            registry,
        )
        self.queue_duration = instruments.histogram(
            "workqueue_queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested",
            labels,
            WORKQUEUE_BUCKETS,
            registry,
        )
        self.work_duration = instruments.histogram(
            "workqueue_work_duration_seconds",
            "How long in seconds processing an item from workqueue takes.",
            labels,
            WORKQUEUE_BUCKETS,
            registry,
        )
        self.unfinished = Gauge(
            "workqueue_unfinished_work_seconds",
            "How many seconds of work has been done that is in progress and hasn't been observed "
            "by work_duration. Large values indicate stuck threads. One can deduce the number of "
            "stuck threads by observing the rate at which this increases.",
            labels,
            registry=registry,
        )
        self.longest_running = Gauge(
            "workqueue_longest_running_processor_seconds",
            "How many seconds has the longest running processor for workqueue been running.",
            labels,
            registry=registry,
        )


class QueueMetrics:
    """One queue's series; the labels ``name`` and ``controller`` are equal, as upstream."""

    def __init__(self, families: _QueueFamilies, name: str) -> None:
        self._families = families
        self._name = name
        self._depth: dict[int, Number] = {}
        self.adds = families.adds.labels(name, name)
        self.retries = families.retries.labels(name, name)
        self.queue_duration = families.queue_duration.labels(name, name)
        self.work_duration = families.work_duration.labels(name, name)
        self._unfinished = families.unfinished.labels(name, name)
        self._longest_running = families.longest_running.labels(name, name)

    def depth(self, priority: int) -> Number:
        """The number of ready items of that priority."""
        gauge = self._depth.get(priority)
        if gauge is None:
            label = str(priority) if len(self._depth) < MAX_PRIORITY_SERIES else OTHER_PRIORITIES
            gauge = self._families.depth.labels(self._name, self._name, label)
            self._depth[priority] = gauge
        return gauge

    def track_work(self, *, unfinished: Callable[[], float], longest: Callable[[], float]) -> None:
        """Set the functions that return, at each scrape, the seconds of work that is not done yet."""
        self._unfinished.set_function(unfinished)
        self._longest_running.set_function(longest)


class _WithoutCreated(CollectorRegistry):
    """A registry without its ``_created`` series, which Go's library does not export."""

    def __init__(self, source: Collector) -> None:
        super().__init__()
        self._source = source

    def collect(self) -> Iterator[Metric]:
        for family in self._source.collect():
            family.samples = [s for s in family.samples if not s.name.endswith("_created")]
            yield family
