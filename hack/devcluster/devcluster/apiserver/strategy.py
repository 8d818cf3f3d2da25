"""Rules for writes of a resource: defaults, preparation, validation.

A `Strategy` has the hooks of a registry strategy of the real API server; `STRATEGIES` maps storage keys to them. Resources
without an entry use the plain one. Custom resources have their own (`custom.CustomStrategy`).
"""

from __future__ import annotations

from typing import Any

from .context import DeleteOptions, WriteContext
from .errors import FieldError
from .metadata import validate_name

Object = dict[str, Any]


class Strategy:
    """The behaviour that most built-in resources share.

    Hooks change `new` in place; `old` is the stored object and must stay as it is. Validation returns the problems found.
    """

    generation = False
    status_fields: tuple[str, ...] = ("status",)
    returns_deleted = False
    graceful = False
    create_on_update = False
    unconditional_update = True
    name_rule = "subdomain"

    def default(self, obj: Object) -> None:
        """Fill in defaults; called whenever an object is decoded."""

    def prepare_create(self, obj: Object) -> None:
        """Drop what a create must not set, fill in what the server sets."""
        if self.status_fields == ("status",) and "status" in obj:
            obj["status"] = {}
        if self.generation:
            obj["metadata"]["generation"] = 1

    def validate(self, obj: Object) -> list[FieldError]:
        """Problems of a new object."""
        return []

    def prepare_update(self, new: Object, old: Object) -> None:
        """Keep what an update must not change; count the generation."""
        for field in self.status_fields:
            keep(new, old, field)
        if self.generation and self.spec_of(new) != self.spec_of(old):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def spec_of(self, obj: Object) -> Any:
        """The specification that generation counts."""
        return obj.get("spec")

    def validate_update(self, new: Object, old: Object) -> list[FieldError]:
        """Problems of a changed object."""
        return self.validate(new)

    def prepare_status(self, new: Object, old: Object) -> None:
        """A status write keeps everything but the status."""
        for field in set(new) | set(old):
            if field not in ("metadata", "kind", "apiVersion", *self.status_fields):
                keep(new, old, field)

    def validate_status(self, new: Object, old: Object) -> list[FieldError]:
        """Problems of a changed status."""
        return []

    def canonicalize(self, obj: Object) -> None:
        """Bring a valid object into the form in which it is stored."""

    def warnings(self, new: Object, old: Object | None) -> list[str]:
        """Sentences for Warning headers."""
        return []

    def delete_warnings(self, options: DeleteOptions) -> list[str]:
        """Sentences for Warning headers of a delete."""
        return []

    def default_propagation(self, context: WriteContext) -> str:
        """Propagation policy of a delete that names none."""
        return "Background"

    def grace_period(self, obj: Object, requested: int | None) -> int:
        """Seconds between a delete and the object's end (only with `graceful`)."""
        return 0

    def name_errors(self, name: str) -> list[FieldError]:
        """Problems of an object's name."""
        return validate_name(name, self.name_rule)


def keep(new: Object, old: Object, field: str) -> None:
    """Give `new` the `field` of `old`."""
    if field in old:
        new[field] = old[field]
    else:
        new.pop(field, None)
