"""Builds a controller: the kind that it reconciles, the kinds that it watches, its options."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Protocol, Self, TypeVar

from kubetask_controller.client.resources import Resource
from kubetask_controller.runtime.controller import Controller, ControllerOptions
from kubetask_controller.runtime.handler import (
    HasOwner,
    InformerSource,
    Predicate,
    enqueue_owner,
    enqueue_self,
)
from kubetask_controller.runtime.informer import Informer
from kubetask_controller.runtime.manager import Manager
from kubetask_controller.runtime.reconcile import Reconciler, Request
from kubetask_controller.runtime.store import Object
from kubetask_controller.runtime.workqueue import ItemExponentialFailureRateLimiter

T = TypeVar("T", bound=Object)


class Owned(Object, HasOwner, Protocol):
    """A view that keeps its controlling owner."""


OwnedT = TypeVar("OwnedT", bound=Owned)


class Builder:
    """Builds one controller of a manager, like ``builder.ControllerManagedBy``."""

    def __init__(self, manager: Manager, *, name: str) -> None:
        """`name` is unique in the manager, and labels the controller's metrics."""
        self._manager = manager
        self._options = ControllerOptions(name)
        self._resource: Resource | None = None
        self._sources: list[InformerSource[Any]] = []

    def for_(self, informer: Informer[T], *, predicate: Predicate[T] | None = None) -> Self:
        """Reconcile this kind: each of its objects is a request."""
        self._resource = resource = informer.resource
        self._options = replace(self._options, group=resource.group, kind=resource.kind)
        return self._watch(informer, enqueue_self, predicate, existing=True)

    def owns(
        self, informer: Informer[OwnedT], *, predicate: Predicate[OwnedT] | None = None
    ) -> Self:
        """Watch a kind whose objects have an owner reference: a change of one reconciles its controlling owner.

        Raises:
            ValueError: for_() has not been called before.
        """
        if self._resource is None:
            raise ValueError("call for_() before owns()")
        group, kind = self._resource.group, self._resource.kind
        mapping = enqueue_owner(kind, group, namespaced=self._resource.namespaced)
        return self.watches(informer, mapping, predicate=predicate)

    def watches(
        self,
        informer: Informer[T],
        mapping: Callable[[T], Iterable[Request]],
        *,
        predicate: Predicate[T] | None = None,
        delay: float = 0.0,
    ) -> Self:
        """Watch another kind, or this one with another mapping.

        Objects that exist when the controller starts cause no request: each object of the controller's own kind does, and its
        reconcile reads them from the caches.

        Args:
            informer: of the kind.
            mapping: from an object to the requests that its change causes.
            predicate: filters the changes; none by default.
            delay: seconds in which several changes are merged into one request.
        """
        return self._watch(
            informer, mapping, predicate, delay=delay, existing=self._resource is None
        )

    def _watch(
        self,
        informer: Informer[T],
        mapping: Callable[[T], Iterable[Request]],
        predicate: Predicate[T] | None,
        *,
        delay: float = 0.0,
        existing: bool,
    ) -> Self:
        chosen: Predicate[T] = predicate if predicate is not None else Predicate()
        self._sources.append(InformerSource(informer, mapping, chosen, delay, existing))
        return self

    def with_options(
        self,
        *,
        max_concurrent_reconciles: int = 1,
        reconcile_timeout: float | None = None,
        max_retry_delay: float | None = None,
    ) -> Self:
        """Set the number of workers, the seconds after which a reconcile is cancelled, and the most seconds between two that
        fail (None: the defaults)."""
        self._options = replace(self._options, max_concurrent_reconciles=max_concurrent_reconciles)
        if reconcile_timeout is not None:
            self._options = replace(self._options, reconcile_timeout=reconcile_timeout)
        if max_retry_delay is not None:
            limiter = ItemExponentialFailureRateLimiter[Request](max_delay=max_retry_delay)
            self._options = replace(self._options, limiter=limiter)
        return self

    def complete(self, reconciler: Reconciler) -> Controller:
        """Create the controller and add it to the manager, which runs it on the leader."""
        manager = self._manager
        controller = Controller(
            reconciler,
            sources=self._sources,
            options=self._options,
            metrics=manager.metrics,
            may_act=manager.may_act,
            clock=manager.clock,
        )
        manager.add(controller)
        return controller
