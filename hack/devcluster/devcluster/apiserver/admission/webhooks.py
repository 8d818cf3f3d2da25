"""Admission webhooks: MutatingWebhookConfigurations and ValidatingWebhookConfigurations.

Covers clientConfig.url with caBundle, rules, both selectors, matchConditions, failurePolicy, timeoutSeconds, sideEffects of a
dry run, JSON patches and warnings. After a change the other mutating plugins run once more, so that a LimitRange holds for an
injected container too. Not covered: clientConfig.service (there are no Services: the call fails), conversion between
versions (matchPolicy), reinvocationPolicy IfNeeded. Wording as in k8s.io/apiserver/pkg/admission/plugin/webhook.

A write is synchronous, one transaction, and a webhook answers over the network. So a write that needs an answer raises
`AnswerNeededError`, and `with_answers` gets the answer and tries the write again from its beginning. Writes outside of it,
those of the node and of the scheduler, reach no webhook.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import ssl
import uuid
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from pydantic_core import from_json, to_json

from devcluster.apiserver.codec import codec_for
from devcluster.apiserver.context import WriteContext
from devcluster.apiserver.errors import StatusError
from devcluster.apiserver.interfaces import Attributes, Object
from devcluster.apiserver.patch import json_patch
from devcluster.apiserver.registry import Registry

from .pods import TOKEN_VOLUME_PREFIX, early_name
from .policies import EVALUATION_ERRORS, GROUP, Expression, Request

T = TypeVar("T")

_ANSWERS: ContextVar[dict[bytes, Answer] | None] = ContextVar("answers", default=None)
_TOKEN_VOLUME = re.compile(rb"%s\w{5}" % TOKEN_VOLUME_PREFIX.encode())
_OWN_METADATA = ("name", "uid", "creationTimestamp", "managedFields")
"""Fields that each try sets again."""
_SUBRESOURCES = ("", "status")


class AnswerNeededError(Exception):
    """A write cannot continue before a webhook has answered."""

    def __init__(self, review: Review) -> None:
        super().__init__(review.name)
        self.review = review


@dataclass(frozen=True, slots=True)
class Answer:
    """A webhook's answer: the object as it leaves it (None: unchanged), warnings, or why the write is refused."""

    obj: Object | None = None
    warnings: tuple[str, ...] = ()
    refusal: StatusError | None = None


async def with_answers(attempt: Callable[[], Awaitable[T]]) -> T:
    """Run `attempt`, and run it again after each answer of a webhook."""
    answers: dict[bytes, Answer] = {}
    token = _ANSWERS.set(answers)
    try:
        while True:
            try:
                return await attempt()
            except AnswerNeededError as needed:
                answers[needed.review.key] = await needed.review.answer()
    finally:
        _ANSWERS.reset(token)


class Webhooks:
    """The admission plugin of one phase, "mutating" or "validating"."""

    def __init__(self, registry: Registry, phase: str) -> None:
        self.phase = phase
        self._registry = registry
        self._resource = f"{phase}webhookconfigurations.{GROUP}"
        if phase == "mutating":
            # An answer is good for one write.
            registry.after_write.append(lambda info, new, old: (_ANSWERS.get() or {}).clear())

    def __call__(
        self, attributes: Attributes, obj: Object | None, old: Object | None, /
    ) -> Object | None:
        """Call each webhook that matches, in order. Raises AnswerNeededError, and StatusError to refuse."""
        answers = _ANSWERS.get()
        if answers is None or attributes.group == GROUP:
            return obj
        changed = False
        for stored in self._registry.storage.list(self._resource):
            for hook in stored.object.get("webhooks") or ():
                review = self._review(f"{self.phase}/{stored.name}", hook, attributes, obj, old)
                if review is None:
                    continue
                answer = answers.get(review.key)
                if answer is None:
                    raise AnswerNeededError(review)
                for text in answer.warnings:
                    attributes.warn(text)
                if answer.refusal is not None:
                    raise answer.refusal
                if answer.obj is not None and obj is not None and self.phase == "mutating":
                    obj, changed = self._changed(attributes, answer.obj, obj), True
        return self._again(attributes, obj, old) if changed else obj

    def _review(
        self,
        configuration: str,
        hook: Object,
        attributes: Attributes,
        obj: Object | None,
        old: Object | None,
    ) -> Review | None:
        if attributes.subresource not in _SUBRESOURCES:
            return None
        stored = None
        if attributes.namespace:
            stored = self._registry.storage.get("namespaces", "", attributes.namespace)
        request = Request(attributes, obj, old, stored.object if stored is not None else None)
        selected = {
            "resourceRules": hook.get("rules") or [{}],
            "namespaceSelector": hook.get("namespaceSelector"),
            "objectSelector": hook.get("objectSelector"),
        }
        if not request.matches(selected) or not _conditions_hold(hook, request):
            return None
        return Review(configuration, hook, request, obj, old)

    def _changed(self, attributes: Attributes, answered: Object, obj: Object) -> Object:
        """The object as changed by a webhook, with defaults for the fields that the webhook added."""
        found = self._registry.catalog.find(
            attributes.group, attributes.version, attributes.resource
        )
        assert found is not None
        new = codec_for(found).decode(answered, WriteContext(field_validation="Ignore"))
        own = {key: obj["metadata"][key] for key in _OWN_METADATA if key in obj["metadata"]}
        new["metadata"] = {**new["metadata"], **own}
        return new

    def _again(self, attributes: Attributes, obj: Object | None, old: Object | None) -> Any:
        for plugin in self._registry.admission:
            if plugin is not self and getattr(plugin, "phase", "mutating") == "mutating":
                obj = plugin(attributes, obj, old)
        return obj


