"""Create, update and status writes of any resource, as in the generic registry of the real API server.

It handles every write, from HTTP and from in-process controllers: decoding, field ownership, admission, the
strategy's preparation and validation, generation, no-op detection, finalizers. Deletion is in `deletion`.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from devcluster.storage import Storage, Stored, TooLargeError

from . import managed
from .catalog import Catalog, ResourceInfo
from .codec import ResourceCodec, codec_for
from .context import WriteContext
from .errors import (
    MODIFIED_MESSAGE,
    FieldError,
    StatusError,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    invalid_value,
    not_found,
)
from .gotime import format_time
from .interfaces import AdmissionPlugin, Attributes
from .metadata import validate_meta_update, validate_object_meta
from .recorder import Correlator

Object = dict[str, Any]
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
MAX_GENERATED_PREFIX = 58
NAMESPACE_EXEMPT = frozenset({"namespaces"})


class Registry:
    """Reads and writes of objects. Synchronous: one call is one transaction."""

    def __init__(
        self,
        storage: Storage,
        catalog: Catalog,
        *,
        admission: Sequence[AdmissionPlugin] = (),
        seed: int | None = None,
    ) -> None:
        self.storage = storage
        self.catalog = catalog
        self.admission: list[AdmissionPlugin] = list(admission)
        self.after_write: list[Callable[[ResourceInfo, Object | None, Object | None], None]] = []
        self.correlator = Correlator()
        self._random = random.Random(seed)

    # --- reads

    def get(self, info: ResourceInfo, namespace: str, name: str) -> Stored:
        """The stored object. Raises StatusError 404."""
        stored = self.storage.get(info.storage_key, namespace, name)
        if stored is None:
            raise not_found(info.group, info.plural, name)
        return stored

    def now(self) -> str:
        """The time as objects show it."""
        return format_time(self.storage.clock())

    # --- create

    def create(
        self, info: ResourceInfo, namespace: str, body: Any, context: WriteContext
    ) -> Object:
        """Store a new object and return it. Raises StatusError."""
        codec = codec_for(info)
        obj = codec.decode(body, context)
        return self.create_decoded(codec, namespace, obj, context)

    def create_decoded(
        self,
        codec: ResourceCodec,
        namespace: str,
        obj: Object,
        context: WriteContext,
        *,
        applied: bool = False,
    ) -> Object:
        """Store an object that `codec` decoded (or, `applied`, that server-side apply made)."""
        info, strategy, metadata = codec.info, codec.strategy, obj["metadata"]
        self._match_namespace(info, metadata, namespace)
        generated = bool(metadata.get("generateName")) and not metadata.get("name")
        if generated:
            metadata["name"] = self._generate_name(metadata["generateName"])
        self._fill_system_fields(metadata)
        if not applied:
            managed.update(codec.node, codec.empty(), obj, self.writer(codec, context, ""))
        self._check_namespace(info, namespace, metadata.get("name", ""))
        attributes = self._attributes(info, context, obj, verb="create", operation="CREATE")
        obj = self.admit(attributes, obj, None) or obj
        metadata = obj["metadata"]
        strategy.prepare_create(obj)
        errors = validate_object_meta(
            metadata, strategy.name_errors(metadata.get("name") or ""), namespaced=info.namespaced
        )
        errors += strategy.validate(obj)
        self._raise_invalid(info, metadata.get("name", ""), errors)
        for text in strategy.warnings(obj, None):
            context.warn(text)
        strategy.canonicalize(obj)
        self.admit_valid(attributes, obj, None)
        if self.storage.get(info.storage_key, namespace, metadata["name"]) is not None:
            raise already_exists(info.group, info.plural, metadata["name"])
        if context.dry_run:
            return obj
        return self._put(codec, obj, None)

    def _generate_name(self, prefix: str) -> str:
        suffix = "".join(self._random.choices(NAME_ALPHABET, k=5))
        return prefix[:MAX_GENERATED_PREFIX] + suffix

    def _fill_system_fields(self, metadata: Object) -> None:
        metadata["creationTimestamp"] = self.now()
        metadata["uid"] = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        for key in ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"):
            metadata.pop(key, None)
        if metadata.pop("resourceVersion", None):
            raise StatusError(500, "", "resourceVersion should not be set on objects to be created")

    @staticmethod
    def _match_namespace(info: ResourceInfo, metadata: Object, namespace: str) -> None:
        if not info.namespaced:
            metadata.pop("namespace", None)
            return
        given = metadata.get("namespace")
        if not given:
            metadata["namespace"] = namespace
        elif given != namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )

    def _check_namespace(self, info: ResourceInfo, namespace: str, name: str) -> None:
        """Namespaces must exist, and accept no new objects while they terminate."""
        if not info.namespaced:
            return
        stored = self.storage.get("namespaces", "", namespace)
        if stored is None:
            raise not_found("", "namespaces", namespace)
        if "deletionTimestamp" in stored.object["metadata"]:
            error = forbidden(
                info.group,
                info.plural,
                name,
                f"unable to create new content in namespace {namespace} because it is being terminated",
            )
            assert error.details is not None
            error.details["causes"] = [
                {
                    "reason": "NamespaceTerminating",
                    "message": f"namespace {namespace} is being terminated",
                    "field": "metadata.namespace",
                }
            ]
            raise error

    # --- update

    def update(
        self,
        info: ResourceInfo,
        namespace: str,
        name: str,
        body: Any,
        context: WriteContext,
        subresource: str = "",
    ) -> Object:
        """Replace an object, or its status, with the one in the request. Raises StatusError."""
        codec = codec_for(info)
        obj = codec.decode(body, context)
        given = obj["metadata"].get("name")
        if given and given != name:
            raise bad_request(
                f"the name of the object ({given}) does not match the name on the URL ({name})"
            )
        if not given:
            obj["metadata"]["name"] = name
        old = self._old(codec, namespace, name)
        if old is None:
            if codec.strategy.create_on_update and not subresource:
                return self.create_decoded(codec, namespace, obj, context)
            raise not_found(info.group, info.plural, name)
        return self.update_decoded(codec, obj, old, context, subresource=subresource)

    def _old(self, codec: ResourceCodec, namespace: str, name: str) -> Object | None:
        stored = self.storage.get(codec.info.storage_key, namespace, name)
        return codec.from_storage(stored.object) if stored is not None else None

    def current(self, info: ResourceInfo, namespace: str, name: str) -> Object:
        """The object in this version's form. Raises StatusError 404."""
        codec = codec_for(info)
        return codec.from_storage(self.get(info, namespace, name).object)

    def update_decoded(
        self,
        codec: ResourceCodec,
        obj: Object,
        old: Object,
        context: WriteContext,
        *,
        subresource: str = "",
        verb: str = "update",
        applied: bool = False,
    ) -> Object:
        """Store `obj`, a new object, in place of `old`. Subresources other than status have no special rules."""
        info, strategy = codec.info, codec.strategy
        metadata, old_metadata = obj["metadata"], old["metadata"]
        self._match_namespace(info, metadata, old_metadata.get("namespace", ""))
        self._check_preconditions(info, metadata, old_metadata, strategy.unconditional_update)
        if not applied:
            managed.update(codec.node, old, obj, self.writer(codec, context, subresource))
        attributes = self._attributes(
            info, context, obj, verb=verb, operation="UPDATE", subresource=subresource
        )
        obj = self.admit(attributes, obj, old) or obj
        metadata = obj["metadata"]
        _keep_system_fields(metadata, old_metadata)
        if subresource == "status":
            strategy.prepare_status(obj, old)
        else:
            strategy.prepare_update(obj, old)
        metadata = obj["metadata"]
        errors = validate_object_meta(
            metadata, strategy.name_errors(metadata["name"]), namespaced=info.namespaced
        )
        errors += validate_meta_update(metadata, old_metadata)
        if subresource == "status":
            errors += strategy.validate_status(obj, old)
        else:
            errors += strategy.validate_update(obj, old)
        self._raise_invalid(info, metadata["name"], errors)
        for text in strategy.warnings(obj, old):
            context.warn(text)
        strategy.canonicalize(obj)
        self.admit_valid(attributes, obj, old)
        if _same(obj, old):
            return old
        if _finished(metadata, old_metadata, obj):
            if not context.dry_run:
                self._remove(codec, old)
            return {
                **obj,
                "metadata": {**metadata, "resourceVersion": old_metadata["resourceVersion"]},
            }
        if context.dry_run:
            return {
                **obj,
                "metadata": {**metadata, "resourceVersion": old_metadata["resourceVersion"]},
            }
        return self._put(codec, obj, old)

    @staticmethod
    def _check_preconditions(
        info: ResourceInfo, metadata: Object, old: Object, unconditional: bool
    ) -> None:
        uid = metadata.get("uid")
        if uid and uid != old.get("uid"):
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.get('uid')}"
            raise conflict(info.group, info.plural, old["name"], why)
        version = metadata.get("resourceVersion")
        if not version or version == "0":
            if not unconditional:
                error = invalid_value(
                    "metadata.resourceVersion", 0, "must be specified for an update"
                )
                raise invalid(info.group, info.plural, old["name"], [error])
        elif version != old["resourceVersion"]:
            if not version.isdigit():
                error = invalid_value(
                    "metadata.resourceVersion",
                    version,
                    f'strconv.ParseUint: parsing "{version}": invalid syntax',
                )
                raise invalid(info.group, info.kind, old["name"], [error])
            raise conflict(info.group, info.plural, old["name"], MODIFIED_MESSAGE)

    # --- shared

    def writer(
        self, codec: ResourceCodec, context: WriteContext, subresource: str
    ) -> managed.Writer:
        """The writer for managedFields; fields that the strategy resets have no owner."""
        status = codec.strategy.status_fields
        if not subresource:
            reset: tuple[str, ...] = status
        else:
            reset = tuple(
                key
                for key in codec.node.fields
                if key not in (*status, "metadata", "kind", "apiVersion")
            )
        return managed.Writer(
            context.manager, codec.info.api_version, subresource, self.now(), reset
        )

    def admit(
        self, attributes: Attributes, obj: Object | None, old: Object | None
    ) -> Object | None:
        """Run mutating admission."""
        for plugin in self.admission:
            if getattr(plugin, "phase", "mutating") == "mutating":
                obj = plugin(attributes, obj, old)
        return obj

    def admit_valid(self, attributes: Attributes, obj: Object | None, old: Object | None) -> None:
        """Run validating admission."""
        for plugin in self.admission:
            if getattr(plugin, "phase", "mutating") == "validating":
                plugin(attributes, obj, old)

    @staticmethod
    def _attributes(
        info: ResourceInfo,
        context: WriteContext,
        obj: Object,
        *,
        verb: str,
        operation: str,
        subresource: str = "",
    ) -> Attributes:
        metadata = obj["metadata"]
        return Attributes(
            verb=verb,
            group=info.group,
            version=info.version,
            resource=info.plural,
            subresource=subresource,
            namespace=metadata.get("namespace", ""),
            name=metadata.get("name", ""),
            kind=info.kind,
            operation=operation,
            dry_run=context.dry_run,
            user=context.user,
            warn=context.warn,
        )

    def delete_attributes(
        self, info: ResourceInfo, context: WriteContext, obj: Object
    ) -> Attributes:
        """The attributes of a delete for admission."""
        return replace(self._attributes(info, context, obj, verb="delete", operation="DELETE"))

    @staticmethod
    def _raise_invalid(info: ResourceInfo, name: str, errors: list[FieldError]) -> None:
        if errors:
            raise invalid(info.group, info.kind, name, errors)

    def _put(self, codec: ResourceCodec, obj: Object, old: Object | None) -> Object:
        stored_form = codec.to_storage(obj)
        try:
            if old is None:
                stored = self.storage.create(codec.info.storage_key, stored_form)
            else:
                stored = self.storage.update(codec.info.storage_key, stored_form)
        except TooLargeError:
            raise StatusError(500, "", "etcdserver: request is too large") from None
        for hook in self.after_write:
            hook(codec.info, obj, old)
        return codec.from_storage(stored.object)

    def put_raw(self, codec: ResourceCodec, obj: Object, old: Object) -> Object:
        """Store a change that is the server's own (deletion marks): no validation, no ownership."""
        return self._put(codec, obj, old)

    def _remove(self, codec: ResourceCodec, old: Object) -> Object:
        metadata = old["metadata"]
        stored = self.storage.delete(
            codec.info.storage_key, metadata.get("namespace", ""), metadata["name"]
        )
        for hook in self.after_write:
            hook(codec.info, None, old)
        return codec.from_storage(stored.object)

    def remove(self, codec: ResourceCodec, old: Object) -> Object:
        """Take an object out of storage; returns its last state."""
        return self._remove(codec, old)


