"""The last word of a container: cut to its limit, and never broken."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetask_controller.api.manifest import ManifestHost, ManifestRepository, TaskManifest
from kubetask_controller.api.result import clean_result
from kubetask_controller.workspace.agent.publish import find_pull_request
from kubetask_controller.workspace.redaction import Redactor, secret_variables
from kubetask_controller.workspace.termination import truncated

LIMIT = 4096
texts = st.tuples(st.text(max_size=8), st.integers(0, 1500)).map(lambda x: x[0] * x[1])
values = st.one_of(
    texts,
    st.integers(),
    st.none(),
    st.lists(texts | st.integers(), max_size=5).map(lambda x: x * 20),
    st.dictionaries(st.text(max_size=9), texts, max_size=4),
)


@given(
    st.dictionaries(
        st.sampled_from(["summary", "branch", "commits", "usage", "pullRequest", "x"]), values
    )
)
def test_a_message_fits_and_is_json_whatever_is_in_it(message: dict[str, Any]) -> None:
    data = truncated(message)
    assert len(data) <= LIMIT
    assert isinstance(json.loads(data), dict)


def test_a_short_message_is_left_as_it_is() -> None:
    message = {"summary": "Done", "commits": ["a"], "usage": {"inputTokens": 1}}
    assert json.loads(truncated(message)) == message


def test_prose_is_cut_before_anything_else_is() -> None:
    message = {
        "summary": "é" * 9000,
        "branch": "kubetask/run-0",
        "pullRequest": "https://git.example/acme/billing/pull/12",
        "commits": ["a" * 40] * 5,
        "usage": {"inputTokens": 1},
    }
    data = truncated(message)
    cut = json.loads(data)
    assert cut.pop("summary") == "é" * 1023 + "…"
    assert cut == {k: v for k, v in message.items() if k != "summary"}


def test_a_url_is_never_cut_in_half() -> None:
    url = "https://git.example/" + "a" * 5000
    assert "pullRequest" not in json.loads(truncated({"summary": "x", "pullRequest": url}))


def test_what_is_cut_still_fits_a_status() -> None:
    result = json.loads(truncated({"summary": "x" * 9000, "commits": ["a" * 40] * 300}))
    assert clean_result(result)["commits"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See https://github.com/acme/billing/pull/12.", "https://github.com/acme/billing/pull/12"),
        (
            "https://gitlab.com/group/acme/tool/-/merge_requests/3 done",
            "https://gitlab.com/group/acme/tool/-/merge_requests/3",
        ),
        ("as in https://gitlab.com/acme/billing/-/merge_requests/3 of the mirror", ""),
        ("as in https://github.com/acme/shop/pull/3 of the mirror", ""),
        (
            "[PR](https://git.example/forgejo/acme/shop/pulls/4)",
            "https://git.example/forgejo/acme/shop/pulls/4",
        ),
        ("as in https://github.com/other/thing/pull/1", ""),
        ("https://github.com/acme/billing/pull/new/branch", ""),
        ("https://github.com/x/y/pull/1?of=/acme/billing/", ""),
        (
            "https://stash.example/projects/ACME/repos/api/pull-requests/7/overview",
            "https://stash.example/projects/ACME/repos/api/pull-requests/7/overview",
        ),
        (
            "https://dev.azure.com/acme/My%20P/_git/shop/pullrequest/7.",
            "https://dev.azure.com/acme/My%20P/_git/shop/pullrequest/7",
        ),
        ("nothing", ""),
    ],
)
def test_a_pull_request_of_the_task_is_found(text: str, expected: str) -> None:
    hosts = (
        ManifestHost(url_template="https://github.com/{org}/{repo}.git"),
        ManifestHost(name="azure", url_template="https://dev.azure.com/{org}/_git/{repo}"),
        ManifestHost(name="forgejo", url_template="https://git.example/forgejo/{org}/{repo}.git"),
        ManifestHost(name="group", url_template="https://gitlab.com/group/{org}/{repo}.git"),
        # Its web pages may be on another host.
        ManifestHost(
            name="stash", url_template="ssh://git@ssh.stash.example:7999/{org}/{repo}.git"
        ),
    )
    names = (
        ("acme", "billing", ""),
        ("acme/My%20P", "shop", "azure"),
        ("acme", "shop", "forgejo"),
        ("acme", "tool", "group"),
        ("acme", "api", "stash"),
    )
    manifest = TaskManifest(
        task_id="abcdefgh",
        task="t",
        namespace="n",
        branch="kubetask/t",
        repositories=tuple(
            ManifestRepository(org=x, repo=y, host=z, url="https://git.example/x", path=f"{y}{z}")
            for x, y, z in names
        ),
        hosts=hosts,
    )
    assert find_pull_request(manifest, text) == expected


def test_variables_that_are_secrets_by_their_names_are_found() -> None:
    environ = {
        "ANTHROPIC_API_KEY": "sk-ant",
        "GH_PAT": "ghp_x",
        "PATH": "/usr/bin:/bin",
        "MAX_TOKENS": "200000",
        "GOOGLE_APPLICATION_CREDENTIALS": "/etc",
        "DB_PASSWORD": "secret-word",
    }
    assert sorted(secret_variables(environ)) == ["ghp_x", "secret-word", "sk-ant"]


def test_user_information_in_urls_is_not_shown() -> None:
    assert Redactor()("fatal: https://me:pw@git.example/a") == "fatal: https://git.example/a"
