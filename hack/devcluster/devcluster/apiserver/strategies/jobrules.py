"""Validation of Jobs, with the messages of pkg/apis/batch/validation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..errors import (
    FieldError,
    duplicate,
    invalid_value,
    not_supported,
    required,
    too_long,
    too_many,
)
from ..metadata import qualified_name_problems, subdomain_problems
from .containerrules import NEGATIVE_TEXT
from .podrules import template_problems

Object = dict[str, Any]
Problems = Iterator[FieldError]

RESTART_POLICIES = ("OnFailure", "Never")
REPLACEMENT_POLICIES = ("Failed", "TerminatingOrFailed")
ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
OPERATORS = ("In", "NotIn")
STATUSES = ("False", "True", "Unknown")
MAX_RULES = MAX_PATTERNS = 20
MAX_EXIT_CODES = 255
MAX_MANAGER = 63
_COUNTS = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)


def job_spec_problems(spec: Object, path: str = "spec") -> Problems:
    """What is wrong with a Job's spec, its template included."""
    for field in _COUNTS:
        value = spec.get(field)
        if value is not None and value < 0:
            yield invalid_value(f"{path}.{field}", value, NEGATIVE_TEXT)
    if spec.get("managedBy") is not None:
        yield from _manager(spec["managedBy"], f"{path}.managedBy")
    yield from _completion_mode(spec, path)
    policy = spec.get("podFailurePolicy")
    if policy is not None:
        yield from _failure_policy(
            spec, policy.get("rules") or [], f"{path}.podFailurePolicy.rules"
        )
    if spec.get("successPolicy") is not None:
        yield invalid_value(
            f"{path}.successPolicy", spec["successPolicy"], "requires indexed completion mode"
        )
    replaced = spec.get("podReplacementPolicy")
    allowed = REPLACEMENT_POLICIES[:1] if policy is not None else REPLACEMENT_POLICIES
    if replaced is not None and replaced not in allowed:
        yield not_supported(f"{path}.podReplacementPolicy", replaced, allowed)
    yield from template_problems(spec["template"], f"{path}.template")
    yield from _restart_policy(spec, f"{path}.template.spec.restartPolicy")


def _restart_policy(spec: Object, path: str) -> Problems:
    policy = (spec["template"].get("spec") or {}).get("restartPolicy")
    if policy in (None, "", "Always"):
        yield required(path, 'valid values: "OnFailure", "Never"')
    elif policy not in RESTART_POLICIES:
        yield not_supported(path, policy, RESTART_POLICIES)
    elif policy != "Never" and spec.get("podFailurePolicy") is not None:
        text = 'only "Never" is supported when podFailurePolicy is specified'
        yield invalid_value(path, policy, text)


def _manager(manager: str, path: str) -> Problems:
    host, _, rest = manager.partition("/")
    if not manager:
        yield required(path)
    elif not host or not rest:
        text = 'must be a domain-prefixed path (such as "acme.io/foo")'
        yield invalid_value(path, manager, text)
    else:
        for text in subdomain_problems(host):
            yield invalid_value(path, host, text)
    if len(manager) > MAX_MANAGER:
        yield too_long(path, MAX_MANAGER)


def _completion_mode(spec: Object, path: str) -> Problems:
    mode = spec.get("completionMode", "NonIndexed")
    if mode == "Indexed":
        text = "the development cluster does not run Indexed Jobs"
        yield invalid_value(f"{path}.completionMode", mode, text)
    elif mode != "NonIndexed":
        yield not_supported(f"{path}.completionMode", mode, ("NonIndexed", "Indexed"))
    for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
        if spec.get(field) is not None:
            yield invalid_value(f"{path}.{field}", spec[field], "requires indexed completion mode")


def _failure_policy(spec: Object, rules: list[Object], path: str) -> Problems:
    if len(rules) > MAX_RULES:
        yield too_many(path, len(rules), MAX_RULES)
    pod = spec["template"].get("spec") or {}
    names = {
        each.get("name")
        for each in [*(pod.get("containers") or ()), *(pod.get("initContainers") or ())]
    }
    for index, rule in enumerate(rules):
        yield from _failure_rule(spec, rule, f"{path}[{index}]", names)


def _failure_rule(spec: Object, rule: Object, path: str, names: set[Any]) -> Problems:
    action = rule.get("action") or ""
    if not action:
        yield required(f"{path}.action", _valid(ACTIONS))
    elif action == "FailIndex":
        if spec.get("backoffLimitPerIndex") is None:
            text = "requires the backoffLimitPerIndex to be set"
            yield invalid_value(f"{path}.action", action, text)
    elif action not in ACTIONS:
        yield not_supported(f"{path}.action", action, ACTIONS)
    codes, patterns = rule.get("onExitCodes"), rule.get("onPodConditions") or []
    if codes is not None:
        yield from _exit_codes(codes, f"{path}.onExitCodes", names)
    if patterns:
        yield from _pod_conditions(patterns, f"{path}.onPodConditions")
    if codes is not None and patterns:
        text = "specifying both OnExitCodes and OnPodConditions is not supported"
        yield FieldError("FieldValueInvalid", path, f"Invalid value: {text}")
    if codes is None and not patterns:
        text = "specifying one of OnExitCodes and OnPodConditions is required"
        yield FieldError("FieldValueInvalid", path, f"Invalid value: {text}")


def _valid(values: tuple[str, ...]) -> str:
    """As Go prints a list of strings."""
    return f"valid values: [{' '.join(json.dumps(each) for each in values)}]"


def _exit_codes(codes: Object, path: str, names: set[Any]) -> Problems:
    operator, values = codes.get("operator") or "", codes.get("values") or []
    if not operator:
        yield required(f"{path}.operator", _valid(OPERATORS))
    elif operator not in OPERATORS:
        yield not_supported(f"{path}.operator", operator, OPERATORS)
    name = codes.get("containerName")
    if name is not None and name not in names:
        text = "must be one of the container or initContainer names in the pod template"
        yield invalid_value(f"{path}.containerName", name, text)
    if not values:
        yield invalid_value(f"{path}.values", values, "at least one value is required")
    elif len(values) > MAX_EXIT_CODES:
        yield too_many(f"{path}.values", len(values), MAX_EXIT_CODES)
    seen: set[int] = set()
    for index, value in enumerate(values):
        if operator == "In" and value == 0:
            yield invalid_value(
                f"{path}.values[{index}]", value, "must not be 0 for the In operator"
            )
        if value in seen:
            yield duplicate(f"{path}.values[{index}]", value)
        seen.add(value)
    if values != sorted(values):
        yield invalid_value(f"{path}.values", values, "must be ordered")


def _pod_conditions(patterns: list[Object], path: str) -> Problems:
    if len(patterns) > MAX_PATTERNS:
        yield too_many(path, len(patterns), MAX_PATTERNS)
    for index, pattern in enumerate(patterns):
        at, kind = f"{path}[{index}]", pattern.get("type") or ""
        for text in qualified_name_problems(kind):
            yield invalid_value(f"{at}.type", kind, text)
        status = pattern.get("status") or ""
        if not status:
            yield required(f"{at}.status", _valid(STATUSES))
        elif status not in STATUSES:
            yield not_supported(f"{at}.status", status, STATUSES)
