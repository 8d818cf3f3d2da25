"""Where the API server is and who we are: from a kubeconfig, or from the Pod's ServiceAccount.

kubernetes.aio reads the kubeconfig (several files, contexts, TLS); credentials are kept fresh by
credentials.py, because the library's own way reads a token once, and runs a plugin without a limit.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.incluster_config import InClusterConfigLoader
from kubernetes.aio.config.kube_config import ConfigNode, KubeConfigLoader, KubeConfigMerger

from kubetask_controller.client.credentials import (
    Credentials,
    PluginCredentials,
    StaticCredentials,
    TokenFile,
)
from kubetask_controller.client.errors import ConfigError
from kubetask_controller.client.execplugin import ExecPlugin

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class RestConfig:
    """How to reach an API server.

    Attributes:
        configuration: kubernetes.aio's settings: host, TLS, proxy. Its credentials are not used.
        credentials: who we are.
        namespace: of the kubeconfig's context, or of the Pod.
    """

    configuration: Configuration
    credentials: Credentials
    namespace: str = DEFAULT_NAMESPACE

    @property
    def host(self) -> str:
        """The server's URL, without a slash at its end."""
        return str(self.configuration.host).rstrip("/")

    @classmethod
    def for_host(cls, host: str, *, token: str | None = None) -> "RestConfig":
        """A server known by its URL alone."""
        return cls(
            configuration=Configuration(host=host),
            credentials=StaticCredentials(f"Bearer {token}" if token else None),
        )


async def load_config(*, kubeconfig: str | None = None, context: str | None = None) -> RestConfig:
    """The first that there is of: `kubeconfig`, $KUBECONFIG, the Pod's own, ~/.kube/config.

    Args:
        kubeconfig: path of a file; "" counts as None.
        context: the context to use instead of the file's current one.

    Raises:
        ConfigError: there is none, or what is there cannot be used.
    """
    named = kubeconfig or os.environ.get("KUBECONFIG")
    if named:
        return await load_kubeconfig(named, context=context)
    if os.environ.get("KUBERNETES_SERVICE_HOST") and (SERVICE_ACCOUNT_DIR / "token").exists():
        return load_in_cluster()
    default = Path.home() / ".kube" / "config"
    if default.exists():
        return await load_kubeconfig(str(default), context=context)
    raise ConfigError("no kubeconfig and no ServiceAccount: set KUBECONFIG or pass --kubeconfig")


async def load_kubeconfig(paths: str, *, context: str | None = None) -> RestConfig:
    """From one file, or from several joined by colons, of which the first to say something wins.

    Raises:
        ConfigError: no file is there, or what they say cannot be used.
    """
    configuration = Configuration()
    try:
        merged = KubeConfigMerger(paths).config
        if merged is None:
            raise ConfigError(f"no kubeconfig at {paths}")
        loader = _Loader(merged, context)
        await loader.load_and_set(configuration)
        chosen = loader.current_context["context"]
    except ConfigError:
        raise
    except (ConfigException, OSError, yaml.YAMLError, TypeError, AttributeError, KeyError) as error:
        raise ConfigError(f"kubeconfig {paths}: {error}") from error
    return RestConfig(configuration, loader.credentials, chosen.get("namespace", DEFAULT_NAMESPACE))


def load_in_cluster(
    directory: Path = SERVICE_ACCOUNT_DIR, environ: Mapping[str, str] = os.environ
) -> RestConfig:
    """From the ServiceAccount that Kubernetes mounts into a Pod.

    Raises:
        ConfigError: this is no Pod, or it has no ServiceAccount token.
    """
    configuration = Configuration()
    try:
        InClusterConfigLoader(
            token_filename=str(directory / "token"),
            cert_filename=str(directory / "ca.crt"),
            try_refresh_token=False,
            environ=environ,
        ).load_and_set(configuration)
        namespace = (directory / "namespace").read_text().strip()
    except (ConfigException, OSError) as error:
        raise ConfigError(f"in-cluster credentials: {error}") from error
    return RestConfig(configuration, TokenFile(directory / "token"), namespace)


class _Loader(KubeConfigLoader):  # type: ignore[misc]
    """The library's loader, with credentials that keep themselves fresh."""

    credentials: Credentials
    _user: Any

    def __init__(self, merged: ConfigNode, context: str | None) -> None:
        super().__init__(merged, active_context=context, config_base_path=None)
        if self._user is None:
            # A context without a user is anonymous; the library would stumble over it.
            self._user = ConfigNode("user", {})

    async def _load_authentication(self) -> None:
        user: dict[str, Any] = self._user.value
        directory = Path(self._get_base_path(self._user.path))
        if user.get("exec"):
            plugin = ExecPlugin(user["exec"], directory, _cluster_info(self._cluster.value))
            self.credentials = PluginCredentials(plugin.run)
        elif user.get("tokenFile"):
            self.credentials = TokenFile(directory / user["tokenFile"])
        elif user.get("token"):
            self.credentials = StaticCredentials(f"Bearer {user['token'].strip()}")
        elif user.get("username"):
            self.credentials = StaticCredentials.basic(user["username"], user.get("password", ""))
        elif user.get("auth-provider"):
            await super()._load_authentication()
            self.credentials = StaticCredentials(getattr(self, "token", None))
        else:
            self.credentials = StaticCredentials()


def _cluster_info(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """As in client.authentication.k8s.io/v1 Cluster."""
    info = {
        "server": cluster.get("server"),
        "tls-server-name": cluster.get("tls-server-name"),
        "insecure-skip-tls-verify": cluster.get("insecure-skip-tls-verify"),
        "certificate-authority-data": cluster.get("certificate-authority-data"),
        "proxy-url": cluster.get("proxy-url"),
        "config": _extension(cluster),
    }
    return {key: value for key, value in info.items() if value is not None}


def _extension(cluster: Mapping[str, Any]) -> Any:
    for extension in cluster.get("extensions") or []:
        if extension.get("name") == "client.authentication.k8s.io/exec":
            return extension.get("extension")
    return None
