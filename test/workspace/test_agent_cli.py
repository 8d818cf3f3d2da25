"""Our agent's entry point over stand-ins for the tools that it knows, good and bad."""

import json
import signal
import sys
from pathlib import Path

import pytest

from support.workspace.entrypoint import FAKES, MAIN, branches, run, start
from support.workspace.origin import commit
from support.workspace.taskpod import BRANCH, Make, TaskPod, git, repository, secret_file, text

AGENTS = ("claude", "gemini", "codex", "opencode", "goose")
FEW = ("claude", "goose")
"""For what does not depend on the tool; test_recordings has what each tool writes, in every case."""
SUMMARY = "Updated the readme.\n\nSee https://git.example/acme/billing/pull/12."


@pytest.fixture
def pod(task: Make) -> TaskPod:
    """A task that is prepared."""
    pod: TaskPod = task(
        text("task.md", "- Make the readme better."),
        text("settings.json", "{}"),
        secret_file("key.txt"),
        repository(),
        contents={"key.txt": "hidden-in-a-file\n"},
    )
    pod.prepare()
    return pod


@pytest.mark.parametrize("agent", AGENTS)
def test_a_known_agent_works_commits_and_pushes(pod: TaskPod, origins: Path, agent: str) -> None:
    ran = run(pod, "--agent", agent, "--commit", "--push")
    assert ran.code == 0, ran.log
    result = ran.result
    usage = result.pop("usage")
    (made,) = result.pop("commits")
    assert result == {
        "summary": SUMMARY,
        "outcome": "Changed",
        "branch": BRANCH,
        "pullRequest": "https://git.example/acme/billing/pull/12",
    }
    assert usage["inputTokens"] == 2400
    assert usage["outputTokens"] == 50
    if agent in ("claude", "opencode", "goose"):
        assert usage["costUSD"] == "0.0123"
    path = origins / "acme/billing.git"
    assert git("rev-parse", BRANCH, cwd=path) == made
    assert git("log", "-1", "--format=%s", made, cwd=path) == "Updated the readme."


@pytest.mark.parametrize("agent", FEW)
def test_the_log_can_be_read_and_the_transcript_is_whole(pod: TaskPod, agent: str) -> None:
    ran = run(pod, "--agent", agent)
    lines = ran.log.splitlines()
    assert [x for x in lines if "ls -l" in x]
    assert [x for x in lines if x.startswith("Updated the readme.")]
    assert not [x for x in lines if x.startswith("{")]
    assert '"type"' in ran.transcript


@pytest.mark.parametrize("agent", AGENTS)
def test_the_prompt_is_made_of_the_files(pod: TaskPod, agent: str) -> None:
    run(pod, "--agent", agent)
    cwd, _, prompt = (pod.directory / "prompt.seen").read_text().partition("\n")
    assert cwd == str(pod.directory / "billing")
    assert prompt.startswith("- Make the readme better.")
    assert f"billing: acme/billing, on branch {BRANCH}" in prompt
    assert f"- {pod.directory}/settings.json\n" in prompt
    assert f"- {pod.directory}/key.txt" in prompt
    assert "hidden-in-a-file" not in prompt


@pytest.mark.parametrize("agent", FEW)
@pytest.mark.parametrize(("fake", "reason"), [("limited", "RateLimited"), ("refused", "Refused")])
def test_a_known_end_becomes_a_reason(pod: TaskPod, agent: str, fake: str, reason: str) -> None:
    ran = run(pod, "--agent", agent, "--commit", "--push", fake=fake)
    assert ran.code == 1
    assert ran.result["reason"] == reason
    assert ran.result["summary"]
    assert "commits" not in ran.result


@pytest.mark.parametrize("agent", ["claude", "gemini", "codex"])
def test_an_agent_that_says_it_failed_has_failed_whatever_its_exit_code(
    pod: TaskPod, agent: str
) -> None:
    ran = run(pod, "--agent", agent, "--commit", "--push", fake="error-exit-0")
    assert ran.code == 1
    limited = agent in ("claude", "gemini")
    assert ran.result.get("reason") == ("MaxTurnsExceeded" if limited else None)
    assert ran.result["summary"]


