"""Validation rules in CEL, and the other ``x-kubernetes-*`` marks of a structural schema.

The API server estimates what a rule costs from ``maxLength`` and ``maxItems`` and times it by how
often the node may occur: for a context of a run that is 640,000 times, which leaves about 15 units
for a rule. That is why these rules are plain, why every string is bounded, and why names of files
and branches are checked by a pattern, which is not counted.
"""

from dataclasses import dataclass

from kubetask_controller.api.patterns import PORT_PATTERN
from kubetask_controller.jsontypes import JSON

ATOMIC: JSON = {"x-kubernetes-list-type": "atomic"}
"""A list that is replaced whole: one owner in managedFields instead of one an entry."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of ``x-kubernetes-validations``.

    ``message`` is a sentence that names the field and says what to do. ``field_path`` points below
    the node at the field to blame, ``reason`` is the machine-readable kind of the refusal.
    """

    rule: str
    message: str
    field_path: str = ""
    reason: str = ""

    def to_json(self) -> JSON:
        """As it stands in the CRD."""
        entry = {"rule": self.rule, "message": self.message}
        if self.field_path:
            entry["fieldPath"] = self.field_path
        if self.reason:
            entry["reason"] = self.reason
        return entry


def validations(*rules: Rule) -> JSON:
    """The mark that puts the rules on a node of the schema."""
    return {"x-kubernetes-validations": [rule.to_json() for rule in rules]}


def list_map(*keys: str) -> JSON:
    """The mark of a list whose entries are told apart by these fields."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


def immutable(field: str, then: str) -> Rule:
    """On an object: the optional ``field`` can be neither set, nor changed, nor removed after
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
    """On a spec with the field ``cancel``: once true, it stays true."""
    return Rule(
        "!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)",
        f"cancel cannot be taken back: {then}",
        field_path=".cancel",
        reason="FieldValueForbidden",
    )


URL_TEMPLATE_RULES = (
    Rule(
        "self.contains('{repo}')",
        "urlTemplate must contain {repo}, and usually {org}, which stand for those of the"
        " repository",
    ),
    Rule(
        r"!self.matches('^([a-z]+://[^/]*|[^/:]*)[{}]')",
        "urlTemplate must not have {org} or {repo} in its host, where a name could lead the"
        " credentials to another host: put them into the path",
    ),
    Rule(
        r"!self.matches('^[a-z]+://([^/\\[]*|[^/]*\\]):')"
        rf" || self.matches('^[a-z]+://[^/]*:{PORT_PATTERN}/')",
        "urlTemplate must have a port from 1 to 65535, or none: correct it",
    ),
    Rule(
        "!self.matches('^file:///(workspace|kubetask|proc|sys|dev|run|var/run)(/|$)')",
        "urlTemplate must not point to a folder that tasks or the system use (/workspace,"
        " /kubetask, /proc, /sys, /dev, /run): choose another path",
    ),
)
"""On ``urlTemplate``. The pattern refuses all of that and more; the rules say it in sentences."""


def unique_file_names(max_items: int) -> Rule:
    """On a list of contexts: no two files of one name.

    Comparing each with each is beyond the budget for 10,000 lists. A map literal with the names as
    keys is not: two equal names leave it one entry short. What is no file, or beyond the list's
    end, has a key that no file name can have.
    """
    sizes = (*(size for size in (4, 16) if size < max_items), max_items)
    rule = _distinct_names(sizes[-1])
    for size in reversed(sizes[:-1]):
        rule = f"self.size() <= {size} ? {_distinct_names(size)} : {rule}"
    return Rule(
        f"self.size() < 2 || ({rule})",
        "two files of this list have the same file.name: give each file a name of its own",
    )


def _distinct_names(size: int) -> str:
    entries = ", ".join(
        f"(self.size() > {i} && has(self[{i}].file) ? self[{i}].file.name : '/{i}'): 0"
        for i in range(size)
    )
    return f"{{{entries}}}.size() == {size}"
