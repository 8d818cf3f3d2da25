"""The verbs of a resource over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from devcluster.storage import Stored, is_stored

from . import deletion, fanout, tables
from .apply import apply
from .catalog import ResourceInfo, Subresource
from .codec import ResourceCodec, codec_for
from .context import DeleteOptions, WriteContext
from .errors import (
    StatusError,
    bad_request,
    method_not_allowed,
    not_found,
    resource_not_found,
    too_large_resource_version,
)
from .interfaces import Attributes, SubresourceRequest, User
from .lists import ListQuery, Page, list_metadata, list_page, parse_revision
from .negotiation import (
    BODY_LIMIT,
    JSON,
    YAML,
    Accepted,
    decode_body,
    load_json,
    load_patch,
    load_yaml,
    negotiate,
)
from .patch import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, json_patch, merge_patch
from .paths import RequestInfo
from .selectors import Selection, parse_fields, parse_labels
from .server import ApiServer
from .strategic import strategic_merge
from .watch import WatchQuery, WatchStream

Object = dict[str, Any]

_DEPRECATED = {
    "endpoints": "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    "componentstatuses": "v1 ComponentStatus is deprecated in v1.19+",
}
_VALIDATION = ("Ignore", "Warn", "Strict", "")


@dataclass(slots=True)
class Call:
    """One request for a resource."""

    server: ApiServer
    request: web.Request
    user: User
    info: RequestInfo
    resource: ResourceInfo

    @property
    def codec(self) -> ResourceCodec:
        """The resource's codec."""
        return codec_for(self.resource)

    @property
    def namespace(self) -> str | None:
        """The namespace of the path; None for all namespaces, '' for cluster-scoped resources."""
        if not self.resource.namespaced:
            return None
        return self.info.namespace or None

    @property
    def scope(self) -> str:
        """The namespace of the object: '' for a cluster-scoped one, such as a Namespace."""
        return self.info.namespace if self.resource.namespaced else ""

    def accepted(self) -> Accepted:
        """The form of the answer."""
        return negotiate(self.request.headers.get("Accept", ""))

    def selection(self) -> Selection:
        """The request's selectors."""
        query = self.request.query
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        custom = (
            self.resource.custom.selectable_fields if self.resource.custom is not None else None
        )
        return Selection(
            parse_labels(labels) if labels else (),
            parse_fields(fields, self.resource.storage_key, custom) if fields else (),
        )

    def context(self) -> WriteContext:
        """The options of a write. Raises StatusError 422 for invalid options."""
        query = self.request.query
        dry = query.getall("dryRun", [])
        if any(each != "All" for each in dry):
            raise _bad_option(
                "dryRun",
                dry,
                f'Unsupported value: {to_json(dry).decode()}: supported values: "All"',
            )
        validation = query.get("fieldValidation", "")
        if validation not in _VALIDATION:
            raise bad_request(
                f'fieldValidation: Unsupported value: "{validation}": supported values: "Ignore", "Strict", "Warn"'
            )
        agent = self.request.headers.get("User-Agent", "").split("/")[0][:128]
        return WriteContext(
            user=self.user,
            manager=query.get("fieldManager") or agent or "unknown",
            dry_run=bool(dry),
            field_validation=validation or "Warn",
            force=query.get("force") in ("true", "1"),
        )

    async def body(self) -> bytes:
        """The request's body. Raises StatusError 413."""
        length = self.request.content_length
        if length is not None and length > BODY_LIMIT:
            raise _too_large()
        data = await self.request.read()
        if len(data) > BODY_LIMIT:
            raise _too_large()
        return data

    async def object(self) -> Any:
        """The request's object."""
        data = await self.body()
        return decode_body(data, self.request.headers.get("Content-Type", ""), self.resource.kind)

    def respond(
        self, obj: Object, context: WriteContext | None = None, *, code: int = 200
    ) -> web.Response:
        """Answer with one object, in the requested form."""
        accepted = self.accepted()
        if accepted.transform == "Table":
            obj = tables.table_of_object(
                self.codec, obj, self._include(), self.server.storage.clock()
            )
        elif accepted.transform == "PartialObjectMetadata":
            obj = tables.partial(obj)
        elif accepted.media == JSON:
            return _answer(self._json(obj), JSON, context, code)
        return _response(accepted, obj, context, code)

    def _json(self, obj: Object) -> bytes:
        """The JSON of an object; the stored bytes if it was just stored."""
        codec, metadata = self.codec, obj["metadata"]
        if not codec.converts and "name" in metadata:
            stored = self.server.storage.get(
                codec.info.storage_key, metadata.get("namespace"), metadata["name"]
            )
            if stored is not None and is_stored(stored, obj):
                return stored.data + b"\n"
        return to_json(obj) + b"\n"

    def respond_status(self, status: Object, context: WriteContext) -> web.Response:
        """Answer with a Status, which is never shown as a table."""
        return _response(Accepted(self.accepted().media), status, context, 200)

    def _include(self) -> str:
        return self.request.query.get("includeObject", "Metadata")


