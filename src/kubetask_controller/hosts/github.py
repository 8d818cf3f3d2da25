"""GitHub.com and GitHub Enterprise: https://docs.github.com/en/rest, and GraphQL for fields that REST does not have."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from kubetask_controller.hosts.githubstyle import (
    GitHubStyleAPI,
    common_fields,
    repository_info,
    repository_path,
    reviewers_of,
)
from kubetask_controller.hosts.http import HostError, create_once
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

_LOOK = """
query($org: String!, $repo: String!, $number: Int!) {
  repository(owner: $org, name: $repo) {
    pullRequest(number: $number) {
      reviewDecision mergeable mergeStateStatus
      latestOpinionatedReviews(first: 50) { nodes { state } }
      commits(last: 1) { nodes { commit { statusCheckRollup { state } } } }
    }
  }
}
"""
_AUTO_MERGE = """
mutation($id: ID!, $how: PullRequestMergeMethod!) {
  enablePullRequestAutoMerge(input: {pullRequestId: $id, mergeMethod: $how}) { clientMutationId }
}
"""
_MAX_FOUND = 1000
"""Maximum number of results of a search: https://docs.github.com/en/rest/search/search"""
_ROLLUP = {
    "SUCCESS": Checks.PASSED,
    "PENDING": Checks.PENDING,
    "EXPECTED": Checks.PENDING,
    "FAILURE": Checks.FAILED,
    "ERROR": Checks.FAILED,
}


