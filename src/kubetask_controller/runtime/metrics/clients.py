"""Metrics of the REST client and of informers.

The ``rest_client_*`` families have client-go's names, labels and buckets. client-go has no metrics of informers any more, so
the ``informer_*`` families are our own: lists, reconnects with their reason, age of the last event, stored objects.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

LATENCY_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
SIZE_BUCKETS = (64, 256, 512, 2**10, 2**12, 2**14, 2**16, 2**18, 2**20, 2**22, 2**24)


class WatchEnd(StrEnum):
    """Why a watch ended: the label `reason`."""

    CLOSED = "closed"
    SHORT = "short"
    SILENT = "silent"
    BROKEN = "broken"
    REFUSED = "refused"
    TOO_MANY_REQUESTS = "too_many_requests"
    EXPIRED = "expired"
    INTERNAL_ERROR = "internal_error"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class InformerStatistics:
    """The state of an informer at one moment.

    Attributes:
        synced: all handlers have run for its first lists.
        objects: number of stored objects.
        last_event_age: seconds since the last list, event or bookmark of the least recent scope;
            None before the first list.
        resource_version: of the scope that is furthest behind; "" before the first list.
    """

    synced: bool
    objects: int
    last_event_age: float | None
    resource_version: str


class PrometheusRestMetrics:
    """Implements client.metrics.RestMetrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "rest_client_requests",
            "Number of HTTP requests, partitioned by status code, method, and host.",
            ["code", "method", "host"],
            registry=registry,
        )
        self._duration = Histogram(
            "rest_client_request_duration_seconds",
            "Request latency in seconds. Broken down by verb, and host.",
            ["verb", "host"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._limited = Histogram(
            "rest_client_rate_limiter_duration_seconds",
            "Client side rate limiter latency in seconds. Broken down by verb, and host.",
            ["verb", "host"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )
        self._request_size = Histogram(
            "rest_client_request_size_bytes",
            "Request size in bytes. Broken down by verb and host.",
            ["verb", "host"],
            buckets=SIZE_BUCKETS,
            registry=registry,
        )
        self._response_size = Histogram(
            "rest_client_response_size_bytes",
            "Response size in bytes. Broken down by verb and host.",
            ["verb", "host"],
            buckets=SIZE_BUCKETS,
            registry=registry,
        )
        self._retries = Counter(
            "rest_client_request_retries",
            "Number of request retries, partitioned by status code, verb, and host.",
            ["code", "verb", "host"],
            registry=registry,
        )

        self._dns = Histogram(
            "rest_client_dns_resolution_duration_seconds",
            "DNS resolver latency in seconds. Broken down by host.",
            ["host"],
            buckets=LATENCY_BUCKETS,
            registry=registry,
        )

    def request_finished(self, *, method: str, host: str, code: str, seconds: float) -> None:
        """See RestMetrics."""
        self._requests.labels(code, method, host).inc()
        self._duration.labels(method, host).observe(seconds)

    def sizes(self, *, method: str, host: str, request_bytes: int, response_bytes: int) -> None:
        """See RestMetrics."""
        self._request_size.labels(method, host).observe(request_bytes)
        self._response_size.labels(method, host).observe(response_bytes)

    def request_retried(self, *, method: str, host: str, code: str) -> None:
        """See RestMetrics."""
        self._retries.labels(code, method, host).inc()

    def rate_limited(self, *, method: str, host: str, seconds: float) -> None:
        """See RestMetrics."""
        self._limited.labels(method, host).observe(seconds)

    def resolved(self, host: str, seconds: float) -> None:
        """See RestMetrics."""
        self._dns.labels(host).observe(seconds)


class InformerMetrics(Collector):
    """Metrics of all informers; gauges are read at each scrape. `resource` is such as ``jobs.batch``."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Without a `registry` the metrics are counted and not exported."""
        registry = registry if registry is not None else CollectorRegistry()
        self._statistics: dict[str, Callable[[], InformerStatistics]] = {}
        by_resource = ["resource"]
        self._relists = Counter(
            "informer_relists",
            "Number of complete lists, streamed or in pages",
            by_resource,
            registry=registry,
        )
        self._reconnects = Counter(
            "informer_watch_reconnects",
            "Number of watches that ended and were opened again, by reason",
            ["resource", "reason"],
            registry=registry,
        )
        self._failures = Counter(
            "informer_handler_failures",
            "Number of events on which an event handler failed",
            by_resource,
            registry=registry,
        )
        self._dropped = Counter(
            "informer_events_dropped",
            "Number of events and objects that could not be parsed",
            by_resource,
            registry=registry,
        )
        registry.register(self)

    def track(self, resource: str, statistics: Callable[[], InformerStatistics]) -> None:
        """An informer exists; call `statistics` at each scrape."""
        self._statistics[resource] = statistics
        for family in (self._relists, self._failures, self._dropped):
            family.labels(resource)
        for reason in WatchEnd:
            self._reconnects.labels(resource, reason)

    def listed(self, resource: str) -> None:
        """A complete list was stored."""
        self._relists.labels(resource).inc()

    def watch_ended(self, resource: str, reason: str) -> None:
        """A watch ended; see WatchEnd for the reasons."""
        self._reconnects.labels(resource, reason).inc()

    def handler_failed(self, resource: str) -> None:
        """An event handler raised; it misses the event, and the others do not."""
        self._failures.labels(resource).inc()

    def event_dropped(self, resource: str) -> None:
        """An event or object could not be parsed."""
        self._dropped.labels(resource).inc()

    def describe(self) -> Iterable[Metric]:
        """Nothing: the series depend on the informers."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges, at a scrape."""
        objects = GaugeMetricFamily(
            "informer_objects", "Number of objects in an informer's store", labels=["resource"]
        )
        age = GaugeMetricFamily(
            "informer_last_event_age_seconds",
            "Seconds since the last list, event or bookmark of an informer",
            labels=["resource"],
        )
        synced = GaugeMetricFamily(
            "informer_synced", "1 once an informer has synced", labels=["resource"]
        )
        version = GaugeMetricFamily(
            "informer_store_resource_version",
            "Last 15 digits of the resourceVersion of an informer's store",
            labels=["resource"],
        )
        for resource, statistics in self._statistics.items():
            now = statistics()
            objects.add_metric([resource], now.objects)
            synced.add_metric([resource], float(now.synced))
            if now.last_event_age is not None:
                age.add_metric([resource], now.last_event_age)
            if now.resource_version.isdigit():
                version.add_metric([resource], float(now.resource_version[-15:]))
        yield from (objects, age, synced, version)
