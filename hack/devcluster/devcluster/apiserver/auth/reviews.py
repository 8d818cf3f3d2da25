"""Reviews of tokens, permissions and the caller's identity, and the issue of tokens.

Handlers for resources that answer a create without storing an object: TokenReview, SubjectAccessReview and its local and self
forms, SelfSubjectRulesReview, SelfSubjectReview, serviceaccounts/token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from devcluster.apiserver import managed
from devcluster.apiserver.catalog import ResourceInfo
from devcluster.apiserver.codec import ResourceCodec
from devcluster.apiserver.context import WriteContext
from devcluster.apiserver.errors import bad_request, invalid, invalid_value
from devcluster.apiserver.interfaces import (
    Attributes,
    Object,
    SubresourceRegistry,
    SubresourceRequest,
    User,
)
from devcluster.apiserver.negotiation import negotiate
from devcluster.apiserver.registry import Registry

from .identity import RequestAuthenticator
from .rbac import RBACAuthorizer
from .serviceaccounts import ServiceAccountTokens
from .tokenrequests import TokenRequests

AUTHENTICATION = "authentication.k8s.io"
AUTHORIZATION = "authorization.k8s.io"
Answer = Callable[[SubresourceRequest, Object], Object]


class Reviews:
    """All review handlers over one registry."""

    def __init__(
        self,
        registry: Registry,
        authenticator: RequestAuthenticator,
        authorizer: RBACAuthorizer,
        tokens: ServiceAccountTokens,
    ) -> None:
        self._registry = registry
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._tokens = tokens

    def register(self, handlers: SubresourceRegistry) -> None:
        """Add every handler."""
        answers: tuple[tuple[str, str, Answer], ...] = (
            (AUTHENTICATION, "tokenreviews", self._token_review),
            (AUTHENTICATION, "selfsubjectreviews", self._self_subject_review),
            (AUTHORIZATION, "subjectaccessreviews", self._subject_access_review),
            (AUTHORIZATION, "localsubjectaccessreviews", self._subject_access_review),
            (AUTHORIZATION, "selfsubjectaccessreviews", self._self_subject_access_review),
            (AUTHORIZATION, "selfsubjectrulesreviews", self._rules_review),
        )
        for group, plural, answer in answers:
            info = self._registry.catalog.find(group, "v1", plural)
            if info is not None:
                handlers.register(group, plural, "", self._handler(info, answer))
        requests = TokenRequests(self._registry, self._tokens)
        info = _token_request_info()
        handlers.register("", "serviceaccounts", "token", self._handler(info, requests.answer))

    def _handler(self, info: ResourceInfo, answer: Answer) -> Callable[[SubresourceRequest], Any]:
        codec = ResourceCodec(info)

        async def handle(call: SubresourceRequest) -> web.StreamResponse:
            request = call.request
            agent = request.headers.get("User-Agent", "").split("/")[0][:128]
            context = WriteContext(
                user=call.user,
                manager=request.query.get("fieldManager") or agent or "unknown",
                field_validation="Ignore",
            )
            obj = codec.decode(call.body, context)
            writer = self._registry.writer(codec, context, call.attributes.subresource)
            managed.update(codec.node, codec.empty(), obj, writer)
            accepted = negotiate(request.headers.get("Accept", ""))
            body = accepted.encode(answer(call, obj))
            return web.Response(status=201, body=body, content_type=accepted.media)

        return handle

    # --- authentication

    def _token_review(self, call: SubresourceRequest, review: Object) -> Object:
        spec = review.get("spec") or {}
        if not spec.get("token"):
            raise bad_request("token is required for TokenReview in authentication")
        identity = self._authenticator.review(spec["token"])
        wanted = spec.get("audiences") or [self._tokens.issuer]
        error = "invalid bearer token"
        if identity is not None:
            common = [each for each in identity.audiences if each in wanted]
            if common:
                user = user_info(identity.user)
                review["status"] = {"authenticated": True, "user": user, "audiences": common}
                return review
            has, wants = (_go_list(each) for each in (identity.audiences, wanted))
            error = f"[{error}, token audiences {has} is invalid for the target audiences {wants}]"
        review["status"] = {"user": {}, "error": error}
        return review

    def _self_subject_review(self, call: SubresourceRequest, review: Object) -> Object:
        review["metadata"] = {"creationTimestamp": self._registry.now()}
        review["status"] = {"userInfo": user_info(call.user)}
        return review

    # --- authorization

    def _subject_access_review(self, call: SubresourceRequest, review: Object) -> Object:
        spec = review.get("spec") or {}
        errors = []
        if not spec.get("user") and not spec.get("groups"):
            errors.append(
                invalid_value("spec.user", "", "at least one of user or group must be specified")
            )
        namespace = call.attributes.namespace
        given = (spec.get("resourceAttributes") or {}).get("namespace", "")
        if namespace and given != namespace:
            field = "spec.resourceAttributes.namespace"
            errors.append(invalid_value(field, given, "must match metadata.namespace"))
        errors += _one_kind_of_attributes(spec)
        if errors:
            raise invalid(AUTHORIZATION, "", "", errors)
        extra = {key: tuple(values) for key, values in (spec.get("extra") or {}).items()}
        user = User(
            spec.get("user", ""), spec.get("uid", ""), tuple(spec.get("groups") or ()), extra
        )
        return self._decide(review, user)

    def _self_subject_access_review(self, call: SubresourceRequest, review: Object) -> Object:
        errors = _one_kind_of_attributes(review.get("spec") or {})
        if errors:
            raise invalid(AUTHORIZATION, "", "", errors)
        return self._decide(review, call.user)

    def _decide(self, review: Object, user: User) -> Object:
        allowed, reason = self._authorizer(user, spec_attributes(review["spec"]))
        review["status"] = {"allowed": allowed, **({"reason": reason} if reason else {})}
        return review

    def _rules_review(self, call: SubresourceRequest, review: Object) -> Object:
        namespace = (review.get("spec") or {}).get("namespace", "")
        if not namespace:
            raise bad_request("no namespace on request")
        rules = [rule.encode() for rule in self._authorizer.rules(call.user, namespace)]
        review["metadata"] = {}
        review["spec"] = {}
        review["status"] = {
            "resourceRules": [rule for rule in rules if "nonResourceURLs" not in rule],
            "nonResourceRules": [rule for rule in rules if "nonResourceURLs" in rule],
            "incomplete": False,
        }
        return review


def user_info(user: User) -> Object:
    """authentication.k8s.io UserInfo."""
    info: Object = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


def spec_attributes(spec: Object) -> Attributes:
    """The request that a SubjectAccessReview describes."""
    resource = spec.get("resourceAttributes")
    if resource is None:
        other = spec.get("nonResourceAttributes") or {}
        return Attributes(verb=other.get("verb", ""), path=other.get("path", ""), is_resource=False)
    return Attributes(
        verb=resource.get("verb", ""),
        group=resource.get("group", ""),
        version=resource.get("version", ""),
        resource=resource.get("resource", ""),
        subresource=resource.get("subresource", ""),
        namespace=resource.get("namespace", ""),
        name=resource.get("name", ""),
    )


def _one_kind_of_attributes(spec: Object) -> list[Any]:
    resource, other = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if resource is not None and other is not None:
        why = "cannot be specified in combination with resourceAttributes"
        return [invalid_value("spec.nonResourceAttributes", other, why)]
    if resource is None and other is None:
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        return [invalid_value("spec.resourceAttributes", None, why)]
    return []


def _go_list(values: Any) -> str:
    return "[" + " ".join(f'"{each}"' for each in values) + "]"


def _token_request_info() -> ResourceInfo:
    return ResourceInfo(
        group=AUTHENTICATION,
        version="v1",
        plural="serviceaccounts",
        kind="TokenRequest",
        namespaced=True,
        singular="",
        list_kind="",
        verbs=("create",),
        storage_key="",
    )
