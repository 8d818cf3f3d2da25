"""Stand-ins for the APIs of git hosts, over the bare repositories of a git server.

One store of pull requests, and five ways to speak of them, with the paths and fields that the hosts' own documentation has:
GitHub below /api/v3, GitLab below /api/v4, Gitea below /api/v1, Bitbucket Cloud below /2.0, Bitbucket Data Center below
/rest/api/1.0, Azure DevOps below /azure. A merge merges: the base branch of the repository moves.

``python -m hack.forge DIRECTORY`` serves the repositories and the APIs at one address.
"""

import argparse
import asyncio
import base64
import json
import re
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from hack.gitserver import IDENTITY, GitServer, Refusal

JSON = dict[str, Any]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

USERS = {"ada": 11, "bob": 12, "eve": 13}
LABELS = {"dependencies": 21, "bot": 22}
IDS = {x: f"00000000-0000-4000-8000-0000000000{n}" for x, n in USERS.items()}


@dataclass
class Pull:
    """A pull request, independent of an API.

    Attributes:
        fork: whether the branch is one of a fork.
        deleted: whether that fork was deleted.
        checks: "", "pending", "passed" or "failed".
        reviews: by user: "approved" or "changes".
    """

    org: str
    repo: str
    number: int
    branch: str
    base: str
    fork: bool = False
    deleted: bool = False
    title: str = ""
    body: str = ""
    draft: bool = False
    state: str = "open"
    labels: list[str] = field(default_factory=list)
    reviewers: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    auto_merge: str = ""
    checks: str = ""
    reviews: dict[str, str] = field(default_factory=dict)
    comments: list[str] = field(default_factory=list)
    merged_how: str = ""
    version: int = 0
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    closed: datetime | None = None

    @property
    def open(self) -> bool:
        return self.state == "open"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, and what it was answered with."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    status: int
    answer: Any


class ApiError(Exception):
    """An error response."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


class Forge:
    """The store, and the APIs. `token` authenticates; empty: no authentication."""

    def __init__(self, directory: Path, *, token: str = "") -> None:
        self.directory = directory
        self.token = token
        self.url = ""
        self.pulls: list[Pull] = []
        self.requests: list[str] = []
        self.exchanges: list[Exchange] = []
        self.failures: list[Refusal] = []
        """Responses to the next requests, instead of the real ones."""
        self.found = 0
        """Number of results that a search of GitHub claims; 0: the real one."""
        self.unchecked = 0
        """Number of requests for merge requests of GitLab until they are checked; they cannot merge before."""
        self.statuses: list[JSON] = []
        """Statuses of pull requests at Azure DevOps."""
        self.graphql_errors: list[JSON] = []
        """Errors of the next query of GitHub, whose answer lacks the checks."""
        self.lost = 0
        """Number of the next writes that are carried out, but answered with 502."""
        self.page_size = 2
        """The maximum page size of a list, even if a client requests more."""
        self.fork_owner = "fork"
        """Owner of the forks of pull requests at GitHub."""
        self.forks: set[str] = set()
        self.archived: set[str] = set()
        self.topics: dict[str, list[str]] = {}
        self.moved: set[tuple[str, int]] = set()
        """Pull requests whose branch gets a commit before the next merge."""

    # The store ------------------------------------------------------------------------------------

    def git(self, org: str, repo: str) -> Path:
        path = self.directory / org / f"{repo}.git"
        if not path.is_dir():
            raise ApiError(404, "Not Found")
        return path

    async def run(self, path: Path, *arguments: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *("git", "-C", str(path), "-c", "safe.directory=*", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **IDENTITY},
        )
        out, error = await process.communicate()
        if process.returncode:
            raise ApiError(422, error.decode().strip() or "git failed")
        return out.decode().strip()

    async def head(self, pull: Pull) -> str:
        try:
            return await self.run(
                self.git(pull.org, pull.repo), "rev-parse", f"refs/heads/{pull.branch}"
            )
        except ApiError:
            return "0" * 40

    async def default(self, org: str, repo: str) -> str:
        try:
            path = self.git(org, repo)
            await self.run(path, "rev-parse", "--verify", "HEAD")
            return await self.run(path, "symbolic-ref", "--short", "HEAD")
        except ApiError as error:
            if error.status == 404:
                raise
            return ""

    def of(self, org: str, repo: str) -> list[Pull]:
        """The newest first."""
        self.git(org, repo)
        return [x for x in reversed(self.pulls) if (x.org, x.repo) == (org, repo)]

    def one(self, org: str, repo: str, number: str | int) -> Pull:
        for pull in self.of(org, repo):
            if pull.number == int(number):
                return pull
        raise ApiError(404, "Not Found")

    async def create(self, org: str, repo: str, branch: str, base: str, **more: Any) -> Pull:
        path = self.git(org, repo)
        for name in (branch, base):
            await self.run(path, "rev-parse", "--verify", f"refs/heads/{name}")
        others = [x for x in self.of(org, repo) if not x.fork and not more.get("fork")]
        if any(x.open and x.branch == branch for x in others):
            raise ApiError(409, f"A pull request already exists for {org}:{branch}.")
        number = sum(1 for x in self.pulls if (x.org, x.repo) == (org, repo)) + 1
        pull = Pull(org, repo, number, branch, base, **more)
        self.pulls.append(pull)
        return pull

    async def merge(self, pull: Pull, how: str, expected: str = "") -> None:
        path = self.git(pull.org, pull.repo)
        if (pull.repo, pull.number) in self.moved:
            self.moved.discard((pull.repo, pull.number))
            tip = f"refs/heads/{pull.branch}"
            made = await self.run(path, "commit-tree", f"{tip}^{{tree}}", "-p", tip, "-m", "Later")
            await self.run(path, "update-ref", tip, made)
        head = await self.head(pull)
        if expected and expected != head:
            raise ApiError(409, "Head branch was modified. Review and try the merge again.")
        if not pull.open or pull.draft:
            raise ApiError(405, "Pull Request is not mergeable")
        base = f"refs/heads/{pull.base}"
        tree = f"{head}^{{tree}}"
        parents = ("-p", base) if how == "squash" else ("-p", base, "-p", head)
        made = await self.run(
            path, "commit-tree", tree, *parents, "-m", f"{pull.title} (#{pull.number})"
        )
        await self.run(path, "update-ref", base, made)
        pull.state, pull.closed, pull.merged_how = "merged", datetime.now(UTC), how

    def close(self, pull: Pull) -> None:
        if not pull.open:
            raise ApiError(409, "The pull request is closed already")
        pull.state, pull.closed = "closed", datetime.now(UTC)

    def repositories(self, org: str) -> list[tuple[str, str]]:
        folder = self.directory / org
        if not folder.is_dir():
            raise ApiError(404, "Not Found")
        # As hosts list them: by their own numbers, and not by name.
        return sorted(((org, x.name[:-4]) for x in folder.glob("*.git")), key=lambda x: x[1][::-1])

    # HTTP -----------------------------------------------------------------------------------------

    async def answer(self, request: web.Request) -> web.StreamResponse | None:
        """A request for one of the APIs; None for others, which are git's."""
        dialects: Mapping[str, type[Dialect]] = {
            "/api/v3/": GitHubDialect,
            "/api/graphql": GitHubDialect,
            "/api/v4/": GitLabDialect,
            "/api/v1/": GiteaDialect,
            "/2.0/": CloudDialect,
            "/rest/": ServerDialect,
            "/azure/": AzureDialect,
        }
        for prefix, kind in dialects.items():
            if request.path.startswith(prefix):
                return await self._answer(kind(self, request))
        return None

    async def _answer(self, dialect: "Dialect") -> web.StreamResponse:
        request = dialect.request
        self.requests.append(f"{request.method} {request.rel_url.raw_path_qs}")
        if self.failures:
            refusal = self.failures.pop(0)
            return web.Response(status=refusal.status, text=refusal.text, headers=refusal.headers)
        try:
            if self.token and self.token not in dialect.tokens():
                raise ApiError(401, "Bad credentials")
            body = await dialect.dispatch()
            if self.lost and request.method != "GET":
                self.lost -= 1
                raise ApiError(502, "Bad Gateway")
        except ApiError as error:
            return web.json_response(
                dialect.error(error), status=error.status, headers=dict(error.headers)
            )
        response = (
            body
            if isinstance(body, web.Response)
            else web.json_response(body, headers=dialect.headers)
        )
        answer = json.loads(response.text) if response.text else None
        path, query = request.rel_url.raw_path, dict(request.query)
        self.exchanges.append(
            Exchange(request.method, path, query, dialect.body, response.status, answer)
        )
        return response


