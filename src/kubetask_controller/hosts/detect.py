"""Selects the API of a git host by its URL, and the headers for authentication."""

import base64
import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from kubetask_controller.hosts.http import HostError, HostSession, RequestLimits
from kubetask_controller.hosts.model import HostAPI

ENTERPRISE_URLS: Mapping[str, str] = {
    "GitHub": "https://HOST/api/v3",
    "GitLab": "https://HOST/api/v4",
    "Gitea": "https://HOST/api/v1",
    "Forgejo": "https://HOST/api/v1",
    "Bitbucket": "https://api.bitbucket.org/2.0",
    "BitbucketDataCenter": "https://HOST/rest/api/1.0",
    "AzureDevOps": "https://HOST",
}
"""The default URL of the API, by provider."""
_PUBLIC = {
    "github.com": ("GitHub", "https://api.github.com"),
    "ssh.github.com": ("GitHub", "https://api.github.com"),
    "gitlab.com": ("GitLab", "https://gitlab.com/api/v4"),
    "altssh.gitlab.com": ("GitLab", "https://gitlab.com/api/v4"),
    "bitbucket.org": ("Bitbucket", "https://api.bitbucket.org/2.0"),
    "altssh.bitbucket.org": ("Bitbucket", "https://api.bitbucket.org/2.0"),
    "dev.azure.com": ("AzureDevOps", "https://dev.azure.com"),
    "ssh.dev.azure.com": ("AzureDevOps", "https://dev.azure.com"),
    "vs-ssh.visualstudio.com": ("AzureDevOps", "https://dev.azure.com"),
    "codeberg.org": ("Forgejo", "https://codeberg.org/api/v1"),
}
_NAMED = (
    (re.compile(r"(^|[.-])(github|ghe)([.-]|$)"), "GitHub"),
    (re.compile(r"(^|[.-])gitlab([.-]|$)"), "GitLab"),
    (re.compile(r"(^|[.-])gitea([.-]|$)"), "Gitea"),
    (re.compile(r"(^|[.-])forgejo([.-]|$)"), "Forgejo"),
    (re.compile(r"(^|[.-])(bitbucket|stash)([.-]|$)"), "BitbucketDataCenter"),
    (re.compile(r"\.visualstudio\.com$|(^|[.-])(tfs|azuredevops)([.-]|$)"), "AzureDevOps"),
)


def provider_of(url: str) -> str:
    """The kind of a git host, derived from the host of a URL; empty if it is unknown."""
    host = _host(url)
    if host in _PUBLIC:
        return _PUBLIC[host][0]
    if host.endswith(".ghe.com"):
        return "GitHub"
    return next((kind for pattern, kind in _NAMED if pattern.search(host)), "")


def api_url(provider: str, url: str) -> str:
    """The URL of the API of a repository's host.

    Args:
        provider: kind of the host.
        url: of the repository, SSH included.

    Raises:
        HostError: there is no host in the URL.
    """
    host = _host(url)
    if not host:
        raise HostError(f"{url}: not a git host with an API: set git.provider and git.apiURL")
    parts = urlsplit(url)
    if host in _PUBLIC and _PUBLIC[host][0] == provider:
        return _PUBLIC[host][1]
    if provider == "GitHub" and host.endswith(".ghe.com"):
        return f"https://api.{host}"
    place = parts.netloc.rpartition("@")[2] if parts.scheme in ("http", "https") else host
    if provider == "BitbucketDataCenter" and "/scm/" in parts.path:
        # The context path of the server.
        place += parts.path.partition("/scm/")[0]
    made = ENTERPRISE_URLS[provider].replace("HOST", place)
    return made.replace("https://", f"{parts.scheme}://", 1) if parts.scheme == "http" else made


def connect(
    provider: str,
    url: str,
    *,
    token: str,
    api: str = "",
    username: str = "",
    limits: RequestLimits | None = None,
    ca_file: str = "",
    waiting: Callable[[str], None] | None = None,
) -> tuple[HostSession, HostAPI]:
    """The API of a host, and its session, which the caller opens and closes.

    Args:
        provider: kind of the host; empty to derive it from the URL.
        url: URL of a repository.
        token: token for authentication.
        api: URL of the API; empty for that of the repository's host.
        username: user of the token, if the host requires one.
        limits: limits of requests.
        ca_file: PEM file with additional authorities.
        waiting: called with a message before waiting for a rate limit.

    Raises:
        HostError: the kind of the host is unknown.
    """
    kind = provider or provider_of(api or url)
    if kind not in ENTERPRISE_URLS:
        raise HostError(
            f"{_host(url) or url}: unknown kind of git host: set provider to one of"
            f" {', '.join(ENTERPRISE_URLS)}"
        )
    session = HostSession(
        api or api_url(kind, url),
        _sign_in(kind, token, username),
        limits=limits,
        ca_file=ca_file,
        waiting=waiting,
    )
    return session, _host_of(kind)(session)


def _host_of(kind: str) -> Callable[[HostSession], HostAPI]:
    # Modules are imported on demand.
    if kind == "GitHub":
        from kubetask_controller.hosts.github import GitHub

        return GitHub
    if kind == "GitLab":
        from kubetask_controller.hosts.gitlab import GitLab

        return GitLab
    if kind in ("Gitea", "Forgejo"):
        from kubetask_controller.hosts.gitea import Gitea

        return Gitea
    if kind == "Bitbucket":
        from kubetask_controller.hosts.bitbucket import BitbucketCloud

        return BitbucketCloud
    if kind == "BitbucketDataCenter":
        from kubetask_controller.hosts.bitbucket import BitbucketDataCenter

        return BitbucketDataCenter
    from kubetask_controller.hosts.azure import AzureDevOps

    return AzureDevOps


def _sign_in(kind: str, token: str, username: str) -> dict[str, str]:
    """Headers: https://docs.github.com/rest, docs.gitlab.com/api/rest, gitea.com/api/swagger and so on."""
    if not token:
        return {}
    if kind == "GitHub":
        return {
            "Authorization": f"Bearer {token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
    if kind == "GitLab":
        # Access tokens of users, projects and groups, and those of OAuth.
        return {"Authorization": f"Bearer {token}"}
    if kind in ("Gitea", "Forgejo"):
        return {"Authorization": f"token {token}"}
    if kind == "AzureDevOps":
        return {"Authorization": f"Basic {_basic('', token)}"}
    # API tokens of Bitbucket Cloud require the user's e-mail address, access tokens require no user.
    if username and username not in ("x-token-auth", "git"):
        return {"Authorization": f"Basic {_basic(username, token)}"}
    return {"Authorization": f"Bearer {token}"}


def _basic(username: str, password: str) -> str:
    return base64.b64encode(f"{username}:{password}".encode()).decode()


def _host(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme in ("http", "https", "ssh"):
        return (parts.hostname or "").lower()
    found = re.match(r"^[^/@:]+@([^/:]+):", url)
    return found[1].lower() if found else ""
