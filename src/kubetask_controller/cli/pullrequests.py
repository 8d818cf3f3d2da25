"""The pull requests of a run: extracted from the results of its tasks, and fetched with the user's tokens.

Agents write results, so they are not trusted. A link counts only if it is a pull request of a repository of the task, on the
host from which the task has it. Tokens are sent only to trusted hosts: public ones, those in the run's WorkspaceConfig, and
those of --host; only with the scheme that they have there, and only to the API of the kind that the host is known to be.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import urlsplit

from kubetask_controller.api import constants as c
from kubetask_controller.cli.exits import UsageError
from kubetask_controller.cli.runview import TaskRow
from kubetask_controller.cli.session import Session
from kubetask_controller.cli.targets import workspace_config
from kubetask_controller.hosts import (
    ENTERPRISE_URLS,
    HostAPI,
    HostError,
    PullRequestInfo,
    PullRequestLink,
    RequestLimits,
    Site,
    connect,
    host_of,
    parse_link,
    provider_of,
)
from kubetask_controller.types import JSON

PUBLIC_HOSTS = frozenset(
    {"github.com", "gitlab.com", "bitbucket.org", "dev.azure.com", "codeberg.org"}
)
_TOKENS: Mapping[str, Sequence[str]] = {
    "GitHub": ("GH_ENTERPRISE_TOKEN", "GITHUB_ENTERPRISE_TOKEN"),
    "GitLab": ("GITLAB_TOKEN",),
    "Gitea": ("GITEA_TOKEN", "FORGEJO_TOKEN"),
    "Forgejo": ("FORGEJO_TOKEN", "GITEA_TOKEN"),
    "Bitbucket": ("BITBUCKET_TOKEN",),
    "BitbucketDataCenter": ("BITBUCKET_TOKEN",),
    "AzureDevOps": ("AZURE_DEVOPS_EXT_PAT",),
}
_GITHUB_TOKENS = ("GH_TOKEN", "GITHUB_TOKEN")
"""For github.com and *.ghe.com only, as in GitHub's own tool."""
UNEXPECTED = (AttributeError, KeyError, IndexError, TypeError, ValueError)
"""Errors for an answer of a host without the expected fields."""
CREDENTIAL_SECONDS = 20.0
"""Timeout of git's credential helper."""


@dataclass(frozen=True, slots=True)
class TrustedHost:
    """A host to which tokens may be sent.

    Attributes:
        provider: its kind; empty to derive it from the host name.
        api: URL of its API; empty for the default of its kind.
        plain: whether tokens may be sent over HTTP without TLS.
    """

    provider: str = ""
    api: str = ""
    plain: bool = False

    def with_more(self, other: Self) -> Self:
        """The fields of two entries for one host; those of this one take precedence."""
        return replace(
            self,
            provider=self.provider or other.provider,
            api=self.api or other.api,
            plain=self.plain or other.plain,
        )


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """The git hosts of a run.

    Attributes:
        trusted: hosts to which tokens may be sent.
        sites: entries of the WorkspaceConfig by their name in git.hosts; that of git.urlTemplate has an empty name.
            Empty if the WorkspaceConfig is not readable.
        named: hosts of options that the WorkspaceConfig does not have; they may have every repository.
    """

    trusted: Mapping[str, TrustedHost]
    sites: Mapping[str, Site]
    named: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FoundPullRequest:
    """A pull request of a run.

    Attributes:
        index: index of the task.
        link: link in the result.
        branches: the branches of the tasks that name it; empty if one of them does not have its branch in the result.
        request: the pull request from the host; None if it could not be fetched.
        problem: why it could not be fetched, or must not be changed.
    """

    index: int
    link: PullRequestLink
    branches: frozenset[str] = frozenset()
    request: PullRequestInfo | None = None
    problem: str = ""

    @property
    def is_of_fork(self) -> bool:
        """Whether its commits are those of a fork, to which a task does not push."""
        return self.request is not None and self.request.fork

    @property
    def is_of_other_branch(self) -> bool:
        """Whether it is open, and its branch is another one than that of the task."""
        request = self.request
        if request is None or not request.state.is_open or not self.branches:
            return False
        return request.branch not in self.branches