class Dialect:
    """One API. Routes are methods whose docstring is ``METHOD path``, with {names} in it."""

    prefix = ""

    def __init__(self, forge: Forge, request: web.Request) -> None:
        self.forge, self.request = forge, request
        self.headers: dict[str, str] = {}
        self.body: Any = None

    async def dispatch(self) -> Any:
        path = self.request.rel_url.raw_path
        if self.request.can_read_body:
            self.body = await self.request.json()
        for name in dir(self):
            handler = getattr(self, name)
            if not name.startswith("do_"):
                continue
            method, _, pattern = (handler.__doc__ or "").partition(" ")
            expression = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern.strip())
            found = re.fullmatch(expression, path)
            if method == self.request.method and found:
                from urllib.parse import unquote

                return await handler(**{k: unquote(v) for k, v in found.groupdict().items()})
        raise ApiError(404, "Not Found")

    def tokens(self) -> list[str]:
        header = self.request.headers.get("Authorization", "")
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "basic":
            return [base64.b64decode(value).decode().partition(":")[2]]
        return [value, self.request.headers.get("PRIVATE-TOKEN", "")]

    def error(self, error: ApiError) -> JSON:
        return {"message": error.message}

    def query(self, name: str, default: str = "") -> str:
        return self.request.query.get(name, default)

    def linked(self, items: list[Any], size_name: str = "per_page") -> list[Any]:
        """One page of a list, with a Link header where there are more."""
        size = min(int(self.query(size_name, "30")), self.forge.page_size)
        page = int(self.query("page", "1"))
        if page * size < len(items):
            url = self.request.url.update_query(page=page + 1)
            self.headers["Link"] = f'<{url}>; rel="next", <{url}>; rel="last"'
        return items[(page - 1) * size : page * size]


def stamp(value: datetime | None) -> str | None:
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if value else None


