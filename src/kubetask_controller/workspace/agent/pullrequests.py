"""Opens a pull request for each pushed branch, with the available credentials.

Idempotent: an open pull request of the same branch is updated, so several attempts of a task result in one.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kubetask_controller.api.constants import Reason
from kubetask_controller.api.manifest import ManifestPullRequest, TaskManifest
from kubetask_controller.hosts import (
    HostError,
    MergeMethod,
    PullRequestInfo,
    PullRequestSpec,
    RequestLimits,
    connect,
    provider_of,
)
from kubetask_controller.workspace.agent.publish import (
    Published,
    fill_template,
    find_pull_request,
    template_values,
)
from kubetask_controller.workspace.credentials import make_app_token
from kubetask_controller.workspace.git import log_line
from kubetask_controller.workspace.gitconfig import TaskHost, task_hosts

DEFAULT_TITLE = "{summary}"
DEFAULT_BODY = "{description}\n\n---\nTask `{namespace}/{task}`, by [KubeTask](https://kubetask.io)"
MAX_TITLE = 250
LIMITS = RequestLimits(timeout=60, max_wait=900)
_TOKENS = {
    "GitHub": ("GH_TOKEN", "GITHUB_TOKEN"),
    "GitLab": ("GITLAB_TOKEN",),
    "Gitea": ("GITEA_TOKEN",),
    "Forgejo": ("FORGEJO_TOKEN",),
    "Bitbucket": ("BITBUCKET_TOKEN",),
    "BitbucketDataCenter": ("BITBUCKET_TOKEN",),
    "AzureDevOps": ("AZURE_DEVOPS_EXT_PAT",),
}
"""Variables that command line tools of the hosts use for tokens."""


def open_requests(
    manifest: TaskManifest,
    published: Sequence[Published],
    description: str,
    environ: Mapping[str, str],
    *,
    redact: Callable[[str], str] = str,
) -> tuple[list[Published], list[tuple[Reason, str]]]:
    """Open a pull request for each repository that was pushed.

    Args:
        manifest: the task's manifest, with the settings of the pull request.
        published: the task's repositories.
        description: the agent's final message.
        environ: environment variables, which may contain tokens.
        redact: masks messages of hosts.

    Returns:
        The repositories with their pull requests, and the failures as pairs of reason and message.
    """
    wanted = manifest.pull_request
    if wanted is None:
        return list(published), []
    hosts = {x.host.name: x for x in task_hosts(manifest)}
    done: list[Published] = []
    problems: list[tuple[Reason, str]] = []
    for each in published:
        repository = each.repository
        shown = f"{repository.org}/{repository.repo}"
        # An agent that opened a pull request printed its URL.
        own = find_pull_request(
            manifest.model_copy(update={"repositories": (repository,)}), description
        )
        if not each.pushed or own:
            done.append(replace(each, request=own if each.pushed else ""))
            continue
        values = template_values(manifest, repository, description)
        try:
            request, missing = asyncio.run(
                _open(hosts[repository.host], each, _desired(wanted, values), environ)
            )
        except (HostError, ValueError, LookupError, TypeError, AttributeError, OSError) as error:
            limited = isinstance(error, HostError) and error.rate_limited
            reason = Reason.RATE_LIMITED if limited else Reason.PULL_REQUEST_FAILED
            text = redact(_shown(error))
            problems.append(
                (
                    reason,
                    f"{shown}: the branch was pushed, but opening its pull request failed: {text}",
                )
            )
            done.append(each)
            continue
        log_line(f"{shown}: pull request {request.url}")
        for text in missing:
            log_line(redact(f"{shown}: {text}"))
        done.append(replace(each, request=request.url))
    return done, problems


def _shown(error: Exception) -> str:
    if isinstance(error, HostError | ValueError | OSError):
        return str(error) or repr(error)
    return f"the host sent an unexpected response: {error!r}"


def _desired(wanted: ManifestPullRequest, values: Mapping[str, str]) -> PullRequestSpec:
    title = " ".join(fill_template(wanted.title or DEFAULT_TITLE, values).split())
    return PullRequestSpec(
        branch=values["branch"],
        base=wanted.base or values["base"],
        title=title[:MAX_TITLE],
        body=fill_template(wanted.body or DEFAULT_BODY, values),
        draft=wanted.draft,
        labels=wanted.labels,
        reviewers=wanted.reviewers,
        assignees=wanted.assignees,
        auto_merge=MergeMethod(wanted.auto_merge) if wanted.auto_merge else None,
    )


async def _open(
    host: TaskHost, each: Published, desired: PullRequestSpec, environ: Mapping[str, str]
) -> tuple[PullRequestInfo, list[str]]:
    repository = each.repository
    kind = host.host.provider or provider_of(host.host.api_url or repository.url)
    username, token = await asyncio.to_thread(_sign_in, host, kind, environ)
    if not token:
        raise HostError(
            "no token: add one to the Secret of the git credentials (token, or a GitHub App's keys), and set"
            " shareWithAgent"
        )
    session, api = connect(
        kind,
        repository.url,
        api=host.host.api_url,
        token=token,
        username=username,
        limits=LIMITS,
        waiting=log_line,
    )
    async with session:
        org, repo = host.site.project(repository.org, repository.repo, kind=kind)
        return await api.open(org, repo, desired)


def _sign_in(host: TaskHost, kind: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """User and token from the mounted Secret, else from variables."""
    folder = Path(host.folder)
    if host.is_app:
        url = host.repositories[0].url
        _, token = make_app_token(folder, host.host.api_url, url, host.app_names)
        return "x-access-token", token
    for key in ("password", "token") if host.folder else ():
        if token := _read(folder / key):
            # git and the API of Bitbucket Cloud require different names for one token.
            email = _read(folder / "email") if kind == "Bitbucket" else ""
            return email or _read(folder / "username"), token
    email = environ.get("BITBUCKET_EMAIL", "") if kind == "Bitbucket" else ""
    return email, next((environ[x] for x in _TOKENS.get(kind, ()) if environ.get(x)), "")


def _read(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return ""
