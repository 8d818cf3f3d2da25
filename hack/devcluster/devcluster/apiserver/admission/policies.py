"""ValidatingAdmissionPolicy: refuses writes for which an expression of a bound policy is false.

Covers matchConstraints and matchResources (rules with groups, versions, resources, subresources, operations and names, and
both selectors), matchConditions, variables, validations with reason, message and messageExpression, failurePolicy, and
the actions Deny and Warn; expressions see `object`, `oldObject`, `request`, `namespaceObject` and `variables`. Parameters and
`authorizer` are not covered: a policy with a paramKind is an error under its failurePolicy. Wording and codes as in
k8s.io/apiserver/pkg/admission/plugin/policy/validating.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from devcluster.apiserver.cel import compiled
from devcluster.apiserver.cel_library import FUNCTIONS
from devcluster.apiserver.cel_slim import Reads
from devcluster.apiserver.errors import StatusError, qualified
from devcluster.apiserver.interfaces import Attributes, Object
from devcluster.apiserver.selectors import label_selector_matches
from devcluster.storage import Storage, Stored

GROUP = "admissionregistration.k8s.io"
POLICIES = f"validatingadmissionpolicies.{GROUP}"
BINDINGS = f"validatingadmissionpolicybindings.{GROUP}"
CODES = {"Unauthorized": 401, "Forbidden": 403, "RequestEntityTooLarge": 413, "Invalid": 422}
VARIABLES = ("object", "oldObject", "request", "namespaceObject", "variables")
EVALUATION_ERRORS = (RuntimeError, TypeError, ValueError, KeyError, OverflowError)


class AdmissionPolicies:
    """The admission plugin."""

    phase = "validating"

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._compiled: dict[tuple[str, int], Policy] = {}

    def __call__(
        self, attributes: Attributes, obj: Object | None, old: Object | None, /
    ) -> Object | None:
        """Admit a write, perhaps with a warning. Raises StatusError with the reason of the first validation that fails."""
        bindings = self._storage.list(BINDINGS) if attributes.group != GROUP else []
        if not bindings:
            return obj
        namespace = self._namespace(attributes)
        for stored in self._storage.list(POLICIES):
            policy = self._policy(stored)
            bound = [x.object for x in bindings if x.object["spec"]["policyName"] == stored.name]
            request = Request(attributes, obj, old, namespace)
            if not bound or not request.matches(policy.spec.get("matchConstraints") or {}):
                continue
            failure = policy.failure(request)
            if failure is None:
                continue
            for binding in bound:
                if request.matches(binding["spec"].get("matchResources") or {}):
                    _act(attributes, policy.name, binding, *failure)
        return obj

    def _namespace(self, attributes: Attributes) -> Object | None:
        if not attributes.namespace:
            return None
        stored = self._storage.get("namespaces", "", attributes.namespace)
        return stored.object if stored is not None else None

    def _policy(self, stored: Stored) -> Policy:
        key = (stored.name, stored.revision)
        if key not in self._compiled:
            self._compiled = {k: v for k, v in self._compiled.items() if k[0] != stored.name}
            self._compiled[key] = Policy(stored.name, stored.object["spec"])
        return self._compiled[key]


def _act(attributes: Attributes, policy: str, binding: Object, reason: str, message: str) -> None:
    name = binding["metadata"]["name"]
    actions = binding["spec"].get("validationActions") or ()
    if "Warn" in actions:
        attributes.warn(
            f"Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{name}': {message}"
        )
    if "Deny" in actions:
        resource = qualified(attributes.resource, attributes.group)
        details = {
            "name": attributes.name,
            "group": attributes.group,
            "kind": attributes.resource,
            "causes": [{"message": message}],
        }
        raise StatusError(
            CODES.get(reason, 422),
            reason,
            f"{resource} \"{attributes.name}\" is forbidden: ValidatingAdmissionPolicy '{policy}'"
            f" with binding '{name}' denied request: {message}",
            details={k: v for k, v in details.items() if v},
        )


class Request:
    """A write, as expressions and rules see it."""

    def __init__(
        self,
        attributes: Attributes,
        obj: Object | None,
        old: Object | None,
        namespace: Object | None,
    ) -> None:
        self.attributes = attributes
        self._objects = [x for x in (obj, old) if x is not None]
        self._namespace = namespace
        self.names = {
            "object": obj,
            "oldObject": old,
            "namespaceObject": namespace,
            "request": _request(attributes),
        }

    def matches(self, resources: Mapping[str, Any]) -> bool:
        """Whether a matchConstraints or matchResources covers it; one without rules covers every resource."""
        included, excluded = resources.get("resourceRules"), resources.get("excludeResourceRules")
        if included and not any(self._rule(x) for x in included):
            return False
        if any(self._rule(x) for x in excluded or ()):
            return False
        selector = resources.get("namespaceSelector")
        if selector and self._namespace is not None:
            labels = self._namespace["metadata"].get("labels") or {}
            if not label_selector_matches(selector, labels):
                return False
        selector = resources.get("objectSelector")
        return not selector or any(
            label_selector_matches(selector, x["metadata"].get("labels") or {})
            for x in self._objects
        )

    def _rule(self, rule: Mapping[str, Any]) -> bool:
        seen = self.attributes
        resource = f"{seen.resource}/{seen.subresource}" if seen.subresource else seen.resource
        wild = {f"{seen.resource}/*", f"*/{seen.subresource}", "*/*"}
        if not seen.subresource:
            wild = {"*", "*/*", f"{seen.resource}/*"}
        return (
            _in(seen.operation, rule.get("operations"))
            and _in(seen.group, rule.get("apiGroups"))
            and _in(seen.version, rule.get("apiVersions"))
            and bool({resource, *wild} & set(rule.get("resources") or ()))
            and (not rule.get("resourceNames") or seen.name in rule["resourceNames"])
        )


def _in(value: str, allowed: Sequence[str] | None) -> bool:
    return "*" in (allowed or ()) or value in (allowed or ())


def _request(attributes: Attributes) -> Object:
    user = attributes.user
    kind = {"group": attributes.group, "version": attributes.version, "kind": attributes.kind}
    resource = {**kind, "resource": attributes.resource}
    del resource["kind"]
    request: Object = {
        "kind": kind,
        "resource": resource,
        "name": attributes.name,
        "namespace": attributes.namespace,
        "operation": attributes.operation,
        "dryRun": attributes.dry_run,
        "userInfo": {
            "username": user.name if user is not None else "",
            "uid": user.uid if user is not None else "",
            "groups": list(user.groups) if user is not None else [],
            "extra": {k: list(v) for k, v in user.extra.items()} if user is not None else {},
        },
    }
    if attributes.subresource:
        request["subResource"] = attributes.subresource
    return request


class Expression:
    """One compiled expression."""

    def __init__(self, text: str) -> None:
        self._program = compiled(text)
        self._functions = {x: FUNCTIONS[x] for x in self._program.functions() if x in FUNCTIONS}
        self._reads = Reads(text, VARIABLES)

    def __call__(self, variables: Mapping[str, Any]) -> Any:
        """Its value. Raises one of EVALUATION_ERRORS."""
        return self._program.execute(self._reads.of(variables) | self._functions)


class Policy:
    """One compiled policy."""

    def __init__(self, name: str, spec: Object) -> None:
        self.name = name
        self.spec = spec
        self._conditions = [Expression(x["expression"]) for x in spec.get("matchConditions") or ()]
        self._variables = [
            (x["name"], Expression(x["expression"])) for x in spec.get("variables") or ()
        ]
        self._validations = [
            (
                x,
                Expression(x["expression"]),
                Expression(x["messageExpression"]) if x.get("messageExpression") else None,
            )
            for x in spec.get("validations") or ()
        ]

    def failure(self, request: Request) -> tuple[str, str] | None:
        """Reason and message of the first validation that fails, None where all hold or a condition does not."""
        ignore = self.spec.get("failurePolicy") == "Ignore"
        if self.spec.get("paramKind"):
            return None if ignore else ("Invalid", "parameters are not supported")
        try:
            if not all(x(request.names) for x in self._conditions):
                return None
        except EVALUATION_ERRORS as error:
            return None if ignore else ("Invalid", str(error))
        names = {**request.names, "variables": dict(self._evaluated(request))}
        for raw, program, message in self._validations:
            try:
                holds = program(names) is True
            except EVALUATION_ERRORS as error:
                if ignore:
                    continue
                return "Invalid", f"expression '{raw['expression']}' resulted in error: {error}"
            if not holds:
                return raw.get("reason") or "Invalid", _message(raw, message, names)
        return None

    def _evaluated(self, request: Request) -> Iterator[tuple[str, Any]]:
        """The variables in order; one that fails is left out, so that only expressions that use it fail."""
        found: dict[str, Any] = {}
        for name, program in self._variables:
            try:
                found[name] = program({**request.names, "variables": found})
            except EVALUATION_ERRORS:
                continue
            yield name, found[name]


def _message(raw: Object, program: Any, names: Mapping[str, Any]) -> str:
    if program is not None:
        try:
            text = program(names)
        except EVALUATION_ERRORS:
            text = None
        if isinstance(text, str) and text.strip() and "\n" not in text:
            return text
    return str(raw.get("message") or f"failed expression: {raw['expression']}").strip()