class GitHubDialect(Dialect):
    """https://docs.github.com/en/rest"""

    async def do_repo(self, org: str, repo: str) -> Any:
        """GET /api/v3/repos/{org}/{repo}"""
        return await self.repository(org, repo)

    async def do_list(self, org: str, repo: str) -> Any:
        """GET /api/v3/repos/{org}/{repo}/pulls"""
        state, head = self.query("state", "open"), self.query("head")
        found = [
            x
            for x in self.forge.of(org, repo)
            if (state == "all" or x.open == (state == "open"))
            and (not head or head == f"{self.forge.fork_owner if x.fork else org}:{x.branch}")
        ]
        return [await self.pull(x) for x in self.linked(found)]

    async def do_create(self, org: str, repo: str) -> Any:
        """POST /api/v3/repos/{org}/{repo}/pulls"""
        body = self.body
        try:
            made = await self.forge.create(
                org, repo, body["head"], body["base"], title=body["title"], body=body["body"],
                draft=body["draft"],
            )  # fmt: skip
        except ApiError as error:
            raise ApiError(422, error.message) from error
        return web.json_response(await self.pull(made), status=201)

    async def do_get(self, org: str, repo: str, number: str) -> Any:
        """GET /api/v3/repos/{org}/{repo}/pulls/{number}"""
        return await self.pull(self.forge.one(org, repo, number))

    async def do_patch(self, org: str, repo: str, number: str) -> Any:
        """PATCH /api/v3/repos/{org}/{repo}/pulls/{number}"""
        pull = self.forge.one(org, repo, number)
        for key in ("title", "body", "base"):
            setattr(pull, key, self.body.get(key, getattr(pull, key)))
        if self.body.get("state") == "closed":
            self.forge.close(pull)
        return await self.pull(pull)

    async def do_labels(self, org: str, repo: str, number: str) -> Any:
        """POST /api/v3/repos/{org}/{repo}/issues/{number}/labels"""
        pull = self.forge.one(org, repo, number)
        pull.labels = sorted({*pull.labels, *self.body["labels"]})
        return [{"name": x} for x in pull.labels]

    async def do_assignees(self, org: str, repo: str, number: str) -> Any:
        """POST /api/v3/repos/{org}/{repo}/issues/{number}/assignees"""
        self.forge.one(org, repo, number).assignees = self.body["assignees"]
        return web.json_response({}, status=201)

    async def do_reviewers(self, org: str, repo: str, number: str) -> Any:
        """POST /api/v3/repos/{org}/{repo}/pulls/{number}/requested_reviewers"""
        unknown = [x for x in self.body["reviewers"] if x not in USERS]
        if unknown:
            raise ApiError(422, "Reviews may only be requested from collaborators.")
        teams = [f"{org}/{x}" for x in self.body["team_reviewers"]]
        self.forge.one(org, repo, number).reviewers = self.body["reviewers"] + teams
        return web.json_response({}, status=201)

    async def do_comment(self, org: str, repo: str, number: str) -> Any:
        """POST /api/v3/repos/{org}/{repo}/issues/{number}/comments"""
        self.forge.one(org, repo, number).comments.append(self.body["body"])
        return web.json_response({"id": 1}, status=201)

    async def do_merge(self, org: str, repo: str, number: str) -> Any:
        """PUT /api/v3/repos/{org}/{repo}/pulls/{number}/merge"""
        pull = self.forge.one(org, repo, number)
        await self.forge.merge(pull, self.body["merge_method"], self.body["sha"])
        return {"merged": True, "message": "Pull Request successfully merged", "sha": "0" * 40}

    async def do_update(self, org: str, repo: str, number: str) -> Any:
        """PUT /api/v3/repos/{org}/{repo}/pulls/{number}/update-branch"""
        self.forge.one(org, repo, number).comments.append("(updated)")
        return web.json_response({"message": "Updating pull request branch."}, status=202)

    async def do_graphql(self) -> Any:
        """POST /api/graphql"""
        values = self.body["variables"]
        if "enablePullRequestAutoMerge" in self.body["query"]:
            pull = self.forge.pulls[int(values["id"].removeprefix("PR_"))]
            pull.auto_merge = values["how"].lower()
            return {"data": {"enablePullRequestAutoMerge": {"clientMutationId": None}}}
        pull = self.forge.one(values["org"], values["repo"], values["number"])
        states = {"passed": "SUCCESS", "failed": "FAILURE", "pending": "PENDING"}
        opinions = {"approved": "APPROVED", "changes": "CHANGES_REQUESTED"}
        rollup = {"state": states[pull.checks]} if pull.checks else None
        errors, self.forge.graphql_errors = self.forge.graphql_errors, []
        if any(x.get("type") == "RATE_LIMITED" for x in errors):
            return {"errors": errors}
        shown = {
            "reviewDecision": None,
            "mergeable": "MERGEABLE",
            "mergeStateStatus": "CLEAN",
            "latestOpinionatedReviews": {
                "nodes": [{"state": opinions[x]} for x in pull.reviews.values()]
            },
            "commits": {"nodes": [{"commit": {"statusCheckRollup": None if errors else rollup}}]},
        }
        if errors:
            return {"data": {"repository": {"pullRequest": shown}}, "errors": errors}
        return {"data": {"repository": {"pullRequest": shown}}}

    async def do_org(self, org: str) -> Any:
        """GET /api/v3/orgs/{org}/repos"""
        return [await self.repository(*x) for x in self.linked(self.forge.repositories(org))]

    async def do_search(self) -> Any:
        """GET /api/v3/search/repositories"""
        query = self.query("q")
        org = next((x.partition(":")[2] for x in query.split() if x.startswith("org:")), "acme")
        words = [x for x in query.split() if ":" not in x]
        found = [x for x in self.forge.repositories(org) if all(w in x[1] for w in words)]
        items = [await self.repository(*x) for x in self.linked(found)]
        found_count = self.forge.found or len(found)
        return {"total_count": found_count, "incomplete_results": False, "items": items}

    async def do_installation(self, org: str, repo: str) -> Any:
        """GET /api/v3/repos/{org}/{repo}/installation"""
        return {"id": 77}

    async def repository(self, org: str, repo: str) -> JSON:
        branch = await self.forge.default(org, repo)
        return {
            "name": repo,
            "full_name": f"{org}/{repo}",
            "owner": {"login": org},
            "default_branch": branch or "main",
            "fork": repo in self.forge.forks,
            "archived": repo in self.forge.archived,
            "disabled": False,
            "size": 1 if branch else 0,
            "topics": self.forge.topics.get(repo, []),
        }

    async def pull(self, pull: Pull) -> JSON:
        head = await self.forge.head(pull)
        return {
            "number": pull.number,
            "node_id": f"PR_{self.forge.pulls.index(pull)}",
            "html_url": f"{self.forge.url}/{pull.org}/{pull.repo}/pull/{pull.number}",
            "state": "open" if pull.open else "closed",
            "title": pull.title,
            "body": pull.body,
            "draft": pull.draft,
            "user": {"login": "bot"},
            "head": {
                "ref": pull.branch,
                "sha": head,
                "repo": None if pull.deleted else {"id": 2 if pull.fork else 1},
            },
            "base": {"ref": pull.base, "sha": "0" * 40, "repo": {"id": 1}},
            "created_at": stamp(pull.created),
            "closed_at": stamp(pull.closed),
            "merged_at": stamp(pull.closed) if pull.state == "merged" else None,
        }


