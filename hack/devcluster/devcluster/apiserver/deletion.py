"""Deletion: preconditions, grace, finalizers, propagation.

As in the generic registry: an object without finalizers and grace period is removed at once; any other object gets a
deletionTimestamp and is removed together with its last finalizer. The garbage collector handles dependents, selected by the
finalizers orphan and foregroundDeletion.
"""

from __future__ import annotations

from typing import Any

from .catalog import ResourceInfo
from .codec import ResourceCodec, codec_for
from .context import DeleteOptions, WriteContext
from .errors import StatusError, conflict, invalid, not_supported
from .gotime import format_time, parse_time
from .registry import Registry

Object = dict[str, Any]
ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
POLICIES = ("Background", "Foreground", "Orphan")


def delete(
    registry: Registry,
    info: ResourceInfo,
    namespace: str,
    name: str,
    options: DeleteOptions,
    context: WriteContext,
) -> tuple[Object, bool]:
    """Delete one object. Returns (its last or marked state, whether it is gone). Raises StatusError."""
    codec = codec_for(info)
    old = registry.current(info, namespace, name)
    if options.propagation is not None and options.propagation not in POLICIES:
        error = not_supported("propagationPolicy", options.propagation, (*sorted(POLICIES), "nil"))
        raise invalid("meta.k8s.io", "DeleteOptions", "", [error])
    _check_preconditions(info, old, options)
    attributes = registry.delete_attributes(info, context, old)
    registry.admit(attributes, None, old)
    registry.admit_valid(attributes, None, old)
    marked, gone = _plan(registry, codec, old, options, context)
    if gone:
        return (old if context.dry_run else registry.remove(codec, old)), True
    if marked is None:
        return old, False
    if context.dry_run:
        return marked, False
    return registry.put_raw(codec, marked, old), False


def _check_preconditions(info: ResourceInfo, old: Object, options: DeleteOptions) -> None:
    metadata = old["metadata"]
    for given, key, label, hint in (
        (options.uid, "uid", "UID", "The object might have been deleted and then recreated"),
        (
            options.resource_version,
            "resourceVersion",
            "ResourceVersion",
            "The object might have been modified",
        ),
    ):
        if given is not None and given != metadata[key]:
            why = f"the {label} in the precondition ({given}) does not match the {label} in record ({metadata[key]}). {hint}"
            raise conflict(info.group, info.kind, metadata["name"], why)


def _plan(
    registry: Registry,
    codec: ResourceCodec,
    old: Object,
    options: DeleteOptions,
    context: WriteContext,
) -> tuple[Object | None, bool]:
    """The marked object to store (None: nothing to change), and whether the object is removed at once."""
    strategy, metadata = codec.strategy, dict(old["metadata"])
    finalizers = _finalizers(metadata, options, strategy.default_propagation(context))
    changed = finalizers != (metadata.get("finalizers") or [])
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    if "deletionTimestamp" in metadata:
        grace, pending = _shorten(registry, metadata, options)
        changed = changed or grace
    else:
        requested = options.grace_period_seconds
        pending = False
        seconds = 0
        if strategy.graceful:
            if requested is not None and requested < 0:
                requested = 1
            seconds = strategy.grace_period(old, requested)
            pending = seconds > 0
        if pending or finalizers or _keeps_namespace(old):
            _mark(registry, metadata, seconds)
            changed = True
    marked = {**old, "metadata": metadata}
    if _keeps_namespace(old):
        marked["status"] = {**(old.get("status") or {}), "phase": "Terminating"}
        return (marked if changed else None), False
    if finalizers or pending:
        return (marked if changed else None), False
    return None, True


def _keeps_namespace(old: Object) -> bool:
    return (
        old["kind"] == "Namespace"
        and old["apiVersion"] == "v1"
        and bool((old.get("spec") or {}).get("finalizers"))
    )


def _finalizers(metadata: Object, options: DeleteOptions, default: str) -> list[str]:
    present = metadata.get("finalizers") or []
    policy = options.propagation
    if policy is None:
        if ORPHAN in present:
            policy = "Orphan"
        elif FOREGROUND in present:
            policy = "Foreground"
        else:
            policy = default
    kept = [each for each in present if each not in (ORPHAN, FOREGROUND)]
    if policy == "Orphan":
        kept.append(ORPHAN)
    elif policy == "Foreground":
        kept.append(FOREGROUND)
    return kept


def _mark(registry: Registry, metadata: Object, seconds: int) -> None:
    metadata["deletionTimestamp"] = format_time(registry.storage.clock() + seconds)
    metadata["deletionGracePeriodSeconds"] = seconds
    if metadata.get("generation"):
        metadata["generation"] += 1


def _shorten(registry: Registry, metadata: Object, options: DeleteOptions) -> tuple[bool, bool]:
    """For an object that is being deleted: (whether its grace period changed, whether it is still pending)."""
    current = metadata.get("deletionGracePeriodSeconds") or 0
    if not current:
        return False, False
    requested = options.grace_period_seconds
    if requested is None or requested >= current:
        return False, True
    requested = max(requested, 0)
    now = registry.storage.clock()
    if requested == 0:
        # Stored even if the object is removed at once: a finalizer may keep it, and the grace period must then be 0.
        metadata["deletionTimestamp"] = format_time(now)
        metadata["deletionGracePeriodSeconds"] = 0
        return True, False
    end = parse_time(metadata["deletionTimestamp"]).timestamp() - current + requested
    metadata["deletionTimestamp"] = format_time(max(end, now))
    metadata["deletionGracePeriodSeconds"] = requested if end >= now else 1
    return True, True


def delete_status(info: ResourceInfo, obj: Object) -> Object:
    """The Status that answers a finished delete."""
    metadata = obj["metadata"]
    details = {
        "name": metadata["name"],
        "group": info.group,
        "kind": info.plural,
        "uid": metadata["uid"],
    }
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {key: value for key, value in details.items() if value},
    }


def refuse_unsupported(info: ResourceInfo) -> StatusError:
    """405 for what cannot be deleted."""
    return StatusError(
        405,
        "MethodNotAllowed",
        f'delete is not supported on resources of kind "{info.plural}"',
        details={},
    )