class GitHub(GitHubStyleAPI):
    """GitHub's API."""

    async def open(
        self, org: str, repo: str, wanted: PullRequestSpec
    ) -> tuple[PullRequestInfo, list[str]]:
        """See `HostAPI`."""
        path = repository_path(org, repo)
        base = wanted.base or (await self._session.get(path))["default_branch"]
        raw = await self._existing(org, repo, wanted.branch, base)
        if raw:
            body = {"title": wanted.title, "body": wanted.body, "base": base}
            raw = await self._session.patch(f"{path}/pulls/{raw['number']}", body)
        else:
            body = {
                "title": wanted.title,
                "body": wanted.body,
                "head": wanted.branch,
                "base": base,
                "draft": wanted.draft,
            }
            raw = await self._create(org, repo, wanted, body)
        return _request(raw), await self._add_details(path, raw, wanted)

    async def find(self, org: str, repo: str, branch: str) -> PullRequestInfo | None:
        """See `HostAPI`."""
        found = await self._session.get(
            f"{repository_path(org, repo)}/pulls",
            head=f"{org}:{branch}",
            state="all",
            sort="created",
            direction="desc",
            per_page=10,
        )
        raw = next((x for x in found if _is_own(x)), None)
        return _request(raw) if raw else None

    async def look(self, org: str, repo: str, number: int) -> PullRequestInfo:
        """See `HostAPI`."""
        path = repository_path(org, repo)
        raw = await self._session.get(f"{path}/pulls/{number}")
        values = {"org": org, "repo": repo, "number": number}
        data, note = await self._graphql(_LOOK, values, repeatable=True)
        more = ((data.get("repository") or {}).get("pullRequest")) or {}
        if note and not more:
            raise HostError(note)
        nodes = (more.get("commits") or {}).get("nodes") or [{}]
        rollup = ((nodes[0] or {}).get("commit") or {}).get("statusCheckRollup") or {}
        # The token may lack the right to read checks.
        without = Checks.UNKNOWN if note else Checks.NONE
        opinions = {
            x["state"] for x in (more.get("latestOpinionatedReviews") or {}).get("nodes") or () if x
        }
        decision = more.get("reviewDecision")
        review = Review.NONE
        if decision == "CHANGES_REQUESTED" or "CHANGES_REQUESTED" in opinions:
            review = Review.CHANGES
        elif decision == "APPROVED" or (decision is None and "APPROVED" in opinions):
            review = Review.APPROVED
        return _request(
            raw,
            checks=_ROLLUP.get(rollup.get("state", ""), without),
            note=note,
            review=review,
            conflict=more.get("mergeable") == "CONFLICTING",
            behind=more.get("mergeStateStatus") == "BEHIND",
        )

    async def merge(self, org: str, repo: str, request: PullRequestInfo, how: MergeMethod) -> None:
        """See `HostAPI`."""
        body = {"merge_method": how.value.lower(), "sha": request.head}
        await self._session.put(f"{repository_path(org, repo)}/pulls/{request.number}/merge", body)

    async def update_branch(self, org: str, repo: str, request: PullRequestInfo) -> None:
        """See `HostAPI`."""
        path = f"{repository_path(org, repo)}/pulls/{request.number}/update-branch"
        await self._session.put(path, {"expected_head_sha": request.head})

    async def repositories(
        self, owner: str, *, search: str = "", topic: str = ""
    ) -> AsyncIterator[RepositoryInfo]:
        """See `HostAPI`."""
        if search or not owner:
            query = " ".join(
                [
                    *([search] if search else []),
                    *([f"org:{owner}"] if owner else []),
                    *([f"topic:{topic}"] if topic else []),
                    "fork:true",
                ]
            )
            async for page in self._session.pages("search/repositories", q=query, per_page=100):
                total = page.get("total_count") or 0
                if total > _MAX_FOUND:
                    raise HostError(
                        f"the search finds {total} repositories, and GitHub returns {_MAX_FOUND}: narrow it"
                    )
                if page.get("incomplete_results"):
                    raise HostError("the search timed out at GitHub: try again, or narrow it")
                for raw in page.get("items") or ():
                    yield _repository(raw)
            return
        async for raw in self._owned(owner, per_page=100):
            if not topic or topic in (raw.get("topics") or ()):
                yield _repository(raw)

    async def _existing(self, org: str, repo: str, branch: str, base: str) -> JSON | None:
        found = await self._session.get(
            f"{repository_path(org, repo)}/pulls", head=f"{org}:{branch}", state="open", per_page=10
        )
        # An organization may have a fork of its own repository.
        own = [x for x in found if _is_own(x)]
        same = [x for x in own if x["base"]["ref"] == base]
        return next(iter([*same, *own]), None)

    async def _create(self, org: str, repo: str, wanted: PullRequestSpec, body: JSON) -> JSON:
        path = f"{repository_path(org, repo)}/pulls"

        async def existing() -> JSON | None:
            return await self._existing(org, repo, wanted.branch, body["base"])

        try:
            return await create_once(lambda: self._session.post(path, body), existing, 422)
        except HostError as error:
            if error.status != 422 or not wanted.draft or "draft" not in str(error).lower():
                raise
            made: JSON = await self._session.post(path, {**body, "draft": False})
            return made

    async def _add_details(self, path: str, raw: JSON, wanted: PullRequestSpec) -> list[str]:
        """Add labels, assignees, reviewers and auto-merge; returns failures, which do not fail the pull request."""
        problems: list[str] = []
        issue = f"{path}/issues/{raw['number']}"
        reviewers = reviewers_of(raw, wanted.reviewers)
        steps: list[tuple[str, str, JSON]] = []
        if wanted.labels:
            steps.append(("labels", f"{issue}/labels", {"labels": list(wanted.labels)}))
        if wanted.assignees:
            steps.append(("assignees", f"{issue}/assignees", {"assignees": list(wanted.assignees)}))
        if any(reviewers.values()):
            where = f"{path}/pulls/{raw['number']}/requested_reviewers"
            steps.append(("reviewers", where, reviewers))
        for what, where, body in steps:
            try:
                await self._session.post(where, body)
            except HostError as error:
                problems.append(f"{what}: {error}")
        if wanted.auto_merge:
            values = {"id": raw.get("node_id", ""), "how": wanted.auto_merge.value.upper()}
            try:
                _, problem = await self._graphql(_AUTO_MERGE, values)
                problems += [f"autoMerge: {problem}"] if problem else []
            except HostError as error:
                problems.append(f"autoMerge: {error}")
        return problems

    async def _graphql(
        self, query: str, values: Mapping[str, Any], *, repeatable: bool = False
    ) -> tuple[JSON, str]:
        """The data, which may lack fields, and the messages of errors."""
        # For https://HOST/api/v3, the URL is https://HOST/api/graphql.
        where = f"{self._session.url.removesuffix('/v3')}/graphql"
        body = {"query": query, "variables": dict(values)}
        answer = (await self._session.send("POST", where, body, repeatable=repeatable)).body
        texts = dict.fromkeys(str(x.get("message", "")) for x in answer.get("errors") or ())
        problem = f"{where}: {'; '.join(texts)}" if texts else ""
        return answer.get("data") or {}, problem


def _is_own(raw: JSON) -> bool:
    """Whether its branch is one of the repository itself. A fork that was deleted is null."""
    source, target = ((raw[x].get("repo") or {}).get("id") for x in ("head", "base"))
    return source is not None and bool(source == target)


def _request(raw: JSON, **more: Any) -> PullRequestInfo:
    state = PullRequestState.DRAFT if raw.get("draft") else PullRequestState.OPEN
    if raw["state"] == "closed":
        merged = raw.get("merged") or raw.get("merged_at")
        state = PullRequestState.MERGED if merged else PullRequestState.CLOSED
    return PullRequestInfo(
        state=state,
        fork=not _is_own(raw),
        head=raw["head"]["sha"],
        closed=optional_time(raw.get("closed_at")),
        **common_fields(raw),
        **more,
    )


def _repository(raw: JSON) -> RepositoryInfo:
    archived = bool(raw.get("archived") or raw.get("disabled"))
    return repository_info(raw, archived=archived, empty=raw.get("size") == 0)
