"""Which changes are worth a reconcile.

Predicates cut reconciles, not memory: what they turn away is still held by the cache. A predicate
sees the old and new state of an update side by side; after a restart everything arrives as an add,
so what must never be missed cannot hang on an update alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

T_contra = TypeVar("T_contra", contravariant=True)


def _always(*_: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Predicate(Generic[T_contra]):
    """Says of each kind of change whether it counts; what is not given always counts."""

    create: Callable[[T_contra], bool] = _always
    update: Callable[[T_contra, T_contra], bool] = _always
    delete: Callable[[T_contra], bool] = _always


class HasGeneration(Protocol):
    """A view that keeps metadata.generation, which counts changes of the spec."""

    @property
    def generation(self) -> int:
        """metadata.generation."""


class HasResourceVersion(Protocol):
    """A view that keeps metadata.resourceVersion."""

    @property
    def resource_version(self) -> str:
        """metadata.resourceVersion."""


class HasLabels(Protocol):
    """A view that keeps its labels."""

    @property
    def labels(self) -> Mapping[str, str]:
        """metadata.labels."""


class HasAnnotations(Protocol):
    """A view that keeps its annotations."""

    @property
    def annotations(self) -> Mapping[str, str]:
        """metadata.annotations."""


def generation_changed() -> Predicate[HasGeneration]:
    """Updates of the spec only.

    Turns resyncs away, and changes of labels, annotations, finalizers and status. A deletion that
    waits for finalizers does count: it moves the generation.
    """
    return Predicate(update=lambda old, new: old.generation != new.generation)


def resource_version_changed() -> Predicate[HasResourceVersion]:
    """Every real update; turns resyncs away."""
    return Predicate(update=lambda old, new: old.resource_version != new.resource_version)


def label_changed() -> Predicate[HasLabels]:
    """Updates of labels only."""
    return Predicate(update=lambda old, new: old.labels != new.labels)


def annotation_changed() -> Predicate[HasAnnotations]:
    """Updates of annotations only."""
    return Predicate(update=lambda old, new: old.annotations != new.annotations)


def all_of(*predicates: Predicate[T_contra]) -> Predicate[T_contra]:
    """What every one of them lets pass."""
    return Predicate(
        create=lambda obj: all(p.create(obj) for p in predicates),
        update=lambda old, new: all(p.update(old, new) for p in predicates),
        delete=lambda obj: all(p.delete(obj) for p in predicates),
    )


def any_of(*predicates: Predicate[T_contra]) -> Predicate[T_contra]:
    """What at least one of them lets pass."""
    return Predicate(
        create=lambda obj: any(p.create(obj) for p in predicates),
        update=lambda old, new: any(p.update(old, new) for p in predicates),
        delete=lambda obj: any(p.delete(obj) for p in predicates),
    )


def negate(predicate: Predicate[T_contra]) -> Predicate[T_contra]:
    """What it turns away."""
    return Predicate(
        create=lambda obj: not predicate.create(obj),
        update=lambda old, new: not predicate.update(old, new),
        delete=lambda obj: not predicate.delete(obj),
    )
