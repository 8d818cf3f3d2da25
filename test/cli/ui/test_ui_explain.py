"""Why a run is not finished, in plain words: pure functions of the object and the time."""

from datetime import UTC, datetime, timedelta

import pytest

from kubetask_controller.api.constants import Reason
from kubetask_controller.cli.costs import costs
from kubetask_controller.cli.explain import REASONS, findings, summary_line
from kubetask_controller.cli.runview import run_view, task_view
from kubetask_controller.cli.ui import views
from support.cli import scenes
from support.cli.scenes import done, failed, made, waiting, working


def found(run: dict, **later: float) -> list:
    return findings(run, run_view(run), scenes.now() + timedelta(**later))


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_plain_words(reason: Reason) -> None:
    assert reason in REASONS, f"say in cli/explain.py what {reason} means, and what to do about it"
    words = REASONS[reason]
    assert words.what
    assert words.what[-1] != "."
    assert not words.todo or words.todo[-1] == "."


@pytest.mark.parametrize("name", scenes.unfinished())
def test_a_run_that_is_not_finished_says_why(name: str) -> None:
    run, says = scenes.unfinished()[name]
    text = "\n".join(f"{x.title} {x.detail} {x.todo} {x.command}" for x in found(run))
    for part in says:
        assert part in text


def test_what_needs_a_person_stands_before_what_goes_on_by_itself() -> None:
    tasks = [working(0, 10), waiting(1, "Queued", ""), waiting(2, "ContextNotFound", "no key")]
    levels = [x.level for x in found(made("r", tasks))]
    assert levels == sorted(levels, key=["act", "wait", "info"].index)
    assert levels[0] == "act"


def test_tasks_that_wait_for_the_same_are_one_finding_whatever_their_jobs_are_called() -> None:
    tasks = [waiting(i, "AdmissionDenied", f"pods j-{i} is forbidden") for i in range(3)]
    (one,) = found(made("r", tasks))
    assert one.title.startswith("3 tasks cannot start")
    assert one.indexes == "0-2"


def test_a_run_that_was_just_created_is_no_alarm() -> None:
    run = made("new", [], created=2, status={"observedGeneration": -1})
    assert [x.level for x in found(run)] == ["wait"]
    assert found(run, seconds=60)[0].level == "act"


def test_a_failed_run_says_what_went_wrong_by_reason_the_most_frequent_first() -> None:
    tasks = [
        failed(0, 100, 10, "CloneFailed", "branch 'main' not found"),
        *(failed(i, 100, 10, "AgentError", "exit code 1") for i in range(1, 4)),
        done(4, 100, 10),
    ]
    titles = [x.title for x in found(made("r", tasks))]
    assert titles == [
        "3 tasks failed: the agent failed.",
        "1 task failed: the repository could not be cloned.",
    ]


def single(**status: object) -> dict:
    metadata = {"name": "one", "namespace": "team-b", "creationTimestamp": scenes.at(9000)}
    return {"kind": "Task", "metadata": metadata, "spec": {"contexts": []}, "status": status}


def of_task(task: dict) -> list:
    return findings(task, task_view(task), scenes.now())


def test_a_failed_task_says_what_went_wrong_and_needs_action() -> None:
    times = {"startTime": scenes.at(100), "completionTime": scenes.at(50)}
    task = single(phase="Failed", reason="AgentError", message="exit code 1", **times)
    (one,) = of_task(task)
    assert (one.title, one.detail) == ("The Task failed: the agent failed.", "exit code 1")
    assert views.run_summary(task, task_view(task), scenes.now())["needs"]