@dataclass(slots=True)
class HostConnections:
    """Open sessions with git hosts, by host name. Use as an async context manager.

    Attributes:
        trusted: hosts to which tokens may be sent.
        waiting: called with a message before waiting for a rate limit.
        limits: limits of requests.
    """

    trusted: Mapping[str, TrustedHost]
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

        Args:
            provider: kind of host that has such URLs.
            url: the URL.

        Raises:
            HostError: the host is not trusted, or not with this scheme or kind, or there is no token.
        """
        host = host_of(url)
        kind = self._checked(provider, url)
        async with self._lock:
            if (kind, host) not in self._open:
                username, token = await find_token(kind, url)
                if not token:
                    names = ", ".join(token_variables(kind, host))
                    raise HostError(f"no token for {host}: set one of {names}, or sign in with git")
                session, api = connect(
                    kind,
                    url,
                    api=self.trusted[host].api,
                    token=token,
                    username=username,
                    limits=self.limits,
                    waiting=self.waiting,
                )
                await self._stack.enter_async_context(session)
                self._open[kind, host] = api
            return self._open[kind, host]

    def _checked(self, provider: str, url: str) -> str:
        """The kind of the host, which the agent's link does not choose."""
        host = host_of(url)
        known = self.trusted.get(host)
        if known is None:
            raise HostError(_not_trusted(host))
        if urlsplit(url).scheme != "https" and not known.plain:
            raise HostError(
                f"{host}: the link has no TLS: set http in git.urlTemplate or git.apiURL of the WorkspaceConfig,"
                f" or pass --api {host}=http://…"
            )
        kind = known.provider or provider_of(url) or provider_of(known.api)
        if not kind:
            raise HostError(
                f"{host}: unknown kind of git host: set git.provider of the WorkspaceConfig, or pass"
                f" --host {host}=PROVIDER"
            )
        if _family(kind) != _family(provider):
            raise HostError(f"{host} is {kind}, and the link is that of a host of kind {provider}")
        return kind


def find_links(
    rows: Iterable[TaskRow], repositories: Mapping[int, Sequence[JSON]], known: KnownHosts
) -> list[FoundPullRequest]:
    """The pull requests in the results of tasks, without duplicates.

    Args:
        rows: the tasks.
        repositories: the repositories of each task, by index.
        known: the hosts of the run.
    """
    found: dict[str, FoundPullRequest] = {}
    for row in rows:
        result = row.result
        urls = [result.get("pullRequest"), *(_list(result.get("pullRequests")))]
        for url in urls:
            if not isinstance(url, str):
                continue
            own = repositories.get(row.index) or ()
            each = _checked_link(row, url, own, known)
            if each is None:
                continue
            branch = result.get("branch")
            each = replace(each, branches=frozenset([branch] if branch else ()))
            other = found.get(url)
            # A task may name the pull request of another one.
            if other is None or other.problem:
                found[url] = each
            elif not each.problem:
                known_all = other.branches and each.branches
                branches = other.branches | each.branches if known_all else frozenset()
                found[url] = replace(other, branches=branches)
    return list(found.values())


def _checked_link(
    row: TaskRow, url: str, repositories: Sequence[JSON], known: KnownHosts
) -> FoundPullRequest | None:
    """The pull request at a URL, with the reason why the task may not have it; None for another URL."""
    link = parse_link(url)
    problem = f"the repository of task {row.index} is unknown"
    if repositories or row.target:
        problem = ""
    for each in repositories:
        name = str(each.get("host") or "")
        org, repo = str(each.get("org") or ""), str(each.get("repo") or "")
        site = known.sites.get(name)
        own = (site or Site()).find(url, org, repo)
        if own is None:
            continue
        link = own
        if own.host in known.named or (site is not None and site.is_host_of(own)):
            return FoundPullRequest(row.index, own)
        shown = f"{org}/{repo} of task {row.index}"
        where = f"at {site.hosts[0]}" if site and site.hosts else "at an unknown host"
        if not known.sites:
            where += ", because the WorkspaceConfig of the run is not readable"
        elif site is None:
            where += f", because the WorkspaceConfig has no entry {name} in git.hosts"
        problem = (
            f"the link is at {own.host}, and {shown} is {where}:"
            f" pass --host {own.host} if it is that repository"
        )
    if link is None:
        return None
    if link.host not in known.trusted:
        problem = _not_trusted(link.host)
    return FoundPullRequest(
        row.index,
        link,
        problem=problem or f"{link.org}/{link.repo} is not a repository of task {row.index}",
    )


