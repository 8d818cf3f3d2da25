"""The APIs of git hosts: one behaviour, whoever the host is. Each is a stand-in that speaks as its documentation does."""

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hack.forge import IDS, Exchange, Forge, ForgeServer, Pull
from hack.gitserver import Refusal, make_repository

from kubetask_controller.hosts import (
    Checks,
    HostAPI,
    HostError,
    HostSession,
    MergeMethod,
    PullRequestSpec,
    PullRequestState,
    RequestLimits,
    Review,
    Site,
    connect,
    provider_of,
)
from kubetask_controller.hosts import http as requests
from kubetask_controller.hosts.detect import api_url
from kubetask_controller.hosts.githubapp import App, signed

APIS = {
    "GitHub": "/api/v3",
    "GitLab": "/api/v4",
    "Gitea": "/api/v1",
    "Forgejo": "/api/v1",
    "Bitbucket": "/2.0",
    "BitbucketDataCenter": "/rest/api/1.0",
    "AzureDevOps": "/azure",
}
TOKEN = "t0ken-of-the-test"


@dataclass
class Lab:
    kind: str
    forge: Forge
    host: HostAPI
    session: HostSession
    org: str

    @property
    def pull(self) -> Pull:
        return self.forge.pulls[-1]

    async def open(self, **more: Any) -> tuple[Any, list[str]]:
        wish: dict[str, Any] = {
            "branch": "work",
            "base": "main",
            "title": "Bump",
            "body": "It was old.",
        }
        return await self.host.open(self.org, "billing", PullRequestSpec(**(wish | more)))


_TEMPLATE: list[Path] = []


async def _repositories(folder: Path, org: str) -> None:
    """A repository with two branches; git makes it once."""
    if not _TEMPLATE:
        made = Path(tempfile.mkdtemp(prefix="kubetask-hosts-"))
        await make_repository(made / "billing.git", {"README.md": "# billing\n"})
        await _git(made / "billing.git", "branch", "work", "main")
        _TEMPLATE.append(made)
    await asyncio.to_thread(shutil.copytree, _TEMPLATE[0], folder / org)


@pytest.fixture(scope="module", autouse=True)
def _cleaned() -> Iterator[None]:
    yield
    while _TEMPLATE:
        shutil.rmtree(_TEMPLATE.pop())


@pytest.fixture(params=APIS)
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    async with _lab(request.param) as lab:
        yield lab


