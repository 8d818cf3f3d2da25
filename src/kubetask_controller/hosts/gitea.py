"""Gitea and Forgejo, which have the same API: https://docs.gitea.com/api, https://codeberg.org/api/swagger"""

from collections.abc import AsyncIterator
from typing import Any

from kubetask_controller.hosts.githubstyle import (
    GitHubStyleAPI,
    common_fields,
    repository_info,
    repository_path,
    reviewers_of,
)
from kubetask_controller.hosts.http import HostError, create_once, path_segment
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

_DRAFT = "WIP: "
_STATUS = {
    "success": Checks.PASSED,
    "warning": Checks.PASSED,
    "skipped": Checks.PASSED,
    "pending": Checks.PENDING,
    "failure": Checks.FAILED,
    "error": Checks.FAILED,
}


class Gitea(GitHubStyleAPI):
    """The API of Gitea and Forgejo."""

    async def open(
        self, org: str, repo: str, wanted: PullRequestSpec
    ) -> tuple[PullRequestInfo, list[str]]:
        """See `HostAPI`."""
        path = repository_path(org, repo)
        base = wanted.base or (await self._session.get(path))["default_branch"]
        title = f"{_DRAFT}{wanted.title}" if wanted.draft else wanted.title
        problems: list[str] = []
        labels = await self._labels(org, path, wanted, problems) if wanted.labels else []
        raw = await self._existing(path, wanted.branch)
        fields: JSON = {"title": title, "body": wanted.body}
        if raw is None:
            body = {**fields, "head": wanted.branch, "base": base, "labels": labels}
            raw = await create_once(
                lambda: self._session.post(f"{path}/pulls", body),
                lambda: self._existing(path, wanted.branch),
            )
        else:
            number = raw["number"]
            raw = await self._session.patch(f"{path}/pulls/{number}", {**fields, "base": base})
            if labels:
                await self._session.post(f"{path}/issues/{number}/labels", {"labels": labels})
        if wanted.assignees:
            body = {"assignees": list(wanted.assignees)}
            try:
                await self._session.patch(f"{path}/pulls/{raw['number']}", body)
            except HostError as error:
                problems.append(f"assignees: {error}")
        if wanted.reviewers:
            body = reviewers_of(raw, wanted.reviewers)
            try:
                await self._session.post(f"{path}/pulls/{raw['number']}/requested_reviewers", body)
            except HostError as error:
                problems.append(f"reviewers: {error}")
        if wanted.auto_merge:
            body = {"Do": wanted.auto_merge.value.lower(), "merge_when_checks_succeed": True}
            try:
                await self._session.post(f"{path}/pulls/{raw['number']}/merge", body)
            except HostError as error:
                problems.append(f"autoMerge: {error}")
        return _request(raw), problems

    async def find(self, org: str, repo: str, branch: str) -> PullRequestInfo | None:
        """See `HostAPI`."""
        async for raw in self._session.items(
            f"{repository_path(org, repo)}/pulls", state="all", sort="recentupdate", limit=50
        ):
            if _is_of_branch(raw, branch):
                return _request(raw)
        return None

    async def look(self, org: str, repo: str, number: int) -> PullRequestInfo:
        """See `HostAPI`."""
        path = repository_path(org, repo)
        raw = await self._session.get(f"{path}/pulls/{number}")
        status = await self._session.get(
            f"{path}/commits/{path_segment(raw['head']['sha'])}/status"
        )
        checks = Checks.NONE
        if status and status.get("total_count", len(status.get("statuses") or ())):
            checks = _STATUS.get(status.get("state") or "", Checks.PENDING)
        latest: dict[str, str] = {}
        async for each in self._session.items(f"{path}/pulls/{number}/reviews", limit=50):
            if not each.get("dismissed") and each.get("state") in ("APPROVED", "REQUEST_CHANGES"):
                latest[(each.get("user") or {}).get("login", "")] = each["state"]
        review = Review.NONE
        if "REQUEST_CHANGES" in latest.values():
            review = Review.CHANGES
        elif latest:
            review = Review.APPROVED
        behind = bool(raw.get("merge_base")) and raw["base"].get("sha") not in (
            None,
            raw["merge_base"],
        )
        return _request(
            raw,
            checks=checks,
            review=review,
            conflict=raw["state"] == "open" and raw.get("mergeable") is False,
            behind=behind,
        )

    async def merge(self, org: str, repo: str, request: PullRequestInfo, how: MergeMethod) -> None:
        """See `HostAPI`."""
        body = {
            "Do": how.value.lower(),
            "head_commit_id": request.head,
            "delete_branch_after_merge": True,
        }
        await self._session.post(f"{repository_path(org, repo)}/pulls/{request.number}/merge", body)

    async def update_branch(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """See `HostAPI`."""
        await self._session.post(
            f"{repository_path(org, repo)}/pulls/{request.number}/update", style="merge"
        )

    async def repositories(
        self, owner: str, *, search: str = "", topic: str = ""
    ) -> AsyncIterator[RepositoryInfo]:
        """See `HostAPI`."""
        if search or topic or not owner:
            query: JSON = {"q": topic or search, "topic": bool(topic), "limit": 50}
            async for page in self._session.pages("repos/search", **query):
                for raw in page.get("data") or ():
                    info = _repository(raw)
                    if not owner or info.org.lower() == owner.lower():
                        yield info
            return
        async for raw in self._owned(owner, limit=50):
            yield _repository(raw)

    async def _existing(self, path: str, branch: str) -> JSON | None:
        async for raw in self._session.items(f"{path}/pulls", state="open", limit=50):
            if _is_of_branch(raw, branch):
                return raw
        return None

    async def _labels(
        self, org: str, path: str, wanted: PullRequestSpec, problems: list[str]
    ) -> list[int]:
        """Ids of labels of the repository or its organisation."""
        known: dict[str, int] = {}
        for where in (f"orgs/{path_segment(org)}/labels", f"{path}/labels"):
            try:
                async for raw in self._session.numbered(where, limit=50):
                    known[raw["name"].lower()] = raw["id"]
            except HostError as error:
                if error.status not in (403, 404):
                    raise
        problems += [f"there is no label {x}" for x in wanted.labels if x.lower() not in known]
        return [known[x.lower()] for x in wanted.labels if x.lower() in known]


def _is_of_branch(raw: JSON, branch: str) -> bool:
    """Whether it is from a branch of the repository itself. A fork may have a branch of the same name."""
    return bool(raw["head"]["ref"] == branch) and _is_own(raw)


def _is_own(raw: JSON) -> bool:
    """Whether its branch is one of the repository itself. The id of a fork that was deleted is -1."""
    source, target = (raw[x].get("repo_id") for x in ("head", "base"))
    # Users who may only read can push to refs/for/BRANCH, which makes a pull request without a branch.
    unnamed = raw["state"] == "open" and raw["head"]["ref"].startswith("refs/pull/")
    return source is not None and bool(source == target) and not unnamed


def _request(raw: JSON, **more: Any) -> PullRequestInfo:
    state = PullRequestState.OPEN
    title = raw.get("title") or ""
    if raw.get("draft") or title.upper().startswith(("WIP:", "[WIP]")):
        state = PullRequestState.DRAFT
    if raw["state"] == "closed":
        state = PullRequestState.MERGED if raw.get("merged") else PullRequestState.CLOSED
    return PullRequestInfo(
        state=state,
        fork=not _is_own(raw),
        head=raw["head"].get("sha") or "",
        closed=optional_time(raw.get("merged_at") or raw.get("closed_at")),
        **common_fields(raw),
        **more,
    )


def _repository(raw: JSON) -> RepositoryInfo:
    return repository_info(raw, archived=bool(raw.get("archived")), empty=bool(raw.get("empty")))