@pytest.mark.parametrize("agent", FEW)
def test_an_agent_that_crashes_fails_with_its_code(pod: TaskPod, agent: str) -> None:
    ran = run(pod, "--agent", agent, fake="crash")
    assert ran.code == 128 + signal.SIGSEGV
    assert ran.result["summary"] == "Traceback: something broke"


@pytest.mark.parametrize("agent", FEW)
def test_output_that_nobody_understands_hurts_nobody(pod: TaskPod, agent: str) -> None:
    ran = run(pod, "--agent", agent, fake="garbage")
    assert ran.code == 3
    assert isinstance(ran.result["summary"], str)


IMPATIENT = f"""
from kubetask_controller.workspace.agent import process
process.LEFT_BEHIND_SECONDS, process.DRAIN_SECONDS = 0.01, 0.3
{MAIN}
"""


@pytest.mark.slow
def test_a_flood_of_output_ends_well(pod: TaskPod) -> None:
    # The output takes longer to process than the agent runs; its end says whether the agent has succeeded.
    ran = run(pod, "--agent", "goose", fake="huge", main=IMPATIENT)
    assert ran.code == 0
    assert ran.result["summary"] == SUMMARY
    assert "line 0 " in ran.transcript
    assert "line 999 " in ran.transcript


@pytest.mark.parametrize("environ", [{}, {"FAKE_EXIT_0": "1"}])
def test_an_agent_that_was_signalled_has_not_succeeded_and_pushes_nothing(
    pod: TaskPod, origins: Path, environ: dict[str, str]
) -> None:
    arguments = ("--agent", "claude", "--commit", "--push")
    with start(pod, *arguments, fake="hang", **environ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert next(x for x in lines if "thinking" in x)
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)
    assert "cleaning up" in rest
    assert process.returncode == 128 + signal.SIGTERM
    result = json.loads(pod.log.read_text())
    assert result["summary"].startswith("the agent was ended by SIGTERM")
    assert "outcome" not in result
    assert branches(origins) == ["main"]


def test_a_server_that_an_agent_leaves_behind_holds_nobody_up(pod: TaskPod) -> None:
    ran = run(pod, "--agent", "claude", fake="daemon")
    assert ran.code == 0
    assert ran.result["summary"] == SUMMARY


def test_what_an_agent_wrote_itself_is_respected(pod: TaskPod) -> None:
    ran = run(pod, "--agent", "codex", "--commit", fake="own-result")
    assert ran.result == {"summary": "by myself", "outcome": "Special"}


@pytest.mark.parametrize("agent", FEW)
def test_secrets_are_masked_in_log_and_transcript(pod: TaskPod, agent: str) -> None:
    key = 'sk-"quoted"-\\-key'
    ran = run(pod, "--agent", agent, fake="leak", API_KEY=key)
    shown = ran.log + ran.transcript + pod.log.read_text()
    assert "the key is ***" in shown
    assert key not in shown
    assert json.dumps(key)[1:-1] not in shown
    assert "hidden-in-a-file" not in shown


def test_a_mounted_credential_is_masked(task: Make, room: Path) -> None:
    (room / "mounted.json").write_text('{"private": "in-a-mounted-file"}')
    credential = {
        "name": "x",
        "secretRef": {"name": "x", "key": "k"},
        "mountPath": f"{room}/mounted.json",
    }
    pod = task(
        text("task.md"),
        text("go.sh", f"cat {room}/mounted.json"),
        config={"credentials": [credential]},
    )
    pod.prepare()
    ran = run(pod, "--agent", "script", "--script", "go.sh")
    assert ran.code == 0
    assert "in-a-mounted-file" not in ran.log


@pytest.mark.parametrize("agent", FEW)
def test_nothing_done_is_told_and_fails_only_where_asked(pod: TaskPod, agent: str) -> None:
    ran = run(pod, "--agent", agent, "--commit", "--push", fake="nothing")
    assert ran.code == 0
    assert ran.result["outcome"] == "NoChanges"
    assert "branch" not in ran.result
    ran = run(pod, "--agent", agent, "--commit", "--fail-on-no-changes", fake="nothing")
    assert ran.code == 1
    assert ran.result["reason"] == "NoChanges"