def _keep_system_fields(metadata: Object, old: Object) -> None:
    if "generation" in old:
        metadata["generation"] = old["generation"]
    else:
        metadata.pop("generation", None)
    for key in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if key in old:
            metadata[key] = old[key]
        elif key not in ("uid", "creationTimestamp"):
            metadata.pop(key, None)
    metadata.pop("selfLink", None)


def _same(new: Object, old: Object) -> bool:
    """Whether a write changes nothing but times of managedFields."""
    new_metadata, old_metadata = new["metadata"], old["metadata"]
    for key in new:
        if key != "metadata" and (key not in old or new[key] != old[key]):
            return False
    if any(key not in new for key in old):
        return False
    skip = ("managedFields", "resourceVersion")
    for key in {*new_metadata, *old_metadata}:
        if key not in skip and new_metadata.get(key) != old_metadata.get(key):
            return False
    return _timeless(new_metadata.get("managedFields")) == _timeless(
        old_metadata.get("managedFields")
    )


def _timeless(entries: list[Object] | None) -> list[Object]:
    return [
        {key: value for key, value in entry.items() if key != "time"} for entry in entries or ()
    ]


def _finished(metadata: Object, old: Object, obj: Object) -> bool:
    """Whether an update removed the last finalizer of an object that is being deleted."""
    if "deletionTimestamp" not in old or metadata.get("finalizers"):
        return False
    if metadata.get("deletionGracePeriodSeconds"):
        return False
    if obj.get("kind") == "Namespace" and obj.get("apiVersion") == "v1":
        return not (obj.get("spec") or {}).get("finalizers")
    return True
