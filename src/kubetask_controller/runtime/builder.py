"""Puts a controller together: what it reconciles, what it watches, how it works."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Self, TypeVar

from kubetask_controller.runtime.controller import Controller, ControllerOptions
from kubetask_controller.runtime.handler import enqueue_self
from kubetask_controller.runtime.informer import Informer
from kubetask_controller.runtime.manager import Manager
from kubetask_controller.runtime.predicate import Predicate
from kubetask_controller.runtime.reconcile import Reconciler, Request
from kubetask_controller.runtime.source import InformerSource
from kubetask_controller.runtime.store import Object

T = TypeVar("T", bound=Object)


class Builder:
    """One controller of a manager, as ``builder.ControllerManagedBy`` makes it."""

    def __init__(self, manager: Manager, *, name: str) -> None:
        """`name` is unique in the manager, and the label of the controller's metrics."""
        self._manager = manager
        self._options = ControllerOptions(name)
        self._sources: list[InformerSource[Any]] = []

    def for_(self, informer: Informer[T], *, predicate: Predicate[T] | None = None) -> Self:
        """The kind that is reconciled: each of its objects is a request of its own."""
        resource = informer.resource
        self._options = replace(self._options, group=resource.group, kind=resource.kind)
        return self.watches(informer, enqueue_self, predicate=predicate)

    def watches(
        self,
        informer: Informer[T],
        mapping: Callable[[T], Iterable[Request]],
        *,
        predicate: Predicate[T] | None = None,
        delay: float = 0.0,
    ) -> Self:
        """What else matters to it.

        Args:
            informer: whose changes.
            mapping: which requests a change asks for.
            predicate: turns changes away; none by default.
            delay: seconds to gather changes before the request is due.
        """
        chosen: Predicate[T] = predicate if predicate is not None else Predicate()
        self._sources.append(InformerSource(informer, mapping, chosen, delay))
        return self

    def with_options(
        self, *, max_concurrent_reconciles: int = 1, reconcile_timeout: float | None = None
    ) -> Self:
        """Number of workers, and seconds after which a reconcile is cancelled (None: the default)."""
        self._options = replace(self._options, max_concurrent_reconciles=max_concurrent_reconciles)
        if reconcile_timeout is not None:
            self._options = replace(self._options, reconcile_timeout=reconcile_timeout)
        return self

    def complete(self, reconciler: Reconciler) -> Controller:
        """Make the controller and hand it to the manager, which runs it while it leads."""
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