class GitLabDialect(Dialect):
    """https://docs.gitlab.com/api/"""

    def error(self, error: ApiError) -> JSON:
        return {"message": [error.message]} if error.status == 409 else {"message": error.message}

    def split(self, project: str) -> tuple[str, str]:
        org, _, repo = project.rpartition("/")
        return org, repo

    async def do_project(self, project: str) -> Any:
        """GET /api/v4/projects/{project}"""
        return await self.repository(*self.split(project))

    async def do_list(self, project: str) -> Any:
        """GET /api/v4/projects/{project}/merge_requests"""
        branch, state = self.query("source_branch"), self.query("state")
        found = [
            x
            for x in self.forge.of(*self.split(project))
            if (not branch or x.branch == branch) and (state == "all" or x.open)
        ]
        return [await self.pull(x) for x in self.linked(found)]

    async def do_create(self, project: str) -> Any:
        """POST /api/v4/projects/{project}/merge_requests"""
        made = await self.forge.create(
            *self.split(project), self.body["source_branch"], self.body["target_branch"]
        )
        self.change(made)
        made.labels = [x for x in self.body.get("labels", "").split(",") if x]
        return web.json_response(await self.pull(made), status=201)

    async def do_get(self, project: str, number: str) -> Any:
        """GET /api/v4/projects/{project}/merge_requests/{number}"""
        self.forge.unchecked = max(self.forge.unchecked - 1, 0)
        return await self.pull(self.forge.one(*self.split(project), number))

    async def do_put(self, project: str, number: str) -> Any:
        """PUT /api/v4/projects/{project}/merge_requests/{number}"""
        pull = self.forge.one(*self.split(project), number)
        self.change(pull)
        if self.body.get("state_event") == "close":
            self.forge.close(pull)
        return await self.pull(pull)

    def change(self, pull: Pull) -> None:
        names = {v: k for k, v in USERS.items()}
        title = self.body.get("title", pull.title)
        pull.draft = title.startswith("Draft: ") if "title" in self.body else pull.draft
        pull.title = title.removeprefix("Draft: ")
        pull.body = self.body.get("description", pull.body)
        pull.labels += [x for x in self.body.get("add_labels", "").split(",") if x]
        pull.reviewers = [names[x] for x in self.body.get("reviewer_ids", [])] or pull.reviewers
        pull.assignees = [names[x] for x in self.body.get("assignee_ids", [])] or pull.assignees

    async def do_approvals(self, project: str, number: str) -> Any:
        """GET /api/v4/projects/{project}/merge_requests/{number}/approvals"""
        pull = self.forge.one(*self.split(project), number)
        by = [{"user": {"username": k}} for k, v in pull.reviews.items() if v == "approved"]
        return {"approved": True, "approved_by": by}

    async def do_notes(self, project: str, number: str) -> Any:
        """POST /api/v4/projects/{project}/merge_requests/{number}/notes"""
        self.forge.one(*self.split(project), number).comments.append(self.body["body"])
        return web.json_response({"id": 1}, status=201)

    async def do_merge(self, project: str, number: str) -> Any:
        """PUT /api/v4/projects/{project}/merge_requests/{number}/merge"""
        pull = self.forge.one(*self.split(project), number)
        if self.body.get("auto_merge") and self.forge.unchecked:
            raise ApiError(405, "Method Not Allowed")
        if self.body.get("auto_merge"):
            pull.auto_merge = "squash" if self.body["squash"] else "merge"
        else:
            await self.forge.merge(
                pull, "squash" if self.body["squash"] else "merge", self.body["sha"]
            )
        return await self.pull(pull)

    async def do_rebase(self, project: str, number: str) -> Any:
        """PUT /api/v4/projects/{project}/merge_requests/{number}/rebase"""
        self.forge.one(*self.split(project), number).comments.append("(updated)")
        return web.json_response({"rebase_in_progress": True}, status=202)

    async def do_users(self) -> Any:
        """GET /api/v4/users"""
        name = self.query("username")
        return [{"id": USERS[name], "username": name}] if name in USERS else []

    async def do_group(self, group: str) -> Any:
        """GET /api/v4/groups/{group}/projects"""
        found = self.forge.repositories(group)
        if topic := self.query("topic"):
            found = [x for x in found if topic in self.forge.topics.get(x[1], [])]
        found = [x for x in found if self.query("search") in x[1]]
        return [await self.repository(*x) for x in self.linked(found)]

    async def repository(self, org: str, repo: str) -> JSON:
        branch = await self.forge.default(org, repo)
        fork = {"forked_from_project": {"id": 1}} if repo in self.forge.forks else {}
        return {
            "id": 1,
            "path": repo,
            "path_with_namespace": f"{org}/{repo}",
            "default_branch": branch or None,
            "archived": repo in self.forge.archived,
            "empty_repo": not branch,
            "topics": self.forge.topics.get(repo, []),
            **fork,
        }

    async def pull(self, pull: Pull) -> JSON:
        states = {"open": "opened"}
        status = {"passed": "success", "failed": "failed", "pending": "running"}.get(pull.checks)
        changes = "changes" in pull.reviews.values()
        return {
            "id": 1000 + pull.number,
            "iid": pull.number,
            "web_url": f"{self.forge.url}/{pull.org}/{pull.repo}/-/merge_requests/{pull.number}",
            "state": states.get(pull.state, pull.state),
            "title": f"Draft: {pull.title}" if pull.draft else pull.title,
            "description": pull.body,
            "draft": pull.draft,
            "source_project_id": None if pull.deleted else 2 if pull.fork else 1,
            "target_project_id": 1,
            "source_branch": pull.branch,
            "target_branch": pull.base,
            "sha": await self.forge.head(pull),
            "author": {"username": "bot"},
            "has_conflicts": False,
            "detailed_merge_status": "checking"
            if self.forge.unchecked > 1
            else "requested_changes"
            if changes
            else "mergeable",
            "head_pipeline": {"status": status} if status else None,
            "diverged_commits_count": 0,
            "created_at": stamp(pull.created),
            "merged_at": stamp(pull.closed) if pull.state == "merged" else None,
            "closed_at": stamp(pull.closed) if pull.state == "closed" else None,
        }


