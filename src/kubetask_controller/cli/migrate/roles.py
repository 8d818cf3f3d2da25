"""Roles that speak of CodeSweep's resources, made to speak of KubeTask's, name by name."""

from collections.abc import Iterator

from kubetask_controller.api import constants as c
from kubetask_controller.cli.migrate.kinds import OLD_GROUP
from kubetask_controller.cli.migrate.nodes import Node

ROLES = ("Role", "ClusterRole")
_PLURALS = {
    "bundles": c.PLURAL_BATCH,
    "bundleruns": c.PLURAL_BATCH_RUN,
    "codesweepconfigs": c.PLURAL_WORKSPACE_CONFIG,
}


def with_new_resources(body: str, root: Node) -> str:
    """The text of a Role in which groups and resources are ours; nothing else changes."""
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
