"""Events of the kubelet, with the container that they are about."""

from __future__ import annotations

from devcluster.apiserver.local import LocalClient

from .podstate import ContainerState, Kind, PodState

COMPONENT = "kubelet"


class Events:
    """Records Events as the kubelet of one node."""

    def __init__(self, client: LocalClient, node: str) -> None:
        self._client = client
        self._node = node

    def __call__(
        self,
        state: PodState,
        kind: str,
        reason: str,
        message: str,
        container: ContainerState | None,
    ) -> None:
        """Record one; what the API refuses is dropped."""
        path = ""
        if container is not None:
            field = "containers" if container.kind is Kind.MAIN else "initContainers"
            path = f"spec.{field}{{{container.name}}}"
        self._client.record_event(
            state.pod,
            type=kind,
            reason=reason,
            message=message,
            component=COMPONENT,
            host=self._node,
            field_path=path,
        )
