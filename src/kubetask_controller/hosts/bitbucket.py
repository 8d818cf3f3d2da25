"""Bitbucket Cloud and Bitbucket Data Center, which have different APIs. Neither supports labels and assignees.

https://developer.atlassian.com/cloud/bitbucket/rest/, https://developer.atlassian.com/server/bitbucket/rest/
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kubetask_controller.hosts.http import (
    MAX_LIST_PAGES,
    HostError,
    HostSession,
    create_once,
    path_segment,
)
from kubetask_controller.hosts.model import (
    Checks,
    MergeMethod,
    PullRequestInfo,
    PullRequestSpec,
    PullRequestState,
    RepositoryInfo,
    Review,
)
from kubetask_controller.types import JSON

_CLOUD_STATES = {
    "OPEN": PullRequestState.OPEN,
    "MERGED": PullRequestState.MERGED,
    "DECLINED": PullRequestState.CLOSED,
    "SUPERSEDED": PullRequestState.CLOSED,
}
_CLOUD_MERGES = {
    MergeMethod.MERGE: "merge_commit",
    MergeMethod.SQUASH: "squash",
    MergeMethod.REBASE: "rebase_fast_forward",
}
_SERVER_MERGES = {
    MergeMethod.MERGE: "no-ff",
    MergeMethod.SQUASH: "squash",
    MergeMethod.REBASE: "rebase-no-ff",
}


class BitbucketCloud:
    """The API of bitbucket.org."""

    def __init__(self, session: HostSession) -> None:
        self._session = session

    async def open(
        self, org: str, repo: str, wanted: PullRequestSpec
    ) -> tuple[PullRequestInfo, list[str]]:
        """See `HostAPI`."""
        path = f"repositories/{path_segment(org)}/{path_segment(repo)}"
        base = wanted.base or (await self._session.get(path))["mainbranch"]["name"]
        problems = _unknown(wanted, auto_merge=True)
        body: JSON = {
            "title": wanted.title,
            "description": wanted.body,
            "destination": {"branch": {"name": base}},
            "draft": wanted.draft,
        }
        if wanted.reviewers:
            body["reviewers"] = await self._reviewers(org, wanted, problems)
        raw = await self._newest(path, wanted.branch, 'state="OPEN"')
        if raw is None:
            source = {"branch": {"name": wanted.branch}}
            more = {"source": source, "close_source_branch": True}
            raw = await create_once(
                lambda: self._session.post(f"{path}/pullrequests", {**body, **more}),
                lambda: self._newest(path, wanted.branch, 'state="OPEN"'),
            )
        else:
            raw = await self._session.put(f"{path}/pullrequests/{raw['id']}", body)
        return _cloud_request(raw), problems

    async def find(self, org: str, repo: str, branch: str) -> PullRequestInfo | None:
        """See `HostAPI`."""
        states = " OR ".join(f'state="{x}"' for x in _CLOUD_STATES)
        path = f"repositories/{path_segment(org)}/{path_segment(repo)}"
        raw = await self._newest(path, branch, f"({states})")
        return _cloud_request(raw) if raw else None

    async def look(self, org: str, repo: str, number: int) -> PullRequestInfo:
        """See `HostAPI`."""
        path = f"repositories/{path_segment(org)}/{path_segment(repo)}/pullrequests/{number}"
        raw = await self._session.get(path)
        states = [x["state"] async for x in self._values(f"{path}/statuses", pagelen=100)]
        opinions = {x.get("state") for x in raw.get("participants") or ()}
        review = Review.NONE
        if "changes_requested" in opinions:
            review = Review.CHANGES
        elif "approved" in opinions:
            review = Review.APPROVED
        return _cloud_request(
            raw,
            checks=_summed(
                failed=any(x in ("FAILED", "STOPPED") for x in states),
                pending="INPROGRESS" in states,
                passed=bool(states),
            ),
            review=review,
        )

    async def merge(self, org: str, repo: str, request: PullRequestInfo, how: MergeMethod) -> None:
        """See `HostAPI`."""
        path = _cloud_path(org, repo, request)
        newest = await self._session.get(path)
        # The API has no parameter for the expected commit.
        head = (newest["source"].get("commit") or {}).get("hash")
        if not head or not request.head.startswith(head):
            raise HostError(f"{request.url}: its branch has newer commits: check it again")
        body = {"type": "pullrequest_merge_parameters", "merge_strategy": _CLOUD_MERGES[how]}
        await self._session.post(f"{path}/merge", {**body, "close_source_branch": True})

    async def close(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """See `HostAPI`."""
        await self._session.post(f"{_cloud_path(org, repo, request)}/decline")

    async def comment(self, org: str, repo: str, request: PullRequestInfo, text: str) -> None:
        """See `HostAPI`."""
        path = f"{_cloud_path(org, repo, request)}/comments"
        await self._session.post(path, {"content": {"raw": text}})

    async def update_branch(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """See `HostAPI`."""
        raise HostError("Bitbucket Cloud has no API that updates the branch of a pull request")

    async def repositories(
        self, owner: str, *, search: str = "", topic: str = ""
    ) -> AsyncIterator[RepositoryInfo]:
        """See `HostAPI`."""
        if topic:
            raise HostError("Bitbucket has no topics")
        query = f'name ~ "{_escaped(search)}"' if search else None
        async for raw in self._values(f"repositories/{path_segment(owner)}", pagelen=100, q=query):
            org, _, repo = raw["full_name"].partition("/")
            branch = (raw.get("mainbranch") or {}).get("name") or ""
            yield RepositoryInfo(org, repo, branch, fork=bool(raw.get("parent")), empty=not branch)

    async def _newest(self, path: str, branch: str, states: str) -> JSON | None:
        """The newest pull request of a branch of the repository itself. A fork may have a branch of the same name."""
        async for raw in self._values(
            f"{path}/pullrequests",
            q=f'source.branch.name="{_escaped(branch)}" AND {states}',
            sort="-created_on",
            pagelen=20,
        ):
            if _is_cloud_own(raw):
                return raw
        return None

    async def _values(self, path: str, **query: Any) -> AsyncIterator[JSON]:
        page = await self._session.get(path, **query)
        for _ in range(MAX_LIST_PAGES):
            for raw in page.get("values") or ():
                yield raw
            if not page.get("next"):
                return
            page = await self._session.get(page["next"])

    async def _reviewers(
        self, org: str, wanted: PullRequestSpec, problems: list[str]
    ) -> list[JSON]:
        """Reviewers by uuid, from the members of the workspace."""
        members: dict[str, str] = {}
        try:
            async for raw in self._values(f"workspaces/{path_segment(org)}/members", pagelen=100):
                user = raw.get("user") or {}
                for key in ("nickname", "display_name", "uuid", "account_id"):
                    if user.get(key):
                        members[user[key].lower()] = user["uuid"]
        except HostError as error:
            problems.append(f"reviewers: {error}")
            return []
        problems += [f"there is no user {x}" for x in wanted.reviewers if x.lower() not in members]
        return [{"uuid": members[x.lower()]} for x in wanted.reviewers if x.lower() in members]


class BitbucketDataCenter:
    """The API of Bitbucket Data Center."""

    def __init__(self, session: HostSession) -> None:
        self._session = session

    async def open(
        self, org: str, repo: str, wanted: PullRequestSpec
    ) -> tuple[PullRequestInfo, list[str]]:
        """See `HostAPI`."""
        path = _server_path(org, repo)
        base = wanted.base or (await self._session.get(f"{path}/default-branch"))["displayId"]
        problems = _unknown(wanted, auto_merge=True)
        body: JSON = {
            "title": wanted.title[:255],
            "description": wanted.body[:32768],
            "toRef": {"id": f"refs/heads/{base}"},
            "reviewers": [{"user": {"name": x}} for x in wanted.reviewers],
            "draft": wanted.draft,
        }
        raw = await self._newest(path, wanted.branch, "OPEN")
        if raw is None:
            source = {"fromRef": {"id": f"refs/heads/{wanted.branch}"}}
            raw = await create_once(
                lambda: self._with_known_reviewers(
                    "POST", f"{path}/pull-requests", {**body, **source}, problems
                ),
                lambda: self._newest(path, wanted.branch, "OPEN"),
            )
        else:
            # A list without the reviewers that people added removes them.
            present = [{"user": {"name": x["user"]["name"]}} for x in raw.get("reviewers") or ()]
            more: JSON = {"version": raw["version"]}
            more["reviewers"] = [*present, *(x for x in body["reviewers"] if x not in present)]
            raw = await self._with_known_reviewers(
                "PUT", f"{path}/pull-requests/{raw['id']}", {**body, **more}, problems, present
            )
        return _server_request(raw), problems

    async def find(self, org: str, repo: str, branch: str) -> PullRequestInfo | None:
        """See `HostAPI`."""
        raw = await self._newest(_server_path(org, repo), branch, "ALL")
        return _server_request(raw) if raw else None

    async def look(self, org: str, repo: str, number: int) -> PullRequestInfo:
        """See `HostAPI`."""
        path = f"{_server_path(org, repo)}/pull-requests/{number}"
        raw = await self._session.get(path)
        head = raw["fromRef"].get("latestCommit", "")
        root = self._session.url.removesuffix("/api/1.0")
        stats = await self._session.get(
            f"{root}/build-status/1.0/commits/stats/{path_segment(head)}"
        )
        merge = await self._session.get(f"{path}/merge") if raw["state"] == "OPEN" else {}
        opinions = {x.get("status") for x in raw.get("reviewers") or ()}
        review = Review.NONE
        if "NEEDS_WORK" in opinions:
            review = Review.CHANGES
        elif "APPROVED" in opinions:
            review = Review.APPROVED
        return _server_request(
            raw,
            checks=_summed(
                failed=bool(stats.get("failed")),
                pending=bool(stats.get("inProgress")),
                passed=bool(stats.get("successful")),
            ),
            review=review,
            conflict=bool(merge.get("conflicted")),
        )

    async def merge(self, org: str, repo: str, request: PullRequestInfo, how: MergeMethod) -> None:
        """See `HostAPI`."""
        at = await self._versioned(org, repo, request)
        if at.head != request.head:
            raise HostError(f"{request.url}: its branch has newer commits: check it again")
        body = {"strategyId": _SERVER_MERGES[how], "version": at.version}
        await self._session.post(f"{at.path}/merge", body, version=at.version)

    async def close(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """See `HostAPI`."""
        at = await self._versioned(org, repo, request)
        await self._session.post(f"{at.path}/decline", {"version": at.version}, version=at.version)

    async def comment(self, org: str, repo: str, request: PullRequestInfo, text: str) -> None:
        """See `HostAPI`."""
        path = f"{_server_path(org, repo)}/pull-requests/{request.number}/comments"
        await self._session.post(path, {"text": text})

    async def update_branch(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """See `HostAPI`. Bitbucket rebases the branch."""
        at = await self._versioned(org, repo, request)
        root = self._session.url.removesuffix("/api/1.0")
        await self._session.post(f"{root}/git/1.0/{at.path}/rebase", {"version": at.version})

    async def repositories(
        self, owner: str, *, search: str = "", topic: str = ""
    ) -> AsyncIterator[RepositoryInfo]:
        """See `HostAPI`."""
        if topic:
            raise HostError("Bitbucket has no topics")
        path = f"projects/{path_segment(owner)}/repos" if owner else "repos"
        start: int | None = 0
        for _ in range(MAX_LIST_PAGES):
            page = await self._session.get(path, limit=100, start=start, name=search or None)
            for raw in page["values"]:
                if search and search.lower() not in raw["name"].lower():
                    continue
                yield RepositoryInfo(
                    raw["project"]["key"],
                    raw["slug"],
                    fork="origin" in raw,
                    archived=bool(raw.get("archived")),
                    empty=raw.get("state") == "INITIALISING",
                )
            if page.get("isLastPage", True):
                return
            start = page["nextPageStart"]

    async def _newest(self, path: str, branch: str, state: str) -> JSON | None:
        found = await self._session.get(
            f"{path}/pull-requests",
            at=f"refs/heads/{branch}",
            direction="OUTGOING",
            order="NEWEST",
            state=state,
            limit=25,
        )
        # A repository that is a fork has those that it sends to its origin too.
        return next((x for x in found.get("values") or () if _is_server_own(x)), None)

    async def _with_known_reviewers(
        self, method: str, path: str, body: JSON, problems: list[str], present: Sequence[JSON] = ()
    ) -> JSON:
        """Send a request, and repeat it without new reviewers if Bitbucket rejects one of them."""
        try:
            answer: JSON = (await self._session.send(method, path, body)).body
        except HostError as error:
            if error.status != 409 or not body["reviewers"]:
                raise
            problems.append(f"reviewers: {error}")
            body = {**body, "reviewers": list(present)}
            answer = (await self._session.send(method, path, body)).body
        return answer

    async def _versioned(self, org: str, repo: str, request: PullRequestInfo) -> "_Versioned":
        path = f"{_server_path(org, repo)}/pull-requests/{request.number}"
        raw = await self._session.get(path)
        return _Versioned(path, raw["version"], raw["fromRef"].get("latestCommit", ""))


@dataclass(frozen=True, slots=True)
class _Versioned:
    path: str
    version: int
    head: str


def _unknown(wanted: PullRequestSpec, *, auto_merge: bool) -> list[str]:
    """Fields that Bitbucket does not support."""
    problems = []
    if wanted.labels:
        problems.append("Bitbucket has no labels of pull requests")
    if wanted.assignees:
        problems.append("Bitbucket has no assignees of pull requests")
    if wanted.auto_merge and auto_merge:
        problems.append("autoMerge is not supported for Bitbucket")
    return problems


def _summed(*, failed: bool, pending: bool, passed: bool) -> Checks:
    if failed:
        return Checks.FAILED
    if pending:
        return Checks.PENDING
    return Checks.PASSED if passed else Checks.NONE


def _cloud_path(org: str, repo: str, request: PullRequestInfo) -> str:
    return f"repositories/{path_segment(org)}/{path_segment(repo)}/pullrequests/{request.number}"


def _server_path(org: str, repo: str) -> str:
    return f"projects/{path_segment(org)}/repos/{path_segment(repo)}"


def _is_cloud_own(raw: JSON) -> bool:
    """Whether its branch is one of the repository itself. A fork that was deleted is null."""
    source, target = (
        (raw[x].get("repository") or {}).get("full_name") for x in ("source", "destination")
    )
    return source is not None and bool(source == target)


def _is_server_own(raw: JSON) -> bool:
    """Whether its branch is one of the repository itself. A fork may have the same slug in another project."""
    source, target = (
        (x["project"]["key"], x["slug"])
        for x in (raw["fromRef"]["repository"], raw["toRef"]["repository"])
    )
    return bool(source == target)


def _cloud_request(raw: JSON, **more: Any) -> PullRequestInfo:
    state = _CLOUD_STATES[raw["state"]]
    if state is PullRequestState.OPEN and raw.get("draft"):
        state = PullRequestState.DRAFT
    return PullRequestInfo(
        number=raw["id"],
        url=raw["links"]["html"]["href"],
        state=state,
        title=raw.get("title") or "",
        branch=raw["source"]["branch"]["name"],
        base=raw["destination"]["branch"]["name"],
        fork=not _is_cloud_own(raw),
        head=(raw["source"].get("commit") or {}).get("hash") or "",
        author=(raw.get("author") or {}).get("nickname", ""),
        created=datetime.fromisoformat(raw["created_on"]),
        closed=None if state.is_open else datetime.fromisoformat(raw["updated_on"]),
        **more,
    )


def _server_request(raw: JSON, **more: Any) -> PullRequestInfo:
    states = {"OPEN": PullRequestState.OPEN, "MERGED": PullRequestState.MERGED}
    state = states.get(raw["state"], PullRequestState.CLOSED)
    if state is PullRequestState.OPEN and raw.get("draft"):
        state = PullRequestState.DRAFT
    return PullRequestInfo(
        number=raw["id"],
        url=raw["links"]["self"][0]["href"],
        state=state,
        title=raw.get("title") or "",
        branch=raw["fromRef"]["displayId"],
        base=raw["toRef"]["displayId"],
        fork=not _is_server_own(raw),
        head=raw["fromRef"].get("latestCommit", ""),
        author=((raw.get("author") or {}).get("user") or {}).get("name", ""),
        created=_milliseconds(raw.get("createdDate")),
        closed=_milliseconds(raw.get("closedDate")),
        **more,
    )


def _milliseconds(value: int | None) -> datetime | None:
    return datetime.fromtimestamp(value / 1000, UTC) if value else None


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
