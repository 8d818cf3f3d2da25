"""What our agent's entry point does with a tool's process: signals, limits, masking, where it starts, what it is given."""

import base64
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from support.workspace.entrypoint import MAIN, Ran, branches, run, start
from support.workspace.origin import make
from support.workspace.taskpod import Make, TaskPod, git, repository, secret_file, text

SECRET = "v3ry-hidden-value"


@pytest.fixture
def pod(task: Make) -> TaskPod:
    """A task that is prepared."""
    pod = task(text("task.md", "- Make the readme better."), repository())
    pod.prepare()
    return pod


def tool(pod: TaskPod, script: str, name: str = "claude") -> str:
    """A stand-in for a tool; the PATH to find it by."""
    folder = pod.room / "bin"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def says(*events: dict[str, Any]) -> str:
    return "\n".join(f"printf '%s\\n' {shlex.quote(json.dumps(x))}" for x in events)


def answer(words: str) -> str:
    return says({"type": "result", "subtype": "success", "is_error": False, "result": words})


def piece(words: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": words, "delta": True}


def everything(ran: Ran) -> str:
    """All that leaves: log, transcript, result."""
    return ran.log + ran.transcript + ran.pod.log.read_text()


def shows_nothing_of(secret: str, shown: str) -> bool:
    return not [i for i in range(len(secret) - 7) if secret[i : i + 8] in shown]


def test_a_signal_reaches_the_whole_group_and_a_parent_that_ignores_it_is_ended(
    pod: TaskPod, origins: Path
) -> None:
    child = "trap 'echo child ended; exit' TERM; echo ready; while :; do sleep 0.1; done"
    script = f"echo x > new.txt; sh -c {shlex.quote(child)} & trap '' TERM; wait; wait; exit 0"
    path = tool(pod, script)
    with start(pod, "--agent", "claude", "--commit", "--push", PATH=path) as process:
        assert process.stdout is not None
        assert next(x for x in iter(process.stdout.readline, "") if "ready" in x)
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
    assert "child ended" in rest
    assert process.returncode == 143
    assert branches(origins) == ["main"]


def test_a_second_signal_ends_a_tool_that_ignores_the_first(pod: TaskPod) -> None:
    path = tool(pod, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    with start(pod, "--agent", "claude", PATH=path) as process:
        assert process.stdout is not None
        assert next(x for x in iter(process.stdout.readline, "") if "ready" in x)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM)


def test_an_agent_that_prints_nothing_ends_with_a_reason_of_its_own(
    pod: TaskPod, origins: Path
) -> None:
    call = {"type": "tool_use", "name": "Bash", "input": {"command": "make test"}}
    path = tool(
        pod,
        "echo x > new.txt\n"
        + says({"type": "assistant", "message": {"id": "1", "content": [call]}})
        + "\nsleep 60\n"
        + answer("Done."),
    )
    arguments = ("--commit", "--push", "--idle-timeout", "1")
    ran = run(pod, "--agent", "claude", *arguments, PATH=path)
    assert ran.code != 0
    assert ran.result["reason"] == "IdleTimeout"
    assert ran.result["summary"] == (
        "no output for 1 s (agent.idleTimeoutSeconds), waiting for [Bash] make test"
    )
    assert branches(origins) == ["main"]


def retry(seconds: float) -> dict[str, Any]:
    fields = {"attempt": 1, "max_retries": 10, "retry_delay_ms": seconds * 1000}
    return {
        "type": "system",
        "subtype": "api_retry",
        "error_status": 429,
        "error": "rate_limit",
        **fields,
    }


@pytest.mark.parametrize(("asked", "limit"), [(3600, "300"), (1, "2")])
def test_a_wait_that_is_longer_than_the_limit_ends_as_rate_limited(
    pod: TaskPod, asked: float, limit: str
) -> None:
    again = "while true; do\n" + says(retry(asked)) + "\nsleep 1; done"
    path = tool(pod, again)
    began = time.monotonic()
    ran = run(pod, "--agent", "claude", "--max-retry-wait", limit, PATH=path)
    assert time.monotonic() - began < 30
    assert "waiting: the model answers 429 rate_limit" in ran.log
    assert ran.result["reason"] == "RateLimited"
    assert "agent.maxRetryWaitSeconds" in ran.result["summary"]


def test_a_model_that_works_for_long_after_a_retry_does_not_wait(pod: TaskPod) -> None:
    done = says({"type": "assistant", "message": {"id": "1", "content": "Done."}})
    path = tool(pod, says(retry(0.5)) + "\nsleep 4\n" + done + "\n" + answer("Done."))
    ran = run(pod, "--agent", "claude", "--max-retry-wait", "2", PATH=path)
    assert (ran.code, ran.result["summary"]) == (0, "Done.")


def test_the_limits_are_those_of_the_workspace_config(task: Make) -> None:
    settings = {"maxRetryWaitSeconds": 1, "model": "sonnet", "maxTurns": 7, "maxCostUSD": "2.50"}
    pod = task(text("task.md"), repository(), config={"agent": settings})
    pod.prepare()
    path = tool(pod, 'echo "$@"\n' + says(retry(30)) + "\nsleep 60")
    ran = run(pod, "--agent", "claude", PATH=path)
    assert ran.result["reason"] == "RateLimited"
    assert "--model sonnet --max-turns 7 --max-budget-usd 2.50" in ran.log


def test_turns_and_cost_are_limited_where_the_tool_has_no_flag_for_it(pod: TaskPod) -> None:
    step = {"type": "step_start", "part": {}}
    end = {"type": "step_finish", "part": {"reason": "tool-calls", "cost": 0.4, "tokens": {}}}
    path = tool(pod, says(step, end, step, end, step, end) + "\nsleep 60", "opencode")
    ran = run(pod, "--agent", "opencode", "--max-turns", "2", PATH=path)
    assert ran.result["reason"] == "MaxTurnsExceeded"
    ran = run(pod, "--agent", "opencode", "--max-cost-usd", "1", PATH=path)
    assert ran.result["reason"] == "BudgetExceeded"
    assert ran.result["usage"]["costUSD"] == "1.2"


def test_a_budget_that_cannot_be_kept_is_refused_before_anything_is_spent(pod: TaskPod) -> None:
    path = tool(pod, "echo started", "codex")
    ran = run(pod, "--agent", "codex", "--max-cost-usd", "1", PATH=path)
    assert ran.code == 1
    assert "started" not in ran.log
    assert ran.result["reason"] == "InvalidSpec"
    assert ran.result["summary"].startswith("agent.maxCostUSD cannot be enforced: codex")


@pytest.mark.slow
def test_silence_is_explained_within_ten_seconds(pod: TaskPod) -> None:
    path = tool(pod, "sleep 11\n" + answer("Done."))
    began = time.monotonic()
    with start(pod, "--agent", "claude", PATH=path) as process:
        assert process.stdout is not None
        line = next(iter(process.stdout.readline, ""))
        waited = time.monotonic() - began
        process.communicate(timeout=30)
    assert line == "no output for 10 s; waiting for the model\n"
    assert waited < 20
    assert process.returncode == 0


@pytest.mark.parametrize("size", [1, 3, 8, 200])
def test_a_secret_leaves_in_no_piece(task: Make, origins: Path, size: int) -> None:
    pod = task(
        text("task.md"),
        repository(),
        config={
            "env": [
                {"name": "PLAIN_NAME", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
            ]
        },
    )
    pod.prepare()
    words = f"Set {SECRET} in the readme."
    pieces = [piece(words[i : i + size]) for i in range(0, len(words), size)]
    end = {"type": "result", "status": "success", "stats": {}}
    path = tool(pod, "echo x > new.txt\n" + says(*pieces, end), "gemini")
    ran = run(pod, "--agent", "gemini", "--commit", "--push", PATH=path, PLAIN_NAME=SECRET)
    assert ran.code == 0, ran.log
    assert ran.result["summary"] == "Set *** in the readme."
    assert "Set *** in the readme." in ran.log.splitlines()
    transcript = [json.loads(x) for x in ran.transcript.splitlines()]
    joined = "".join(x.get("content", "") for x in transcript)
    assert shows_nothing_of(SECRET, everything(ran) + joined)
    made = ran.result["commits"][0]
    message = git("log", "-1", "--format=%B", made, cwd=origins / "acme/billing.git")
    assert message == "Set *** in the readme."


CONFIGS = [
    {"env": [{"name": "SOME", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
    {"envFrom": [{"secretRef": {"name": "s"}}]},
    {"envFrom": [{"prefix": "SO", "secretRef": {"name": "s"}}]},
    {"credentials": [{"name": "c", "env": "SOME", "secretRef": {"name": "s", "key": "k"}}]},
]


@pytest.mark.parametrize("config", CONFIGS)
def test_every_variable_that_comes_from_a_secret_is_masked(
    task: Make, config: dict[str, Any]
) -> None:
    config = {**config, "env": [*config.get("env", ()), {"name": "OPEN", "value": "plain-to-see"}]}
    pod = task(text("task.md"), repository(), config=config)
    pod.prepare()
    shown = (
        f'echo "$SOME"; echo "$OPEN"; echo "{base64.b64encode(f"user:{SECRET}".encode()).decode()}"'
    )
    path = tool(pod, f'{shown}; echo "$SOME" | fold -w 5\n' + answer(f"It is {SECRET}"))
    ran = run(pod, "--agent", "claude", PATH=path, SOME=SECRET)
    assert "plain-to-see" in ran.log
    assert shows_nothing_of(SECRET, everything(ran).replace("\n", ""))
    assert base64.b64encode(SECRET.encode()).decode()[4:16] not in everything(ran)
    assert ran.result["summary"] == "It is ***"


def test_values_inside_of_a_secret_file_are_masked_alone(task: Make) -> None:
    pod = task(
        text("task.md"),
        secret_file("key.json"),
        secret_file("app.env"),
        contents={"key.json": json.dumps({"a": {"b": SECRET}}), "app.env": "export P=p4ssw0rd-2\n"},
    )
    pod.prepare()
    path = tool(pod, f"echo {SECRET} p4ssw0rd-2 user\n" + answer("Done."))
    ran = run(pod, "--agent", "claude", PATH=path)
    assert ran.log.splitlines()[0] == "*** *** user"


def test_what_an_agent_writes_as_its_result_itself_is_masked(pod: TaskPod) -> None:
    path = tool(
        pod, 'echo "{\\"summary\\":\\"$MY_TOKEN\\"}" > "$TERMINATION_LOG"\n' + answer("Done.")
    )
    ran = run(pod, "--agent", "claude", PATH=path, MY_TOKEN=SECRET)
    assert ran.result == {"summary": "***"}


@pytest.mark.parametrize(
    "script",
    [
        'echo "key=$MY_TOKEN" > new.txt',
        'git commit -q --allow-empty -m "used $MY_TOKEN"',
        """git commit -q --allow-empty -m "$(printf 'Add it\\n\\n- uses %s' "$MY_TOKEN")\"""",
        'echo "*.lock -diff" > .gitattributes; echo "$MY_TOKEN" > new.lock',
        'printf "a\\0b $MY_TOKEN" > new.bin',
        'echo "_auth=$(printf %s "$MY_TOKEN" | base64 -w0)" > .npmrc',
    ],
    ids=["a line", "a message", "a list in a message", "no diff", "binary", "base64"],
)
def test_a_commit_that_adds_a_secret_is_not_pushed(
    pod: TaskPod, origins: Path, script: str
) -> None:
    path = tool(pod, f"{script}\n" + answer("Done."))
    ran = run(pod, "--agent", "claude", "--commit", "--push", PATH=path, MY_TOKEN=SECRET)
    assert ran.code == 1
    assert ran.result["reason"] == "PushRejected"
    assert "adds a secret of the task" in ran.result["summary"]
    assert branches(origins) == ["main"]
    assert shows_nothing_of(SECRET, everything(ran))
    assert "BEGIN PATCH" not in ran.log
    assert Path(ran.result["patch"]).is_file()


def test_an_exit_code_of_0_without_the_event_of_a_success_pushes_nothing(
    pod: TaskPod, origins: Path
) -> None:
    path = tool(pod, 'echo x > new.txt; echo \'{"type":"result","sub":"success"}\'; exit 0')
    for name in ("claude", "gemini", "codex", "opencode", "goose"):
        (pod.room / "bin" / name).write_text((pod.room / "bin/claude").read_text())
        (pod.room / "bin" / name).chmod(0o755)
        ran = run(pod, "--agent", name, "--commit", "--push", PATH=path)
        assert ran.code == 1
    assert branches(origins) == ["main"]


def prompt_of(pod: TaskPod, agent: str = "claude") -> str:
    path = tool(pod, f"{{ pwd; cat; }} > {pod.room}/seen", agent)
    run(pod, "--agent", agent, PATH=path)
    return (pod.room / "seen").read_text()


def test_one_repository_is_where_the_agent_starts_and_several_lie_below(
    task: Make, origins: Path
) -> None:
    make(origins / "acme/catalog.git", {"CLAUDE.md": "Use tabs.\n"})
    make(origins / "acme/orders.git", {"AGENTS.md": "Use spaces.\n"})
    pod = task(text("task.md"), repository("catalog"), repository("orders"))
    pod.prepare()
    cwd, _, prompt = prompt_of(pod).partition("\n")
    assert cwd == str(pod.directory)
    assert f"- {pod.directory}/catalog/CLAUDE.md\n- {pod.directory}/orders/AGENTS.md" in prompt
    pod = task(text("task.md"), repository("catalog"))
    pod.prepare()
    cwd, _, prompt = prompt_of(pod).partition("\n")
    assert cwd == str(pod.directory / "catalog")
    assert "CLAUDE.md" not in prompt


@pytest.mark.parametrize("agent", ["gemini", "claude"])
def test_instructions_that_a_tool_does_not_read_itself_are_part_of_the_prompt(
    task: Make, origins: Path, agent: str
) -> None:
    make(origins / "acme/catalog.git", {"AGENTS.md": "Use tabs.\n"})
    pod = task(text("task.md"), repository("catalog"))
    pod.prepare()
    assert prompt_of(pod, agent).endswith("for agents (AGENTS.md):\n\nUse tabs.")


def test_a_long_prompt_is_whole(task: Make) -> None:
    long = "word " * 80_000 + "END"
    pod = task(text("task.md", long), text("more.md", "More."))
    pod.prepare()
    assert f"\n{long}\n\nMore." in prompt_of(pod)


@pytest.mark.parametrize("first", ["/review all", "!ls", "@README.md", "# Title"])
def test_no_prompt_begins_with_what_a_tool_takes_for_a_command(task: Make, first: str) -> None:
    pod = task(text("task.md", f"{first}\nmore"))
    pod.prepare()
    assert prompt_of(pod).split("\n", 1)[1].startswith(f"Task:\n\n{first}\nmore")


def test_gemini_is_shown_no_path_that_it_would_replace(task: Make) -> None:
    words = "Bump @types/node, see @README.md, ask ada@acme.example, \\@README.md"
    pod = task(text("task.md", words), repository())
    pod.prepare()
    wanted = "Bump @types/node, see \\@README.md, ask ada@acme.example, \\@README.md"
    assert wanted in prompt_of(pod, "gemini")
    settings = json.loads((pod.room / "home/agent/.gemini/settings.json").read_text())
    assert settings["context"]["fileFiltering"]["enableRecursiveFileSearch"] is False


def test_settings_of_the_user_are_kept(pod: TaskPod) -> None:
    path = pod.room / "home/agent/.gemini/settings.json"
    path.parent.mkdir()
    path.write_text('{"security":{"auth":{"selectedType":"vertex-ai"}},"mcpServers":{"a":{}}}')
    prompt_of(pod, "gemini")
    settings = json.loads(path.read_text())
    assert settings["security"] == {"auth": {"selectedType": "vertex-ai"}}
    assert settings["mcpServers"] == {"a": {}}
    assert settings["context"]


def test_git_has_its_settings_in_a_shell_that_takes_its_file_away(pod: TaskPod) -> None:
    script = "GIT_CONFIG_GLOBAL=/dev/null git commit -q --allow-empty -m mine && git log -1 --format='%an <%ae>'"
    ran = run(pod, "--agent", "gemini", PATH=tool(pod, script, "gemini"))
    assert "KubeTask <kubetask@localhost>" in ran.log


def test_a_tool_is_told_its_folder_and_prints_no_colours(pod: TaskPod) -> None:
    path = tool(
        pod, 'echo "$PWD $NO_COLOR"; printf "\\033[93m\\033[1m! \\033[0mred\\n"', "opencode"
    )
    ran = run(pod, "--agent", "opencode", PATH=path)
    assert ran.log.splitlines()[:2] == [f"{pod.directory}/billing 1", "! red"]


def test_files_of_the_task_land_in_no_commit(task: Make, origins: Path) -> None:
    hidden = text(".npmrc", "registry=x"), text(".config/tool.toml"), secret_file(".netrc")
    pod = task(text("task.md"), *hidden, repository(), contents={".netrc": "machine x\n"})
    pod.prepare()
    path = tool(pod, "echo x > new.txt\n" + answer("Done."))
    ran = run(pod, "--agent", "claude", "--commit", "--push", PATH=path)
    made = ran.result["commits"][0]
    names = git("show", "--format=", "--name-only", made, cwd=origins / "acme/billing.git")
    assert names == "new.txt"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a namespace here")
def test_process_1_reaps_orphans_and_hands_signals_on(pod: TaskPod) -> None:
    counts = "sleep 1; grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"
    orphans = "for i in $(seq 60); do (sh -c 'sleep 0.1 &' &); done"
    script = f"{orphans}; {counts}; echo ready; sleep 60"
    env = {**pod.environ("containers"), "PATH": tool(pod, script)}
    process = subprocess.Popen(
        [
            *("unshare", "--pid", "--fork", "--mount-proc", "--kill-child"),
            *(sys.executable, "-c", MAIN, "--agent", "claude"),
        ],
        env={**env, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None
        shown = []
        for line in process.stdout:
            shown.append(line.strip())
            if "ready" in line:
                break
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        process.communicate(timeout=30)
    assert shown[-2] == "0"
    assert process.returncode == 143


def test_nothing_of_an_agent_runs_on_while_its_work_is_committed(pod: TaskPod) -> None:
    path = tool(pod, "echo x > new.txt; (sleep 1; echo late > late.txt) & \n" + answer("Done."))
    run(pod, "--agent", "claude", "--commit", PATH=path)
    time.sleep(1.2)  # longer than what was left behind would take
    assert not (pod.directory / "billing/late.txt").exists()