class GiteaDialect(Dialect):
    """https://docs.gitea.com/api, which is Forgejo's too."""

    def linked(self, items: list[Any], size_name: str = "limit") -> list[Any]:
        return super().linked(items, size_name)

    async def do_repo(self, org: str, repo: str) -> Any:
        """GET /api/v1/repos/{org}/{repo}"""
        return await self.repository(org, repo)

    async def do_list(self, org: str, repo: str) -> Any:
        """GET /api/v1/repos/{org}/{repo}/pulls"""
        state = self.query("state", "open")
        found = [
            x for x in self.forge.of(org, repo) if state == "all" or x.open == (state == "open")
        ]
        return [await self.pull(x) for x in self.linked(found)]

    async def do_create(self, org: str, repo: str) -> Any:
        """POST /api/v1/repos/{org}/{repo}/pulls"""
        made = await self.forge.create(org, repo, self.body["head"], self.body["base"])
        self.change(made)
        names = {v: k for k, v in LABELS.items()}
        made.labels = [names[x] for x in self.body.get("labels", [])]
        return web.json_response(await self.pull(made), status=201)

    async def do_get(self, org: str, repo: str, number: str) -> Any:
        """GET /api/v1/repos/{org}/{repo}/pulls/{number}"""
        return await self.pull(self.forge.one(org, repo, number))

    async def do_patch(self, org: str, repo: str, number: str) -> Any:
        """PATCH /api/v1/repos/{org}/{repo}/pulls/{number}"""
        pull = self.forge.one(org, repo, number)
        self.change(pull)
        if self.body.get("state") == "closed":
            self.forge.close(pull)
        return web.json_response(await self.pull(pull), status=201)

    def change(self, pull: Pull) -> None:
        title = self.body.get("title", pull.title)
        pull.draft = title.startswith("WIP: ") if "title" in self.body else pull.draft
        pull.title = title.removeprefix("WIP: ")
        pull.body = self.body.get("body", pull.body)
        if unknown := [x for x in self.body.get("assignees", ()) if x not in USERS]:
            raise ApiError(422, f"Assignee does not exist: [name: {unknown[0]}]")
        pull.assignees = self.body.get("assignees") or pull.assignees

    async def do_labels(self, org: str, repo: str) -> Any:
        """GET /api/v1/repos/{org}/{repo}/labels"""
        items = [{"id": v, "name": k} for k, v in LABELS.items()]
        size, page = min(int(self.query("limit")), self.forge.page_size), int(self.query("page"))
        self.headers["X-Total-Count"] = str(len(items))
        return items[(page - 1) * size : page * size]

    async def do_add_labels(self, org: str, repo: str, number: str) -> Any:
        """POST /api/v1/repos/{org}/{repo}/issues/{number}/labels"""
        names = {v: k for k, v in LABELS.items()}
        pull = self.forge.one(org, repo, number)
        pull.labels = sorted({*pull.labels, *(names[x] for x in self.body["labels"])})
        return [{"name": x} for x in pull.labels]

    async def do_reviewers(self, org: str, repo: str, number: str) -> Any:
        """POST /api/v1/repos/{org}/{repo}/pulls/{number}/requested_reviewers"""
        unknown = [x for x in self.body["reviewers"] if x not in USERS]
        if unknown:
            raise ApiError(404, f"user does not exist [uid: 0, name: {unknown[0]}]")
        teams = [f"{org}/{x}" for x in self.body["team_reviewers"]]
        self.forge.one(org, repo, number).reviewers = self.body["reviewers"] + teams
        return web.json_response([], status=201)

    async def do_status(self, org: str, repo: str, sha: str) -> Any:
        """GET /api/v1/repos/{org}/{repo}/commits/{sha}/status"""
        for pull in self.forge.of(org, repo):
            if pull.checks and await self.forge.head(pull) == sha:
                state = {"passed": "success", "failed": "failure", "pending": "pending"}[
                    pull.checks
                ]
                return {"state": state, "total_count": 1, "statuses": [{"status": state}]}
        return {"state": "", "total_count": 0, "statuses": None}

    async def do_reviews(self, org: str, repo: str, number: str) -> Any:
        """GET /api/v1/repos/{org}/{repo}/pulls/{number}/reviews"""
        states = {"approved": "APPROVED", "changes": "REQUEST_CHANGES"}
        pull = self.forge.one(org, repo, number)
        return self.linked(
            [
                {"user": {"login": k}, "state": states[v], "dismissed": False}
                for k, v in pull.reviews.items()
            ]
        )

    async def do_comment(self, org: str, repo: str, number: str) -> Any:
        """POST /api/v1/repos/{org}/{repo}/issues/{number}/comments"""
        self.forge.one(org, repo, number).comments.append(self.body["body"])
        return web.json_response({"id": 1}, status=201)

    async def do_merge(self, org: str, repo: str, number: str) -> Any:
        """POST /api/v1/repos/{org}/{repo}/pulls/{number}/merge"""
        pull = self.forge.one(org, repo, number)
        if self.body.get("merge_when_checks_succeed"):
            pull.auto_merge = self.body["Do"]
            return web.Response(status=201)
        await self.forge.merge(pull, self.body["Do"], self.body["head_commit_id"])
        return web.Response(status=200)

    async def do_update(self, org: str, repo: str, number: str) -> Any:
        """POST /api/v1/repos/{org}/{repo}/pulls/{number}/update"""
        self.forge.one(org, repo, number).comments.append("(updated)")
        return web.Response(status=200)

    async def do_org(self, org: str) -> Any:
        """GET /api/v1/orgs/{org}/repos"""
        return [await self.repository(*x) for x in self.linked(self.forge.repositories(org))]

    async def do_search(self) -> Any:
        """GET /api/v1/repos/search"""
        word = self.query("q")
        found = [
            (x.name, y.name[:-4])
            for x in sorted(self.forge.directory.iterdir())
            for y in sorted(x.glob("*.git"))
        ]
        if self.query("topic") == "true":
            found = [x for x in found if word in self.forge.topics.get(x[1], [])]
        else:
            found = [x for x in found if word in x[1]]
        return {"ok": True, "data": [await self.repository(*x) for x in self.linked(found)]}

    async def repository(self, org: str, repo: str) -> JSON:
        branch = await self.forge.default(org, repo)
        return {
            "name": repo,
            "full_name": f"{org}/{repo}",
            "owner": {"login": org},
            "default_branch": branch or "main",
            "fork": repo in self.forge.forks,
            "archived": repo in self.forge.archived,
            "empty": not branch,
            "topics": self.forge.topics.get(repo, []),
        }

    async def pull(self, pull: Pull) -> JSON:
        return {
            "number": pull.number,
            "html_url": f"{self.forge.url}/{pull.org}/{pull.repo}/pulls/{pull.number}",
            "state": "open" if pull.open else "closed",
            "merged": pull.state == "merged",
            "mergeable": True,
            "title": f"WIP: {pull.title}" if pull.draft else pull.title,
            "body": pull.body,
            "draft": pull.draft,
            "user": {"login": "bot"},
            "head": {
                "ref": pull.branch,
                "sha": await self.forge.head(pull),
                "repo_id": -1 if pull.deleted else 2 if pull.fork else 1,
            },
            "base": {"ref": pull.base, "sha": "1", "repo_id": 1},
            "merge_base": "1",
            "created_at": stamp(pull.created),
            "merged_at": stamp(pull.closed) if pull.state == "merged" else None,
            "closed_at": stamp(pull.closed),
        }