async def fetch_pull_requests(
    found: Sequence[FoundPullRequest],
    hosts: HostConnections,
    *,
    done: Callable[[], None] = lambda: None,
) -> list[FoundPullRequest]:
    """Fetch pull requests from their hosts. Those with a problem are returned as they are.

    Args:
        found: the pull requests in the results.
        hosts: the connections.
        done: called after each pull request.
    """

    async def one(each: FoundPullRequest) -> FoundPullRequest:
        link = each.link
        try:
            if not each.problem:
                host = await hosts.of(link.provider, link.url)
                each = replace(each, request=await host.look(link.org, link.repo, link.number))
        except HostError as error:
            each = replace(each, problem=str(error))
        except UNEXPECTED as error:
            each = replace(each, problem=unexpected(link, error))
        done()
        return each

    return list(await asyncio.gather(*(one(x) for x in found)))


def unexpected(link: PullRequestLink, error: Exception) -> str:
    """The message for an answer of a host without the expected fields."""
    return f"{link.host} sent an unexpected response: {error!r}"


async def known_hosts(
    session: Session, run: JSON, named: Iterable[str], apis: Mapping[str, str]
) -> KnownHosts:
    """The git hosts of a run: public ones, those of its WorkspaceConfig, and those of options.

    Args:
        session: of the API server.
        run: the BatchRun or Task.
        named: values of --host.
        apis: URLs of APIs by host, which take precedence.

    Raises:
        UsageError: a value of --host has an unknown kind.
    """
    every: list[tuple[str, TrustedHost]] = []
    sites: dict[str, Site] = {}
    config = await workspace_config(session, run)
    git = ((config or {}).get("spec") or {}).get("git") or {}
    for entry in [git, *(git.get("hosts") or ())]:
        template = str(entry.get("urlTemplate") or c.DEFAULT_URL_TEMPLATE)
        api = str(entry.get("apiURL") or "")
        site = Site(template, str(entry.get("provider") or ""), api)
        found = TrustedHost(site.provider, site.api, plain=_is_plain(template) or _is_plain(api))
        # The API of a public host is known: a WorkspaceConfig cannot name another recipient of its tokens.
        for host in filter(None, map(host_of, (template, api))):
            every += [(host, TrustedHost() if _is_public(host) else found)]
        if any(map(_is_public, site.hosts)):
            site = replace(site, api_url="")
        if config is not None:
            sites[str(entry.get("name") or "") if entry is not git else ""] = site
    hosts = {x: TrustedHost(api=url, plain=_is_plain(url)) for x, url in apis.items()}
    for value in named:
        host, _, kind = value.partition("=")
        every.insert(0, (host.lower(), TrustedHost(_provider(kind))))
    configured = {y for x in sites.values() for y in x.hosts}
    options = {*apis, *(x.partition("=")[0].lower() for x in named)}
    for host, found in [*every, *((x, TrustedHost()) for x in PUBLIC_HOSTS)]:
        hosts[host] = hosts[host].with_more(found) if host in hosts else found
    return KnownHosts(hosts, sites, frozenset(options - configured))


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


def token_variables(provider: str, host: str) -> Sequence[str]:
    """The variables that may contain a token for a host."""
    if provider == "GitHub" and _is_public(host):
        return _GITHUB_TOKENS
    return _TOKENS[provider]


async def find_token(provider: str, url: str) -> tuple[str, str]:
    """The user's name and token: from the variables of the hosts' tools, else from git's credential helpers."""
    for name in token_variables(provider, host_of(url)):
        if os.environ.get(name):
            users = ("BITBUCKET_EMAIL", "BITBUCKET_USERNAME") if "BITBUCKET" in name else ()
            return next((os.environ[x] for x in users if os.environ.get(x)), ""), os.environ[name]
    text = f"protocol={urlsplit(url).scheme}\nhost={host_of(url)}\n\n"
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


def _not_trusted(host: str) -> str:
    return f"{host} is not a host of the run's WorkspaceConfig: pass --host {host} to trust it"


def _family(provider: str) -> str:
    """Forgejo has the API and the URLs of Gitea."""
    return "Gitea" if provider == "Forgejo" else provider


def _provider(name: str) -> str:
    found = {x.lower(): x for x in ENTERPRISE_URLS}.get(name.lower(), "")
    if name and not found:
        raise UsageError(f"--host: {name} is none of {', '.join(ENTERPRISE_URLS)}")
    return found


def _is_public(host: str) -> bool:
    return host in PUBLIC_HOSTS or host.endswith(".ghe.com")


def _is_plain(url: str) -> bool:
    return urlsplit(url).scheme == "http"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
