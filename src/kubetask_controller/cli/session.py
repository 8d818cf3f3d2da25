"""A connection to the cluster that kubectl would use, and the objects that commands name.

Guarantees: kubeconfig, context and namespace are chosen as kubectl does; every failure leaves here
as a CliError whose sentence names the object. Does not wait for anything.
"""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kubetask_controller.api import constants as c
from kubetask_controller.cli.exits import CliError, Exit, UsageError
from kubetask_controller.cli.terminal import clean
from kubetask_controller.client import (
    APIStatusError,
    Client,
    ClientError,
    ConfigError,
    Resource,
    RestConfig,
    TransportError,
    load_config,
)
from kubetask_controller.client.errors import is_not_found
from kubetask_controller.client.metrics import NoRestMetrics
from kubetask_controller.client.transport import Transport
from kubetask_controller.jsontypes import JSON
from kubetask_controller.version import __version__

USER_AGENT = f"kubectl-kubetask/{__version__}"
BATCH_RESOURCE = Resource(c.GROUP, c.VERSION, c.PLURAL_BATCH, c.KIND_BATCH)
BATCH_RUN_RESOURCE = Resource(c.GROUP, c.VERSION, c.PLURAL_BATCH_RUN, c.KIND_BATCH_RUN)
TASK_RESOURCE = Resource(c.GROUP, c.VERSION, c.PLURAL_TASK, c.KIND_TASK)

_KINDS: Mapping[str, Resource] = {
    **dict.fromkeys(("batchrun", "batchruns", "brun", "run"), BATCH_RUN_RESOURCE),
    **dict.fromkeys(("task", "tasks", "ktask"), TASK_RESOURCE),
}


@dataclass(frozen=True, slots=True)
class Target:
    """An object that a command names."""

    resource: Resource
    name: str

    def __str__(self) -> str:
        """As kubectl writes it in short: ``batchrun/nightly``."""
        return f"{self.resource.kind.lower()}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "Target":
        """``NAME`` of a BatchRun, or ``batchrun/NAME`` or ``task/NAME``.

        Raises:
            UsageError: it is neither.
        """
        kind, slash, name = text.rpartition("/")
        kind = kind.lower().removesuffix(f".{c.GROUP}")
        if not name or (slash and kind not in _KINDS):
            raise UsageError(f"{text!r} is not the name of a BatchRun, batchrun/NAME or task/NAME")
        return cls(_KINDS[kind] if slash else BATCH_RUN_RESOURCE, name)


@dataclass(frozen=True, slots=True)
class Session:
    """An open connection.

    Attributes:
        client: for objects.
        transport: for what is no object and never ends: logs.
        namespace: of -n, else of the context.
    """

    client: Client
    transport: Transport
    namespace: str

    async def get(self, target: Target) -> JSON:
        """The object.

        Raises:
            CliError: it is not there, or the server does not give it.
        """
        with self.explained(target):
            return await self.client.get(target.resource, self.namespace, target.name)

    @contextmanager
    def explained(self, target: Target) -> Iterator[None]:
        """Turns a ClientError into a CliError that names `target`."""
        try:
            yield
        except ClientError as error:
            raise to_cli_error(error, target, self.namespace) from error


def to_cli_error(error: ClientError, target: Target, namespace: str) -> CliError:
    """One sentence for a person: what went wrong with what."""
    if isinstance(error, TransportError):
        return CliError(f"the API server cannot be reached: {error}", Exit.SERVER)
    if not isinstance(error, APIStatusError):
        return CliError(str(error), Exit.SERVER)
    if not is_not_found(error):
        return CliError(f"{target} in namespace {namespace}: {clean(error.message)}", Exit.SERVER)
    details = error.details or {}
    if not details.get("name"):
        # No name: it is the resource that the server does not know, not the object.
        return CliError(
            f"{target}: the cluster has no {target.resource}: is KubeTask installed?",
            Exit.NOT_FOUND,
        )
    if details.get("kind") == "namespaces":
        return CliError(f"{target}: namespace {namespace} not found", Exit.NOT_FOUND)
    return CliError(f"{target} not found in namespace {namespace}", Exit.NOT_FOUND)


@asynccontextmanager
async def open_session(
    *, kubeconfig: str = "", context: str = "", namespace: str = ""
) -> AsyncIterator[Session]:
    """A session with the cluster that kubectl would talk to.

    Raises:
        CliError: there is no kubeconfig, or it cannot be used.
    """
    try:
        config = await _config(kubeconfig, context)
    except ConfigError as error:
        raise UsageError(str(error)) from error
    transport = Transport(config, user_agent=USER_AGENT, metrics=NoRestMetrics(), limit=None)
    try:
        async with Client(config, user_agent=USER_AGENT) as client:
            await transport.start()
            yield Session(client, transport, namespace or config.namespace)
    finally:
        await transport.close()


async def _config(kubeconfig: str, context: str) -> RestConfig:
    default = Path.home() / ".kube" / "config"
    if not kubeconfig and not os.environ.get("KUBECONFIG") and default.exists():
        # As kubectl: a kubeconfig goes before a Pod's own credentials.
        kubeconfig = str(default)
    return await load_config(kubeconfig=kubeconfig, context=context or None)
