"""Objects as meta.k8s.io Tables and as PartialObjectMetadata: what kubectl shows and what metadata-only clients read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from devcluster.storage import Event

from . import printers, printers_table
from .codec import ResourceCodec
from .fanout import left_object
from .gotime import parse_time
from .jsonpath import compile_path, find
from .lists import Page, list_metadata
from .printers import Column, human_duration
from .schema import object_meta

if TYPE_CHECKING:
    from .watch import Seen, WatchStream

Object = dict[str, Any]
META_API = "meta.k8s.io/v1"


def partial(obj: Object) -> Object:
    """PartialObjectMetadata of an object."""
    return {"kind": "PartialObjectMetadata", "apiVersion": META_API, "metadata": obj["metadata"]}


def partial_list(codec: ResourceCodec, page: Page) -> Object:
    """PartialObjectMetadataList of a page."""
    items = [partial(codec.from_storage(stored.object)) for stored in page.items]
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": META_API,
        "metadata": list_metadata(page),
        "items": items,
    }


def table_of_page(codec: ResourceCodec, page: Page, include: str, now: float) -> Object:
    """The Table of a list."""
    printer = printer_for(codec)
    rows = [printer.row(codec.from_storage(stored.object), include, now) for stored in page.items]
    return _table(list_metadata(page), printer.definitions(), rows)


def table_of_object(codec: ResourceCodec, obj: Object, include: str, now: float) -> Object:
    """The Table of one object."""
    printer = printer_for(codec)
    metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
    return _table(metadata, printer.definitions(), [printer.row(obj, include, now)])


def _table(metadata: Object, columns: list[Object] | None, rows: list[Object]) -> Object:
    return {
        "kind": "Table",
        "apiVersion": META_API,
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    }


def render_watch(stream: WatchStream, include: str, clock: Callable[[], float]) -> None:
    """Make a watch stream Tables; the first carries the column definitions."""
    codec = stream.codec
    printer = printer_for(codec)
    columns: list[Object] | None = printer.definitions()

    def render(event: Event, seen: Seen) -> bytes:
        nonlocal columns
        type_, stored, left = seen
        obj = codec.from_storage(left_object(stored, event.revision) if left else stored.object)
        metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        table = _table(metadata, columns, [printer.row(obj, include, clock())])
        columns = None
        return to_json({"type": type_.value, "object": table}) + b"\n"

    def bookmark(metadata: dict[str, object]) -> bytes:
        table = _table(metadata, columns, [])
        return to_json({"type": "BOOKMARK", "object": table}) + b"\n"

    stream.render = render
    stream.render_bookmark = bookmark


class Printer:
    """Columns of a resource and the cells of its objects."""

    def __init__(self, columns: list[Column], cells: Callable[[Object, float], list[Any]]) -> None:
        self.columns = columns
        self.cells = cells

    def definitions(self) -> list[Object]:
        """columnDefinitions of a Table."""
        return [column.definition() for column in self.columns]

    def row(self, obj: Object, include: str, now: float) -> Object:
        """One row; `include` is the request's includeObject: None, Metadata or Object."""
        row: Object = {"cells": self.cells(obj, now)}
        conditions = printers.row_conditions(obj)
        if conditions:
            row["conditions"] = conditions
        row["object"] = None if include == "None" else obj if include == "Object" else partial(obj)
        return row


_printers: dict[int, tuple[ResourceCodec, Printer]] = {}


def printer_for(codec: ResourceCodec) -> Printer:
    """The printer of a resource."""
    found = _printers.get(id(codec))
    if found is not None and found[0] is codec:
        return found[1]
    if codec.info.custom is not None:
        printer = _custom_printer(codec.info.custom.printer_columns)
    else:
        printer = Printer(*printers_table.builtin(codec.info.storage_key))
    _printers[id(codec)] = (codec, printer)
    return printer


def _custom_printer(raw: list[Object]) -> Printer:
    columns = [Column("Name", description=_meta("name"), format="name")]
    paths = []
    for each in raw or [
        {
            "name": "Age",
            "type": "date",
            "jsonPath": ".metadata.creationTimestamp",
            "description": _meta("creationTimestamp"),
        }
    ]:
        description = (
            each.get("description")
            or f"Custom resource definition column (in JSONPath format): {each['jsonPath']}"
        )
        columns.append(
            Column(
                each["name"],
                each["type"],
                description,
                each.get("format", ""),
                each.get("priority", 0),
            )
        )
        paths.append((each["type"], compile_path(each["jsonPath"])))

    def cells(obj: Object, now: float) -> list[Any]:
        return [
            obj["metadata"]["name"],
            *(_custom_cell(type_, next(find(path, obj), None), now) for type_, path in paths),
        ]

    return Printer(columns, cells)


def _meta(field: str) -> str:
    text: str = object_meta().fields[field].raw["description"]
    return text if field != "creationTimestamp" else printers.describe_age()


def _custom_cell(type_: str, value: Any, now: float) -> Any:
    if value is None:
        return None
    if type_ == "string":
        if isinstance(value, str):
            return value
        return to_json(value).decode()
    if type_ == "date":
        if not isinstance(value, str):
            return None
        try:
            return human_duration(now - parse_time(value).timestamp())
        except ValueError:
            return "<invalid>"
    if type_ == "integer" and isinstance(value, int | float) and not isinstance(value, bool):
        return int(value)
    if type_ == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value if type_ == "boolean" and isinstance(value, bool) else None
