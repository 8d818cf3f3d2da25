"""prs and discover: pull requests of a run at git hosts, and Batches over what a host has."""

import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest
import yaml
from hack.forge import ForgeServer
from hack.gitserver import Refusal, make_repository

from kubetask_controller.api.context import Repository
from kubetask_controller.api.manifest import repository_url
from kubetask_controller.api.patterns import URL_PATTERN
from kubetask_controller.cli import pullrequests
from kubetask_controller.cli.burndown import burn_down, counts_at
from kubetask_controller.cli.commands.prs import PullRequestAction, totals_line
from kubetask_controller.cli.runview import TaskRow
from kubetask_controller.client import APIStatusError
from kubetask_controller.hosts import (
    Checks,
    PullRequestInfo,
    PullRequestSpec,
    PullRequestState,
    Site,
    connect,
    parse_link,
)
from kubetask_controller.hosts.detect import api_url
from support.cli.cliobjects import Cli, run, succeeded

pytestmark = pytest.mark.processes

TOKEN = "t0ken-of-the-user"
SERVICES = ("service-0", "service-1", "service-2", "service-3")


@pytest.fixture
async def forge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ForgeServer]:
    """A host with a pull request in each of four repositories, spoken to as Gitea."""
    folder = tmp_path / "git"
    await make_repository(folder / "myorg/service-0.git", {"README.md": "x\n"})
    path = folder / "myorg/service-0.git"
    (path / "refs/heads/kubetask").mkdir()
    (path / "refs/heads/kubetask/work").write_text(_tip(path))
    for name in SERVICES[1:]:
        shutil.copytree(path, folder / f"myorg/{name}.git")
    for name in ("GH_TOKEN", "GITHUB_TOKEN", "FORGEJO_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GITEA_TOKEN", TOKEN)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    async with ForgeServer(folder, token=TOKEN) as server:
        for name in SERVICES:
            await server.forge.create("myorg", name, "kubetask/work", "main", title=f"Bump {name}")
        yield server


def _tip(path: Path) -> str:
    main = path / "refs/heads/main"
    if main.exists():
        return main.read_text()
    line = next(
        x for x in (path / "packed-refs").read_text().splitlines() if x.endswith("refs/heads/main")
    )
    return line.split()[0] + "\n"


async def nightly(api: Any, forge: ForgeServer, *more: Any, trusted: bool = True) -> None:
    """A run with a pull request for each repository."""
    tasks = [
        succeeded(x, pullRequest=f"{forge.url}/myorg/service-{x}/pulls/1")
        for x in range(len(SERVICES))
    ]
    await api.put("batchruns", run("nightly", *tasks, *more))
    if trusted:
        await api.put("workspaceconfigs", workspace_config(forge))


def workspace_config(forge: ForgeServer, name: str = "default", **git: Any) -> dict[str, Any]:
    git = {"urlTemplate": f"{forge.url}/{{org}}/{{repo}}.git", "provider": "Gitea"} | git
    return {"metadata": {"name": name}, "spec": {"git": git}}


async def test_the_table_has_state_checks_reviews_and_age(api, cli: Cli, forge: ForgeServer):
    await nightly(api, forge)
    pulls = forge.forge.pulls
    pulls[0].checks, pulls[0].reviews = "passed", {"ada": "approved"}
    pulls[1].checks = "failed"
    pulls[2].draft = True
    pulls[3].state, pulls[3].closed = "merged", datetime.now(UTC)
    pulls[0].created -= timedelta(days=3, hours=4)
    end = await cli("prs", "nightly")
    assert end.code == 0, end.err
    lines = [x.split() for x in end.out.splitlines()]
    assert lines[0] == ["INDEX", "REPOSITORY", "PR", "STATE", "CHECKS", "REVIEW", "AGE", "TITLE"]
    assert lines[1][:7] == ["0", "myorg/service-0", "#1", "Open", "Passed", "Approved", "3d4h"]
    assert lines[2][3:5] == ["Open", "Failed"]
    assert lines[3][3] == "Draft"
    assert lines[4][3] == "Merged"
    assert end.err == "2 open, 1 draft, 1 merged, 1 with failed checks, 1 approved\n"


async def test_json_and_csv_have_all_of_it(api, cli: Cli, forge: ForgeServer):
    await nightly(api, forge)
    forge.forge.pulls[0].title = '=HYPERLINK("http://evil")'
    found = json.loads((await cli("prs", "nightly", "-o", "json")).out)
    assert [x["repository"] for x in found] == [f"myorg/{x}" for x in SERVICES]
    assert found[1]["state"] == "Open"
    assert found[1]["branch"] == "kubetask/work"
    end = await cli("prs", "nightly", "-o", "csv")
    assert "'=HYPERLINK" in end.out
    assert len(end.out.splitlines()) == 5


async def test_a_selection_by_state_checks_review_and_index(api, cli: Cli, forge: ForgeServer):
    await nightly(api, forge)
    forge.forge.pulls[1].checks = "failed"
    forge.forge.pulls[2].draft = True

    async def chosen(*options: str) -> list[int]:
        return [
            x["index"]
            for x in json.loads((await cli("prs", "nightly", "-o", "json", *options)).out)
        ]

    assert await chosen("--checks", "failed") == [1]
    assert await chosen("--state", "draft") == [2]
    assert await chosen("--state", "open,draft", "--select", "0,2-3") == [0, 2, 3]
    end = await cli("prs", "nightly", "--checks", "red")
    assert end.code == 2


