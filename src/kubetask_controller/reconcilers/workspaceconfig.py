"""Which WorkspaceConfig is in force for a piece of work."""

from dataclasses import dataclass
from typing import Any

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Reason
from kubetask_controller.reconcilers.projections import ResourceView
from kubetask_controller.reconcilers.waiting import Waiting
from kubetask_controller.runtime.store import Reader


@dataclass(frozen=True, slots=True)
class Environment:
    """The WorkspaceConfig in force: its name, and its spec, empty where it does not exist."""

    name: str
    spec: dict[str, Any]

    @property
    def max_concurrent_tasks(self) -> int | None:
        """The cap over all work that uses it."""
        return self.spec.get("maxConcurrentTasks")


def resolve(
    configs: Reader[ResourceView], namespace: str, ref: str | None
) -> Environment | Waiting:
    """The one that is named, else ``default``; a ``default`` that does not exist is no error."""
    name = ref or c.WORKSPACE_CONFIG_DEFAULT
    config = configs.get(namespace, name)
    if config is not None:
        return Environment(name, config.spec)
    if ref:
        return Waiting(
            Reason.WORKSPACE_CONFIG_NOT_FOUND,
            f"WorkspaceConfig {name} does not exist in namespace {namespace}",
        )
    return Environment(name, {})