class CloudDialect(Dialect):
    """https://developer.atlassian.com/cloud/bitbucket/rest/"""

    def error(self, error: ApiError) -> JSON:
        return {"type": "error", "error": {"message": error.message}}

    def values(self, items: list[Any]) -> JSON:
        size = min(int(self.query("pagelen", "10")), self.forge.page_size)
        page = int(self.query("page", "1"))
        found: JSON = {
            "pagelen": size,
            "values": items[(page - 1) * size : page * size],
            "page": page,
        }
        if page * size < len(items):
            found["next"] = str(self.request.url.update_query(page=page + 1))
        return found

    async def do_repo(self, org: str, repo: str) -> Any:
        """GET /2.0/repositories/{org}/{repo}"""
        return await self.repository(org, repo)

    async def do_repos(self, org: str) -> Any:
        """GET /2.0/repositories/{org}"""
        found = self.forge.repositories(org)
        if query := re.fullmatch(r'name ~ "(.*)"', self.query("q")):
            found = [x for x in found if query[1] in x[1]]
        return self.values([await self.repository(*x) for x in found])

    async def do_members(self, org: str) -> Any:
        """GET /2.0/workspaces/{org}/members"""
        return self.values([{"user": {"nickname": k, "uuid": f"{{{v}}}"}} for k, v in IDS.items()])

    async def do_list(self, org: str, repo: str) -> Any:
        """GET /2.0/repositories/{org}/{repo}/pullrequests"""
        branch = re.search(r'source\.branch\.name="([^"]*)"', self.query("q"))
        only_open = self.query("q").endswith('state="OPEN"')
        found = [
            x
            for x in self.forge.of(org, repo)
            if branch and x.branch == branch[1] and (x.open or not only_open)
        ]
        return self.values([await self.pull(x) for x in found])

    async def do_create(self, org: str, repo: str) -> Any:
        """POST /2.0/repositories/{org}/{repo}/pullrequests"""
        source, target = (self.body[x]["branch"]["name"] for x in ("source", "destination"))
        made = await self.forge.create(org, repo, source, target)
        self.change(made)
        return web.json_response(await self.pull(made), status=201)

    async def do_get(self, org: str, repo: str, number: str) -> Any:
        """GET /2.0/repositories/{org}/{repo}/pullrequests/{number}"""
        return await self.pull(self.forge.one(org, repo, number))

    async def do_put(self, org: str, repo: str, number: str) -> Any:
        """PUT /2.0/repositories/{org}/{repo}/pullrequests/{number}"""
        pull = self.forge.one(org, repo, number)
        self.change(pull)
        return await self.pull(pull)

    def change(self, pull: Pull) -> None:
        names = {f"{{{v}}}": k for k, v in IDS.items()}
        pull.title, pull.body = self.body["title"], self.body["description"]
        pull.draft = self.body["draft"]
        pull.reviewers = [
            names[x["uuid"]] for x in self.body.get("reviewers", [])
        ] or pull.reviewers

    async def do_statuses(self, org: str, repo: str, number: str) -> Any:
        """GET /2.0/repositories/{org}/{repo}/pullrequests/{number}/statuses"""
        states = {"passed": "SUCCESSFUL", "failed": "FAILED", "pending": "INPROGRESS"}
        pull = self.forge.one(org, repo, number)
        return self.values([{"state": states[pull.checks]}] if pull.checks else [])

    async def do_merge(self, org: str, repo: str, number: str) -> Any:
        """POST /2.0/repositories/{org}/{repo}/pullrequests/{number}/merge"""
        pull = self.forge.one(org, repo, number)
        await self.forge.merge(
            pull, "squash" if self.body["merge_strategy"] == "squash" else "merge"
        )
        return await self.pull(pull)

    async def do_decline(self, org: str, repo: str, number: str) -> Any:
        """POST /2.0/repositories/{org}/{repo}/pullrequests/{number}/decline"""
        pull = self.forge.one(org, repo, number)
        self.forge.close(pull)
        return await self.pull(pull)

    async def do_comment(self, org: str, repo: str, number: str) -> Any:
        """POST /2.0/repositories/{org}/{repo}/pullrequests/{number}/comments"""
        self.forge.one(org, repo, number).comments.append(self.body["content"]["raw"])
        return web.json_response({"id": 1}, status=201)

    async def repository(self, org: str, repo: str) -> JSON:
        branch = await self.forge.default(org, repo)
        fork = {"parent": {"full_name": "x/y"}} if repo in self.forge.forks else {}
        main = {"type": "branch", "name": branch} if branch else None
        return {"slug": repo, "full_name": f"{org}/{repo}", "mainbranch": main, **fork}

    async def pull(self, pull: Pull) -> JSON:
        states = {"open": "OPEN", "merged": "MERGED", "closed": "DECLINED"}
        opinions = {"approved": "approved", "changes": "changes_requested"}
        url = f"{self.forge.url}/{pull.org}/{pull.repo}/pull-requests/{pull.number}"
        head = await self.forge.head(pull)
        return {
            "id": pull.number,
            "title": pull.title,
            "description": pull.body,
            "draft": pull.draft,
            "state": states[pull.state],
            "links": {"html": {"href": url}},
            "author": {"nickname": "bot"},
            # Twelve digits of it, as there.
            "source": {
                "branch": {"name": pull.branch},
                "commit": {"hash": head[:12]},
                "repository": None
                if pull.deleted
                else {"full_name": f"{'fork' if pull.fork else pull.org}/{pull.repo}"},
            },
            "destination": {
                "branch": {"name": pull.base},
                "repository": {"full_name": f"{pull.org}/{pull.repo}"},
            },
            "participants": [{"state": opinions[x]} for x in pull.reviews.values()],
            "created_on": pull.created.isoformat(),
            "updated_on": (pull.closed or pull.created).isoformat(),
        }