def _response(
    accepted: Accepted, obj: Object, context: WriteContext | None, code: int
) -> web.Response:
    return _answer(accepted.encode(obj), accepted.media, context, code)


def _answer(body: bytes, media: str, context: WriteContext | None, code: int) -> web.Response:
    headers: Any = None
    if context is not None and context.warnings:
        headers = [("Warning", f"299 - {to_json(text).decode()}") for text in context.warnings]
    return web.Response(status=code, body=body, content_type=media, headers=headers)


def _bad_option(field: str, value: Any, message: str) -> StatusError:
    return StatusError(
        422,
        "Invalid",
        f' "" is invalid: {field}: {message}',
        details={
            "causes": [{"reason": "FieldValueNotSupported", "message": message, "field": field}]
        },
    )


def _too_large() -> StatusError:
    return StatusError(
        413, "RequestEntityTooLarge", f"Request entity too large: limit is {BODY_LIMIT}"
    )


async def handle_resource(call: Call) -> web.StreamResponse:
    """Dispatch a request for a resource or one of its subresources."""
    info, resource = call.info, call.resource
    handler = call.server.subresources.find(resource.group, resource.plural, info.subresource)
    if handler is not None:
        return await _registered(call, handler)
    if info.subresource:
        return await _subresource(call)
    if info.verb not in resource.verbs:
        raise method_not_allowed()
    if resource.namespaced and not info.namespace and info.verb not in ("list", "watch"):
        raise method_not_allowed()
    response = await _VERBS[info.verb](call)
    deprecated = _DEPRECATED.get(resource.storage_key)
    if deprecated and not response.prepared:
        response.headers.add("Warning", f'299 - "{deprecated}"')
    return response


async def _registered(call: Call, handler: Any) -> web.StreamResponse:
    info = call.info
    body = None
    if call.request.can_read_body:
        data = await call.body()
        body = (
            decode_body(data, call.request.headers.get("Content-Type", ""), call.resource.kind)
            if data
            else None
        )
    attributes = Attributes(
        verb=info.verb,
        group=info.group,
        version=info.version,
        resource=info.resource,
        subresource=info.subresource,
        namespace=info.namespace,
        name=info.name,
        path=info.path,
        kind=call.resource.kind,
        user=call.user,
    )
    response: web.StreamResponse = await handler(
        SubresourceRequest(call.request, attributes, call.user, body)
    )
    return response


async def _subresource(call: Call) -> web.StreamResponse:
    known: Subresource | None = call.resource.subresources.get(call.info.subresource)
    if known is None and call.resource.custom is not None:
        raise not_found(call.resource.group, call.resource.plural, call.info.name)
    if known is None:
        raise resource_not_found()
    if call.info.verb not in known.verbs:
        raise method_not_allowed()
    if known.name == "finalize":
        return await _update(call)
    if known.name != "status":
        call.server.registry.get(call.resource, call.scope, call.info.name)
        message = f"no node serves {call.resource.plural}/{known.name}"
        raise StatusError(501, "NotImplemented", message)
    return await _VERBS[call.info.verb](call)