@pytest.fixture
def waits(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the lab's session would have waited."""
    seconds: list[float] = []

    async def sleep(wait: float) -> None:
        seconds.append(wait)

    monkeypatch.setattr(lab.session, "_sleep", sleep)
    return seconds


@asynccontextmanager
async def _lab(kind: str, *, token: str = TOKEN) -> AsyncIterator[Lab]:
    folder = Path(tempfile.mkdtemp(prefix="kubetask-hosts-"))
    org = {"GitLab": "acme/tools", "AzureDevOps": "acme/My Project"}.get(kind, "acme")
    try:
        await _repositories(folder, org)
        async with ForgeServer(folder, token=TOKEN) as server:
            session, host = connect(
                kind,
                f"{server.url}/{org}/billing.git",
                api=f"{server.url}{APIS[kind]}",
                token=token,
                limits=RequestLimits(timeout=10, max_wait=30),
            )
            async with session:
                yield Lab(kind, server.forge, host, session, org)
    finally:
        shutil.rmtree(folder)


async def _git(path: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("git", "-C", str(path), *arguments), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode().strip()


async def test_a_request_is_opened_and_a_second_time_updated(lab: Lab) -> None:
    made, problems = await lab.open(draft=False)
    assert problems == []
    assert (made.state, made.branch, made.base) == (PullRequestState.OPEN, "work", "main")
    assert made.title == "Bump"
    assert made.url.startswith(lab.forge.url)
    again, _ = await lab.open(title="Bump again", body="More.")
    assert (again.number, again.url) == (made.number, made.url)
    assert len(lab.forge.pulls) == 1
    assert (lab.pull.title, lab.pull.body) == ("Bump again", "More.")


async def test_the_base_is_the_default_branch_where_none_is_named(lab: Lab) -> None:
    made, _ = await lab.open(base="")
    assert made.base == "main"


async def test_a_draft_is_a_draft(lab: Lab) -> None:
    made, _ = await lab.open(draft=True)
    assert made.state is PullRequestState.DRAFT
    assert lab.pull.draft


async def test_labels_reviewers_and_assignees_are_set_and_what_is_unknown_is_told(lab: Lab) -> None:
    reviewers = [IDS["ada"] if lab.kind == "AzureDevOps" else "ada"]
    _, problems = await lab.open(labels=["bot"], reviewers=reviewers, assignees=["bob"])
    assert lab.pull.reviewers == ["ada"]
    bitbucket = lab.kind.startswith("Bitbucket")
    assert lab.pull.labels == ([] if bitbucket else ["bot"])
    assert lab.pull.assignees == ([] if bitbucket or lab.kind == "AzureDevOps" else ["bob"])
    assert len(problems) == (2 if bitbucket else 1 if lab.kind == "AzureDevOps" else 0)
    _, problems = await lab.open(reviewers=["nobody"])
    assert [x for x in problems if "nobody" in x or "collaborators" in x]


async def test_a_request_merges_by_itself_where_the_host_can(lab: Lab) -> None:
    _, problems = await lab.open(auto_merge=MergeMethod.SQUASH)
    if lab.kind.startswith("Bitbucket"):
        assert problems == ["autoMerge is not supported for Bitbucket"]
    else:
        assert problems == []
        assert lab.pull.auto_merge == "squash"


async def test_the_newest_request_of_a_branch_is_found_whatever_its_state(lab: Lab) -> None:
    assert await lab.host.find(lab.org, "billing", "work") is None
    first, _ = await lab.open()
    await lab.host.close(lab.org, "billing", first)
    found = await lab.host.find(lab.org, "billing", "work")
    assert found is not None
    assert (found.number, found.state) == (first.number, PullRequestState.CLOSED)
    second, _ = await lab.open()
    found = await lab.host.find(lab.org, "billing", "work")
    assert found is not None
    assert (found.number, found.state) == (second.number, PullRequestState.OPEN)


async def test_a_request_of_a_fork_is_neither_found_nor_changed(lab: Lab) -> None:
    for _ in range(3):
        await lab.forge.create(lab.org, "billing", "work", "main", title="Theirs", fork=True)
    assert await lab.host.find(lab.org, "billing", "work") is None
    made, _ = await lab.open(auto_merge=MergeMethod.SQUASH)
    assert made.number == 4
    assert [x.title for x in lab.forge.pulls] == ["Theirs"] * 3 + ["Bump"]
    assert [x.auto_merge for x in lab.forge.pulls[:3]] == [""] * 3
    again, _ = await lab.open(title="Again")
    assert again.number == 4


async def test_a_request_of_a_fork_is_told_from_one_of_a_branch(lab: Lab) -> None:
    own, _ = await lab.open()
    theirs = [await lab.forge.create(lab.org, "billing", "work", "main", fork=True)]
    if lab.kind not in ("BitbucketDataCenter", "AzureDevOps"):
        more = {"fork": True, "deleted": True}
        theirs.append(await lab.forge.create(lab.org, "billing", "work", "main", **more))
    looked = await lab.host.look(lab.org, "billing", own.number)
    assert (own.fork, looked.fork) == (False, False)
    for pull in theirs:
        seen = await lab.host.look(lab.org, "billing", pull.number)
        assert (seen.fork, seen.branch) == (True, "work")


@pytest.mark.parametrize("lab", ["Gitea"], indirect=True)
async def test_a_request_that_was_pushed_without_a_branch_counts_as_that_of_a_fork(
    lab: Lab,
) -> None:
    made, _ = await lab.open()
    lab.pull.branch = "refs/pull/1/head"
    assert (await lab.host.look(lab.org, "billing", made.number)).fork
    lab.pull.state = "merged"
    assert not (await lab.host.look(lab.org, "billing", made.number)).fork


@pytest.mark.parametrize("lab", ["GitHub"], indirect=True)
async def test_a_request_of_a_fork_in_the_same_organization_is_not_found(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lab.forge.create(lab.org, "billing", "work", "main", title="Theirs", fork=True)
    # Such a fork has the prefix of the organization too.
    monkeypatch.setattr(lab.forge, "fork_owner", lab.org)
    assert await lab.host.find(lab.org, "billing", "work") is None
    made, _ = await lab.open()
    assert made.number == 2
    found = await lab.host.find(lab.org, "billing", "work")
    assert found is not None
    assert found.number == 2


@pytest.mark.parametrize("lab", ["BitbucketDataCenter"], indirect=True)
async def test_an_update_keeps_the_reviewers_that_people_added(lab: Lab) -> None:
    await lab.open(reviewers=["ada"])
    lab.pull.reviewers.append("eve")
    lab.pull.reviews = {"ada": "approved", "eve": "approved"}
    await lab.open(reviewers=["bob"])
    assert lab.pull.reviewers == ["ada", "eve", "bob"]
    _, problems = await lab.open(reviewers=["nobody"])
    assert "nobody is not a user" in problems[0]
    assert lab.pull.reviewers == ["ada", "eve", "bob"]


async def test_checks_and_reviews_are_told(lab: Lab) -> None:
    made, _ = await lab.open()
    expected: dict[str, Checks] = {
        "": Checks.NONE,
        "pending": Checks.PENDING,
        "passed": Checks.PASSED,
        "failed": Checks.FAILED,
    }
    for checks, value in expected.items():
        lab.pull.checks = checks
        assert (await lab.host.look(lab.org, "billing", made.number)).checks is value
    for reviews, review in (
        ({}, Review.NONE),
        ({"ada": "approved"}, Review.APPROVED),
        ({"ada": "approved", "bob": "changes"}, Review.CHANGES),
    ):
        lab.pull.reviews = dict(reviews)
        assert (await lab.host.look(lab.org, "billing", made.number)).review is review


@pytest.mark.parametrize("how", list(MergeMethod))
async def test_a_request_is_merged(lab: Lab, how: MergeMethod) -> None:
    made, _ = await lab.open()
    await lab.host.merge(lab.org, "billing", made, how)
    seen = await lab.host.look(lab.org, "billing", made.number)
    assert seen.state is PullRequestState.MERGED
    assert seen.closed is not None
    path = lab.forge.directory / lab.org / "billing.git"
    assert await _git(path, "log", "-1", "--format=%s", "main") == f"Bump (#{made.number})"


async def test_what_nobody_has_looked_at_is_not_merged(lab: Lab) -> None:
    made, _ = await lab.open()
    path = lab.forge.directory / lab.org / "billing.git"
    later = await _git(
        path, "-c", "user.name=A", "-c", "user.email=a@b",
        "commit-tree", "main^{tree}", "-p", "main", "-m", "Later",
    )  # fmt: skip
    await _git(path, "update-ref", "refs/heads/work", later)
    with pytest.raises(HostError):
        await lab.host.merge(lab.org, "billing", made, MergeMethod.MERGE)
    assert lab.pull.open


async def test_comments_and_updates_of_the_branch(lab: Lab) -> None:
    made, _ = await lab.open()
    await lab.host.comment(lab.org, "billing", made, "Please look.")
    assert lab.pull.comments == ["Please look."]
    if lab.kind in ("Bitbucket", "AzureDevOps"):
        with pytest.raises(HostError, match="no API that updates the branch"):
            await lab.host.update_branch(lab.org, "billing", made)
    else:
        await lab.host.update_branch(lab.org, "billing", made)
        assert lab.pull.comments[-1] == "(updated)"


async def test_all_pages_of_repositories_are_read(lab: Lab) -> None:
    for name in ("a", "b", "c", "d"):
        shutil.copytree(_TEMPLATE[0] / "billing.git", lab.forge.directory / lab.org / f"{name}.git")
    await _git(lab.forge.directory, "init", "--quiet", "--bare", f"{lab.org}/void.git")
    lab.forge.forks, lab.forge.archived = {"b"}, {"c"}
    found = {x.repo: x async for x in lab.host.repositories(lab.org)}
    assert sorted(found) == ["a", "b", "billing", "c", "d", "void"]
    assert {x.org for x in found.values()} == {lab.org}
    assert [x.repo for x in found.values() if x.fork] == ["b"]
    assert [x.repo for x in found.values() if x.archived] == (
        [] if lab.kind == "Bitbucket" else ["c"]
    )
    if lab.kind != "BitbucketDataCenter":
        assert [x.repo for x in found.values() if x.empty] == ["void"]


@pytest.mark.parametrize("lab", ["GitLab"], indirect=True)
async def test_a_request_that_gitlab_still_checks_merges_by_itself_later(
    lab: Lab, waits: list[float]
) -> None:
    lab.forge.unchecked = 3
    _, problems = await lab.open(auto_merge=MergeMethod.SQUASH)
    assert (problems, lab.pull.auto_merge) == ([], "squash")
    assert waits == [1, 2, 4]
    waits.clear()
    lab.forge.unchecked = 100
    _, problems = await lab.open(auto_merge=MergeMethod.SQUASH)
    assert [x for x in problems if "autoMerge: " in x and "405" in x]
    assert sum(waits) == 60


@pytest.mark.parametrize("lab", ["AzureDevOps"], indirect=True)
async def test_the_newest_status_of_a_check_counts(lab: Lab) -> None:
    made, _ = await lab.open()
    lab.forge.statuses = [
        {"id": number, "state": state, "context": {"genre": "ci", "name": name}}
        for number, state, name in (
            (3, "succeeded", "build"),
            (1, "pending", "build"),
            (2, "failed", "build"),
            (4, "notApplicable", "lint"),
        )
    ]
    assert (await lab.host.look(lab.org, "billing", made.number)).checks is Checks.PASSED
    lab.forge.statuses.append({"id": 5, "state": "pending", "context": {"name": "build"}})
    assert (await lab.host.look(lab.org, "billing", made.number)).checks is Checks.PENDING


@pytest.mark.parametrize("lab", ["Gitea"], indirect=True)
async def test_giteas_labels_are_read_to_their_end_and_an_unknown_assignee_is_told(
    lab: Lab,
) -> None:
    lab.forge.page_size = 1
    made, problems = await lab.open(labels=["bot", "dependencies"], assignees=["nobody"])
    assert made.number == 1
    assert lab.pull.labels == ["bot", "dependencies"]
    assert [x for x in problems if x.startswith("assignees: ") and "nobody" in x]


@pytest.mark.parametrize("lab", ["GitHub"], indirect=True)
async def test_checks_that_the_token_may_not_read_are_unknown(lab: Lab) -> None:
    made, _ = await lab.open()
    lab.pull.checks, lab.pull.reviews = "passed", {"ada": "approved"}
    text = "Resource not accessible by personal access token"
    lab.forge.graphql_errors = [{"type": "FORBIDDEN", "message": text}] * 2
    seen = await lab.host.look(lab.org, "billing", made.number)
    assert (seen.checks, seen.review) == (Checks.UNKNOWN, Review.APPROVED)
    assert seen.note.endswith(f"/api/graphql: {text}")


@pytest.mark.parametrize("lab", ["GitHub"], indirect=True)
async def test_a_query_is_repeated_after_an_error_of_the_server_and_a_rate_limit(
    lab: Lab, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = await lab.open()
    lab.forge.graphql_errors = [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]
    assert (await lab.host.look(lab.org, "billing", made.number)).note == ""
    assert len(waits) == 1
    answer = await lab.session.get(f"repos/{lab.org}/billing/pulls/1")

    async def get(*_: Any, **more: Any) -> Any:
        return answer

    monkeypatch.setattr(lab.session, "get", get)
    lab.forge.failures = [Refusal(502, "bad gateway")]
    assert (await lab.host.look(lab.org, "billing", made.number)).note == ""
    assert len(waits) == 2


@pytest.mark.parametrize("lab", ["GitHub"], indirect=True)
async def test_a_search_that_finds_too_much_is_told(lab: Lab) -> None:
    found = [x.repo async for x in lab.host.repositories("", topic="python")]
    assert found == ["billing"]
    assert lab.forge.exchanges[-1].query["q"] == "topic:python fork:true"
    lab.forge.found = 1001
    with pytest.raises(HostError, match="finds 1001 repositories, and GitHub returns 1000"):
        [x async for x in lab.host.repositories("", topic="python")]


@pytest.mark.parametrize(
    "lab", ["GitHub", "GitLab"], indirect=True
)  # the waiting is the same for all
async def test_a_rate_limit_is_waited_for(lab: Lab) -> None:
    lab.forge.failures = [
        Refusal(429, '{"message": "slow down"}', {"Retry-After": "1"}),
        Refusal(503, "busy"),
    ]
    assert await lab.host.find(lab.org, "billing", "work") is None
    lab.forge.failures = [Refusal(429, '{"message": "slow down"}', {"Retry-After": "1"})]
    await lab.open()
    assert len(lab.forge.pulls) == 1


async def test_a_limit_that_is_too_long_ends_at_once(lab: Lab) -> None:
    lab.forge.failures = [Refusal(429, '{"message": "slow down"}', {"Retry-After": "3600"})]
    with pytest.raises(HostError, match="429: slow down") as error:
        await lab.host.find(lab.org, "billing", "work")
    assert error.value.rate_limited


async def test_a_write_that_may_have_happened_is_not_repeated(lab: Lab) -> None:
    made, _ = await lab.open()
    before = len(lab.forge.requests)
    lab.forge.failures = [Refusal(502, "bad gateway")] * 3
    with pytest.raises(HostError, match="502"):
        await lab.host.comment(lab.org, "billing", made, "Once")
    assert len(lab.forge.requests) == before + 1


async def test_a_request_whose_answer_was_lost_is_found(lab: Lab) -> None:
    lab.forge.lost = 1
    made, _ = await lab.open()
    assert (made.number, len(lab.forge.pulls)) == (1, 1)


async def test_the_words_of_the_host_are_told(lab: Lab) -> None:
    with pytest.raises(
        HostError, match=r"responded with (404|422): .*(Not Found|unknown revision|fatal|Needed)"
    ):
        await lab.open(branch="nope")
    with pytest.raises(HostError, match="404"):
        await lab.host.look(lab.org, "billing", 99)


@pytest.mark.parametrize("kind", APIS)
async def test_a_token_that_is_no_good_is_told_and_not_shown(kind: str) -> None:
    async with _lab(kind, token="wr0ng-token") as lab:
        with pytest.raises(HostError, match=r"401: (TF401179: )?Bad credentials") as error:
            await lab.open()
        assert "wr0ng-token" not in str(error.value)


async def test_what_is_said_to_github_and_what_its_stand_in_answers_is_as_published() -> None:
    """Paths, parameters, fields and their types, against GitHub's own OpenAPI description."""
    published = json.loads((Path(__file__).parent / "published/github.json").read_text())
    operations = published["operations"]
    async with _lab("GitHub") as lab:
        wish: dict[str, Any] = {
            "labels": ["bot"],
            "reviewers": ["ada", "acme/team"],
            "assignees": ["bob"],
        }
        made, _ = await lab.open(base="", **wish)
        await lab.open(**wish)
        await lab.host.find(lab.org, "billing", "work")
        await lab.host.look(lab.org, "billing", made.number)
        await lab.host.comment(lab.org, "billing", made, "Look.")
        await lab.host.update_branch(lab.org, "billing", made)
        await lab.host.merge(lab.org, "billing", made, MergeMethod.REBASE)
        assert [x async for x in lab.host.repositories(lab.org)]
        assert [x async for x in lab.host.repositories(lab.org, search="bill")]
        exchanges = [x for x in lab.forge.exchanges if x.path != "/api/graphql"]
    problems, seen = [], set()
    for each in exchanges:
        name = next(x for x in sorted(operations, key=len) if _is_operation(x, each))
        seen.add(name)
        operation = operations[name]
        problems += [f"{name}: ?{x}" for x in each.query if x not in operation["query"]]
        if each.body is not None:
            known = operation["body"]
            problems += [f"{name}: body {x}" for x in each.body if x not in known["names"]]
            problems += [f"{name}: without {x}" for x in known["required"] if x not in each.body]
        if str(each.status) not in operation["answers"]:
            problems.append(f"{name}: answers {each.status}")
        elif schema := operation["answers"][str(each.status)]:
            problems += [f"{name}: {x}" for x in _differences(each.answer, schema, "")]
    assert problems == []
    assert len(seen) >= 12


def _is_operation(name: str, exchange: Exchange) -> bool:
    method, _, template = name.partition(" ")
    pattern = re.sub(r"\{\w+\}", "[^/]+", template)
    path = exchange.path.removeprefix("/api/v3")
    return method == exchange.method and bool(re.fullmatch(pattern, path))


def _differences(value: Any, schema: dict[str, Any], where: str) -> list[str]:
    """Where an answer has fields or types that the schema does not have."""
    kinds = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
    kind = kinds.get(type(value), "null")
    if kind not in schema["type"]:
        return [f"{where} is {kind}"]
    found = []
    if isinstance(value, dict):
        known = schema.get("properties", {})
        for name, each in value.items():
            if name not in known:
                found.append(f"{where}.{name} is unknown")
            else:
                found += _differences(each, known[name], f"{where}.{name}")
    if isinstance(value, list):
        for each in value:
            found += _differences(each, schema["items"], f"{where}[]")
    return found


class TestSession:
    @pytest.fixture
    async def served(self) -> AsyncIterator[Callable[[Any], Awaitable[HostSession]]]:
        runners: list[web.AppRunner] = []
        sessions: list[HostSession] = []

        async def serve(handler: Any, **limits: Any) -> HostSession:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", handler)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            runners.append(runner)
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"

            async def sleep(seconds: float) -> None:
                waits.append(seconds)

            waits = limits.pop("waits", None)
            session = HostSession(
                url,
                {"Authorization": f"Bearer {TOKEN}"},
                limits=RequestLimits(**limits),
                sleep=asyncio.sleep if waits is None else sleep,
            )
            sessions.append(await session.__aenter__())
            return session

        yield serve
        for session in sessions:
            await session.__aexit__(None, None, None)
        for runner in runners:
            await runner.cleanup()

    async def test_credentials_follow_neither_redirects_nor_links(self, served: Any) -> None:
        seen: list[str] = []

        async def other(request: web.Request) -> web.Response:
            seen.append(request.headers.get("Authorization", ""))
            return web.json_response([])

        elsewhere = await served(other)

        async def redirect(request: web.Request) -> web.Response:
            if request.path == "/list":
                link = f'<{elsewhere.url}/more>; rel="next"'
                return web.json_response([1], headers={"Link": link})
            return web.Response(status=302, headers={"Location": elsewhere.url})

        session = await served(redirect)
        with pytest.raises(HostError, match="redirects to http"):
            await session.get("x")
        with pytest.raises(HostError, match="points to another host"):
            [x async for x in session.items("list")]
        assert seen == []

    async def test_an_answer_without_an_end_is_cut_off(
        self, served: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(requests, "MAX_RESPONSE_BYTES", 1024 * 1024)

        async def flood(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            try:
                while True:
                    await response.write(b"x" * 65536)
            except ConnectionResetError:
                return response

        session = await served(flood)
        with pytest.raises(HostError, match="the response has more than 1 MiB"):
            await session.get("x")

    async def test_pages_without_an_end_have_one(
        self, served: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(requests, "MAX_LIST_PAGES", 5)

        async def again(request: web.Request) -> web.Response:
            return web.json_response([1], headers={"Link": '</x>; rel="next"'})

        session = await served(again)
        with pytest.raises(HostError, match="more than 5 pages"):
            [x async for x in session.items("x")]

    async def test_githubs_limits_are_understood(self, served: Any) -> None:
        async def limited(request: web.Request) -> web.Response:
            headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9999999999"}
            return web.json_response(
                {"message": "API rate limit exceeded"}, status=403, headers=headers
            )

        session = await served(limited, max_wait=5)
        with pytest.raises(HostError) as error:
            await session.get("x")
        assert error.value.rate_limited

    @pytest.mark.parametrize("headers", [{}, {"Retry-After": "1"}])
    async def test_a_rate_limit_is_waited_for_until_the_limit_of_time(
        self, served: Any, headers: dict[str, str]
    ) -> None:
        asked: list[str] = []

        async def limited(request: web.Request) -> web.Response:
            asked.append(request.method)
            if len(asked) <= 12:
                return web.json_response({"message": "slow"}, status=429, headers=headers)
            return web.json_response({"id": 1})

        waits: list[float] = []
        session = await served(limited, waits=waits)
        assert await session.post("x", {}) == {"id": 1}
        assert len(waits) == 12
        assert max(waits) <= 91
        assert sum(waits) > 200
        asked.clear()
        session = await served(limited, waits=[], max_wait=100)
        with pytest.raises(HostError) as error:
            await session.get("x")
        assert error.value.rate_limited
        assert len(asked) < 12

    async def test_githubs_secondary_limit_is_waited_for_a_minute(self, served: Any) -> None:
        waits: list[float] = []

        async def limited(request: web.Request) -> web.Response:
            if waits:
                return web.json_response([])
            text = "You have exceeded a secondary rate limit."
            return web.json_response({"message": text}, status=403)

        session = await served(limited, waits=waits)
        assert await session.get("x") == []
        assert [60 < x < 65 for x in waits] == [True]

    async def test_what_may_happen_twice_is_repeated_and_other_writes_are_not(
        self, served: Any
    ) -> None:
        asked: list[str] = []

        async def broken(request: web.Request) -> web.Response:
            asked.append(request.path)
            return web.json_response({}, status=502 if len(asked) == 1 else 200)

        session = await served(broken, waits=[])
        assert (await session.send("POST", "token", {}, repeatable=True)).status == 200
        asked.clear()
        with pytest.raises(HostError, match="502") as error:
            await session.post("comment", {})
        assert error.value.uncertain

    async def test_a_write_is_repeated_while_the_host_cannot_be_reached(
        self, served: Any, unused_tcp_port: int
    ) -> None:
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        session = HostSession(f"http://127.0.0.1:{unused_tcp_port}", {}, sleep=sleep)
        async with session:
            with pytest.raises(HostError, match="is unreachable") as error:
                await session.post("token", {})
        assert len(waits) == requests.TRIES - 1
        assert not error.value.uncertain

    async def test_a_renamed_repository_is_followed(self, served: Any) -> None:
        seen: list[str] = []

        async def renamed(request: web.Request) -> web.Response:
            seen.append(f"{request.method} {request.path_qs}")
            if request.path.startswith("/repositories"):
                return web.json_response({"auth": request.headers["Authorization"]})
            status = {"/a": 301, "/b": 307}.get(request.path, 308)
            location = {"/a": "/repositories/7/pulls", "/b": "/repositories/7/pulls?x=2"}
            to = location.get(request.path, request.path)
            return web.Response(status=status, headers={"Location": to})

        session = await served(renamed)
        assert await session.get("a", x=1) == {"auth": f"Bearer {TOKEN}"}
        assert await session.post("b", {}) == {"auth": f"Bearer {TOKEN}"}
        assert seen[1] == "GET /repositories/7/pulls?x=1"
        assert seen[3] == "POST /repositories/7/pulls?x=2"
        with pytest.raises(HostError, match="redirects to /repositories/7/pulls: the repo"):
            await session.post("a", {})
        seen.clear()
        with pytest.raises(HostError, match="redirects to /loop"):
            await session.get("loop")
        assert len(seen) == requests.MAX_REDIRECTS + 1

    async def test_a_web_page_is_no_answer(self, served: Any) -> None:
        async def page(request: web.Request) -> web.Response:
            return web.Response(text="<html>Sign in</html>", content_type="text/html")

        session = await served(page)
        with pytest.raises(HostError, match="responded with a web page"):
            await session.get("x")

    async def test_certificates_that_are_not_there_are_told(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
        with pytest.raises(HostError, match="/nonexistent has no certificate authorities"):
            async with HostSession("https://git.example", {}):
                pass

    async def test_single_sign_on_says_where(self, served: Any) -> None:
        async def refuse(request: web.Request) -> web.Response:
            headers = {"X-GitHub-SSO": "required; url=https://github.com/orgs/acme/sso?x=1"}
            text = "Resource protected by organization SAML enforcement."
            return web.json_response({"message": text}, status=403, headers=headers)

        session = await served(refuse)
        with pytest.raises(HostError, match=r"SAML enforcement.*https://github\.com/orgs/acme/sso"):
            await session.get("x")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"message": "Validation Failed", "errors": [{"message": "A pull request already exists"}]},
         "Validation Failed; A pull request already exists"),
        ({"message": "Validation Failed", "errors": [{"field": "base", "code": "invalid"}]},
         "Validation Failed; base invalid"),
        ({"message": ["Another open merge request already exists"]}, "Another open merge request already exists"),
        ({"error": {"message": "no", "fields": {"title": ["too long"]}}}, "no; too long"),
        ({"errors": [{"context": None, "message": "is not a user"}]}, "is not a user"),
        ("<html><body>Bad\n gateway</body></html>", "Bad gateway"),
        (None, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_errors_of_all_hosts_are_read(body: Any, words: str) -> None:
    assert requests.error_text(body) == words


@pytest.mark.parametrize(
    ("url", "kind", "api"),
    [
        ("https://github.com/acme/billing.git", "GitHub", "https://api.github.com"),
        ("git@github.com:acme/billing.git", "GitHub", "https://api.github.com"),
        ("https://github.acme.example/a/b.git", "GitHub", "https://github.acme.example/api/v3"),
        ("https://acme.ghe.com/a/b.git", "GitHub", "https://api.acme.ghe.com"),
        ("https://gitlab.com/a/b/c.git", "GitLab", "https://gitlab.com/api/v4"),
        ("ssh://git@gitlab.acme.example:2222/a/b.git", "GitLab", "https://gitlab.acme.example/api/v4"),
        ("https://gitea.acme.example:3000/a/b.git", "Gitea", "https://gitea.acme.example:3000/api/v1"),
        ("https://codeberg.org/a/b.git", "Forgejo", "https://codeberg.org/api/v1"),
        ("https://bitbucket.org/a/b.git", "Bitbucket", "https://api.bitbucket.org/2.0"),
        ("https://bitbucket.acme.example/scm/a/b.git", "BitbucketDataCenter",
         "https://bitbucket.acme.example/rest/api/1.0"),
        ("https://stash.acme.example/bitbucket/scm/a/b.git", "BitbucketDataCenter",
         "https://stash.acme.example/bitbucket/rest/api/1.0"),
        ("https://dev.azure.com/acme/My%20Project/_git/x", "AzureDevOps", "https://dev.azure.com"),
        ("git@ssh.dev.azure.com:v3/acme/p/x", "AzureDevOps", "https://dev.azure.com"),
        ("acme@vs-ssh.visualstudio.com:v3/acme/p/x", "AzureDevOps", "https://dev.azure.com"),
        ("ssh://git@altssh.gitlab.com:443/a/b.git", "GitLab", "https://gitlab.com/api/v4"),
        ("ssh://git@altssh.bitbucket.org:443/a/b.git", "Bitbucket", "https://api.bitbucket.org/2.0"),
    ],
)  # fmt: skip
def test_hosts_are_told_by_their_names(url: str, kind: str, api: str) -> None:
    assert provider_of(url) == kind
    assert api_url(kind, url) == api


@pytest.mark.parametrize(
    ("kind", "username", "scheme"),
    [
        ("GitLab", "", "Bearer"),
        ("Bitbucket", "", "Bearer"),
        ("Bitbucket", "x-token-auth", "Bearer"),
        ("Bitbucket", "ada@acme.example", "Basic"),
        ("Gitea", "", "token"),
    ],
)
def test_how_a_host_is_signed_in_to(kind: str, username: str, scheme: str) -> None:
    session, _ = connect(kind, "https://git.example/a/b", token=TOKEN, username=username)
    assert session._headers["Authorization"].partition(" ")[0] == scheme


def test_a_host_whose_name_does_not_tell_has_to_be_named() -> None:
    assert provider_of("https://git.acme.example/a/b.git") == ""
    with pytest.raises(HostError, match="set provider to one of GitHub, GitLab"):
        connect("", "https://git.acme.example/a/b.git", token="x")


def test_a_github_app_signs_in_with_its_key() -> None:
    import base64

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()
    head, claims, signature = signed(App("123", pem), 1000.0).split(".")
    assert json.loads(base64.urlsafe_b64decode(claims + "==")) == {
        "iat": 940,
        "exp": 1540,
        "iss": "123",
    }
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    key.public_key().verify(
        base64.urlsafe_b64decode(signature + "=="),
        f"{head}.{claims}".encode(),
        padding.PKCS1v15(),
        hashes.SHA256(),
    )
    with pytest.raises(ValueError, match="githubAppPrivateKey is not a key in PEM"):
        signed(App("123", "nonsense"), 1000.0)


GITLAB_BELOW_A_PATH = ("GitLab", "https://git.acme.example/gitlab/api/v4")


@pytest.mark.parametrize(
    ("template", "settings", "names", "project"),
    [
        ("https://gitlab.acme.example/{org}/{repo}.git", (), ("g/s", "r"), ("g/s", "r")),
        ("https://gitlab.acme.example/g/{org}/{repo}.git", (), ("s", "r"), ("g/s", "r")),
        ("git@gitlab.acme.example:g/{org}/{repo}.git", (), ("s", "r"), ("g/s", "r")),
        ("https://gitlab.com/g/team-{org}/{repo}.git", (), ("s", "r"), ("g/team-s", "r")),
        ("https://git.acme.example/gitlab/{org}/{repo}.git", GITLAB_BELOW_A_PATH, ("g", "r"), ("g", "r")),
        ("https://git.acme.example/gitlab/g/{org}/{repo}", GITLAB_BELOW_A_PATH, ("s", "r"), ("g/s", "r")),
        ("ssh://git@git.acme.example:22/g/{org}/{repo}", GITLAB_BELOW_A_PATH, ("s", "r"), ("g/s", "r")),
        ("http://mirror/gitlab.com/{org}/{repo}", ("GitLab", "https://gitlab.com/api/v4"), ("g", "r"), ("g", "r")),
        ("https://bitbucket.acme.example/scm/{org}/{repo}.git", (), ("~ada", "r"), ("~ada", "r")),
        ("https://bitbucket.acme.example/scm/PROJ/{repo}.git", (), ("PROJ", "r"), ("PROJ", "r")),
        ("https://git.acme.example/gitea/{org}/{repo}.git", ("Gitea",), ("a", "r"), ("a", "r")),
        ("https://github.com/{org}/service-{repo}.git", (), ("a", "r"), ("a", "service-r")),
        ("https://dev.azure.com/{org}/_git/{repo}", (), ("a/My%20P", "My r"), ("a/My P", "My r")),
        ("https://dev.azure.com/a/{org}/_git/{repo}", (), ("My P", "r"), ("a/My P", "r")),
        ("https://dev.azure.com/a/My%20P/_git/{repo}", (), ("a/My P", "r"), ("a/My P", "r")),
        ("https://acme.visualstudio.com/{org}/_git/{repo}", (), ("P", "r"), ("P", "r")),
        ("git@ssh.dev.azure.com:v3/{org}/{repo}", (), ("a/P", "r"), ("a/P", "r")),
        ("https://tfs.acme.example/tfs/C/{org}/_git/{repo}",
         ("AzureDevOps", "https://tfs.acme.example/tfs"), ("P", "r"), ("C/P", "r")),
        ("file:///srv/git/{org}/{repo}.git", ("GitLab", "https://gitlab.com/api/v4"), ("g", "r"), ("g", "r")),
    ],
)  # fmt: skip
def test_names_at_the_host_follow_from_the_template(
    template: str, settings: tuple[str, ...], names: tuple[str, str], project: tuple[str, str]
) -> None:
    site = Site(template, *settings)
    assert site.project(*names) == project
    assert site.names(*project) == (names[0].replace("%20", " "), names[1])


def test_a_project_that_the_url_omits_is_that_of_the_repository() -> None:
    site = Site("https://dev.azure.com/{org}/_git/{repo}")
    assert site.project("acme", "Shop") == ("acme/Shop", "Shop")
    for url in (
        "https://dev.azure.com/acme/_git/Shop/pullrequest/1",
        "https://acme.visualstudio.com/_git/Shop/pullrequest/1",
        "https://acme.visualstudio.com/DefaultCollection/_git/Shop/pullrequest/1",
    ):
        assert site.find(url, "acme/Shop", "Shop") is not None
    assert (
        site.find("https://other.visualstudio.com/_git/Shop/pullrequest/1", "acme/Shop", "Shop")
        is None
    )


@pytest.mark.parametrize("lab", ["AzureDevOps"], indirect=True)
async def test_an_organization_of_azure_devops_lists_all_its_projects(lab: Lab) -> None:
    shutil.copytree(_TEMPLATE[0], lab.forge.directory / "acme/acme")
    found = {x.org async for x in lab.host.repositories("acme")}
    assert found == {"acme/My Project", "acme/acme"}
    assert [x.org async for x in lab.host.repositories("acme/acme")] == ["acme/acme"]
