"""An agent's result, made fit for a status.

The status has a schema, and one field of a wrong type would make the API server refuse the whole
status. So what an agent left is taken over as far as it fits, and the rest is dropped: a result
never fails a task.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic import ValidationError

from kubetask_controller.api.status import TaskResult, Usage

JSON = dict[str, Any]

_FORBIDDEN = ("apiVersion", "kind", "metadata")
"""Names that mean something else to tools which walk through objects."""


def clean_result(value: Mapping[str, Any]) -> JSON:
    """The fields of ``value`` that a ``result`` in a status may have; fields unknown here are kept
    as they are."""
    known = {field.alias or name for name, field in TaskResult.model_fields.items()}
    result = {key: item for key, item in value.items() if key not in known | {*_FORBIDDEN}}
    for key in known & set(value):
        item = _usage(value[key]) if key == "usage" else value[key]
        if item is not None and _fits(key, item):
            result[key] = item
    return result


def _fits(key: str, item: Any) -> bool:
    try:
        TaskResult.model_validate({key: item}, strict=True)
    except ValidationError:
        return False
    return True


def _usage(value: Any) -> JSON | None:
    """Token counts as they are, the cost as a decimal number in a string, whatever number the
    agent wrote."""
    if not isinstance(value, Mapping):
        return None
    usage: JSON = {}
    for key in ("inputTokens", "outputTokens"):
        count = value.get(key)
        if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**63:
            usage[key] = count
    cost = _decimal(value.get("costUSD"))
    if cost is not None:
        usage["costUSD"] = cost
    return usage or None


def _decimal(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
        text = f"{number:f}"
        Usage.model_validate({"costUSD": text})
    except (InvalidOperation, ValidationError):
        return None
    return text
