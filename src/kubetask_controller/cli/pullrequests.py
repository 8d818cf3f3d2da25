"""The pull requests of a run: extracted from the results of its tasks, and fetched with the user's tokens.

Agents write results, so they are not trusted. A link counts only if it is a pull request of a repository of the task, and
tokens are sent only to trusted hosts: public ones, those in the run's WorkspaceConfig, and those of --host.
"""

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from kubetask_controller.api import constants as c
from kubetask_controller.cli.exits import UsageError
from kubetask_controller.cli.runview import TaskRow
from kubetask_controller.cli.session import Session
from kubetask_controller.client import ClientError, Resource
from kubetask_controller.hosts import (
    HostAPI,
    HostError,
    PullRequestInfo,
    RequestLimits,
    connect,
    provider_of,
)
from kubetask_controller.types import JSON

WORKSPACE_CONFIG_RESOURCE = Resource(
    c.GROUP, c.VERSION, c.PLURAL_WORKSPACE_CONFIG, c.KIND_WORKSPACE_CONFIG
)
PUBLIC_HOSTS = frozenset(
    {"github.com", "gitlab.com", "bitbucket.org", "dev.azure.com", "codeberg.org"}
)
_FORMS = (
    (r"/(?P<org>[^/]+)/(?P<repo>[^/]+)/pull/(?P<number>\d+)", "GitHub"),
    (r"/(?P<org>.+)/(?P<repo>[^/]+)/-/merge_requests/(?P<number>\d+)", "GitLab"),
    (r"/(?P<org>[^/]+)/(?P<repo>[^/]+)/pulls/(?P<number>\d+)", "Gitea"),
    (
        r"(/.*)?/(projects|users)/(?P<org>[^/]+)/repos/(?P<repo>[^/]+)/pull-requests/(?P<number>\d+)(/overview)?",
        "BitbucketDataCenter",
    ),
    (r"/(?P<org>[^/]+)/(?P<repo>[^/]+)/pull-requests/(?P<number>\d+)", "Bitbucket"),
    (r"/(?P<org>[^/]+/[^/]+)/_git/(?P<repo>[^/]+)/pullrequest/(?P<number>\d+)", "AzureDevOps"),
)
_TOKENS: Mapping[str, Sequence[str]] = {
    "GitHub": ("GH_TOKEN", "GITHUB_TOKEN"),
    "GitLab": ("GITLAB_TOKEN",),
    "Gitea": ("GITEA_TOKEN", "FORGEJO_TOKEN"),
    "Forgejo": ("FORGEJO_TOKEN", "GITEA_TOKEN"),
    "Bitbucket": ("BITBUCKET_TOKEN",),
    "BitbucketDataCenter": ("BITBUCKET_TOKEN",),
    "AzureDevOps": ("AZURE_DEVOPS_EXT_PAT",),
}
_ENTERPRISE_TOKENS = ("GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN")
CREDENTIAL_SECONDS = 20.0
"""Timeout of git's credential helper."""


@dataclass(frozen=True, slots=True)
class PullRequestLink:
    """The location of a pull request."""

    url: str
    provider: str
    host: str
    org: str
    repo: str
    number: int


@dataclass(frozen=True, slots=True)
class FoundPullRequest:
    """A pull request of a run.

    Attributes:
        index: index of the task.
        link: link in the result.
        request: the pull request from the host; None if it could not be fetched.
        problem: why it could not be fetched, or must not be changed.
    """

    index: int
    link: PullRequestLink
    request: PullRequestInfo | None = None
    problem: str = ""


@dataclass(slots=True)
class HostConnections:
    """Open sessions with git hosts, by host name. Use as an async context manager.

    Attributes:
        trusted: hosts to which tokens may be sent.
        apis: URL of the API by host, if it is not the default.
        waiting: called with a message before waiting for a rate limit.
        limits: limits of requests.
    """

    trusted: set[str]
    apis: Mapping[str, str] = field(default_factory=dict)
    waiting: Callable[[str], None] | None = None
    limits: RequestLimits = field(default_factory=RequestLimits)
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    _open: dict[tuple[str, str], HostAPI] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def __aenter__(self) -> "HostConnections":
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def of(self, provider: str, url: str) -> HostAPI:
        """The API of the host of a URL.

        Raises:
            HostError: the host is not trusted, or there is no token.
        """
        host = host_of(url)
        if host not in self.trusted:
            raise HostError(
                f"{host} is not a host of the run's WorkspaceConfig: pass --host {host} to trust it"
            )
        async with self._lock:
            if (provider, host) not in self._open:
                username, token = await find_token(provider, url)
                if not token:
                    names = ", ".join(_TOKENS[provider])
                    raise HostError(f"no token for {host}: set one of {names}, or sign in with git")
                session, api = connect(
                    provider,
                    url,
                    api=self.apis.get(host, ""),
                    token=token,
                    username=username,
                    limits=self.limits,
                    waiting=self.waiting,
                )
                await self._stack.enter_async_context(session)
                self._open[provider, host] = api
            return self._open[provider, host]


