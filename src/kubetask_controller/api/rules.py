"""Validation rules in CEL, and the other ``x-kubernetes-*`` extensions of a structural schema.

The API server estimates the cost of a rule from ``maxLength`` and ``maxItems`` and multiplies it by
the maximum number of nodes: 640,000 for a context of a run, which leaves about 15 units for a rule.
So these rules are simple, every string is bounded, and patterns check names of files and branches,
because a pattern has no cost.
"""

from dataclasses import dataclass

from kubetask_controller.api.patterns import PORT_PATTERN
from kubetask_controller.types import JSON

ATOMIC: JSON = {"x-kubernetes-list-type": "atomic"}
"""An atomic list: managedFields has one owner for the list instead of one for each entry."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of ``x-kubernetes-validations``.

    ``message`` names the field and what to do. ``field_path`` is the path of the invalid field
    below the node, ``reason`` the machine-readable kind of the rejection.
    """

    rule: str
    message: str
    field_path: str = ""
    reason: str = ""

    def to_json(self) -> JSON:
        """The rule as the CRD contains it."""
        entry = {"rule": self.rule, "message": self.message}
        if self.field_path:
            entry["fieldPath"] = self.field_path
        if self.reason:
            entry["reason"] = self.reason
        return entry


def validations(*rules: Rule) -> JSON:
    """The extension that adds the rules to a node of the schema."""
    return {"x-kubernetes-validations": [rule.to_json() for rule in rules]}


def list_map(*keys: str) -> JSON:
    """The extension of a map list with these fields as keys."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def unique(field: str, what: str) -> Rule:
    """A rule for a list: no two entries have the same value of the optional ``field``."""
    return Rule(
        f"self.all(x, !has(x.{field}) || self.exists_one(y, has(y.{field}) && y.{field} == x.{field}))",
        f"{what} have the same {field}: choose different ones",
    )


def keys_match(pattern: str, field: str, form: str) -> Rule:
    """A rule for a map: each key matches the pattern, which is not anchored. ``form`` describes it."""
    return Rule(
        f"self.all(k, k.matches('^({pattern})$'))",
        f"each key of {field} must be {form}: correct the key",
    )


MAX_TOTAL = 65536
"""Maximum characters of a field that every Job and Pod of a run contains, over all of its entries."""


def at_most(
    total: str, what: str, then: str, *, limit: int = MAX_TOTAL, field_path: str = ""
) -> Rule:
    """A rule for the characters of all entries: ``total`` is the expression that counts them."""
    return Rule(
        f"{total} <= {limit}",
        f"{what} must not exceed {limit} characters in total, because every Job contains them: {then}",
        field_path=field_path,
    )


def characters(texts: str) -> str:
    """The expression that counts the characters of an optional list of strings."""
    return f"(has({texts}) ? {texts}.map(x, x.size()).sum() : 0)"


def env_characters(env: str) -> str:
    """The expression that counts the characters of the values in a list of variables."""
    return f"{env}.map(e, has(e.value) ? e.value.size() : 0).sum()"


def immutable(field: str, then: str) -> Rule:
    """A rule for an object: the optional ``field`` cannot be set, changed or removed after
    creation."""
    same = f"has(self.{field}) == has(oldSelf.{field})"
    equal = f"(!has(self.{field}) || self.{field} == oldSelf.{field})"
    return Rule(
        f"{same} && {equal}",
        f"{field} is immutable: {then}",
        field_path=f".{field}",
        reason="FieldValueForbidden",
    )


def cancel_is_final(then: str) -> Rule:
    """A rule for a spec with the field ``cancel``: true is final."""
    return Rule(
        "!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",
        f"cancel cannot be undone: {then}",
        field_path=".cancel",
        reason="FieldValueForbidden",
    )


URL_TEMPLATE_RULES = (
    Rule(
        "self.contains('{repo}')",
        "urlTemplate must contain {repo}, and usually {org}: add them as placeholders of the"
        " repository",
    ),
    Rule(
        r"!self.matches('^([a-z]+://[^/]*|[^/:]*)[{}]')",
        "urlTemplate must not have {org} or {repo} in its host, where a name could send the"
        " credentials to another host: put them into the path",
    ),
    Rule(
        r"!self.matches('^[a-z]+://([^/\\[]*|[^/]*\\]):')"
        rf" || self.matches('^[a-z]+://[^/]*:{PORT_PATTERN}/')",
        "urlTemplate must have a port from 1 to 65535, or no port: correct it",
    ),
    Rule(
        "!self.matches('^file:///(workspace|kubetask|proc|sys|dev|run|var/run)(/|$)')",
        "urlTemplate must not point to a folder that tasks or the system use (/workspace,"
        " /kubetask, /proc, /sys, /dev, /run): choose another path",
    ),
)
"""Rules for ``urlTemplate``. The pattern rejects these cases too; the rules add readable messages."""


def unique_file_names(max_items: int) -> Rule:
    """A rule for a list of contexts: file names are unique.

    A comparison of all pairs exceeds the cost budget for 10,000 lists. A map literal with the names
    as keys does not: two equal names result in one entry less. Entries that are not files, or that
    are beyond the list's end, have a key that is not a valid file name.
    """
    sizes = (*(size for size in (4, 16) if size < max_items), max_items)
    rule = _distinct_names(sizes[-1])
    for size in reversed(sizes[:-1]):
        rule = f"self.size() <= {size} ? {_distinct_names(size)} : {rule}"
    return Rule(
        f"self.size() < 2 || ({rule})",
        "two files of this list have the same file.name: choose different names",
    )


def _distinct_names(size: int) -> str:
    entries = ", ".join(
        f"(self.size() > {i} && has(self[{i}].file) ? self[{i}].file.name : '/{i}'): 0"
        for i in range(size)
    )
    return f"{{{entries}}}.size() == {size}"


def distinct_texts(lists: str, count: int, size: int) -> str:
    """The expression that the first ``size`` texts of the first ``count`` lists are different.

    ``lists`` is the name of a list of lists. No text may start with a slash.
    """
    entries = ", ".join(
        f"({lists}.size() > {i} && {lists}[{i}].size() > {j} ? {lists}[{i}][{j}] : '/{i}/{j}'): 0"
        for i in range(count)
        for j in range(size)
    )
    return f"{{{entries}}}.size() == {count * size}"