def test_commands_name_namespace_and_kind() -> None:
    (task,) = of_task(single(phase="Running", reason="TaskRunning", startTime=scenes.at(8000)))
    assert task.command == "kubectl kubetask -n team-b logs task/one -f"
    run = made("r", [working(0, 8000)], metadata={"namespace": "team-b"})
    assert found(run)[0].command == "kubectl kubetask -n team-b logs r 0 -f"
    limited = made("r", [waiting(0, "TaskLimit", "")], spec={"taskLimit": 1})
    limited["metadata"]["namespace"] = "team-b"
    assert found(limited)[0].command == "kubectl kubetask -n team-b promote r --all"


def test_a_run_that_succeeded_has_nothing_to_explain() -> None:
    run = made("r", [done(0, 100, 10)], message="all 1 tasks succeeded")
    assert found(run) == []
    assert summary_line([], run_view(run)) == "all 1 tasks succeeded"


def test_a_used_up_budget_is_explained_while_tasks_still_run() -> None:
    tasks = [done(0, 100, 10, 5.0), working(1, 20), waiting(2, "Queued", "")]
    titles = [x.title for x in found(made("r", tasks, spec={"maxCostUSD": "5"}))]
    assert "The budget is used up: no further task starts. 1 task still running." in titles


def test_costs_are_those_of_the_status_else_the_sum_of_the_results() -> None:
    tasks = [done(0, 100, 10, 1.0), done(1, 100, 10, 2.0), working(2, 5), waiting(3, "Queued", "")]
    bill = costs(run_view(made("r", tasks)))
    assert (bill.text(), bill.limit) == ("spent $3.00, projected $6.00", None)
    bill = costs(run_view(made("r", tasks, usage={"costUSD": "8"}, spec={"maxCostUSD": 20})))
    assert bill.text() == "spent $8.00, projected $16.00 of at most $20.00"


@pytest.mark.parametrize("odd", ["NaN", "Infinity", "-3", "x", True, None, [], {}, "1e999999999"])
def test_an_odd_cost_counts_as_none(odd: object) -> None:
    run = made("r", [done(0, 100, 10, 1.0)], usage={"costUSD": odd, "inputTokens": odd})
    run["spec"]["maxCostUSD"] = odd
    line = views.run_summary(run, run_view(run), datetime.now(UTC))
    assert (line["spent"], line["maxCost"]) == (0.0, None) or line["spent"] == 1.0


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://git.example/a/b/pull/1", True),
        ("http://git.example/a", True),
        ("javascript:alert(1)", False),
        ("data:text/html,<script>", False),
        ("https://git.example@evil.example/", False),
        ("https://", False),
        ("https://a\nb", False),
        ("https://a/\u202eb", False),
        (7, False),
        (None, False),
    ],
)
def test_a_link_is_http_or_none(url: object, kept: bool) -> None:
    assert views.link(url) == (url if kept else "")


def test_links_to_branch_and_commits_follow_the_git_url_of_the_workspace() -> None:
    row = run_view(made("r", [done(3, 100, 10)])).rows[3]
    web = views.web_template(
        {"spec": {"git": {"urlTemplate": "https://u@git.example/{org}/{repo}.git"}}}
    )
    urls = [x["url"] for x in views.links(row, web)]
    assert urls == [
        "https://git.example/acme/service-3/pull/43",
        "https://git.example/myorg/service-3",
        "https://git.example/myorg/service-3/compare/main...kubetask/nightly-3",
        f"https://git.example/myorg/service-3/commit/{3:040x}",
    ]
    for template in ("ssh://git@host/{org}/{repo}", "https://{org}/x/{repo}", "https://[/{org}"):
        assert views.web_template({"spec": {"git": {"urlTemplate": template}}}) == ""


def test_the_times_of_a_pod_are_those_of_its_containers() -> None:
    times = views.pod_times(scenes.pod("r", 1, prepare=60, work=40, end=10))
    assert (times.prepare, times.work, times.end) == (scenes.at(60), scenes.at(40), scenes.at(10))
    times = views.pod_times(scenes.pod("r", 1, prepare=60, work=None))
    assert (times.work, times.end, times.waiting) == (None, None, "")