def _conditions_hold(hook: Object, request: Request) -> bool:
    for condition in hook.get("matchConditions") or ():
        try:
            if Expression(condition["expression"])(request.names) is not True:
                return False
        except EVALUATION_ERRORS as error:
            if hook.get("failurePolicy") == "Ignore":
                return False
            attributes = request.attributes
            raise StatusError(
                403,
                "Forbidden",
                f'{attributes.resource} "{attributes.name}" is forbidden: matchCondition'
                f" {condition['name']} of webhook {hook['name']}: {error}",
            ) from None
    return True


class Review:
    """One call of a webhook. `key` is the same for each try of the same write."""

    def __init__(
        self,
        configuration: str,
        hook: Object,
        request: Request,
        obj: Object | None,
        old: Object | None,
    ) -> None:
        self.name = hook["name"]
        self._hook = hook
        self._object = obj
        attributes = request.attributes
        shown: Object = {
            **(request.names["request"] or {}),
            "object": _shown(obj),
            "oldObject": old,
        }
        if obj is not None and early_name(obj) != obj["metadata"].get("name", ""):
            shown["name"] = ""
        self._request = {
            **shown,
            "requestKind": shown["kind"],
            "requestResource": shown["resource"],
            "options": {"kind": _OPTIONS[attributes.operation], "apiVersion": "meta.k8s.io/v1"},
        }
        identity = [configuration, self.name, shown]
        self.key = _TOKEN_VOLUME.sub(b"", to_json(identity))

    async def answer(self) -> Answer:
        """Call the webhook. A failure is an answer too, by its failurePolicy."""
        if self._request["dryRun"] and self._hook.get("sideEffects") not in _HARMLESS:
            text = f"admission webhook {_quoted(self.name)} does not support dry run"
            return Answer(refusal=StatusError(400, "BadRequest", text))
        seconds = self._hook.get("timeoutSeconds", 10)
        url = f"{(self._hook['clientConfig']).get('url', 'https://')}?timeout={seconds}s"
        try:
            async with asyncio.timeout(seconds):
                return self._read(await self._post(url))
        except TimeoutError:
            return self._failed(f'Post "{url}": context deadline exceeded')
        except (aiohttp.ClientError, OSError) as error:
            return self._failed(f'Post "{url}": {error}')
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            return self._failed(str(error))

    def _failed(self, why: str) -> Answer:
        if self._hook.get("failurePolicy") == "Ignore":
            return Answer()
        text = f"failed calling webhook {_quoted(self.name)}: failed to call webhook: {why}"
        details = {"causes": [{"message": text}]}
        error = StatusError(
            500, "InternalError", f"Internal error occurred: {text}", details=details
        )
        return Answer(refusal=error)

    async def _post(self, url: str) -> Any:
        client = self._hook["clientConfig"]
        if service := client.get("service"):
            raise ValueError(f"service {_quoted(service['name'])} not found")
        bundle = base64.b64decode(client.get("caBundle") or "").decode()
        context = ssl.create_default_context(cadata=bundle or None)
        review = {
            "kind": "AdmissionReview",
            "apiVersion": "admission.k8s.io/v1",
            "request": {"uid": str(uuid.uuid4()), **self._request},
        }
        connector = aiohttp.TCPConnector(ssl=context, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(
                url, data=to_json(review), headers={"Content-Type": "application/json"}
            ) as response,
        ):
            if response.status != 200:
                raise ValueError("the server rejected our request for an unknown reason")
            answer = from_json(await response.read())
        if answer["apiVersion"] != review["apiVersion"] or answer["kind"] != review["kind"]:
            raise ValueError(
                f"expected webhook response of {review['apiVersion']}, Kind={review['kind']},"
                f" got {answer['apiVersion']}, Kind={answer['kind']}"
            )
        uid, given = review["request"]["uid"], answer["response"].get("uid")  # type: ignore[index]
        if given != uid:
            raise ValueError(f"expected response.uid={_quoted(uid)}, got {_quoted(given or '')}")
        return answer["response"]

    def _read(self, response: Object) -> Answer:
        warnings = tuple(response.get("warnings") or ())
        if not response["allowed"]:
            return Answer(warnings=warnings, refusal=self._refusal(response.get("status") or {}))
        if not response.get("patch"):
            return Answer(warnings=warnings)
        if response.get("patchType") != "JSONPatch":
            given = _quoted(response.get("patchType") or "")
            raise ValueError(f'invalid response.patchType: {given}, expected "JSONPatch"')
        patch = from_json(base64.b64decode(response["patch"]))
        try:
            return Answer(json_patch(_shown(self._object), patch), warnings)
        except StatusError as error:
            raise ValueError(error.message) from None

    def _refusal(self, status: Object) -> StatusError:
        """As toStatusErr of k8s.io/apiserver/pkg/admission/plugin/webhook/errors."""
        text = f"admission webhook {_quoted(self.name)} denied the request"
        said = status.get("message") or status.get("reason")
        text += f": {said}" if said else " without explanation"
        code, details = max(400, status.get("code", 0)), status.get("details")
        return StatusError(code, status.get("reason", ""), text, details=details)


_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}
_HARMLESS = ("None", "NoneOnDryRun")


def _shown(obj: Object | None) -> Object | None:
    """An object as mutating webhooks see it: what the store fills in for a new one is not there yet."""
    if obj is None:
        return None
    metadata = dict(obj["metadata"])
    dropped = ["managedFields"]
    if "resourceVersion" not in metadata:
        dropped += ["uid", "creationTimestamp"]
    if early_name(obj) != metadata.get("name", ""):
        dropped.append("name")
    return {**obj, "metadata": {k: v for k, v in metadata.items() if k not in dropped}}


def _quoted(text: str) -> str:
    return to_json(text).decode()
