"""Converts manifests of CodeSweep in a file into manifests of KubeTask.

Guarantees: documents that do not mention CodeSweep are unchanged, and the order is kept. Converted
objects are validated with the models, and errors that the API server would return are reported.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from kubetask_controller.api import constants as c
from kubetask_controller.api.batch import Batch
from kubetask_controller.api.batchrun import BatchRun
from kubetask_controller.api.common import KubeModel
from kubetask_controller.api.workspaceconfig import WorkspaceConfig
from kubetask_controller.cli.migrate.blocks import FlowStyleError, dump_lines, split_block
from kubetask_controller.cli.migrate.documents import (
    Document,
    Node,
    join_documents,
    parse_document,
    split_documents,
)
from kubetask_controller.cli.migrate.kinds import KINDS, OLD_GROUP, transform
from kubetask_controller.cli.migrate.report import Report

_MODELS: Mapping[str, type[KubeModel]] = {
    c.KIND_BATCH: Batch,
    c.KIND_BATCH_RUN: BatchRun,
    c.KIND_WORKSPACE_CONFIG: WorkspaceConfig,
}
ROLES = ("Role", "ClusterRole")
_PLURALS = {
    "bundles": c.PLURAL_BATCH,
    "bundleruns": c.PLURAL_BATCH_RUN,
    "codesweepconfigs": c.PLURAL_WORKSPACE_CONFIG,
}
_COMMENT = re.compile(r"(?m)(?:^|\s)#")
MAX_ERRORS = 5
"""Maximum number of validation errors for one object."""


def convert(text: str, report: Report) -> str:
    """Convert the text of a file; the report lists parts that could not be converted."""
    windows = "\r\n" in text
    documents = split_documents(text.replace("\r\n", "\n") if windows else text)
    migrated = join_documents(_document(x, n, report) for n, x in enumerate(documents, 1))
    return migrated.replace("\n", "\r\n") if windows else migrated


def _document(document: Document, number: int, report: Report) -> Document:
    body = document.body
    report.subject = ""
    if OLD_GROUP not in body:
        return document
    try:
        root = parse_document(body)
        new = _body(body, root, report) if root is not None else body
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "not understood"
        report.lost(f"document {number}", f"it is not plain YAML ({problem}); unchanged")
        return document
    separator = document.separator
    if new != body and separator == "---":
        separator = "---\n"
    return Document(separator, new)


def _body(body: str, root: Node, report: Report) -> str:
    kind, name = _scalar(root, "kind"), _scalar(root, "metadata", "name")
    report.subject = "/".join(
        filter(None, (kind, name or _scalar(root, "metadata", "generateName")))
    )
    if _is_old(_scalar(root, "apiVersion"), kind):
        return _object(body, root, report)
    if kind == "List" and _scalar(root, "apiVersion") == "v1":
        return _list(body, report)
    if kind in ROLES and root.block:
        body = with_new_resources(body, root)
        root = parse_document(body) or root
    mentions = any(OLD_GROUP in text for text in _scalars(root))
    if mentions and kind == "CustomResourceDefinition":
        report.lost("", "unchanged: the installation of KubeTask contains its CRDs")
    elif mentions:
        report.lost("", f"it mentions {OLD_GROUP}; unchanged")
    return body


def _object(body: str, root: Node, report: Report) -> str:
    """Convert an object of an old kind."""
    new = KINDS[_scalar(root, "kind")]
    lines = body.removesuffix("\n").split("\n")
    try:
        block = split_block(lines)
    except FlowStyleError:
        if not _is_json(body) and _COMMENT.search(body):
            report.lost("", "comments inside { } are not kept")
        block = split_block(dump_lines(yaml.safe_load(body), 0))
    migrated = "\n".join(transform(block, new, report)) + "\n"
    value = yaml.safe_load(migrated)
    _check(value, report)
    report.converted += 1
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n" if _is_json(body) else migrated


def _list(body: str, report: Report) -> str:
    """Convert the items of a List of ``kubectl get -o yaml``, each like a document."""
    value = yaml.safe_load(body)
    changed = False
    for number, item in enumerate(value.get("items") or []):
        text = "\n".join(dump_lines(item, 0)) + "\n"
        root = parse_document(text)
        if root is None or OLD_GROUP not in text:
            continue
        new = _body(text, root, report)
        if new != text:
            value["items"][number] = yaml.safe_load(new)
            changed = True
    report.subject = "List"
    if not changed:
        return body
    if _is_json(body):
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    if _COMMENT.search(body):
        report.lost("", "comments may be missing")
    return "\n".join(dump_lines(value, 0)) + "\n"


def _check(value: Any, report: Report) -> None:
    """Report errors that the API server would return."""
    model = _MODELS[value["kind"]]
    if value["kind"] == c.KIND_WORKSPACE_CONFIG:
        value["spec"] = value.get("spec") or {}
        report.configs.add(str((value.get("metadata") or {}).get("name")))
    try:
        model.model_validate(value)
    except ValidationError as error:
        for found in error.errors(include_url=False, include_input=False)[:MAX_ERRORS]:
            path = ".".join(map(str, found["loc"]))
            report.lost(path, f"not valid in KubeTask: {found['msg']}")


def _is_old(version: object, kind: object) -> bool:
    return str(version).partition("/")[0] == OLD_GROUP and kind in KINDS


def _is_json(body: str) -> bool:
    return body.lstrip().startswith("{") and body.rstrip().endswith("}") and '"kind"' in body


def _scalar(node: Node | None, *path: str) -> str:
    for key in path:
        node = node.get(key) if node is not None else None
    return node.value if node is not None else ""


def _scalars(node: Node) -> Iterator[str]:
    yield node.value
    for item in node.items:
        yield from _scalars(item)
    for key, value in node.entries:
        yield key.value
        yield from _scalars(value)


def with_new_resources(body: str, root: Node) -> str:
    """The text of a Role with groups and resources replaced."""
    lines = body.split("\n")
    edits = sorted(_edits(root), key=lambda edit: edit[0].start, reverse=True)
    for node, old, new in edits:
        number, column = node.start
        line = lines[number]
        lines[number] = line[:column] + line[column:].replace(old, new, 1)
    return "\n".join(lines)


def _edits(root: Node) -> Iterator[tuple[Node, str, str]]:
    rules = root.get("rules")
    for rule in rules.items if rules else ():
        groups = rule.get("apiGroups")
        if groups is None or all(x.value != OLD_GROUP for x in groups.items):
            continue
        yield from ((x, OLD_GROUP, c.GROUP) for x in groups.items if x.value == OLD_GROUP)
        resources = rule.get("resources")
        for resource in resources.items if resources else ():
            old = resource.value.partition("/")[0]
            if old in _PLURALS:
                yield resource, old, _PLURALS[old]
