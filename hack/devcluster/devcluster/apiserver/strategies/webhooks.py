"""MutatingWebhookConfigurations and ValidatingWebhookConfigurations: defaults, and how a webhook must be reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..cel import compiled
from ..errors import FieldError, invalid_value, required
from ..strategy import Strategy

Object = dict[str, Any]

_SIDE_EFFECTS = ("None", "NoneOnDryRun")
_MAX_SECONDS = 30


class WebhookConfigurations(Strategy):
    """admissionregistration.k8s.io/v1, either kind."""

    generation = True

    def __init__(self, *, mutating: bool = False) -> None:
        self._mutating = mutating

    def spec_of(self, obj: Object) -> Any:
        """The list of webhooks; a change of it increments the generation."""
        return obj.get("webhooks")

    def default(self, obj: Object) -> None:
        """As pkg/apis/admissionregistration/v1/defaults.go."""
        for hook in obj.get("webhooks") or ():
            hook.setdefault("failurePolicy", "Fail")
            hook.setdefault("matchPolicy", "Equivalent")
            hook.setdefault("namespaceSelector", {})
            hook.setdefault("objectSelector", {})
            hook.setdefault("timeoutSeconds", 10)
            if self._mutating:
                hook.setdefault("reinvocationPolicy", "Never")
            for rule in hook.get("rules") or ():
                rule.setdefault("scope", "*")

    def validate(self, obj: Object) -> list[FieldError]:
        """As pkg/apis/admissionregistration/validation, without the form of URLs and rules."""
        return [
            error
            for index, hook in enumerate(obj.get("webhooks") or ())
            for error in _problems(hook, f"webhooks[{index}]")
        ]


def _problems(hook: Object, path: str) -> Iterator[FieldError]:
    name, client = hook.get("name", ""), hook.get("clientConfig") or {}
    if name.count(".") < 2:
        text = "should be a domain with at least three segments separated by dots"
        yield invalid_value(f"{path}.name", name, text)
    if ("url" in client) == ("service" in client):
        text = "exactly one of url or service is required"
        yield required(f"{path}.clientConfig", text)
    if not str(client.get("url", "https:")).startswith("https:"):
        text = "'https' is the only allowed URL scheme"
        yield invalid_value(f"{path}.clientConfig.url", client["url"], text)
    if hook.get("sideEffects") not in _SIDE_EFFECTS:
        text = f"must specify one of {', '.join(_SIDE_EFFECTS)}"
        yield required(f"{path}.sideEffects", text)
    if not hook.get("admissionReviewVersions"):
        text = "must specify one of v1, v1beta1"
        yield required(f"{path}.admissionReviewVersions", text)
    if not 1 <= hook["timeoutSeconds"] <= _MAX_SECONDS:
        text = "the timeout value must be between 1 and 30 seconds"
        yield invalid_value(f"{path}.timeoutSeconds", hook["timeoutSeconds"], text)
    for index, condition in enumerate(hook.get("matchConditions") or ()):
        try:
            compiled(condition["expression"])
        except (RuntimeError, ValueError) as error:
            where = f"{path}.matchConditions[{index}].expression"
            yield invalid_value(where, condition["expression"], f"compilation failed: {error}")
