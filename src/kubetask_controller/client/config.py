"""The API server's address and the client's credentials: from a kubeconfig, or from the Pod's ServiceAccount.

TLS and credentials are our own: the kubernetes package loads them once, and Kubernetes rotates those of a Pod. It merges
kubeconfigs, and is not imported in a Pod (see docs/runtime.md).
"""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from kubetask_controller.client import kubeconfig as files
from kubetask_controller.client.credentials import Credentials, StaticCredentials, TokenFile
from kubetask_controller.client.errors import ConfigError
from kubetask_controller.client.tls import TLSConfig

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SERVICE_ACCOUNT_FILES = ("token", "ca.crt", "namespace")
DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class RestConfig:
    """How to reach an API server.

    Attributes:
        host: the server's URL, without a slash at its end.
        credentials: source of the Authorization header.
        tls: CA and client certificate.
        proxy: URL of the proxy to it, or None.
        headers: sent with every request, such as those of impersonation.
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
        """A server of which only the URL and perhaps a token are known."""
        return cls(host.rstrip("/"), StaticCredentials(f"Bearer {token}" if token else None))


async def load_config(*, kubeconfig: str | None = None, context: str | None = None) -> RestConfig:
    """The first that exists of: `kubeconfig`, $KUBECONFIG, the Pod's ServiceAccount, ~/.kube/config.

    Args:
        kubeconfig: path of a file; "" counts as None.
        context: the context to use instead of the file's current one.

    Raises:
        ConfigError: none exists, or the first is not valid.
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
    raise ConfigError(
        "found no kubeconfig and no ServiceAccount: set KUBECONFIG or pass --kubeconfig"
    )


def load_kubeconfig(
    paths: str, *, context: str | None = None, environ: Mapping[str, str] = os.environ
) -> RestConfig:
    """From one file, or from several joined by colons; blocks.

    Raises:
        ConfigError: none of the files exists, or their content is not valid.
    """
    selected = files.select(files.read(paths), context)
    return RestConfig(
        host=selected.server,
        credentials=selected.credentials,
        tls=selected.tls,
        proxy=selected.proxy or proxy_for(selected.server, environ),
        headers=selected.headers,
        namespace=selected.namespace or DEFAULT_NAMESPACE,
    )


def load_in_cluster(
    directory: Path = SERVICE_ACCOUNT_DIR, environ: Mapping[str, str] = os.environ
) -> RestConfig:
    """From the ServiceAccount that Kubernetes mounts into a Pod; blocks.

    Raises:
        ConfigError: the process runs in no Pod, or the Pod has no ServiceAccount token.
    """
    host, port = (environ.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
    if not host or not port:
        raise ConfigError(
            "in-cluster credentials: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set"
        )
    token, ca = directory / "token", directory / "ca.crt"
    try:
        contents = [(directory / name).read_text().strip() for name in SERVICE_ACCOUNT_FILES]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"in-cluster credentials: {error}") from error
    for name, content in zip(SERVICE_ACCOUNT_FILES, contents, strict=True):
        if not content:
            raise ConfigError(f"in-cluster credentials: {directory / name} is empty")
    url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return RestConfig(
        host=url,
        credentials=TokenFile(token),
        tls=TLSConfig(ca=ca),
        proxy=proxy_for(url, environ),
        namespace=contents[-1],
    )


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """The proxy's URL, or None to connect directly: HTTPS_PROXY, HTTP_PROXY and NO_PROXY as Go reads them.

    Python's own support of NO_PROXY lacks networks, and the most important entry for a controller is the Service network.
    """
    parts = urlsplit(url)
    variable = f"{parts.scheme}_proxy"
    proxy = environ.get(variable.upper()) or environ.get(variable)
    host = (parts.hostname or "").lower()
    if not proxy or _is_loopback(host):
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    exceptions = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    if any(_matches(entry.strip().lower(), host, port) for entry in exceptions.split(",")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _matches(entry: str, host: str, port: int) -> bool:
    if not entry:
        return False
    if entry == "*":
        return True
    if "/" in entry:
        try:
            return ip_address(host) in ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdigit() and ":" not in name.strip("[]").replace("]", ""):
        if int(wanted) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*")
    # "example.com" matches the name and its subdomains, ".example.com" only its subdomains.
    return host == entry or host.endswith(entry if entry.startswith(".") else f".{entry}")
