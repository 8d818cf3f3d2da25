"""Validation of a CRD's schema: fields without a type, CEL rules that do not compile or cost too much.

The CEL engine has no types, so a rule is compared with the schema by the plain paths that it names. Costs are estimated as
cel-go does for the calls that read strings, and coarsely for everything else.
"""

from __future__ import annotations

import json
import re
from typing import Any

from ..cel import compiled
from ..errors import FieldError, field_forbidden, required

Object = dict[str, Any]

RULE_LIMIT, TOTAL_LIMIT = 10_000_000, 100_000_000
"""Cost units of one rule and of all rules of a schema, as in k8s.io/apiserver/pkg/apis/cel."""
REQUEST_BYTES = 3 * 1024 * 1024
_LIMITS = "maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared"
ADVICE = f"(try simplifying the rule, or adding {_LIMITS})"
_PATH = re.compile(r"\b(self|oldSelf)((?:\.[A-Za-z_]\w*)+)(\s*\()?")
_READS = re.compile(
    r"\.(matches|contains|startsWith|endsWith|indexOf|replace|split|find|findAll)\("
)
_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_TYPELESS = ("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields")


def check_schema(schema: Object, path: str) -> list[FieldError]:
    """Problems of a structural schema and of its rules."""
    errors: list[FieldError] = []
    _structure(schema, path, "must not be empty at the root", errors)
    if errors:
        return errors
    total = _rules(schema, path, 1.0, errors)
    if total > TOTAL_LIMIT:
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget"
        errors.append(
            field_forbidden(path, f"{what} by factor of {_factor(total / TOTAL_LIMIT)} {ADVICE}")
        )
    return errors


def _structure(schema: Object, path: str, missing: str, errors: list[FieldError]) -> None:
    if not schema.get("type") and not any(schema.get(key) for key in _TYPELESS):
        errors.append(required(f"{path}.type", missing))
    for name, sub in sorted((schema.get("properties") or {}).items()):
        text = "must not be empty for specified object fields"
        _structure(sub, f"{path}.properties[{name}]", text, errors)
    if isinstance(schema.get("items"), dict):
        text = "must not be empty for specified array items"
        _structure(schema["items"], f"{path}.items", text, errors)
    if isinstance(schema.get("additionalProperties"), dict):
        text = "must not be empty for specified object fields"
        _structure(schema["additionalProperties"], f"{path}.additionalProperties", text, errors)


def _rules(schema: Object, path: str, times: float, errors: list[FieldError]) -> float:
    """The estimated cost of all rules from here on, each evaluated up to `times` times."""
    total = 0.0
    for index, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        place = f"{path}.x-kubernetes-validations[{index}].rule"
        wrong = _compile(rule["rule"], schema)
        if wrong:
            shown = json.dumps(
                {
                    "Rule": rule["rule"],
                    "Message": rule.get("message", ""),
                    "MessageExpression": rule.get("messageExpression", ""),
                    "Reason": rule.get("reason"),
                    "FieldPath": rule.get("fieldPath", ""),
                    "OptionalOldSelf": rule.get("optionalOldSelf"),
                },
                separators=(",", ":"),
            )
            text = f"Invalid value: {shown}: compilation failed: {wrong}"
            errors.append(FieldError("FieldValueInvalid", place, text))
            continue
        cost = _cost(rule["rule"], schema) * times
        if cost > RULE_LIMIT:
            factor = _factor(cost / RULE_LIMIT)
            text = f"estimated rule cost exceeds budget by factor of {factor} {ADVICE}"
            errors.append(field_forbidden(place, text))
        if cost > TOTAL_LIMIT:
            text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            errors.append(field_forbidden(place, text))
        total += cost
    for name, sub in (schema.get("properties") or {}).items():
        total += _rules(sub, f"{path}.properties[{name}]", times, errors)
    for key, limit in (("items", "maxItems"), ("additionalProperties", "maxProperties")):
        sub = schema.get(key)
        if isinstance(sub, dict):
            most = min(schema.get(limit, REQUEST_BYTES), REQUEST_BYTES / _least_bytes(sub))
            total += _rules(sub, f"{path}.{key}", times * most, errors)
    return total


def _compile(rule: str, schema: Object) -> str:
    """The problem of a rule, with cel-go's message, or ''."""
    try:
        compiled(rule)
    except (RuntimeError, ValueError) as error:
        return f"ERROR: <input>: {error}"
    text = _LITERAL.sub(lambda match: "'" + "x" * (len(match[0]) - 2) + "'", rule)
    for match in _PATH.finditer(text):
        names = match[2].split(".")[1:]
        at = match.start(2)
        if match[3]:
            names = names[:-1]
        here: Any = schema
        for name in names:
            fields = here.get("properties") if isinstance(here, dict) else None
            if not fields or here.get("x-kubernetes-preserve-unknown-fields"):
                break
            plain = name.strip("_") if name.startswith("__") else name
            if plain not in fields and not (
                here is schema and plain in ("metadata", "kind", "apiVersion")
            ):
                dots = "." * at
                return f"ERROR: <input>:1:{at + 1}: undefined field '{name}'\n | {rule}\n | {dots}^"
            at += len(name) + 1
            here = fields.get(plain, {})
    return ""


def _cost(rule: str, schema: Object) -> float:
    longest = _longest_string(schema)
    cost = len(rule) / 12
    if longest == REQUEST_BYTES:
        # A string without a limit may be as long as a request, and a comparison of two of them as its square.
        cost += len(_READS.findall(_LITERAL.sub("''", rule))) * longest / 10
        cost += rule.count(".contains(self") * longest * longest / 100
    return cost


def _longest_string(schema: Object) -> float:
    if schema.get("type") == "string":
        most = schema.get("maxLength", REQUEST_BYTES)
        return float(max(map(len, schema["enum"])) if schema.get("enum") else most)
    inner = [*(schema.get("properties") or {}).values()]
    inner += [
        x for x in (schema.get("items"), schema.get("additionalProperties")) if isinstance(x, dict)
    ]
    return max((_longest_string(x) for x in inner), default=0.0)


def _least_bytes(schema: Object) -> int:
    if schema.get("type") == "object":
        needed = schema.get("required") or ()
        fields = schema.get("properties") or {}
        return 2 + sum(len(x) + 4 + _least_bytes(fields.get(x, {})) for x in needed)
    return 2


def _factor(times: float) -> str:
    return "more than 100x" if times > 100 else f"{times:.1f}x"