async def test_merge_merges_what_is_ready_and_says_what_is_not(api, cli: Cli, forge: ForgeServer):
    await nightly(api, forge)
    pulls = forge.forge.pulls
    pulls[1].checks = "failed"
    pulls[2].reviews = {"ada": "changes"}
    pulls[3].draft = True
    dry = await cli("prs", "nightly", "--merge", "--dry-run")
    assert dry.code == 0
    assert all(x.open for x in pulls)
    assert "would merge" in dry.out
    asked = await cli("prs", "nightly", "--merge")
    assert asked.code == 2
    assert "pass --yes" in asked.err
    end = await cli("prs", "nightly", "--merge", "--method", "squash", "--yes")
    assert end.code == 0, end.err
    assert [x.state for x in pulls] == ["merged", "open", "open", "open"]
    assert pulls[0].merged_how == "squash"
    for text in (
        "skipped: myorg/service-1#1: its checks are failed",
        "skipped: myorg/service-2#1: a reviewer requested changes",
        "skipped: myorg/service-3#1: it is a draft",
        "1 done, 0 failed",
    ):
        assert text in end.out


def test_a_pull_request_with_unknown_checks_is_not_ready() -> None:
    link = parse_link("https://github.com/a/b/pull/7")
    assert link is not None
    request = PullRequestInfo(
        7, link.url, PullRequestState.OPEN, checks=Checks.UNKNOWN, note="no right"
    )
    found = pullrequests.FoundPullRequest(0, link, request=request)
    assert PullRequestAction("merge").refuses(found) == "some fields are unknown: no right"
    assert PullRequestAction("merge", force=True).refuses(found) == ""
    assert totals_line([found]) == "1 open"


async def test_close_and_comment_go_over_all_that_are_open(api, cli: Cli, forge: ForgeServer):
    await nightly(api, forge)
    forge.forge.pulls[0].state = "merged"
    end = await cli("prs", "nightly", "--close", "--comment", "Superseded.", "--yes")
    assert end.code == 0, end.err
    assert [x.state for x in forge.forge.pulls] == ["merged", "closed", "closed", "closed"]
    assert [x.comments for x in forge.forge.pulls[1:]] == [["Superseded."]] * 3
    assert "skipped: myorg/service-0#1: it is merged" in end.out


async def test_one_that_cannot_be_changed_does_not_stop_the_others(
    api, cli: Cli, forge: ForgeServer
):
    await nightly(api, forge)
    forge.forge.moved.add(("service-1", 1))
    end = await cli("prs", "nightly", "--merge", "--yes")
    assert end.code == 1
    assert [x.state for x in forge.forge.pulls] == ["merged", "open", "merged", "merged"]
    assert "error: myorg/service-1#1: " in end.err
    assert "Head branch was modified" in end.err


async def test_a_rate_limit_is_waited_for(api, cli: Cli, forge: ForgeServer):
    await nightly(api, forge)
    forge.forge.failures = [Refusal(429, '{"message": "slow"}', {"Retry-After": "0"})] * 2
    end = await cli("prs", "nightly")
    assert "Unknown" not in end.out


async def test_no_token_goes_to_a_host_that_only_an_agent_names(api, cli: Cli, forge: ForgeServer):
    await nightly(api, forge, trusted=False)
    end = await cli("prs", "nightly")
    assert forge.forge.requests == []
    host = forge.url.partition("//")[2]
    assert f"pass --host {host} to trust it" in end.out
    end = await cli("prs", "nightly", "--host", f"{host}=gitea")
    assert f"{host}: the link has no TLS" in end.out
    end = await cli("prs", "nightly", "--api", f"{host}={forge.url}/api/v1")
    assert f"{host}: unknown kind of git host" in end.out
    assert forge.forge.requests == []
    known = ("--host", f"{host}=gitea", "--api", f"{host}={forge.url}/api/v1")
    assert "Open" in (await cli("prs", "nightly", *known)).out
    end = await cli("prs", "nightly", "--host", f"{host}=cvs")
    assert (end.code, "cvs is none of GitHub, GitLab" in end.err) == (2, True)


async def test_a_pull_request_of_another_repository_is_shown_and_never_merged(
    api, cli: Cli, forge: ForgeServer
):
    stranger = succeeded(9, pullRequest=f"{forge.url}/myorg/service-0/pulls/1")
    await api.put("workspaceconfigs", workspace_config(forge))
    await api.put("batchruns", run("nightly", stranger))
    end = await cli("prs", "nightly", "--merge", "--yes")
    assert "skipped: myorg/service-0#1: myorg/service-0 is not a repository of task 9" in end.out
    assert forge.forge.pulls[0].open
    assert forge.forge.requests == []


ACTIONS = (
    ("merge", ("--merge",)),
    ("merge", ("--merge", "--force", "--branch", "kubetask/work")),
    ("close", ("--close",)),
    ("comment on", ("--comment", "Hello.")),
    ("update", ("--update-branch",)),
)


