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
            "https://gitlab.com/acme/billing/-/merge_requests/3 done",
            "https://gitlab.com/acme/billing/-/merge_requests/3",
        ),
        (
            "[PR](https://gitea.example/acme/billing/pulls/4)",
            "https://gitea.example/acme/billing/pulls/4",
        ),
        ("as in https://github.com/other/thing/pull/1", ""),
        ("https://github.com/acme/billing/pull/new/branch", ""),
        ("https://github.com/x/y/pull/1?of=/acme/billing/", ""),
        (
            "https://stash.example/projects/ACME/repos/billing/pull-requests/7/overview",
            "https://stash.example/projects/ACME/repos/billing/pull-requests/7/overview",
        ),
        (
            "https://dev.azure.com/acme/My%20P/_git/shop/pullrequest/7.",
            "https://dev.azure.com/acme/My%20P/_git/shop/pullrequest/7",
        ),
        (
            "https://git.example/forgejo/acme/billing/pulls/4",
            "https://git.example/forgejo/acme/billing/pulls/4",
        ),
        ("nothing", ""),
    ],
)
def test_a_pull_request_of_the_task_is_found(text: str, expected: str) -> None:
    repository = ManifestRepository(
        org="acme", repo="billing", url="https://github.com/acme/billing.git", path="billing"
    )
    azure = ManifestRepository(
        org="acme/My%20P", repo="shop", url="https://dev.azure.com/acme/My%20P/_git/shop", path="s"
    )
    host = ManifestHost(url_template="https://git.example/forgejo/{org}/{repo}.git")
    manifest = TaskManifest(
        task_id="abcdefgh",
        task="t",
        namespace="n",
        branch="kubetask/t",
        repositories=(repository, azure),
        hosts=(host,),
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
