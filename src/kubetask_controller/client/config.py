"""Where the API server is and who we are: from a kubeconfig, or from the Pod's ServiceAccount.

kubernetes.aio merges kubeconfigs and finds the ServiceAccount; TLS and credentials are ours, because what the library
loads it loads once, and what a Pod has is rotated.
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from kubetask_controller.client import kubeconfig as files
from kubetask_controller.client.credentials import Credentials, StaticCredentials, TokenFile
from kubetask_controller.client.errors import ConfigError
from kubetask_controller.client.proxy import proxy_for
from kubetask_controller.client.tls import TLSConfig

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class RestConfig:
    """How to reach an API server.

    Attributes:
        host: the server's URL, without a slash at its end.
        credentials: who we are.
        tls: how to know the server, and a client certificate.
        proxy: URL of the proxy to it, or None.
        headers: sent with every request, such as whom to act as.
        namespace: of the kubeconfig's context, or of the Pod.
    """

    host: str
    credentials: Credentials = field(default_factory=StaticCredentials)
    tls: TLSConfig = field(default_factory=TLSConfig)
    proxy: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    namespace: str = DEFAULT_NAMESPACE

    @classmethod
    def for_host(cls, host: str, *, token: str | None = None) -> "RestConfig":
        """A server known by its URL alone."""
        return cls(host.rstrip("/"), StaticCredentials(f"Bearer {token}" if token else None))


async def load_config(*, kubeconfig: str | None = None, context: str | None = None) -> RestConfig:
    """The first that there is of: `kubeconfig`, $KUBECONFIG, the Pod's own, ~/.kube/config.

    Args:
        kubeconfig: path of a file; "" counts as None.
        context: the context to use instead of the file's current one.

    Raises:
        ConfigError: there is none, or what is there cannot be used.
    """
    return await asyncio.to_thread(_load, kubeconfig, context)


def _load(kubeconfig: str | None, context: str | None) -> RestConfig:
    named = kubeconfig or os.environ.get("KUBECONFIG")
    if named:
        return load_kubeconfig(named, context=context)
    if os.environ.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT_DIR / "token").exists():
        return load_in_cluster()
    default = Path.home() / ".kube" / "config"
    if default.exists():
        return load_kubeconfig(str(default), context=context)
    raise ConfigError("no kubeconfig and no ServiceAccount: set KUBECONFIG or pass --kubeconfig")


def load_kubeconfig(
    paths: str, *, context: str | None = None, environ: Mapping[str, str] = os.environ
) -> RestConfig:
    """From one file, or from several joined by colons; blocks.

    Raises:
        ConfigError: no file is there, or what they say cannot be used.
    """
    chosen = files.choose(files.read(paths), context)
    return RestConfig(
        host=chosen.server,
        credentials=chosen.credentials,
        tls=chosen.tls,
        proxy=chosen.proxy or proxy_for(chosen.server, environ),
        headers=chosen.headers,
        namespace=chosen.namespace or DEFAULT_NAMESPACE,
    )


def load_in_cluster(
    directory: Path = SERVICE_ACCOUNT_DIR, environ: Mapping[str, str] = os.environ
) -> RestConfig:
    """From the ServiceAccount that Kubernetes mounts into a Pod; blocks.

    Raises:
        ConfigError: this is no Pod, or it has no ServiceAccount token.
    """
    token, ca = directory / "token", directory / "ca.crt"
    configuration = Configuration()
    try:
        InClusterConfigLoader(
            token_filename=str(token),
            cert_filename=str(ca),
            # The library reads a token once a minute; TokenFile sees to rotation.
            try_refresh_token=False,
            environ=environ,
        ).load_and_set(configuration)
        namespace = (directory / "namespace").read_text().strip()
    except (ConfigException, OSError) as error:
        missing = next((x for x in (token, ca) if not x.exists()), None)
        where = f" ({missing})" if missing else ""
        raise ConfigError(f"in-cluster credentials: {error}{where}") from error
    url = str(configuration.host)
    return RestConfig(
        host=url,
        credentials=TokenFile(token),
        tls=TLSConfig(ca=ca),
        proxy=proxy_for(url, environ),
        namespace=namespace or DEFAULT_NAMESPACE,
    )