@pytest.mark.parametrize(("verb", "options"), ACTIONS)
async def test_a_pull_request_of_a_fork_is_shown_and_never_changed(
    api, cli: Cli, forge: ForgeServer, verb: str, options: tuple[str, ...]
):
    await nightly(api, forge)
    theirs = forge.forge.pulls[0]
    theirs.fork = True
    lines = (await cli("prs", "nightly")).out.splitlines()
    assert "Open" in lines[1]
    assert lines[1].endswith("from a fork")
    assert all("from a fork" not in x for x in lines[2:])
    end = await cli("prs", "nightly", *options, "--yes")
    assert end.code == 0, end.err
    assert (theirs.state, theirs.comments, theirs.merged_how) == ("open", [], "")
    assert (
        "skipped: myorg/service-0#1: it is from a fork, and prs changes only pull requests from branches of the"
        f" repository: review it, and {verb} it at {forge.url}/myorg/service-0/pulls/1\n"
    ) in end.out
    assert "3 done, 0 failed" in end.out


async def test_a_pull_request_of_another_branch_is_merged_only_if_the_user_names_it(
    api, cli: Cli, forge: ForgeServer
):
    url = f"{forge.url}/myorg/service-0/pulls/1"
    await api.put("workspaceconfigs", workspace_config(forge))
    await api.put("batchruns", run("nightly", succeeded(0, pullRequest=url, branch="kubetask/n-0")))
    pull = forge.forge.pulls[0]
    assert (await cli("prs", "nightly")).out.rstrip().endswith("from branch kubetask/work")
    found = json.loads((await cli("prs", "nightly", "-o", "json")).out)
    assert [(x["fork"], x["otherBranch"]) for x in found] == [(False, True)]
    for more in ((), ("--force",), ("--branch", "main")):
        end = await cli("prs", "nightly", "--merge", "--yes", *more)
        assert (
            "skipped: myorg/service-0#1: its branch is kubetask/work, and that of the task is kubetask/n-0:"
            " review it, and pass --branch kubetask/work to merge it"
        ) in end.out
        assert pull.open
    assert "1 done" in (await cli("prs", "nightly", "--comment", "Whose is it?", "--yes")).out
    end = await cli("prs", "nightly", "--merge", "--branch", "kubetask/work", "--yes")
    assert "1 done, 0 failed" in end.out
    assert pull.state == "merged"
    assert "from branch" not in (await cli("prs", "nightly")).out


@pytest.mark.parametrize("result", [{}, {"branch": "kubetask/work"}])
async def test_a_pull_request_that_an_agent_opened_from_its_own_branch_is_merged(
    api, cli: Cli, forge: ForgeServer, result: dict[str, str]
):
    url = f"{forge.url}/myorg/service-0/pulls/1"
    await api.put("workspaceconfigs", workspace_config(forge))
    await api.put("batchruns", run("nightly", succeeded(0, pullRequest=url, **result)))
    end = await cli("prs", "nightly", "--merge", "--yes")
    assert "1 done, 0 failed" in end.out
    assert forge.forge.pulls[0].state == "merged"


@pytest.mark.parametrize(
    ("branches", "other"), [(("a", "work"), False), (("a", ""), False), (("a", "b"), True)]
)
def test_the_branches_of_all_tasks_that_name_a_pull_request_count(
    branches: tuple[str, ...], other: bool
) -> None:
    url = "https://github.com/acme/billing/pull/7"
    rows = [
        TaskRow(i, "Succeeded", target="x", entry={"result": {"pullRequest": url, "branch": x}})
        for i, x in enumerate(branches)
    ]
    repository = [{"org": "acme", "repo": "billing"}]
    sites = {"": Site("https://github.com/{org}/{repo}.git")}
    known = pullrequests.KnownHosts({"github.com": pullrequests.TrustedHost()}, sites)
    (found,) = pullrequests.find_links(rows, {0: repository, 1: repository}, known)
    request = PullRequestInfo(7, url, PullRequestState.OPEN, branch="work")
    assert replace(found, request=request).is_of_other_branch is other


def test_a_branch_in_a_message_is_quoted_for_the_shell() -> None:
    link = parse_link("https://github.com/a/b/pull/7")
    assert link is not None
    request = PullRequestInfo(7, link.url, PullRequestState.OPEN, branch="x$(id)")
    found = pullrequests.FoundPullRequest(0, link, frozenset({"work"}), request)
    assert "pass --branch 'x$(id)' to merge it" in PullRequestAction("merge").refuses(found)


async def test_a_link_of_another_task_does_not_hide_a_pull_request(
    api, cli: Cli, forge: ForgeServer
):
    url = f"{forge.url}/myorg/service-1/pulls/1"
    await api.put("workspaceconfigs", workspace_config(forge))
    await api.put("batchruns", run("nightly", *(succeeded(x, pullRequest=url) for x in (0, 1))))
    end = await cli("prs", "nightly", "--merge", "--yes")
    assert "1 done, 0 failed" in end.out
    assert [x.state for x in forge.forge.pulls] == ["open", "merged", "open", "open"]


async def test_repositories_of_the_common_part_and_of_a_task_are_its_own(
    api, cli: Cli, forge: ForgeServer
):
    await api.put("workspaceconfigs", workspace_config(forge))
    file = {"type": "File", "file": {"name": "task.md", "source": {"inline": "x"}}}
    both = [{"type": "Repository", "repository": {"org": "myorg", "repo": x}} for x in SERVICES[:2]]
    first = succeeded(0, pullRequest=f"{forge.url}/myorg/service-0/pulls/1")
    found = run("nightly", first | {"contexts": [{"type": "File", "file": {"name": "task.md"}}]})
    found["spec"] = {"batchSpec": {"commonContext": both[:1], "variableContexts": [[file]]}}
    await api.put("batchruns", found)
    assert "Open" in (await cli("prs", "nightly")).out
    urls = [f"{forge.url}/myorg/{x}/pulls/1" for x in SERVICES[:2]]
    status = {"phase": "Succeeded", "target": "myorg/service-0 +1"}
    task = {
        "metadata": {"name": "two", "uid": "u"},
        "spec": {"contexts": both},
        "status": status | {"result": {"pullRequests": urls}},
    }
    await api.put("tasks", task)
    assert (await cli("prs", "task/two")).out.count("Open") == 2


