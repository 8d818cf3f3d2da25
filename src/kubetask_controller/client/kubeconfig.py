"""Reads kubeconfigs as kubectl does.

Guarantees: of several files the first one that sets a value wins; paths are relative to the file that
contains them; data takes precedence over files; impersonation (as, as-groups, ...) is supported. The
kubeconfig is read once; tokens and certificates in files of their own, and those of plugins, may
change. auth-provider is not supported: Kubernetes has replaced it by plugins.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

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
    """A cluster, user or context, and the directory to which its paths are relative."""

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
        """A section by its name; an empty one for "".

        Raises:
            ConfigError: it does not exist.
        """
        if not name:
            return Section({}, Path())
        known: dict[str, Section] = getattr(self, f"{kind}s")
        if name not in known:
            raise ConfigError(f"the kubeconfig has no {kind} named {name!r}")
        return known[name]


@dataclass(frozen=True, slots=True)
class Selection:
    """Server and credentials of a context.

    Attributes:
        server: URL.
        tls: CA and client certificate.
        proxy: proxy-url of the cluster, or None.
        credentials: source of the Authorization header.
        headers: of impersonation.
        namespace: of the context, or "".
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
        ConfigError: none exists, or one is not valid.
    """
    files = [Path(path).expanduser() for path in paths.split(SEPARATOR) if path]
    existing = [path for path in files if path.exists()]
    if not existing:
        raise ConfigError(f"kubeconfig {paths} does not exist")
    documents = {path: document for path in existing if (document := _document(path))}
    contexts = (str(x.get("current-context") or "") for x in documents.values())
    result = Kubeconfig(next(filter(None, contexts), ""))
    for plural, kind in _KINDS:
        sections: dict[str, Section] = getattr(result, plural)
        for entry, path in _entries(documents, plural):
            body = entry.get(kind)
            section = Section(body if isinstance(body, dict) else {}, path.absolute().parent)
            sections.setdefault(str(entry["name"]), section)
    return result


def _document(path: Path) -> JSON:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"kubeconfig {path}: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"kubeconfig {path}: its content is no mapping")
    for plural, kind in _KINDS:
        for entry in content.get(plural) or ():
            if not isinstance(entry, dict) or "name" not in entry:
                raise ConfigError(f"kubeconfig {path}: a {kind} has no name")
    return content


def _entries(documents: Mapping[Path, JSON], plural: str) -> Iterator[tuple[JSON, Path]]:
    """The clusters, users or contexts, each with the file that it comes from."""
    if len(documents) <= 1:
        # The kubernetes package takes a quarter of a second to import, and one file needs no merge.
        for path, document in documents.items():
            yield from ((entry, path) for entry in document.get(plural) or ())
        return
    from kubernetes.config.kube_config import KubeConfigMerger

    merger = KubeConfigMerger(SEPARATOR.join(map(str, documents)))
    for node in merger.config.value[plural]:
        yield node.value, Path(node.path)


def select(config: Kubeconfig, context: str | None = None) -> Selection:
    """Server and credentials of the named context, or of the current one.

    Raises:
        ConfigError: the context, its cluster or its user does not exist or is not valid.
    """
    name = context or config.current_context
    if not name:
        raise ConfigError("the kubeconfig has no current-context: set it, or name a context")
    selected = config.find("context", name).body
    cluster, cluster_dir = config.find("cluster", str(selected.get("cluster") or ""))
    user, user_dir = config.find("user", str(selected.get("user") or ""))
    if not cluster.get("server"):
        raise ConfigError(f"the cluster of context {name!r} in the kubeconfig has no server")
    tls = TLSConfig(
        ca=source(cluster, "certificate-authority", cluster_dir),
        certificate=source(user, "client-certificate", user_dir),
        key=source(user, "client-key", user_dir),
        server_name=cluster.get("tls-server-name") or None,
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
    )
    return Selection(
        server=_url(str(cluster["server"])),
        tls=tls,
        proxy=_proxy(cluster),
        credentials=_credentials(user, user_dir, cluster),
        headers=tuple(_impersonation(user)),
        namespace=str(selected.get("namespace") or ""),
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
    """As client-go's impersonating round tripper; keys of as-user-extra must be percent-encoded already."""
    if not user.get("as"):
        if user.get("as-groups") or user.get("as-uid") or user.get("as-user-extra"):
            raise ConfigError(
                "the kubeconfig sets as-groups, as-uid or as-user-extra without as: set the user to impersonate"
            )
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
