"""A connection to the cluster that kubectl uses, and the objects in arguments of commands.

Guarantees: kubeconfig, context and namespace are selected like in kubectl; every failure is raised
as a CliError that names the object.
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
from kubetask_controller.types import JSON
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
    """An object in the arguments of a command."""

    resource: Resource
    name: str

    def __str__(self) -> str:
        """The short form of kubectl: ``batchrun/nightly``."""
        return f"{self.resource.kind.lower()}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Parse ``NAME`` of a BatchRun, ``batchrun/NAME`` or ``task/NAME``.

        Raises:
            UsageError: the text has another form.
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
        client: for requests about objects.
        transport: for logs.
        namespace: that of -n, else that of the context.
    """

    client: Client
    transport: Transport
    namespace: str

    async def get(self, target: Target) -> JSON:
        """The object.

        Raises:
            CliError: it does not exist, or the server rejected the request.
        """
        with self.explained(target):
            return await self.client.get(target.resource, self.namespace, target.name)

    @contextmanager
    def explained(self, target: Target) -> Iterator[None]:
        """Convert a ClientError into a CliError that names `target`."""
        try:
            yield
        except ClientError as error:
            raise to_cli_error(error, target, self.namespace) from error


def to_cli_error(error: ClientError, target: Target, namespace: str) -> CliError:
    """Convert an error into a message with the object and the problem."""
    if isinstance(error, TransportError):
        return CliError(f"the API server is unavailable: {error}", Exit.SERVER)
    if not isinstance(error, APIStatusError):
        return CliError(str(error), Exit.SERVER)
    if not is_not_found(error):
        return CliError(f"{target} in namespace {namespace}: {clean(error.message)}", Exit.SERVER)
    details = error.details or {}
    if not details.get("name"):
        # Without a name, the resource does not exist, not the object.
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
    """A session with the cluster that kubectl uses.

    Raises:
        CliError: there is no kubeconfig, or it is not valid.
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
        # Like in kubectl, a kubeconfig takes precedence over a Pod's credentials.
        kubeconfig = str(default)
    return await load_config(kubeconfig=kubeconfig, context=context or None)
