"""Which API a git host has, by its URL."""

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from kubetask_controller.hosts.http import HostError

ENTERPRISE_URLS: Mapping[str, str] = {
    "GitHub": "https://HOST/api/v3",
    "GitLab": "https://HOST/api/v4",
    "Gitea": "https://HOST/api/v1",
    "Forgejo": "https://HOST/api/v1",
    "Bitbucket": "https://api.bitbucket.org/2.0",
    "BitbucketDataCenter": "https://HOST/rest/api/1.0",
    "AzureDevOps": "https://HOST",
}
"""The API of a host, by provider, where nobody names another URL."""
_PUBLIC = {
    "github.com": ("GitHub", "https://api.github.com"),
    "ssh.github.com": ("GitHub", "https://api.github.com"),
    "gitlab.com": ("GitLab", "https://gitlab.com/api/v4"),
    "bitbucket.org": ("Bitbucket", "https://api.bitbucket.org/2.0"),
    "dev.azure.com": ("AzureDevOps", "https://dev.azure.com"),
    "ssh.dev.azure.com": ("AzureDevOps", "https://dev.azure.com"),
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
    """The kind of a git host, by the host of a URL; empty where the name does not tell."""
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
        raise HostError(f"{url}: no git host with an API: set git.provider and git.apiURL")
    parts = urlsplit(url)
    if host in _PUBLIC and _PUBLIC[host][0] == provider:
        return _PUBLIC[host][1]
    if provider == "GitHub" and host.endswith(".ghe.com"):
        return f"https://api.{host}"
    place = parts.netloc.rpartition("@")[2] if parts.scheme in ("http", "https") else host
    made = ENTERPRISE_URLS[provider].replace("HOST", place)
    return made.replace("https://", f"{parts.scheme}://", 1) if parts.scheme == "http" else made


def _host(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme in ("http", "https", "ssh"):
        return (parts.hostname or "").lower()
    found = re.match(r"^[^/@:]+@([^/:]+):", url)
    return found[1].lower() if found else ""
