"""Azure DevOps: https://learn.microsoft.com/en-us/rest/api/azure/devops/git/

`org` is ``organization/project``.
"""

import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

from kubetask_controller.hosts.http import HostError, HostSession, create_once, path_segment
from kubetask_controller.hosts.model import (
    Checks,
    MergeMethod,
    PullRequestInfo,
    PullRequestSpec,
    PullRequestState,
    RepositoryInfo,
    Review,
    optional_time,
)
from kubetask_controller.types import JSON

_VERSION = "7.1"
_MAX_TITLE = 400
_MAX_BODY = 4000
_STATES = {
    "active": PullRequestState.OPEN,
    "notSet": PullRequestState.OPEN,
    "completed": PullRequestState.MERGED,
    "abandoned": PullRequestState.CLOSED,
}
_MERGES = {
    MergeMethod.MERGE: "noFastForward",
    MergeMethod.SQUASH: "squash",
    MergeMethod.REBASE: "rebase",
}
_ID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", re.IGNORECASE)
_FAILED = {"rejected", "broken", "failed", "error"}
_PENDING = {"queued", "running", "pending", "notSet"}
_PASSED = {"approved", "succeeded"}


class AzureDevOps:
    """The API of Azure DevOps Services and Server."""

    def __init__(self, session: HostSession) -> None:
        self._session = session

    async def open(
        self, org: str, repo: str, wanted: PullRequestSpec
    ) -> tuple[PullRequestInfo, list[str]]:
        """See `HostAPI`."""
        path = _path(org, repo)
        base = wanted.base
        if not base:
            found = await self._get(path)
            base = found["defaultBranch"].removeprefix("refs/heads/")
        problems = ["Azure DevOps has no assignees of pull requests"] if wanted.assignees else []
        problems += [
            f"reviewer {x}: Azure DevOps requires the id of a user or team"
            for x in wanted.reviewers
            if not _ID.match(x)
        ]
        body: JSON = {
            "title": wanted.title[:_MAX_TITLE],
            "description": wanted.body[:_MAX_BODY],
            "targetRefName": f"refs/heads/{base}",
            "isDraft": wanted.draft,
        }
        raw = await self._newest(path, wanted.branch, "active")
        if raw is None:
            more: JSON = {
                "sourceRefName": f"refs/heads/{wanted.branch}",
                "labels": [{"name": x} for x in wanted.labels],
                "reviewers": [{"id": x} for x in wanted.reviewers if _ID.match(x)],
            }
            raw = await create_once(
                lambda: self._post(f"{path}/pullrequests", {**body, **more}),
                lambda: self._newest(path, wanted.branch, "active"),
            )
        else:
            raw = await self._patch(f"{path}/pullrequests/{raw['pullRequestId']}", body)
            for label in wanted.labels:
                where = f"{path}/pullrequests/{raw['pullRequestId']}/labels"
                await self._post(where, {"name": label})
        if wanted.auto_merge:
            try:
                # The part before the project; it may be empty.
                place = f"{_project(org.rpartition('/')[0])}/_apis/connectionData"
                me = await self._session.get(place)
                await self._patch(
                    f"{path}/pullrequests/{raw['pullRequestId']}",
                    {
                        "autoCompleteSetBy": {"id": me["authenticatedUser"]["id"]},
                        "completionOptions": _completion(wanted.auto_merge),
                    },
                )
            except (HostError, KeyError) as error:
                problems.append(f"autoMerge: {error}")
        return self._request(org, repo, raw), problems

    async def find(self, org: str, repo: str, branch: str) -> PullRequestInfo | None:
        """See `HostAPI`."""
        raw = await self._newest(_path(org, repo), branch, "all")
        return self._request(org, repo, raw) if raw else None

    async def look(self, org: str, repo: str, number: int) -> PullRequestInfo:
        """See `HostAPI`."""
        path = f"{_path(org, repo)}/pullrequests/{number}"
        raw = await self._get(path)
        project = ((raw.get("repository") or {}).get("project") or {}).get("id", "")
        states = _newest_states((await self._get(f"{path}/statuses"))["value"])
        if project:
            evaluations = await self._session.get(
                f"{_project(org)}/_apis/policy/evaluations",
                artifactId=f"vstfs:///CodeReview/CodeReviewId/{project}/{number}",
                **{"api-version": "7.1-preview.1"},
            )
            states |= {
                x.get("status", "")
                for x in evaluations["value"]
                if ((x.get("configuration") or {}).get("type") or {}).get("displayName")
                in ("Build", "Status")
            }
        checks = Checks.NONE
        if states & _FAILED:
            checks = Checks.FAILED
        elif states & _PENDING:
            checks = Checks.PENDING
        elif states & _PASSED:
            checks = Checks.PASSED
        votes = {x.get("vote", 0) for x in raw.get("reviewers") or ()}
        review = Review.NONE
        if min(votes, default=0) < 0:
            review = Review.CHANGES
        elif max(votes, default=0) > 0:
            review = Review.APPROVED
        return self._request(
            org,
            repo,
            raw,
            checks=checks,
            review=review,
            conflict=raw.get("mergeStatus") == "conflicts",
        )

    async def merge(self, org: str, repo: str, request: PullRequestInfo, how: MergeMethod) -> None:
        """See `HostAPI`."""
        body = {
            "status": "completed",
            "lastMergeSourceCommit": {"commitId": request.head},
            "completionOptions": _completion(how),
        }
        await self._patch(f"{_path(org, repo)}/pullrequests/{request.number}", body)

    async def close(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """See `HostAPI`."""
        path = f"{_path(org, repo)}/pullrequests/{request.number}"
        await self._patch(path, {"status": "abandoned"})

    async def comment(self, org: str, repo: str, request: PullRequestInfo, text: str) -> None:
        """See `HostAPI`."""
        comment = {"parentCommentId": 0, "content": text, "commentType": 1}
        path = f"{_path(org, repo)}/pullrequests/{request.number}/threads"
        await self._post(path, {"comments": [comment], "status": "closed"})

    async def update_branch(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """See `HostAPI`."""
        raise HostError("Azure DevOps has no API that updates the branch of a pull request")

    async def repositories(
        self, owner: str, *, search: str = "", topic: str = ""
    ) -> AsyncIterator[RepositoryInfo]:
        """See `HostAPI`. The owner is an organization or collection, or the path of a project."""
        if topic:
            raise HostError("Azure DevOps has no topics")
        found = await self._get(f"{_project(owner)}/_apis/git/repositories")
        above, _, project = owner.rpartition("/")
        old = (urlsplit(self._session.url).hostname or "").endswith(".visualstudio.com")
        projects = {x["project"]["name"].lower() for x in found["value"]}
        # Else the owner is an organization or collection.
        if projects != {project.lower()} or not (above or old):
            above = owner
        for raw in found["value"]:
            if search and search.lower() not in raw["name"].lower():
                continue
            yield RepositoryInfo(
                org=f"{above}/{raw['project']['name']}".lstrip("/"),
                repo=raw["name"],
                default_branch=(raw.get("defaultBranch") or "").removeprefix("refs/heads/"),
                fork=bool(raw.get("isFork")),
                archived=bool(raw.get("isDisabled")),
                empty=not raw.get("defaultBranch"),
            )

    async def _newest(self, path: str, branch: str, status: str) -> JSON | None:
        found = await self._get(
            f"{path}/pullrequests",
            **{
                "searchCriteria.sourceRefName": f"refs/heads/{branch}",
                "searchCriteria.status": status,
                "$top": 100,
            },
        )
        # A fork may have a branch of the same name.
        return next((x for x in found["value"] if not x.get("forkSource")), None)

    async def _get(self, path: str, **query: Any) -> Any:
        return await self._session.get(path, **query, **{"api-version": _VERSION})

    async def _post(self, path: str, body: Any) -> Any:
        return await self._session.post(path, body, **{"api-version": _VERSION})

    async def _patch(self, path: str, body: Any) -> Any:
        return await self._session.patch(path, body, **{"api-version": _VERSION})

    def _request(self, org: str, repo: str, raw: JSON, **more: Any) -> PullRequestInfo:
        state = _STATES[raw["status"]]
        if state is PullRequestState.OPEN and raw.get("isDraft"):
            state = PullRequestState.DRAFT
        web = (raw.get("repository") or {}).get("webUrl") or (
            f"{self._session.url}/{_project(org)}/_git/{path_segment(repo)}"
        )
        return PullRequestInfo(
            number=raw["pullRequestId"],
            url=f"{web}/pullrequest/{raw['pullRequestId']}".replace(" ", "%20"),
            state=state,
            title=raw.get("title") or "",
            branch=raw["sourceRefName"].removeprefix("refs/heads/"),
            base=raw["targetRefName"].removeprefix("refs/heads/"),
            fork=bool(raw.get("forkSource")),
            head=(raw.get("lastMergeSourceCommit") or {}).get("commitId", ""),
            author=(raw.get("createdBy") or {}).get("displayName", ""),
            created=optional_time(raw.get("creationDate")),
            closed=optional_time(raw.get("closedDate")),
            **more,
        )


def _newest_states(statuses: list[JSON]) -> set[str]:
    """The state of each check: the host returns every status that was ever posted."""
    newest: dict[tuple[str, str], JSON] = {}
    for each in statuses:
        context = each.get("context") or {}
        key = (context.get("genre") or "", context.get("name") or "")
        if each.get("id", 0) >= newest.get(key, {}).get("id", 0):
            newest[key] = each
    return {x.get("state", "") for x in newest.values()}


def _completion(how: MergeMethod) -> JSON:
    return {"mergeStrategy": _MERGES[how], "deleteSourceBranch": True}


def _project(org: str) -> str:
    return "/".join(path_segment(x) for x in org.split("/"))


def _path(org: str, repo: str) -> str:
    return f"{_project(org)}/_apis/git/repositories/{path_segment(repo)}"
