"""Validation of Jobs, with the messages of pkg/apis/batch/validation. The rules of podFailurePolicy are not validated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import (
    FieldError,
    invalid_value,
    not_supported,
    required,
    too_long,
)
from ..metadata import subdomain_problems
from .containerrules import NEGATIVE_TEXT
from .podrules import template_problems

Object = dict[str, Any]
Problems = Iterator[FieldError]

RESTART_POLICIES = ("OnFailure", "Never")
REPLACEMENT_POLICIES = ("Failed", "TerminatingOrFailed")
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
    """Problems of a Job's spec, its template included."""
    for field in _COUNTS:
        value = spec.get(field)
        if value is not None and value < 0:
            yield invalid_value(f"{path}.{field}", value, NEGATIVE_TEXT)
    if spec.get("managedBy") is not None:
        yield from _manager(spec["managedBy"], f"{path}.managedBy")
    yield from _completion_mode(spec, path)
    policy = spec.get("podFailurePolicy")
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