async def test_the_workspaceconfig_of_a_batchs_snapshot_names_the_host(
    api, cli: Cli, forge: ForgeServer
):
    found = run("nightly", succeeded(0, pullRequest=f"{forge.url}/myorg/service-0/pulls/1"))
    found["status"]["batchSnapshot"] = "bump-1"
    found["spec"] = {"batchRef": "bump"}
    await api.put("batchruns", found)
    revision = {"metadata": {"name": "bump-1"}, "data": {"workspaceConfigRef": "claude"}}
    await api.put("controllerrevisions", revision)
    await api.put("workspaceconfigs", {"metadata": {"name": "default"}, "spec": {}})
    await api.put("workspaceconfigs", workspace_config(forge, "claude"))
    assert "Open" in (await cli("prs", "nightly")).out


async def test_the_api_of_a_workspaceconfig_is_used(api, cli: Cli, forge: ForgeServer):
    await nightly(api, forge, trusted=False)
    host = forge.url.partition("//")[2]
    git = {"urlTemplate": f"http://{host}/{{org}}/{{repo}}.git", "provider": "GitHub"}
    config = workspace_config(forge, **git, apiURL=f"{forge.url}/api/v1")
    await api.put("workspaceconfigs", config)
    end = await cli("prs", "nightly")
    assert f"{host} is GitHub, and the link is that of a host of kind Gitea" in end.out
    config = workspace_config(forge, provider="Forgejo", apiURL=f"{forge.url}/elsewhere")
    await api.put("workspaceconfigs", config)
    await cli("prs", "nightly")
    assert forge.forge.requests == []
    config["spec"]["git"]["apiURL"] = f"{forge.url}/api/v1"
    await api.put("workspaceconfigs", config)
    assert "Open" in (await cli("prs", "nightly")).out