class ServerDialect(Dialect):
    """https://developer.atlassian.com/server/bitbucket/rest/"""

    def error(self, error: ApiError) -> JSON:
        return {"errors": [{"context": None, "message": error.message, "exceptionName": "X"}]}

    def values(self, items: list[Any]) -> JSON:
        size = min(int(self.query("limit", "25")), self.forge.page_size)
        start = int(self.query("start", "0"))
        last = start + size >= len(items)
        page: JSON = {"size": size, "limit": size, "isLastPage": last, "start": start}
        page["values"] = items[start : start + size]
        return page if last else page | {"nextPageStart": start + size}

    async def do_branch(self, org: str, repo: str) -> Any:
        """GET /rest/api/1.0/projects/{org}/repos/{repo}/default-branch"""
        name = await self.forge.default(org, repo)
        return {"id": f"refs/heads/{name}", "displayId": name}

    async def do_repos(self, org: str) -> Any:
        """GET /rest/api/1.0/projects/{org}/repos"""
        found = []
        for _, repo in self.forge.repositories(org):
            fork = {"origin": {"slug": "x"}} if repo in self.forge.forks else {}
            archived = repo in self.forge.archived
            item = {"slug": repo, "name": repo, "project": {"key": org}, "archived": archived}
            found.append({**item, "state": "AVAILABLE", **fork})
        return self.values(found)

    async def do_list(self, org: str, repo: str) -> Any:
        """GET /rest/api/1.0/projects/{org}/repos/{repo}/pull-requests"""
        at, state = self.query("at"), self.query("state", "OPEN")
        found = [
            x
            for x in self.forge.of(org, repo)
            if at == f"refs/heads/{x.branch}" and (state == "ALL" or x.open) and not x.fork
        ]
        return self.values([await self.pull(x) for x in found])

    async def do_create(self, org: str, repo: str) -> Any:
        """POST /rest/api/1.0/projects/{org}/repos/{repo}/pull-requests"""
        self.check()
        names = [self.body[x]["id"].removeprefix("refs/heads/") for x in ("fromRef", "toRef")]
        made = await self.forge.create(org, repo, names[0], names[1])
        self.change(made)
        return web.json_response(await self.pull(made), status=201)

    async def do_get(self, org: str, repo: str, number: str) -> Any:
        """GET /rest/api/1.0/projects/{org}/repos/{repo}/pull-requests/{number}"""
        return await self.pull(self.forge.one(org, repo, number))

    async def do_put(self, org: str, repo: str, number: str) -> Any:
        """PUT /rest/api/1.0/projects/{org}/repos/{repo}/pull-requests/{number}"""
        pull = self.versioned(org, repo, number, self.body["version"])
        self.check()
        self.change(pull)
        return await self.pull(pull)

    def check(self) -> None:
        for each in self.body["reviewers"]:
            if each["user"]["name"] not in USERS:
                raise ApiError(409, f"{each['user']['name']} is not a user.")

    def change(self, pull: Pull) -> None:
        pull.title, pull.body = self.body["title"], self.body["description"]
        pull.draft = self.body["draft"]
        pull.reviewers = [x["user"]["name"] for x in self.body["reviewers"]]
        pull.version += 1

    def versioned(self, org: str, repo: str, number: str, version: Any) -> Pull:
        pull = self.forge.one(org, repo, number)
        if int(version) != pull.version:
            raise ApiError(
                409, "you are attempting to modify a pull request based on out-of-date information"
            )
        return pull

    async def do_merge_state(self, org: str, repo: str, number: str) -> Any:
        """GET /rest/api/1.0/projects/{org}/repos/{repo}/pull-requests/{number}/merge"""
        return {"canMerge": True, "conflicted": False, "vetoes": []}

    async def do_merge(self, org: str, repo: str, number: str) -> Any:
        """POST /rest/api/1.0/projects/{org}/repos/{repo}/pull-requests/{number}/merge"""
        pull = self.versioned(org, repo, number, self.query("version"))
        how = "squash" if self.body["strategyId"] == "squash" else "merge"
        await self.forge.merge(pull, how)
        return await self.pull(pull)

    async def do_decline(self, org: str, repo: str, number: str) -> Any:
        """POST /rest/api/1.0/projects/{org}/repos/{repo}/pull-requests/{number}/decline"""
        pull = self.versioned(org, repo, number, self.query("version"))
        self.forge.close(pull)
        return await self.pull(pull)

    async def do_comment(self, org: str, repo: str, number: str) -> Any:
        """POST /rest/api/1.0/projects/{org}/repos/{repo}/pull-requests/{number}/comments"""
        self.forge.one(org, repo, number).comments.append(self.body["text"])
        return web.json_response({"id": 1}, status=201)

    async def do_rebase(self, org: str, repo: str, number: str) -> Any:
        """POST /rest/git/1.0/projects/{org}/repos/{repo}/pull-requests/{number}/rebase"""
        self.versioned(org, repo, number, self.body["version"]).comments.append("(updated)")
        return {}

    async def do_stats(self, sha: str) -> Any:
        """GET /rest/build-status/1.0/commits/stats/{sha}"""
        found = Counter(
            [x.checks for x in self.forge.pulls if x.checks and await self.forge.head(x) == sha]
        )
        return {
            "successful": found["passed"],
            "inProgress": found["pending"],
            "failed": found["failed"],
        }

    async def pull(self, pull: Pull) -> JSON:
        states = {"open": "OPEN", "merged": "MERGED", "closed": "DECLINED"}
        opinions = {"approved": "APPROVED", "changes": "NEEDS_WORK"}
        url = f"{self.forge.url}/projects/{pull.org}/repos/{pull.repo}/pull-requests/{pull.number}"
        head = await self.forge.head(pull)
        seen = {**dict.fromkeys(pull.reviewers, ""), **pull.reviews}
        return {
            "id": pull.number,
            "version": pull.version,
            "title": pull.title,
            "description": pull.body,
            "draft": pull.draft,
            "state": states[pull.state],
            "links": {"self": [{"href": url}]},
            "author": {"user": {"name": "bot"}},
            "fromRef": {
                "id": f"refs/heads/{pull.branch}",
                "displayId": pull.branch,
                "latestCommit": head,
                "repository": {
                    "slug": pull.repo,
                    "project": {"key": "~eve" if pull.fork else pull.org},
                },
            },
            "toRef": {
                "id": f"refs/heads/{pull.base}",
                "displayId": pull.base,
                "repository": {"slug": pull.repo, "project": {"key": pull.org}},
            },
            "reviewers": [
                {"user": {"name": k}, "status": opinions.get(v, "UNAPPROVED")}
                for k, v in seen.items()
            ],
            "createdDate": int(pull.created.timestamp() * 1000),
            "closedDate": int(pull.closed.timestamp() * 1000) if pull.closed else None,
        }


