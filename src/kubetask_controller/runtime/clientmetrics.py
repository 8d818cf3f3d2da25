"""Metrics of the REST client and of informers, over Prometheus' client library.

The ``rest_client_*`` families have client-go's names, labels and buckets. client-go has none for informers any more, so those
are ours: relists, reconnects with their reason, age of the last event, objects held.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kubetask_controller.runtime.informermetrics import InformerStatistics, WatchEnd

LATENCY_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
SIZE_BUCKETS = (64, 256, 512, 2**10, 2**12, 2**14, 2**16, 2**18, 2**20, 2**22, 2**24)


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


class PrometheusInformerMetrics(Collector):
    """Implements informermetrics.InformerMetrics; gauges are read at each scrape."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._statistics: dict[str, Callable[[], InformerStatistics]] = {}
        by_resource = ["resource"]
        self._relists = Counter(
            "informer_relists",
            "Whole lists that were taken over, as a stream or in pages",
            by_resource,
            registry=registry,
        )
        self._reconnects = Counter(
            "informer_watch_reconnects",
            "Watches that ended and were opened again, by reason",
            ["resource", "reason"],
            registry=registry,
        )
        self._failures = Counter(
            "informer_handler_failures",
            "Notifications on which an event handler failed",
            by_resource,
            registry=registry,
        )
        self._dropped = Counter(
            "informer_events_dropped",
            "Events and objects that could not be understood",
            by_resource,
            registry=registry,
        )
        registry.register(self)

    def track(self, resource: str, statistics: Callable[[], InformerStatistics]) -> None:
        """See InformerMetrics."""
        self._statistics[resource] = statistics
        for family in (self._relists, self._failures, self._dropped):
            family.labels(resource)
        for reason in WatchEnd:
            self._reconnects.labels(resource, reason)

    def listed(self, resource: str) -> None:
        """See InformerMetrics."""
        self._relists.labels(resource).inc()

    def watch_ended(self, resource: str, reason: str) -> None:
        """See InformerMetrics."""
        self._reconnects.labels(resource, reason).inc()

    def handler_failed(self, resource: str) -> None:
        """See InformerMetrics."""
        self._failures.labels(resource).inc()

    def event_dropped(self, resource: str) -> None:
        """See InformerMetrics."""
        self._dropped.labels(resource).inc()

    def describe(self) -> Iterable[Metric]:
        """Nothing is known at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        objects = GaugeMetricFamily(
            "informer_objects", "Objects that an informer holds", labels=["resource"]
        )
        age = GaugeMetricFamily(
            "informer_last_event_age_seconds",
            "Seconds since anything was heard from the API server, bookmarks included",
            labels=["resource"],
        )
        synced = GaugeMetricFamily(
            "informer_synced", "1 once an informer has its first list", labels=["resource"]
        )
        version = GaugeMetricFamily(
            "informer_store_resource_version",
            "The last 15 digits of the resourceVersion that an informer has come to",
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