def test_flags_of_the_user_are_handed_on(pod: TaskPod) -> None:
    ran = run(pod, "--agent", "codex", "--", "--model", "gpt-5")
    assert ran.code == 0, ran.log


def test_the_image_may_name_the_agent(pod: TaskPod) -> None:
    assert "[developer__shell]" in run(pod, KUBETASK_AGENT="goose").log


def test_the_agent_that_is_installed_is_taken(pod: TaskPod, room: Path) -> None:
    (room / "bin").mkdir()
    (room / "bin/codex").symlink_to(FAKES / "codex")
    (room / "bin/python3").symlink_to(sys.executable)
    ran = run(pod, PATH=f"{room}/bin:/usr/bin:/bin")
    assert ran.code == 0, ran.log
    ran = run(pod, PATH="/usr/bin:/bin")
    assert ran.code == 2
    assert "no supported agent is installed" in ran.log


def test_an_agent_that_is_not_installed_is_told(pod: TaskPod) -> None:
    ran = run(pod, "--agent", "claude", PATH="/usr/bin:/bin")
    assert ran.code == 1
    assert ran.result["summary"].startswith("cannot run the agent: ")


def test_a_branch_that_is_at_the_server_already_is_not_overwritten(
    pod: TaskPod, origins: Path
) -> None:
    path = origins / "acme/billing.git"
    git("branch", BRANCH, "main", cwd=path)
    other = commit(path, {"theirs.txt": "theirs\n"}, branch=BRANCH)
    ran = run(pod, "--agent", "claude", "--commit", "--push")
    assert ran.code == 1
    assert ran.result["summary"] == (
        f"acme/billing: the server already has a branch {BRANCH} with other commits"
    )
    assert git("rev-parse", BRANCH, cwd=path) == other


def test_a_command_of_ones_own_runs_in_the_repository(pod: TaskPod) -> None:
    ran = run(
        pod, "--agent", "command", "--commit", "--", "sh", "-c", "echo new > new.txt; echo Added it"
    )
    assert ran.code == 0, ran.log
    assert ran.result["summary"] == "Added it"
    assert pod.git("log", "-1", "--format=%s", "--name-only") == "Added it\n\nnew.txt"


def test_a_command_that_fails_gives_its_code_and_its_last_line(pod: TaskPod) -> None:
    ran = run(pod, "--agent", "command", "--", "sh", "-c", "echo it is broken; exit 7")
    assert ran.code == 7
    assert ran.result == {"summary": "it is broken"}


def test_a_script_runs_in_each_repository(task: Make, origins: Path) -> None:
    from support.workspace.origin import make

    make(origins / "acme/catalog.git")
    script = 'echo "$KUBETASK_REPOSITORY" > name.txt; echo "Named $KUBETASK_REPOSITORY"'
    pod = task(text("go.sh", script), repository("billing"), repository("catalog"))
    pod.prepare()
    ran = run(pod, "--agent", "script", "--script", "go.sh", "--commit", "--push")
    assert ran.code == 0, ran.log
    assert len(ran.result["commits"]) == 2
    assert git("show", f"{BRANCH}:name.txt", cwd=origins / "acme/catalog.git") == "acme/catalog"


def test_a_script_without_a_repository_runs_in_the_task_folder(task: Make) -> None:
    pod = task(text("go.sh", "ls; echo done"))
    pod.prepare()
    ran = run(pod, "--agent", "script", "--script", "go.sh")
    assert ran.code == 0
    assert "go.sh" in ran.log
    assert ran.result == {"summary": "done", "outcome": "NoChanges"}


def test_a_workspace_that_is_not_prepared_is_told(task: Make) -> None:
    pod = task(text("task.md"))
    pod.directory.mkdir(parents=True)
    ran = run(pod, "--agent", "claude")
    assert ran.code == 1
    assert ran.result["summary"].startswith("the workspace is not prepared: ")