class AzureDialect(Dialect):
    """https://learn.microsoft.com/en-us/rest/api/azure/devops/git/"""

    def error(self, error: ApiError) -> JSON:
        return {"$id": "1", "message": f"TF401179: {error.message}", "typeKey": "X", "errorCode": 0}

    def org(self, organization: str, project: str) -> str:
        return f"{organization}/{project}"

    async def do_repo(self, o: str, p: str, repo: str) -> Any:
        """GET /azure/{o}/{p}/_apis/git/repositories/{repo}"""
        return await self.repository(o, p, repo)

    async def do_repos(self, o: str, p: str) -> Any:
        """GET /azure/{o}/{p}/_apis/git/repositories"""
        found = self.forge.repositories(self.org(o, p))
        return {"value": [await self.repository(o, p, x) for _, x in found], "count": len(found)}

    async def do_all_repos(self, o: str) -> Any:
        """GET /azure/{o}/_apis/git/repositories"""
        projects = sorted(x.name for x in (self.forge.directory / o).iterdir())
        lists = [await self.do_repos(o, x) for x in projects]
        return {"value": [y for x in lists for y in x["value"]]}

    async def do_me(self, o: str) -> Any:
        """GET /azure/{o}/_apis/connectionData"""
        return {"authenticatedUser": {"id": IDS["ada"]}}

    async def do_list(self, o: str, p: str, repo: str) -> Any:
        """GET /azure/{o}/{p}/_apis/git/repositories/{repo}/pullrequests"""
        ref, status = (
            self.query("searchCriteria.sourceRefName"),
            self.query("searchCriteria.status"),
        )
        found = [
            x
            for x in self.forge.of(self.org(o, p), repo)
            if ref == f"refs/heads/{x.branch}" and (status == "all" or x.open)
        ]
        found = found[: int(self.query("$top", "100"))]
        return {"value": [await self.pull(x) for x in found], "count": len(found)}

    async def do_create(self, o: str, p: str, repo: str) -> Any:
        """POST /azure/{o}/{p}/_apis/git/repositories/{repo}/pullrequests"""
        names = [
            self.body[x].removeprefix("refs/heads/") for x in ("sourceRefName", "targetRefName")
        ]
        made = await self.forge.create(self.org(o, p), repo, names[0], names[1])
        self.change(made)
        users = {v: k for k, v in IDS.items()}
        made.labels = [x["name"] for x in self.body["labels"]]
        made.reviewers = [users[x["id"]] for x in self.body["reviewers"]]
        return web.json_response(await self.pull(made), status=201)

    async def do_get(self, o: str, p: str, repo: str, number: str) -> Any:
        """GET /azure/{o}/{p}/_apis/git/repositories/{repo}/pullrequests/{number}"""
        return await self.pull(self.forge.one(self.org(o, p), repo, number))

    async def do_patch(self, o: str, p: str, repo: str, number: str) -> Any:
        """PATCH /azure/{o}/{p}/_apis/git/repositories/{repo}/pullrequests/{number}"""
        pull = self.forge.one(self.org(o, p), repo, number)
        self.change(pull)
        if self.body.get("status") == "abandoned":
            self.forge.close(pull)
        if self.body.get("status") == "completed":
            how = self.body["completionOptions"]["mergeStrategy"]
            expected = self.body["lastMergeSourceCommit"]["commitId"]
            await self.forge.merge(pull, "squash" if how == "squash" else "merge", expected)
        if "autoCompleteSetBy" in self.body:
            pull.auto_merge = self.body["completionOptions"]["mergeStrategy"]
        return await self.pull(pull)

    def change(self, pull: Pull) -> None:
        pull.title = self.body.get("title", pull.title)
        pull.body = self.body.get("description", pull.body)
        pull.draft = self.body.get("isDraft", pull.draft)

    async def do_labels(self, o: str, p: str, repo: str, number: str) -> Any:
        """POST /azure/{o}/{p}/_apis/git/repositories/{repo}/pullrequests/{number}/labels"""
        pull = self.forge.one(self.org(o, p), repo, number)
        pull.labels = sorted({*pull.labels, self.body["name"]})
        return {"name": self.body["name"], "active": True}

    async def do_statuses(self, o: str, p: str, repo: str, number: str) -> Any:
        """GET /azure/{o}/{p}/_apis/git/repositories/{repo}/pullrequests/{number}/statuses"""
        return {"value": self.forge.statuses, "count": len(self.forge.statuses)}

    async def do_evaluations(self, o: str, p: str) -> Any:
        """GET /azure/{o}/{p}/_apis/policy/evaluations"""
        number = int(self.query("artifactId").rpartition("/")[2])
        states = {"passed": "approved", "failed": "rejected", "pending": "running"}
        found = [
            {
                "status": states[x.checks],
                "configuration": {"isBlocking": True, "type": {"displayName": "Build"}},
            }
            for x in self.forge.pulls
            if x.org == self.org(o, p) and x.number == number and x.checks
        ]
        reviews = {
            "status": "running",
            "configuration": {"type": {"displayName": "Minimum number of reviewers"}},
        }
        return {"value": [*found, reviews]}

    async def do_threads(self, o: str, p: str, repo: str, number: str) -> Any:
        """POST /azure/{o}/{p}/_apis/git/repositories/{repo}/pullrequests/{number}/threads"""
        pull = self.forge.one(self.org(o, p), repo, number)
        pull.comments.append(self.body["comments"][0]["content"])
        return {"id": 1}

    async def repository(self, o: str, p: str, repo: str) -> JSON:
        branch = await self.forge.default(self.org(o, p), repo)
        named = {"defaultBranch": f"refs/heads/{branch}"} if branch else {}
        return {
            "id": repo,
            "name": repo,
            "project": {"id": "p-1", "name": p},
            "isDisabled": repo in self.forge.archived,
            "isFork": repo in self.forge.forks,
            "webUrl": f"{self.forge.url}/{o}/{p}/_git/{repo}",
            **named,
        }

    async def pull(self, pull: Pull) -> JSON:
        states = {"open": "active", "merged": "completed", "closed": "abandoned"}
        votes = {"approved": 10, "changes": -5}
        organization, _, project = pull.org.partition("/")
        return {
            "pullRequestId": pull.number,
            "status": states[pull.state],
            "title": pull.title,
            "description": pull.body,
            "isDraft": pull.draft,
            "sourceRefName": f"refs/heads/{pull.branch}",
            "targetRefName": f"refs/heads/{pull.base}",
            "mergeStatus": "succeeded",
            "forkSource": {"name": f"refs/heads/{pull.branch}"} if pull.fork else None,
            "lastMergeSourceCommit": {"commitId": await self.forge.head(pull)},
            "createdBy": {"displayName": "bot"},
            "reviewers": [{"id": IDS[k], "vote": votes[v]} for k, v in pull.reviews.items()],
            "repository": await self.repository(organization, project, pull.repo),
            # Seven digits of a second, as there.
            "creationDate": pull.created.strftime("%Y-%m-%dT%H:%M:%S.1234567Z"),
            "closedDate": pull.closed.strftime("%Y-%m-%dT%H:%M:%S.1234567Z")
            if pull.closed
            else None,
        }


class ForgeServer(GitServer):
    """Repositories and APIs at one address."""

    def __init__(self, directory: Path, *, token: str = "", **more: Any) -> None:
        super().__init__(directory, token=token, **more)
        self.forge = Forge(directory.resolve(), token=token)
        self.misbehaviour = self.forge.answer

    async def __aenter__(self) -> "ForgeServer":
        await super().__aenter__()
        self.forge.url = self.url
        return self


async def _main(directory: Path, token: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with ForgeServer(directory, token=token) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m hack.forge", description=__doc__)
    parser.add_argument("directory", type=Path, help="folder with <org>/<repo>.git")
    parser.add_argument("--token", default="", help="required token; default: no authentication")
    options = parser.parse_args()
    asyncio.run(_main(options.directory, options.token))