async def _create(call: Call) -> web.StreamResponse:
    if call.info.name and not call.info.subresource:
        raise method_not_allowed()
    body = await call.object()
    context = call.context()
    obj = call.server.registry.create(call.resource, call.scope, body, context)
    return call.respond(obj, context, code=201)


async def _get(call: Call) -> web.StreamResponse:
    storage = call.server.storage
    version = call.request.query.get("resourceVersion", "")
    if version and parse_revision(version) > storage.revision:
        raise too_large_resource_version(int(version), storage.revision)
    stored = call.server.registry.get(call.resource, call.scope, call.info.name)
    if call.accepted() == Accepted():
        return web.Response(body=fanout.object_bytes(call.codec, stored) + b"\n", content_type=JSON)
    return call.respond(call.codec.from_storage(stored.object))


async def _list(call: Call) -> web.StreamResponse:
    selection = call.selection()
    query = ListQuery.parse(call.request.query)
    accepted = call.accepted()
    page = list_page(
        call.server.storage, call.resource.storage_key, call.namespace, query, selection
    )
    if accepted.transform == "Table":
        include = call.request.query.get("includeObject", "Metadata")
        body = tables.table_of_page(call.codec, page, include, call.server.storage.clock())
        return web.Response(body=accepted.encode(body), content_type=accepted.media)
    if accepted.transform:
        return web.Response(
            body=accepted.encode(tables.partial_list(call.codec, page)), content_type=accepted.media
        )
    data = list_bytes(call.codec, page)
    if accepted.media == YAML:
        data = accepted.encode(load_json(data, ""))
    return web.Response(body=data, content_type=accepted.media)


def list_bytes(codec: ResourceCodec, page: Page) -> bytes:
    """A list's JSON, made from the objects' stored bytes. Items of built-in lists carry no kind, as Go leaves it out."""
    info = codec.info
    metadata = list_metadata(page)
    if info.custom is not None:
        metadata.setdefault("continue", "")
    items = b",".join([_item_bytes(codec, stored) for stored in page.items])
    head = to_json({"kind": info.list_kind, "apiVersion": info.api_version, "metadata": metadata})
    return b'%s,"items":[%s]}\n' % (head[:-1], items)


def _item_bytes(codec: ResourceCodec, stored: Stored) -> bytes:
    data = fanout.object_bytes(codec, stored)
    if codec.info.custom is not None:
        return data
    at = data.index(b'"metadata"')
    return b"{" + data[at:]


async def _watch(call: Call) -> web.StreamResponse:
    selection = call.selection()
    if call.info.name:
        name_only = parse_fields(f"metadata.name={call.info.name}", "", None)
        selection = Selection(selection.labels, selection.fields + name_only)
    stream = WatchStream(
        call.server.storage,
        call.codec,
        call.namespace,
        WatchQuery.parse(call.request.query),
        selection,
    )
    accepted = call.accepted()
    if accepted.transform == "Table":
        include = call.request.query.get("includeObject", "Metadata")
        tables.render_watch(stream, include, lambda: call.server.storage.clock())
    elif accepted.transform:
        raise StatusError(
            406, "NotAcceptable", "the development cluster does not watch PartialObjectMetadata"
        )
    stream.open()
    faults = call.server.faults
    stream.gate = gate = (
        faults.watch_opened(call.request, call.user, call.info) if faults is not None else None
    )
    response = web.StreamResponse(headers={"Content-Type": JSON})
    response.enable_chunked_encoding()
    try:
        await response.prepare(call.request)
        await stream.run(response)
        await response.write_eof()
    except ConnectionError:
        pass
    finally:
        stream.close()
        if faults is not None and gate is not None:
            faults.watch_closed(gate)
    return response


async def _update(call: Call) -> web.StreamResponse:
    body = await call.object()
    context = call.context()
    existed = (
        call.server.storage.get(call.resource.storage_key, call.scope, call.info.name) is not None
    )
    obj = call.server.registry.update(
        call.resource, call.scope, call.info.name, body, context, call.info.subresource
    )
    return call.respond(obj, context, code=200 if existed else 201)