def parse_link(url: str) -> PullRequestLink | None:
    """Parse the URL of a pull request; None for other URLs."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    for pattern, provider in _FORMS:
        if found := re.fullmatch(pattern, parts.path.rstrip("/")):
            return PullRequestLink(
                url,
                provider,
                host_of(url),
                unquote(found["org"]),
                unquote(found["repo"]),
                int(found["number"]),
            )
    return None


def find_links(rows: Iterable[TaskRow]) -> list[FoundPullRequest]:
    """The pull requests in the results of tasks, without duplicates."""
    found: dict[str, FoundPullRequest] = {}
    for row in rows:
        result = row.result
        urls = [result.get("pullRequest"), *(_list(result.get("pullRequests")))]
        for url in urls:
            if not isinstance(url, str) or url in found:
                continue
            link = parse_link(url)
            if link is None:
                continue
            problem = ""
            if row.target and not _is_target(link, row.target):
                problem = f"{link.org}/{link.repo} is not a repository of task {row.index}"
            found[url] = FoundPullRequest(row.index, link, problem=problem)
    return list(found.values())


async def fetch_pull_requests(
    found: Sequence[FoundPullRequest],
    hosts: HostConnections,
    *,
    done: Callable[[], None] = lambda: None,
) -> list[FoundPullRequest]:
    """Fetch pull requests from their hosts.

    Args:
        found: the pull requests in the results.
        hosts: the connections.
        done: called after each pull request.
    """

    async def one(each: FoundPullRequest) -> FoundPullRequest:
        link = each.link
        try:
            host = await hosts.of(link.provider, link.url)
            each = replace(each, request=await host.look(link.org, link.repo, link.number))
        except HostError as error:
            each = replace(each, problem=each.problem or str(error))
        except (KeyError, TypeError, ValueError) as error:
            each = replace(
                each, problem=each.problem or f"{link.host} sent an unexpected response: {error!r}"
            )
        done()
        return each

    return list(await asyncio.gather(*(one(x) for x in found)))


async def trusted_hosts(session: Session, run: JSON, named: Iterable[str]) -> set[str]:
    """The hosts to which tokens may be sent: public ones, those of the run's WorkspaceConfig, and `named`."""
    hosts = set(PUBLIC_HOSTS) | {x.lower() for x in named}
    spec = run.get("spec") or {}
    name = (
        spec.get("workspaceConfigRef")
        or (spec.get("batchSpec") or {}).get("workspaceConfigRef")
        or c.WORKSPACE_CONFIG_DEFAULT
    )
    try:
        config = await session.client.get(WORKSPACE_CONFIG_RESOURCE, session.namespace, str(name))
    except ClientError:
        return hosts
    git = (config.get("spec") or {}).get("git") or {}
    for entry in [git, *(git.get("hosts") or ())]:
        for url in (entry.get("urlTemplate"), entry.get("apiURL")):
            if url and (host := host_of(str(url))):
                hosts.add(host)
    return hosts


def host_of(url: str) -> str:
    """Host and optional port of a URL."""
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        return parts.netloc.rpartition("@")[2].lower()
    if parts.scheme == "ssh":
        return (parts.hostname or "").lower()
    found = re.match(r"^[^/@:]+@([^/:]+):", url)
    return found[1].lower() if found else ""


def parse_apis(values: Iterable[str]) -> dict[str, str]:
    """Parse ``HOST=URL`` values of --api.

    Raises:
        UsageError: a value has another form.
    """
    found = {}
    for value in values:
        host, equals, url = value.partition("=")
        if not equals or urlsplit(url).scheme not in ("http", "https"):
            raise UsageError(
                f"--api {value}: must be HOST=URL, such as git.acme.example=https://…/api/v1"
            )
        found[host.lower()] = url
    return found


async def find_token(provider: str, url: str) -> tuple[str, str]:
    """The user's name and token: from the variables of the hosts' tools, else from git's credential helpers."""
    names = _TOKENS[provider]
    if (
        provider == "GitHub"
        and host_of(url) != "github.com"
        and not host_of(url).endswith(".ghe.com")
    ):
        names = (*_ENTERPRISE_TOKENS, *names)
    for name in names:
        if os.environ.get(name):
            return os.environ.get(
                "BITBUCKET_USERNAME", ""
            ) if "BITBUCKET" in name else "", os.environ[name]
    parts = urlsplit(url)
    text = f"protocol={parts.scheme}\nhost={parts.netloc}\n\n"
    try:
        process = await asyncio.create_subprocess_exec(
            *("git", "credential", "fill"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": ""},
        )
        out, _ = await asyncio.wait_for(process.communicate(text.encode()), CREDENTIAL_SECONDS)
    except (OSError, TimeoutError):
        return "", ""
    lines = dict(x.partition("=")[::2] for x in out.decode(errors="replace").splitlines())
    return lines.get("username", ""), lines.get("password", "")


def provider_for(url: str, named: str) -> str:
    """The kind of a host: `named`, else derived from the host name.

    Raises:
        UsageError: it cannot be derived.
    """
    kind = named or provider_of(url)
    if not kind:
        raise UsageError(f"{host_of(url) or url}: unknown kind of git host: pass --provider")
    return kind


def _is_target(link: PullRequestLink, target: str) -> bool:
    """Whether a task works on the repository; `target` is ``org/repo@branch,org/repo``."""
    names = {unquote(x.partition("@")[0]).lower() for x in target.split(",")}
    return f"{link.org}/{link.repo}".lower() in names


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
