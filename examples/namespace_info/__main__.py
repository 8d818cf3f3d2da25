"""Publishes the labels of each annotated Namespace in a ConfigMap of that Namespace. See README.md."""

import asyncio

from kubetask_controller.client import Client, load_config
from kubetask_controller.client.resources import CONFIGMAPS, NAMESPACES
from kubetask_controller.runtime.builder import Builder
from kubetask_controller.runtime.eventloop import stop_on_signals
from kubetask_controller.runtime.informer import Informer
from kubetask_controller.runtime.log import configure_logging
from kubetask_controller.runtime.manager import Manager, ManagerOptions
from kubetask_controller.runtime.meta import Unstructured, set_controller_reference
from kubetask_controller.runtime.metrics import Metrics
from kubetask_controller.runtime.reconcile import Request, Result

ANNOTATION = "example.com/publish-labels"
NAME = "namespace-info"
MANAGED_BY = "app.kubernetes.io/managed-by"


class NamespaceInfo:
    """The reconciler: one request for each Namespace."""

    def __init__(
        self, client: Client, namespaces: Informer[Unstructured], infos: Informer[Unstructured]
    ) -> None:
        self.client, self.namespaces, self.infos = client, namespaces, infos

    async def reconcile(self, request: Request) -> Result:
        """Create, update or delete the ConfigMap of a Namespace."""
        namespace = self.namespaces.get("", request.name)
        if namespace is None or namespace.deleting:
            return Result()
        info = self.infos.get(request.name, NAME)
        if namespace.annotations.get(ANNOTATION) != "true":
            if info is not None:
                await self.client.delete(CONFIGMAPS, request.name, NAME, uid=info.uid)
            return Result()
        metadata = {"name": NAME, "namespace": request.name, "labels": {MANAGED_BY: NAME}}
        # A key of a ConfigMap must not contain a slash.
        data = {key.replace("/", "_"): value for key, value in namespace.labels.items()}
        desired = {"metadata": metadata, "data": data}
        set_controller_reference(desired, namespace.as_owner(), owner_namespace="")
        if info is None:
            await self.client.create(CONFIGMAPS, request.name, desired)
        elif info.raw.get("data", {}) != data:
            await self.client.update(CONFIGMAPS, request.name, NAME, desired)
        return Result()


def set_up(manager: Manager) -> None:
    """Add the controller to a manager."""
    namespaces = manager.cache.informer(NAMESPACES, project=Unstructured)
    infos = manager.cache.informer(
        CONFIGMAPS, project=Unstructured, label_selector=f"{MANAGED_BY}={NAME}"
    )
    reconciler = NamespaceInfo(manager.client, namespaces, infos)
    Builder(manager, name=NAME).for_(namespaces).owns(infos).complete(reconciler)


async def main() -> None:
    """Run until SIGTERM."""
    async with Client(await load_config(), user_agent=NAME) as client:
        manager = Manager(client, ManagerOptions(), metrics=Metrics())
        set_up(manager)
        await manager.start(stop_on_signals())


if __name__ == "__main__":
    configure_logging(format="console")
    asyncio.run(main())