def _patch_types(resource: ResourceInfo) -> tuple[str, ...]:
    if resource.custom is not None:
        return (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
    return (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)


def check_patch_type(call: Call) -> str:
    """The media type of a patch. Raises StatusError 415."""
    media = call.request.headers.get("Content-Type", "").split(";", 1)[0].strip()
    if media not in _patch_types(call.resource):
        accepted = ", ".join(_patch_types(call.resource))
        message = f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        raise StatusError(415, "UnsupportedMediaType", message)
    return media


async def _patch(call: Call) -> web.StreamResponse:
    media = check_patch_type(call)
    data = await call.body()
    context = call.context()
    info, registry = call.info, call.server.registry
    if media == APPLY_PATCH:
        obj, created = apply(
            registry, call.codec, call.scope, info.name, load_yaml(data), context, info.subresource
        )
        return call.respond(obj, context, code=201 if created else 200)
    current = registry.current(call.resource, call.scope, info.name)
    patch = load_patch(data)
    patched = patched_object(call.codec, current, patch, media)
    obj = _write_patched(call, current, patched, context, data)
    return call.respond(obj, context)


def patched_object(codec: ResourceCodec, current: Object, patch: Any, media: str) -> Any:
    """`current` with a patch of a media type applied."""
    if media == JSON_PATCH:
        return json_patch(current, patch)
    if not isinstance(patch, dict):
        raise bad_request(
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        )
    if media == STRATEGIC_PATCH:
        return strategic_merge(codec.node, current, patch)
    return merge_patch(current, patch)


def _write_patched(
    call: Call, current: Object, patched: Any, context: WriteContext, data: bytes
) -> Object:
    codec, info = call.codec, call.info
    try:
        obj = codec.decode(patched, context)
    except StatusError as error:
        raise _patch_error(codec, patched, error) from None
    given = obj["metadata"].get("name")
    if given != info.name:
        raise bad_request(
            f"the name of the object ({given}) does not match the name on the URL ({info.name})"
        )
    return call.server.registry.update_decoded(
        codec, obj, current, context, subresource=info.subresource, verb="patch"
    )


def _patch_error(codec: ResourceCodec, patched: Any, error: StatusError) -> StatusError:
    """The error for a patched object that does not decode: 422 with the whole object, as the real server does."""
    if codec.info.custom is not None or "strict decoding error" in error.message:
        return error
    prefix = f"cannot be handled as a {codec.info.kind}: "
    why = error.message.split(prefix, 1)[-1]
    shown = to_json(patched).decode()
    message = f"Invalid value: {to_json(shown).decode()}: {why}"
    return StatusError(
        422,
        "Invalid",
        f' "" is invalid: patch: {message}',
        details={"causes": [{"reason": "FieldValueInvalid", "message": message, "field": "patch"}]},
    )


async def _options(call: Call) -> DeleteOptions:
    data = await call.body()
    body = load_yaml(data) if data else None
    return DeleteOptions.decode(body, dict(call.request.query))


async def _delete(call: Call) -> web.StreamResponse:
    options = await _options(call)
    context = call.context()
    info = call.info
    obj, gone = deletion.delete(
        call.server.registry, call.resource, call.scope, info.name, options, context
    )
    for text in call.codec.strategy.delete_warnings(options):
        context.warn(text)
    if gone and not call.codec.strategy.returns_deleted:
        return call.respond_status(deletion.delete_status(call.resource, obj), context)
    return call.respond(obj, context)


async def _delete_collection(call: Call) -> web.StreamResponse:
    options = await _options(call)
    context = call.context()
    page = list_page(
        call.server.storage,
        call.resource.storage_key,
        call.namespace,
        ListQuery.parse(call.request.query),
        call.selection(),
    )
    for stored in page.items:
        try:
            deletion.delete(
                call.server.registry, call.resource, stored.namespace, stored.name, options, context
            )
        except StatusError as error:
            if error.code != 404:
                raise
    return web.Response(body=list_bytes(call.codec, page), content_type=JSON)


_VERBS = {
    "create": _create,
    "get": _get,
    "list": _list,
    "watch": _watch,
    "update": _update,
    "patch": _patch,
    "delete": _delete,
    "deletecollection": _delete_collection,
}