class TestTrust:
    """Which link gets which token."""

    CONFIG: ClassVar = {
        "git": {
            "urlTemplate": "https://git.acme.example/git/{org}/{repo}.git",
            "provider": "Gitea",
            "hosts": [
                {"name": "gitlab", "urlTemplate": "https://gitlab.acme.example/gitlab/{org}/{repo}.git",
                 "apiURL": "https://gitlab.acme.example/gitlab/api/v4"},
                {"name": "tfs", "urlTemplate": "https://tfs.acme.example/tfs/{org}/_git/{repo}",
                 "apiURL": "https://tfs.acme.example/tfs"},
                {"name": "azure", "urlTemplate": "https://acme.visualstudio.com/{org}/_git/{repo}"},
                {"name": "project", "urlTemplate": "https://dev.azure.com/acme/{org}/_git/{repo}"},
                {"name": "stash", "urlTemplate": "ssh://git@stash.acme.example:7999/{org}/{repo}.git"},
                {"name": "scm", "urlTemplate": "https://bb.acme.example/bitbucket/scm/{org}/{repo}.git",
                 "provider": "BitbucketDataCenter"},
                {"name": "group", "urlTemplate": "git@forge.acme.example:platform/{org}/{repo}.git",
                 "provider": "GitLab"},
                {"name": "code", "urlTemplate": "https://code.acme.example/{org}/{repo}.git"},
                {"name": "ghe", "urlTemplate": "https://github.acme.example/{org}/{repo}.git"},
                {"name": "github", "urlTemplate": "https://github.com/{org}/{repo}.git",
                 "apiURL": "http://thief.example"},
                {"name": "ssh", "urlTemplate": "ssh://git@ssh.github.com:443/{org}/{repo}.git"},
                {"name": "codeberg", "urlTemplate": "https://codeberg.org/{org}/{repo}.git"},
            ],
        }
    }  # fmt: skip

    @pytest.fixture
    def sent(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str, str]]:
        """Kind, URL of the API, repository and number of each pull request that is fetched."""
        sent: list[tuple[str, str, str, str]] = []

        class Host:
            def __init__(self, kind: str, api: str) -> None:
                self.kind, self.api = kind, api

            async def look(self, org: str, repo: str, number: int) -> PullRequestInfo:
                sent.append((self.kind, self.api, f"{org}/{repo}", f"{number}"))
                return PullRequestInfo(number, "u", PullRequestState.OPEN)

        def connect(kind: str, url: str, *, api: str, **more: Any) -> tuple[Any, Host]:
            return nullcontext(), Host(kind, api or api_url(kind, url))

        async def find_token(kind: str, url: str) -> tuple[str, str]:
            return "", TOKEN

        monkeypatch.setattr(pullrequests, "connect", connect)
        monkeypatch.setattr(pullrequests, "find_token", find_token)
        return sent

    async def problem(self, url: str, target: str) -> str:
        """Why the pull request was not fetched; `target` is ``host:org/repo,org/repo``, and a host may be absent."""

        async def get(*_: Any) -> dict[str, Any]:
            return {"spec": self.CONFIG}

        session: Any = SimpleNamespace(client=SimpleNamespace(get=get), namespace="team")
        known = await pullrequests.known_hosts(session, {}, [], {})
        row = TaskRow(0, "Succeeded", target=target, entry={"result": {"pullRequest": url}})
        repositories = []
        for each in filter(None, target.split(",")):
            host, _, name = each.rpartition(":")
            org, _, repo = name.rpartition("/")
            repositories.append({"org": org, "repo": repo} | ({"host": host} if host else {}))
        async with pullrequests.HostConnections(known.trusted) as hosts:
            (found,) = await pullrequests.fetch_pull_requests(
                pullrequests.find_links([row], {0: repositories}, known), hosts
            )
        assert bool(found.request) is not bool(found.problem)
        return found.problem

    @pytest.mark.parametrize(
        ("url", "target", "problem"),
        [
            ("http://github.com/a/b/pull/1", "github:a/b", "the link has no TLS"),
            ("http://git.acme.example/a/b/pulls/1", "a/b", "the link has no TLS"),
            ("https://codeberg.org/a/b/pull/1", "codeberg:a/b",
             "is Forgejo, and the link is that of a host of kind GitHub"),
            ("https://github.com/a/b/-/merge_requests/1", "github:a/b", "is GitHub"),
            ("https://git.acme.example/git/a/b/pull/1", "a/b", "is Gitea"),
            ("https://code.acme.example/a/b/pull/1", "code:a/b", "unknown kind of git host"),
            ("https://github.com/a/b/pull/1", "", "the repository of task 0 is unknown"),
            ("https://github.com/a/b/pull/1", "a/c", "is not a repository of task 0"),
            ("https://evil.example/a/b/pull/1", "a/b", "is not a host of the run's WorkspaceConfig"),
            ("https://github.com@evil.example/a/b/pull/1", "a/b", "is not a host of the run's"),
            ("https://github.com/a/b/pull/1", "a/b",
             "the link is at github.com, and a/b of task 0 is at git.acme.example: pass --host github.com"),
            ("https://codeberg.org/a/b/pulls/1", "github:a/b", "a/b of task 0 is at github.com"),
            ("https://github.acme.example/a/b/pull/1", "ssh:a/b", "a/b of task 0 is at github.com"),
            ("https://github.com/a/b/pull/1", "gone:a/b", "has no entry gone in git.hosts"),
            ("https://forge.acme.example/tools/b/-/merge_requests/1", "group:tools/b",
             "tools/b is not a repository of task 0"),
            ("https://dev.azure.com/other/P/_git/b/pullrequest/1", "azure:P/b", "other/P/b is not"),
            ("https://dev.azure.com/other/P/_git/b/pullrequest/1", "project:P/b", "other/P/b is not"),
        ],
    )  # fmt: skip
    async def test_no_request_is_sent(self, sent, url: str, target: str, problem: str):
        assert problem in await self.problem(url, target)
        assert sent == []

    @pytest.mark.parametrize(
        ("url", "target", "kind", "where"),
        [
            ("https://github.com/a/b/pull/1", "github:a/b", "GitHub", "https://api.github.com"),
            ("https://github.com/a/b/pull/1", "a/b,ssh:a/b", "GitHub", "https://api.github.com"),
            ("https://codeberg.org/a/b/pulls/1", "codeberg:a/b", "Forgejo", "https://codeberg.org/api/v1"),
            ("https://git.acme.example/git/a/b/pulls/1", "a/b", "Gitea", "https://git.acme.example/api/v1"),
            ("https://gitlab.acme.example/gitlab/g/s/b/-/merge_requests/1", "x/y,gitlab:g/s/b", "GitLab",
             "https://gitlab.acme.example/gitlab/api/v4"),
            ("https://tfs.acme.example/tfs/Default/My%20P/_git/b/pullrequest/1", "tfs:Default/My%20P/b",
             "AzureDevOps", "https://tfs.acme.example/tfs"),
            ("https://acme.visualstudio.com/P/_git/b/pullrequest/1", "azure:P/b", "AzureDevOps",
             "https://acme.visualstudio.com"),
            ("https://stash.acme.example/users/jdoe/repos/b/pull-requests/1", "stash:~jdoe/b",
             "BitbucketDataCenter", "https://stash.acme.example/rest/api/1.0"),
            ("https://bb.acme.example/bitbucket/projects/P/repos/b/pull-requests/1", "scm:P/b",
             "BitbucketDataCenter", "https://bb.acme.example/bitbucket/rest/api/1.0"),
        ],
    )  # fmt: skip
    async def test_one_request_is_sent_to_the_host(
        self, sent, url: str, target: str, kind: str, where: str
    ):
        assert await self.problem(url, target) == ""
        repository = unquote(target.rpartition(",")[2].rpartition(":")[2])
        assert sent == [(kind, where, repository, "1")]

    @pytest.mark.parametrize(
        ("url", "target", "repository"),
        [
            ("https://forge.acme.example/platform/tools/b/-/merge_requests/1", "group:tools/b", "platform/tools/b"),
            ("https://dev.azure.com/acme/My%20P/_git/My%20b/pullrequest/1", "project:My P/My b", "acme/My P/My b"),
            ("https://dev.azure.com/acme/_git/P/pullrequest/1", "project:P/P", "acme/P/P"),
            ("https://dev.azure.com/acme/P/_git/b/pullrequest/1", "azure:P/b", "acme/P/b"),
            ("https://tfs.acme.example/tfs/C/_git/P/pullrequest/1", "tfs:C/P/P", "C/P/P"),
        ],
    )  # fmt: skip
    async def test_the_api_gets_the_names_of_the_host(
        self, sent, url: str, target: str, repository: str
    ):
        assert await self.problem(url, target) == ""
        assert [x[2] for x in sent] == [repository]

    async def test_a_host_of_an_option_may_have_the_repository(self, sent):
        async def get(*_: Any) -> dict[str, Any]:
            return {"spec": self.CONFIG}

        session: Any = SimpleNamespace(client=SimpleNamespace(get=get), namespace="team")
        url = "https://new.acme.example/a/b/pulls/1"
        row = TaskRow(0, "Succeeded", entry={"result": {"pullRequest": url}})
        options = ["new.acme.example=Gitea", "github.acme.example"]
        known = await pullrequests.known_hosts(session, {}, options, {})
        assert known.named == {"new.acme.example"}
        (found,) = pullrequests.find_links([row], {0: [{"org": "a", "repo": "b"}]}, known)
        assert found.problem == ""

    async def test_without_the_workspaceconfig_only_hosts_of_options_count(self, sent):
        async def get(*_: Any) -> dict[str, Any]:
            raise APIStatusError(code=403, message="forbidden")

        session: Any = SimpleNamespace(client=SimpleNamespace(get=get), namespace="team")
        row = TaskRow(0, "S", entry={"result": {"pullRequest": "https://github.com/a/b/pull/1"}})
        own = {0: [{"org": "a", "repo": "b"}]}
        known = await pullrequests.known_hosts(session, {}, [], {})
        (found,) = pullrequests.find_links([row], own, known)
        assert "because the WorkspaceConfig of the run is not readable" in found.problem
        known = await pullrequests.known_hosts(session, {}, ["github.com"], {})
        (found,) = pullrequests.find_links([row], own, known)
        assert found.problem == ""

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("https://github.com/a/b", "public"),
            ("https://acme.ghe.com/a/b", "public"),
            ("https://github.acme.example/a/b", "enterprise"),
        ],
    )
    async def test_the_token_of_github_com_stays_there(
        self, monkeypatch: pytest.MonkeyPatch, url: str, expected: str
    ):
        monkeypatch.setenv("GH_TOKEN", "public")
        monkeypatch.setenv("GH_ENTERPRISE_TOKEN", "enterprise")
        assert await pullrequests.find_token("GitHub", url) == ("", expected)


