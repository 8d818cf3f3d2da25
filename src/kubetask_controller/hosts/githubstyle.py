"""The parts of the API that GitHub and Gitea (with Forgejo) have in common."""

from collections.abc import AsyncIterator
from typing import Any

from kubetask_controller.hosts.http import HostError, HostSession, path_segment
from kubetask_controller.hosts.model import PullRequestInfo, RepositoryInfo, optional_time
from kubetask_controller.types import JSON


class GitHubStyleAPI:
    """Requests that are equal at GitHub and Gitea."""

    def __init__(self, session: HostSession) -> None:
        self._session = session

    async def close(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """See `HostAPI`."""
        path = f"{repository_path(org, repo)}/pulls/{request.number}"
        await self._session.patch(path, {"state": "closed"})

    async def comment(self, org: str, repo: str, request: PullRequestInfo, text: str) -> None:
        """See `HostAPI`."""
        path = f"{repository_path(org, repo)}/issues/{request.number}/comments"
        await self._session.post(path, {"body": text})

    async def _owned(self, owner: str, **query: Any) -> AsyncIterator[JSON]:
        """The repositories of an organisation, else of a user."""
        name = path_segment(owner)
        try:
            async for raw in self._session.items(f"orgs/{name}/repos", **query):
                yield raw
        except HostError as error:
            if error.status != 404:
                raise
            async for raw in self._session.items(f"users/{name}/repos", **query):
                yield raw


def repository_path(org: str, repo: str) -> str:
    """The path of a repository below the base URL."""
    return f"repos/{path_segment(org)}/{path_segment(repo)}"


def common_fields(raw: JSON) -> JSON:
    """Fields of a PullRequestInfo from a pull request, without state, head and times of the end."""
    return {
        "number": raw["number"],
        "url": raw["html_url"],
        "title": raw.get("title") or "",
        "branch": raw["head"]["ref"],
        "base": raw["base"]["ref"],
        "author": author_of(raw),
        "created": optional_time(raw.get("created_at")),
    }


def author_of(raw: JSON) -> str:
    """The login of a pull request's author."""
    return str((raw.get("user") or {}).get("login", ""))


def reviewers_of(raw: JSON, names: Any) -> JSON:
    """The body of a request for reviews by users and teams (``org/team``), without the author."""
    author = author_of(raw)
    return {
        "reviewers": [x for x in names if "/" not in x and x != author],
        "team_reviewers": [x.rpartition("/")[2] for x in names if "/" in x],
    }


def repository_info(raw: JSON, *, archived: bool, empty: bool) -> RepositoryInfo:
    """A repository of a list."""
    return RepositoryInfo(
        org=raw["owner"]["login"],
        repo=raw["name"],
        default_branch=raw.get("default_branch") or "",
        fork=bool(raw.get("fork")),
        archived=archived,
        empty=empty,
        topics=tuple(raw.get("topics") or ()),
    )
