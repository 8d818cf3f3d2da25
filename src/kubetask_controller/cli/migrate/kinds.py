"""Converts Bundle, BundleRun and CodeSweepConfig into Batch, BatchRun and WorkspaceConfig.

Fields with the same name in the new kind are kept; unknown fields are removed and reported.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import yaml

from kubetask_controller.api import constants as c
from kubetask_controller.api.batch import BatchSpec
from kubetask_controller.api.batchrun import BatchRunSpec
from kubetask_controller.api.common import KubeModel
from kubetask_controller.api.workspaceconfig import WorkspaceConfigSpec
from kubetask_controller.cli.migrate.blocks import (
    Block,
    FlowStyleError,
    Lines,
    Part,
    comments,
    dump_lines,
    eol_comment,
    scalar,
    split_block,
)
from kubetask_controller.cli.migrate.contexts import STEP, common_context, variable_contexts
from kubetask_controller.cli.migrate.report import Report

OLD_GROUP = "codesweep.io"
_SERVER_FIELDS = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

SpecConverter = Callable[[Block, Report, str], Lines]


@dataclass(frozen=True, slots=True)
class NewKind:
    """The new kind for an old kind."""

    kind: str
    plural: str
    spec: SpecConverter


def transform(body: Block, new: NewKind, report: Report) -> Lines:
    """Convert the lines of an object of an old kind."""
    lines: Lines = []
    for part in body.parts:
        match part.key:
            case "apiVersion":
                lines += _set(part, c.API_VERSION)
            case "kind":
                lines += _set(part, new.kind)
            case "metadata" if _is_plain(part):
                lines += part.text()
            case "metadata":
                lines += [*_renamed(part, part.key), *_metadata(_inner(part), report)]
            case "spec":
                lines += [*_renamed(part, part.key), *new.spec(_inner(part), report, "spec")]
            case "status":
                # The status is about Jobs of the old controller; the new controller writes its own.
                lines += comments(part.lead)
            case _:
                report.lost(part.key, "unknown field; removed")
                lines += comments(part.lead)
    return lines + body.tail


def _batch_spec(spec: Block, report: Report, path: str) -> Lines:
    known = _aliases(BatchSpec)
    lines: Lines = []
    for part in spec.parts:
        at = f"{path}.{part.key}"
        if part.key == "repositories":
            lines += _renamed(part, "variableContexts")
            lines += variable_contexts(_inner(part), report, at)
        elif part.key == "context":
            lines += _context(part, report, at)
        else:
            lines += _plain(part, known, report, at)
    return lines + spec.tail


def _run_spec(spec: Block, report: Report, path: str) -> Lines:
    known = _aliases(BatchRunSpec)
    lines: Lines = []
    for part in spec.parts:
        at = f"{path}.{part.key}"
        if part.key == "bundleRef":
            lines += _reference(part, "batchRef", report, at)
        elif part.key == "bundleSpec":
            lines += [*_renamed(part, "batchSpec"), *_batch_spec(_inner(part), report, at)]
        else:
            lines += _plain(part, known, report, at)
    return lines + spec.tail


def _config_spec(spec: Block, report: Report, path: str) -> Lines:
    known = _aliases(WorkspaceConfigSpec)
    lines: Lines = []
    for part in spec.parts:
        at = f"{path}.{part.key}"
        if part.key in ("jobTemplateRef", "agentTemplateRef"):
            report.lost(at, "a WorkspaceConfig has no Job template: set agentImage; removed")
            lines += comments(part.lead)
        else:
            lines += _plain(part, known, report, at)
    return lines + spec.tail


KINDS: Mapping[str, NewKind] = {
    "Bundle": NewKind(c.KIND_BATCH, c.PLURAL_BATCH, _batch_spec),
    "BundleRun": NewKind(c.KIND_BATCH_RUN, c.PLURAL_BATCH_RUN, _run_spec),
    "CodeSweepConfig": NewKind(c.KIND_WORKSPACE_CONFIG, c.PLURAL_WORKSPACE_CONFIG, _config_spec),
}


def _context(part: Part, report: Report, path: str) -> Lines:
    """``context`` of a Bundle: its files become commonContext."""
    lines = comments(part.lead)
    column = part.column
    if comment := eol_comment(part):
        lines.append(f"{' ' * column}{comment}")
    block = _inner(part)
    for inner in block.parts:
        at = f"{path}.{inner.key}"
        if inner.key != "files":
            report.lost(at, "unknown field; removed")
            lines += comments(inner.lead)
            continue
        moved = inner.moved(column)
        lines += _renamed(moved, "commonContext")
        lines += common_context(_inner(moved), report, at)
    return lines + block.tail


def _plain(part: Part, known: frozenset[str], report: Report, path: str) -> Lines:
    if part.key == "jobTemplateRef" and "workspaceConfigRef" in known:
        return _reference(part, "workspaceConfigRef", report, path)
    if part.key in known:
        return part.text()
    report.lost(path, "unknown field; removed")
    return comments(part.lead)


def _reference(part: Part, key: str, report: Report, path: str) -> Lines:
    """A reference as a string; the old value is a string or a mapping with a name."""
    name = part.node.get("name") if part.node.kind == "mapping" else part.node
    if name is not None and key == "workspaceConfigRef":
        report.template(name.value)
    if part.node.kind != "mapping":
        return part.renamed(key).text()
    for other, value in part.node.entries:
        if other.value == "namespace":
            report.lost(
                f"{path}.namespace",
                f"{value.value}: references to other namespaces are not supported",
            )
    if name is None:
        report.lost(path, "it has no name; removed")
        return comments(part.lead)
    return [*part.lead, f"{' ' * part.column}{key}: {scalar(name.value)}"]


def _metadata(metadata: Block, report: Report) -> Lines:
    lines: Lines = []
    for part in metadata.parts:
        text = "\n".join(part.lines)
        if part.key in _SERVER_FIELDS:
            lines += comments(part.lead)
        elif part.key in ("ownerReferences", "finalizers") and OLD_GROUP in text:
            report.lost(f"metadata.{part.key}", f"it mentions {OLD_GROUP}; removed")
            lines += comments(part.lead)
        elif part.key == "annotations" and _LAST_APPLIED in text:
            lines += _without_last_applied(part)
        else:
            lines += part.text()
    return lines + metadata.tail


def _is_plain(metadata: Part) -> bool:
    """Whether no field has to change, so that any style is supported."""
    keys = {key.value for key, _ in metadata.node.entries}
    text = "\n".join(metadata.lines)
    return not keys & {*_SERVER_FIELDS, "ownerReferences", "finalizers"} and (
        _LAST_APPLIED not in text
    )


def _without_last_applied(part: Part) -> Lines:
    """Remove the last-applied annotation; with it, the next kubectl apply would remove new fields."""
    block = _inner(part)
    kept = [x for x in block.parts if x.key != _LAST_APPLIED]
    if not kept:
        return comments(part.lead)
    return [*_renamed(part, part.key), *Block(kept, block.tail).text()]


def _inner(part: Part) -> Block:
    """The parts of an entry's value; flow style is converted to block style."""
    try:
        return split_block(part.lines[1:])
    except FlowStyleError:
        pass
    value = next(iter(yaml.safe_load("\n".join(part.lines)).values()))
    if not isinstance(value, dict | list) or not value:
        return Block((), [])
    return split_block(dump_lines(value, part.column + STEP))


def _renamed(part: Part, key: str) -> Lines:
    """The lines of an entry with a new key, up to its value, which is a block that follows."""
    first = part.renamed(key).lines[0]
    if part.node.block:
        return [*part.lead, first]
    return [*part.lead, f"{' ' * part.column}{key}:"]


def _set(part: Part, value: str) -> Lines:
    """The entry with another plain value; its comment is kept."""
    first = part.lines[0]
    start, end = part.node.start[1], part.node.end[1]
    return [*part.lead, f"{first[:start]}{value}{first[end:]}", *part.lines[1:]]


def _aliases(model: type[KubeModel]) -> frozenset[str]:
    return frozenset(field.alias or name for name, field in model.model_fields.items())