async def test_a_picture_shows_how_they_became_fewer(
    api, cli: Cli, forge: ForgeServer, tmp_path: Path
):
    await nightly(api, forge)
    forge.forge.pulls[0].state, forge.forge.pulls[0].closed = "merged", datetime.now(UTC)
    file = tmp_path / "burndown.svg"
    end = await cli("prs", "nightly", "--burn-down", str(file))
    assert end.code == 0
    root = ET.fromstring(file.read_text())
    texts = [x.text for x in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "Pull requests of nightly" in texts
    assert {"3 open", "1 merged"} <= set(texts)


def test_what_is_counted_when() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def request(state: PullRequestState, hours: int | None) -> PullRequestInfo:
        closed = None if hours is None else start + timedelta(hours=hours)
        return PullRequestInfo(1, "u", state, created=start, closed=closed)

    all_of_them = [
        request(PullRequestState.OPEN, None),
        request(PullRequestState.MERGED, 2),
        request(PullRequestState.CLOSED, 4),
    ]
    at = [counts_at(all_of_them, start + timedelta(hours=x)) for x in (-1, 1, 3, 5)]
    assert [(x["open"], x["merged"], x["closed"]) for x in at] == [
        (0, 0, 0), (3, 0, 0), (2, 1, 0), (1, 1, 1)
    ]  # fmt: skip
    picture = burn_down(all_of_them, title="<script>", now=start + timedelta(hours=5))
    assert "<script>" not in picture
    ET.fromstring(picture)
    ET.fromstring(burn_down([], title="none"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com/a/b/pull/7", ("GitHub", "a", "b", 7)),
        ("https://gitlab.com/g/s/p/-/merge_requests/3", ("GitLab", "g/s", "p", 3)),
        ("https://codeberg.org/a/b/pulls/2", ("Gitea", "a", "b", 2)),
        ("https://bitbucket.org/a/b/pull-requests/1", ("Bitbucket", "a", "b", 1)),
        ("https://git.x/projects/A/repos/b/pull-requests/1", ("BitbucketDataCenter", "A", "b", 1)),
        ("https://dev.azure.com/o/My%20P/_git/r/pullrequest/5", ("AzureDevOps", "o/My P", "r", 5)),
    ],
)
def test_links_of_all_hosts_are_understood(url: str, expected: tuple[str, str, str, int]) -> None:
    link = parse_link(url)
    assert link is not None
    assert (link.provider, link.org, link.repo, link.number) == expected


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "https://github.com/a/b",
        "ftp://x/a/b/pull/1",
        "",
        "https:///a/b/pull/1",
        "https://[::1/a/b/pull/1",
    ],
)
def test_other_links_are_none(url: str) -> None:
    assert parse_link(url) is None


