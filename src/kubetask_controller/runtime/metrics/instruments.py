"""Counters, gauges and histograms for the hot path, with prometheus_client's exposition.

prometheus_client locks and visits all buckets at every observation, which is a good part of the cost of
an event. These instruments are plain numbers that belong to one event loop; the families are built at
each scrape, and the exposition is the same.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Number:
    """A counter or gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add."""
        self.value += amount

    def dec(self, amount: float = 1.0) -> None:
        """Subtract."""
        self.value -= amount

    def set(self, value: float) -> None:
        """Set."""
        self.value = value


class Distribution:
    """A histogram."""

    __slots__ = ("counts", "limits", "total")

    def __init__(self, limits: Sequence[float]) -> None:
        """`limits` are the upper bounds of the buckets, ascending, without infinity."""
        self.limits = limits
        self.counts = [0] * (len(limits) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.limits, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """The upper bound of each bucket, and the number of values up to it."""
        result, so_far = [], 0
        for limit, count in zip((*self.limits, float("inf")), self.counts, strict=True):
            so_far += count
            text: str = floatToGoString(limit)  # type: ignore[no-untyped-call]
            result.append((text, float(so_far)))
        return result


C = TypeVar("C")


class Family(Collector, Generic[C]):
    """The series of one name, by labels."""

    def __init__(
        self,
        metric: Callable[[], Metric],
        make: Callable[[], C],
        add: Callable[[Metric, Sequence[str], C], None],
        registry: CollectorRegistry,
    ) -> None:
        """`metric` creates an empty family, `make` a series; `add` adds a series to a family."""
        self._metric = metric
        self._make = make
        self._add = add
        self._series: dict[tuple[str, ...], C] = {}
        registry.register(self)

    def labels(self, *values: str) -> C:
        """The series of these label values; created by the first call."""
        series = self._series.get(values)
        if series is None:
            series = self._series[values] = self._make()
        return series

    def describe(self) -> Iterable[Metric]:
        """The name, so that the registry refuses a second family of that name."""
        return [self._metric()]

    def collect(self) -> Iterator[Metric]:
        """The family, at a scrape."""
        family = self._metric()
        for values, series in self._series.items():
            self._add(family, values, series)
        yield family


def counter(
    name: str, text: str, labels: Sequence[str], registry: CollectorRegistry
) -> Family[Number]:
    """A family of counters; the exposition appends ``_total`` to the name."""
    return Family(lambda: CounterMetricFamily(name, text, labels=labels), Number, _add, registry)


def gauge(
    name: str, text: str, labels: Sequence[str], registry: CollectorRegistry
) -> Family[Number]:
    """A family of gauges."""
    return Family(lambda: GaugeMetricFamily(name, text, labels=labels), Number, _add, registry)


def histogram(
    name: str,
    text: str,
    labels: Sequence[str],
    limits: Sequence[float],
    registry: CollectorRegistry,
) -> Family[Distribution]:
    """A family of histograms."""
    ascending = tuple(float(limit) for limit in limits)
    return Family(
        lambda: HistogramMetricFamily(name, text, labels=labels),
        lambda: Distribution(ascending),
        _add_distribution,
        registry,
    )


def _add(family: Metric, labels: Sequence[str], number: Number) -> None:
    assert isinstance(family, (CounterMetricFamily, GaugeMetricFamily))
    family.add_metric(labels, number.value)


def _add_distribution(family: Metric, labels: Sequence[str], values: Distribution) -> None:
    assert isinstance(family, HistogramMetricFamily)
    family.add_metric(labels, buckets=values.buckets(), sum_value=values.total)
