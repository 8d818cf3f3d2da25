"""GitLab: https://docs.gitlab.com/api/merge_requests/"""

from collections.abc import AsyncIterator
from typing import Any

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

_STATES = {
    "opened": PullRequestState.OPEN,
    "locked": PullRequestState.OPEN,
    "merged": PullRequestState.MERGED,
    "closed": PullRequestState.CLOSED,
}
_PIPELINE = {
    "success": Checks.PASSED,
    "skipped": Checks.PASSED,
    "failed": Checks.FAILED,
    "canceled": Checks.FAILED,
}


_UNCHECKED = {"preparing", "unchecked", "checking", "approvals_syncing", "cannot_be_merged_recheck"}
_MERGEABLE = {"", "mergeable", "can_be_merged", "ci_must_pass", "ci_still_running", *_UNCHECKED}
"""Values of detailed_merge_status and merge_status."""
_MERGE_WAITS = (1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)
"""Seconds between tries to enable the automatic merge."""


class GitLab:
    """GitLab's API."""

    def __init__(self, session: HostSession) -> None:
        self._session = session

    async def open(
        self, org: str, repo: str, wanted: PullRequestSpec
    ) -> tuple[PullRequestInfo, list[str]]:
        """See `HostAPI`."""
        path = _path(org, repo)
        base = wanted.base or (await self._session.get(path))["default_branch"]
        title = f"Draft: {wanted.title}" if wanted.draft else wanted.title
        fields: JSON = {"title": title[:255], "description": wanted.body, "target_branch": base}
        problems: list[str] = []
        if wanted.labels:
            fields["add_labels"] = ",".join(wanted.labels)
        for key, names in (("reviewer_ids", wanted.reviewers), ("assignee_ids", wanted.assignees)):
            if names:
                fields[key] = await self._users(names, problems)
        raw = await self._newest(path, wanted.branch, "opened")
        if raw is None:
            body = {"source_branch": wanted.branch, "remove_source_branch": True, **fields}
            body["labels"] = body.pop("add_labels", "")
            raw = await create_once(
                lambda: self._session.post(f"{path}/merge_requests", body),
                lambda: self._newest(path, wanted.branch, "opened"),
            )
        else:
            raw = await self._session.put(f"{path}/merge_requests/{raw['iid']}", fields)
        if wanted.auto_merge:
            try:
                await self._merge_later(f"{path}/merge_requests/{raw['iid']}", raw, wanted)
            except HostError as error:
                problems.append(f"autoMerge: {error}")
        return _request(raw), problems

    async def find(self, org: str, repo: str, branch: str) -> PullRequestInfo | None:
        """See `HostAPI`."""
        raw = await self._newest(_path(org, repo), branch, "all")
        return _request(raw) if raw else None

    async def look(self, org: str, repo: str, number: int) -> PullRequestInfo:
        """See `HostAPI`."""
        path = f"{_path(org, repo)}/merge_requests/{number}"
        raw = await self._session.get(path, include_diverged_commits_count=True)
        pipeline = (raw.get("head_pipeline") or {}).get("status")
        checks = _PIPELINE.get(pipeline, Checks.PENDING) if pipeline else Checks.NONE
        review = Review.NONE
        approvals = await self._session.get(f"{path}/approvals")
        if approvals.get("approved") and approvals.get("approved_by"):
            review = Review.APPROVED
        if raw.get("detailed_merge_status") == "requested_changes":
            review = Review.CHANGES
        return _request(
            raw,
            checks=checks,
            review=review,
            conflict=bool(raw.get("has_conflicts")),
            behind=bool(raw.get("diverged_commits_count")),
        )

    async def merge(self, org: str, repo: str, request: PullRequestInfo, how: MergeMethod) -> None:
        """See `HostAPI`."""
        body = {
            "sha": request.head,
            "squash": how is MergeMethod.SQUASH,
            "should_remove_source_branch": True,
        }
        await self._session.put(f"{_path(org, repo)}/merge_requests/{request.number}/merge", body)

    async def close(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """See `HostAPI`."""
        path = f"{_path(org, repo)}/merge_requests/{request.number}"
        await self._session.put(path, {"state_event": "close"})

    async def comment(self, org: str, repo: str, request: PullRequestInfo, text: str) -> None:
        """See `HostAPI`."""
        path = f"{_path(org, repo)}/merge_requests/{request.number}/notes"
        await self._session.post(path, {"body": text})

    async def update_branch(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """See `HostAPI`. GitLab rebases the branch."""
        await self._session.put(f"{_path(org, repo)}/merge_requests/{request.number}/rebase")

    async def repositories(
        self, owner: str, *, search: str = "", topic: str = ""
    ) -> AsyncIterator[RepositoryInfo]:
        """See `HostAPI`."""
        query: JSON = {"per_page": 100, "search": search or None, "topic": topic or None}
        query |= {"order_by": "id", "sort": "asc"}
        if not owner:
            async for raw in self._session.items("projects", membership=True, **query):
                yield _repository(raw)
            return
        try:
            path = f"groups/{path_segment(owner)}/projects"
            async for raw in self._session.items(
                path, include_subgroups=True, with_shared=False, **query
            ):
                yield _repository(raw)
        except HostError as error:
            if error.status != 404:
                raise
            async for raw in self._session.items(f"users/{path_segment(owner)}/projects", **query):
                yield _repository(raw)

    async def _merge_later(self, path: str, raw: JSON, wanted: PullRequestSpec) -> None:
        """Enable the automatic merge, which GitLab refuses until it has checked a new merge request."""
        body = {
            "merge_when_pipeline_succeeds": True,
            "auto_merge": True,
            "squash": wanted.auto_merge is MergeMethod.SQUASH,
            "sha": raw["sha"],
        }
        for wait in (*_MERGE_WAITS, 0.0):
            status = raw.get("detailed_merge_status") or raw.get("merge_status") or ""
            if status not in _UNCHECKED or not wait:
                try:
                    await self._session.put(f"{path}/merge", body)
                    return
                except HostError as error:
                    if error.status != 405 or status not in _MERGEABLE or not wait:
                        raise
            await self._session.pause(wait)
            raw = await self._session.get(path)

    async def _newest(self, path: str, branch: str, state: str) -> JSON | None:
        """The newest merge request of a branch of the project itself. A fork may have a branch of the same name."""
        async for raw in self._session.items(
            f"{path}/merge_requests",
            source_branch=branch,
            state=state,
            order_by="created_at",
            sort="desc",
            per_page=20,
        ):
            if _is_own(raw):
                return raw
        return None

    async def _users(self, names: Any, problems: list[str]) -> list[int]:
        numbers = []
        for name in names:
            found = await self._session.get("users", username=name)
            if found:
                numbers.append(found[0]["id"])
            else:
                problems.append(f"there is no user {name}")
        return numbers


def _path(org: str, repo: str) -> str:
    return f"projects/{path_segment(f'{org}/{repo}')}"


def _is_own(raw: JSON) -> bool:
    """Whether its branch is one of the project itself. The id of a fork that was deleted is null."""
    source = raw.get("source_project_id")
    return source is not None and bool(source == raw.get("target_project_id"))


def _request(raw: JSON, **more: Any) -> PullRequestInfo:
    state = _STATES[raw["state"]]
    if state is PullRequestState.OPEN and (raw.get("draft") or raw.get("work_in_progress")):
        state = PullRequestState.DRAFT
    return PullRequestInfo(
        number=raw["iid"],
        url=raw["web_url"],
        state=state,
        title=raw.get("title") or "",
        branch=raw["source_branch"],
        base=raw["target_branch"],
        fork=not _is_own(raw),
        head=raw.get("sha") or "",
        author=(raw.get("author") or {}).get("username", ""),
        created=optional_time(raw.get("created_at")),
        closed=optional_time(raw.get("merged_at") or raw.get("closed_at")),
        **more,
    )


def _repository(raw: JSON) -> RepositoryInfo:
    org, _, repo = raw["path_with_namespace"].rpartition("/")
    return RepositoryInfo(
        org=org,
        repo=repo,
        default_branch=raw.get("default_branch") or "",
        fork="forked_from_project" in raw,
        archived=bool(raw.get("archived")),
        empty=bool(raw.get("empty_repo")) or not raw.get("default_branch"),
        topics=tuple(raw.get("topics") or ()),
    )