class TestDiscover:
    @pytest.fixture
    async def org(self, forge: ForgeServer) -> ForgeServer:
        await make_repository(forge.forge.directory / "myorg/Zebra.git", {"x": "x"})
        forge.forge.forks = {"service-1"}
        forge.forge.archived = {"service-2"}
        forge.forge.topics = {"service-0": ["python"], "service-1": ["python"]}
        return forge

    def names(self, text: str) -> list[str]:
        batch = yaml.safe_load(text)
        return [x[0]["repository"]["repo"] for x in batch["spec"]["variableContexts"]]

    async def test_an_organisation_becomes_a_batch(self, cli: Cli, org: ForgeServer):
        where = ("--url", org.url, "--provider", "gitea", "--name", "bump")
        end = await cli("discover", "myorg", *where)
        assert end.code == 0, end.err
        assert self.names(end.out) == ["service-0", "service-3", "Zebra"]
        assert end.err == "3 repositories; skipped: 1 forks, 1 archived\n" or end.err == (
            "3 repositories; skipped: 1 archived, 1 forks\n"
        )
        assert (await cli("discover", "myorg", *where)).out == end.out
        more = await cli("discover", "myorg", *where, "--forks", "--archived", "--exclude", "Zebra")
        assert self.names(more.out) == ["service-0", "service-1", "service-2", "service-3"]
        topic = await cli("discover", "myorg", *where, "--topic", "python", "--forks")
        assert self.names(topic.out) == ["service-0", "service-1"]
        found = await cli("discover", "myorg", *where, "--search", "Zeb")
        assert self.names(found.out) == ["Zebra"]
        from kubetask_controller.api.batch import Batch

        Batch.model_validate(yaml.safe_load(end.out))

    async def test_a_batch_that_exists_is_brought_up_to_date(
        self, cli: Cli, org: ForgeServer, tmp_path: Path
    ):
        file = tmp_path / "batch.yaml"
        task = tmp_path / "task.md"
        task.write_text("Bump requests.\nThen test.\n")
        where = ("--url", org.url, "--provider", "Gitea")
        first = await cli("discover", "myorg", *where, "--name", "bump", "--task", str(task))
        batch = yaml.safe_load(first.out)
        extra = {"type": "File", "file": {"name": "n.txt", "source": {"inline": "x"}}}
        batch["spec"]["variableContexts"][0].append(extra)
        batch["spec"]["workspaceConfigRef"] = "claude"
        file.write_text(yaml.safe_dump(batch))
        await make_repository(org.forge.directory / "myorg/new.git", {"x": "x"})
        end = await cli("discover", "myorg", *where, "-f", str(file), "--write")
        assert end.code == 0, end.err
        after = yaml.safe_load(file.read_text())
        assert self.names(file.read_text()) == ["service-0", "service-3", "Zebra", "new"]
        assert after["spec"]["variableContexts"][0][1] == extra
        assert after["spec"]["workspaceConfigRef"] == "claude"
        assert after["spec"]["commonContext"][0]["file"]["source"]["inline"] == task.read_text()

    async def test_a_kind_of_host_that_is_none_is_told(
        self, cli: Cli, capsys: pytest.CaptureFixture[str]
    ):
        assert (await cli("discover", "acme", "--name", "x", "--provider", "cvs")).code == 2
        assert "'cvs' is none of GitHub, GitLab" in capsys.readouterr().err

    async def test_entries_of_a_batch_that_exists_stay_where_they_are(
        self, cli: Cli, tmp_path: Path
    ):
        def entry(*repositories: str, host: str = "") -> list[dict[str, Any]]:
            more = {"host": host} if host else {}
            return [
                {"type": "Repository", "repository": {"org": "a", "repo": x, **more}}
                for x in repositories
            ]

        main, release = entry("x"), entry("x")
        main[0]["repository"]["branch"] = "main"
        release[0]["repository"]["branch"] = "release"
        file = [{"type": "File", "file": {"name": "n.txt", "source": {"inline": "x"}}}]
        old = [main, release, file, entry("gone"), entry("y", "z"), entry("gone", host="other")]
        batch = {
            "apiVersion": "kubetask.io/v1alpha1",
            "kind": "Batch",
            "metadata": {"name": "bump"},
            "spec": {"variableContexts": old},
        }
        path = tmp_path / "batch.yaml"
        path.write_text(yaml.safe_dump(batch))
        (tmp_path / "list").write_text("a/x\na/y\na/z\na/new\n")
        end = await cli("discover", "--from", str(tmp_path / "list"), "-f", str(path), "--write")
        assert end.code == 0, end.err
        after = yaml.safe_load(path.read_text())["spec"]["variableContexts"]
        kept = [main, release, file, entry("y", "z"), entry("gone", host="other")]
        assert after == [*kept, entry("new")]

    async def test_a_file_needs_no_host(self, cli: Cli, tmp_path: Path):
        text = "b/two\n# a comment\nhttps://github.com/a/one.git\ngit@github.com:c/three.git  # x\nB/two\n"
        (tmp_path / "list").write_text(text)
        end = await cli(
            "discover", "--from", str(tmp_path / "list"), "--name", "bump", "--branch", "main"
        )
        assert end.out.splitlines()[-3:] == [
            "    - [{type: Repository, repository: {org: a, repo: one, branch: main}}]",
            "    - [{type: Repository, repository: {org: b, repo: two, branch: main}}]",
            "    - [{type: Repository, repository: {org: c, repo: three, branch: main}}]",
        ]

    @pytest.mark.parametrize(
        ("owner", "template"),
        [
            ("acme/My Prøject", "{org}/{repo}.git"),
            ("acme/My%20Pr%C3%B8ject", "{org}/{repo}.git"),
            ("acme", "acme/{org}/{repo}.git"),
        ],
    )
    async def test_names_with_spaces_get_from_the_list_to_the_pull_request(
        self,
        cli: Cli,
        forge: ForgeServer,
        monkeypatch: pytest.MonkeyPatch,
        owner: str,
        template: str,
    ):
        monkeypatch.setenv("AZURE_DEVOPS_EXT_PAT", TOKEN)
        folder = forge.forge.directory
        (folder / "acme/My Prøject").mkdir(parents=True)
        shutil.copytree(folder / "myorg/service-0.git", folder / "acme/My Prøject/My Repo.git")
        template, api = f"{forge.url}/{template}", f"{forge.url}/azure"
        end = await cli(
            *("discover", owner, "--url", template, "--provider", "AzureDevOps"),
            *("--api", api, "--name", "bump"),
        )
        assert end.code == 0, end.err
        (context,) = yaml.safe_load(end.out)["spec"]["variableContexts"][0]
        found = Repository.model_validate(context["repository"])
        assert found.org == ("My Pr%C3%B8ject" if "acme" in template else "acme/My Pr%C3%B8ject")
        url = repository_url(template, org=found.org, repo=found.repo)
        assert re.fullmatch(URL_PATTERN, url)
        signed_in = url.replace("//", f"//git:{TOKEN}@", 1)
        tip = await forge.forge.run(folder, "ls-remote", signed_in, "HEAD")
        assert tip.startswith(_tip(folder / "myorg/service-0.git").strip())
        site = Site(template, "AzureDevOps", api)
        session, host = connect("AzureDevOps", url, token=TOKEN, api=api)
        names = site.project(found.org, found.repo)
        async with session:
            spec = PullRequestSpec(branch="kubetask/work", base="main", title="Bump")
            made, _ = await host.open(*names, spec)
        assert " " not in made.url
        assert site.find(made.url, found.org, found.repo) is not None
        assert forge.forge.pulls[-1].org == "acme/My Prøject"

    async def test_a_group_in_the_template_is_not_in_the_batch(
        self, cli: Cli, forge: ForgeServer, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("GITLAB_TOKEN", TOKEN)
        folder = forge.forge.directory
        shutil.copytree(folder / "myorg", folder / "platform/tools")
        template = f"{forge.url}/platform/{{org}}/{{repo}}.git"
        more = ("--provider", "GitLab", "--api", f"{forge.url}/api/v4", "--name", "bump")
        end = await cli("discover", "platform/tools", "--url", template, *more)
        assert end.code == 0, end.err
        contexts = yaml.safe_load(end.out)["spec"]["variableContexts"]
        assert [x[0]["repository"] for x in contexts] == [
            {"org": "tools", "repo": x} for x in SERVICES
        ]
        end = await cli("discover", "myorg", "--url", template, *more)
        assert "no repository was found (4 outside of the template in --url)" in end.err

    @pytest.mark.parametrize(
        ("line", "options", "expected"),
        [
            ("https://bitbucket.acme.example/scm/ACME/one.git", [], ("ACME", "one")),
            ("ssh://git@bitbucket.acme.example:7999/~ada/one.git", [], ("~ada", "one")),
            ("https://git.acme.example/bb/scm/ACME/one.git", ["--provider", "BitbucketDataCenter"],
             ("ACME", "one")),
            ("git@ssh.dev.azure.com:v3/acme/My%20Project/one", [], ("acme/My%20Project", "one")),
            ("https://acme@dev.azure.com/acme/My%20Project/_git/My%20Repo", [],
             ("acme/My Project", "My Repo")),
            ("https://dev.azure.com/acme/_git/shop", [], ("acme/shop", "shop")),
            ("acme/My Project/My Repo  # a comment", [], ("acme/My Project", "My Repo")),
            ("github.com/a/one", [], ("a", "one")),
            ("https://gitlab.acme.example/platform/tools/one.git",
             ["--url", "git@gitlab.acme.example:platform/{org}/{repo}.git"], ("tools", "one")),
        ],
    )  # fmt: skip
    async def test_urls_in_a_file_are_those_of_git(
        self, cli: Cli, tmp_path: Path, line: str, options: list[str], expected: tuple[str, str]
    ):
        (tmp_path / "list").write_text(f"{line}\n")
        end = await cli("discover", "--from", str(tmp_path / "list"), "--name", "bump", *options)
        assert end.code == 0, end.err
        (context,) = yaml.safe_load(end.out)["spec"]["variableContexts"][0]
        found = context["repository"]
        assert (unquote(found["org"]), found["repo"]) == (unquote(expected[0]), expected[1])

    @pytest.mark.parametrize(
        ("arguments", "code", "text"),
        [
            (["--name", "x"], 2, "pass an organisation"),
            (["--from", "FILE"], 2, "--name must be the name"),
            (["acme", "--name", "x", "--url", "https://git.acme.example"], 2, "--provider"),
            (["--from", "FILE", "--name", "x", "--match", "nope"], 1, "no repository was found"),
            (["--from", "/nonexistent", "--name", "x"], 2, "No such file"),
        ],
    )
    async def test_what_cannot_be_is_told(
        self, cli: Cli, tmp_path: Path, arguments: list[str], code: int, text: str
    ):
        (tmp_path / "list").write_text("a/b\n")
        end = await cli(
            "discover", *(str(tmp_path / "list") if x == "FILE" else x for x in arguments)
        )
        assert end.code == code
        assert text in end.err
