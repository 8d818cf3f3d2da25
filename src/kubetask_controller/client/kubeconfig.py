"""Reading kubeconfigs as kubectl does.

Guarantees: of several files the first one to say something wins; paths are relative to the file that
names them; data goes before files; a user whom the file tells to act as somebody else does so.
Reads the file once: what changes are tokens and certificates in files of their own, and what a
plugin gives. Does not know auth-provider, which Kubernetes itself has given up for plugins.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from kubernetes.aio.config.kube_config import KubeConfigMerger

from kubetask_controller.client.credentials import (
    Credentials,
    PluginCredentials,
    StaticCredentials,
    TokenFile,
)
from kubetask_controller.client.errors import ConfigError
from kubetask_controller.client.execplugin import ExecPlugin
from kubetask_controller.client.tls import TLSConfig, source
from kubetask_controller.types import JSON

SEPARATOR = ":"
_KINDS = (("clusters", "cluster"), ("users", "user"), ("contexts", "context"))


class Section(NamedTuple):
    """A cluster, user or context, and the folder to which its paths are relative."""

    body: JSON
    directory: Path


@dataclass(slots=True)
class Kubeconfig:
    """One or several files, merged."""

    current_context: str = ""
    clusters: dict[str, Section] = field(default_factory=dict)
    users: dict[str, Section] = field(default_factory=dict)
    contexts: dict[str, Section] = field(default_factory=dict)

    def find(self, kind: str, name: str) -> Section:
        """A section by its name; nobody's name is an empty one.

        Raises:
            ConfigError: there is none.
        """
        if not name:
            return Section({}, Path())
        known: dict[str, Section] = getattr(self, f"{kind}s")
        if name not in known:
            raise ConfigError(f"the kubeconfig has no {kind} named {name!r}")
        return known[name]


class _Merger(KubeConfigMerger):  # type: ignore[misc]
    """kubernetes.aio's merging, with an error that names the file, and kubectl's rule for current-context: the first one."""

    current_context = ""

    def load_config(self, path: str) -> None:
        """Take a file in, behind those that are there; what is not in it is empty."""
        try:
            content = yaml.safe_load(Path(path).read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"kubeconfig {path}: {error}") from error
        if content is None:
            return
        if not isinstance(content, dict):
            raise ConfigError(f"kubeconfig {path}: it is not a mapping")
        for plural, kind in _KINDS:
            for entry in content.get(plural) or ():
                if not isinstance(entry, dict) or "name" not in entry:
                    raise ConfigError(f"kubeconfig {path}: a {kind} has no name")
        self.current_context = self.current_context or str(content.get("current-context") or "")
        super().load_config(path)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a context amounts to.

    Attributes:
        server: URL.
        tls: how to speak to it.
        proxy: URL of the proxy that the kubeconfig names, or None.
        credentials: who we are.
        headers: more headers to prove it: whom we act as.
        namespace: the context's, or "".
    """

    server: str
    tls: TLSConfig
    proxy: str | None
    credentials: Credentials
    headers: tuple[tuple[str, str], ...]
    namespace: str


def read(paths: str) -> Kubeconfig:
    """One file, or several joined by colons, of which some may be missing.

    Raises:
        ConfigError: none is there, or one cannot be used.
    """
    files = [Path(path).expanduser() for path in paths.split(SEPARATOR) if path]
    there = [path for path in files if path.exists()]
    if not there:
        raise ConfigError(f"no kubeconfig at {paths}")
    merger = _Merger(SEPARATOR.join(map(str, there)))
    merged = Kubeconfig(merger.current_context)
    for plural, kind in _KINDS:
        known: dict[str, Section] = getattr(merged, plural)
        for node in merger.config.value[plural] if merger.config else ():
            body = node.value.get(kind)
            directory = Path(node.path).absolute().parent
            known[str(node.value["name"])] = Section(
                body if isinstance(body, dict) else {}, directory
            )
    return merged


def select(config: Kubeconfig, context: str | None = None) -> Selection:
    """What the named context amounts to, or the current one.

    Raises:
        ConfigError: the context, or what it names, does not exist or cannot be used.
    """
    name = context or config.current_context
    if not name:
        raise ConfigError("the kubeconfig has no current-context: name one")
    chosen = config.find("context", name).body
    cluster, home = config.find("cluster", str(chosen.get("cluster") or ""))
    user, users_home = config.find("user", str(chosen.get("user") or ""))
    if not cluster.get("server"):
        raise ConfigError(f"context {name!r} of the kubeconfig names no server")
    tls = TLSConfig(
        ca=source(cluster, "certificate-authority", home),
        certificate=source(user, "client-certificate", users_home),
        key=source(user, "client-key", users_home),
        server_name=cluster.get("tls-server-name") or None,
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
    )
    return Selection(
        server=_url(str(cluster["server"])),
        tls=tls,
        proxy=_proxy(cluster),
        credentials=_credentials(user, users_home, cluster),
        headers=tuple(_impersonation(user)),
        namespace=str(chosen.get("namespace") or ""),
    )


def _credentials(user: JSON, directory: Path, cluster: JSON) -> Credentials:
    if user.get("exec"):
        plugin = ExecPlugin(user["exec"], directory, _cluster_info(cluster))
        return PluginCredentials(plugin.run)
    if user.get("tokenFile"):
        return TokenFile(directory / str(user["tokenFile"]))
    if user.get("token"):
        return StaticCredentials(f"Bearer {str(user['token']).strip()}")
    if user.get("username"):
        return StaticCredentials.basic(str(user["username"]), str(user.get("password") or ""))
    if user.get("auth-provider"):
        kind = user["auth-provider"].get("name")
        raise ConfigError(f"auth-provider {kind} is not supported: use a credential plugin (exec)")
    return StaticCredentials()


def _impersonation(user: JSON) -> Iterator[tuple[str, str]]:
    """As client-go's impersonating round tripper; extra keys are percent-encoded by whoever wrote them."""
    if not user.get("as"):
        if user.get("as-groups") or user.get("as-uid") or user.get("as-user-extra"):
            raise ConfigError("the kubeconfig says in which groups to act, and not as whom (as)")
        return
    yield "Impersonate-User", str(user["as"])
    if user.get("as-uid"):
        yield "Impersonate-Uid", str(user["as-uid"])
    for group in user.get("as-groups") or ():
        yield "Impersonate-Group", str(group)
    for key, values in (user.get("as-user-extra") or {}).items():
        for value in values:
            yield f"Impersonate-Extra-{key}", str(value)


def _url(server: str) -> str:
    return (server if "://" in server else f"https://{server}").rstrip("/")


def _proxy(cluster: JSON) -> str | None:
    proxy = str(cluster.get("proxy-url") or "")
    if proxy and not proxy.startswith(("http://", "https://")):
        raise ConfigError(f"proxy-url {proxy}: only http and https proxies are supported")
    return proxy or None


def _cluster_info(cluster: Mapping[str, Any]) -> JSON:
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
    for extension in cluster.get("extensions") or ():
        if extension.get("name") == "client.authentication.k8s.io/exec":
            return extension.get("extension")
    return None
