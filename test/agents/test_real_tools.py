"""The real agent tools, in a namespace like a Pod's, against model servers on loopback.

`make test-agents` installs them and runs this; its FEW=1 runs what is marked `few`, and `make test` what is marked `smoke`
where that one tool is installed. Each case records the outcome that the user sees in .agents/outcomes, of which the table in
docs/agents.md is made.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.agents.__main__ import OUTCOMES, SMOKE_TOOL, TOOLS

from support.agents.models import EDIT, Fail, Say, Script, Step, Use, always, edits
from support.agents.realpod import KEY, Ended, Launch, RealPod
from support.workspace.taskpod import git

pytestmark = [pytest.mark.agents, pytest.mark.slow, pytest.mark.timeout(600)]

BRANCH = "kubetask/run-0-"
WORK = "I will update the readme."
FAILED = "failed"


@dataclass(frozen=True)
class Case:
    """One way in which a run may go.

    Attributes:
        name: in the table.
        script: what the model does.
        reasons: of the task; Succeeded for none. By tool where they differ; "" is for the others.
        agent: settings of the WorkspaceConfig.
        until: what the log says when the container gets SIGTERM.
        key: whether the tool has one.
        extra: arguments of the tool.
        few: it is one of the few.
        smoke: it is run with one tool in `make test`.
        without: tools that it is not tried with.
    """

    name: str
    script: Script
    reasons: dict[str, set[str]]
    agent: dict[str, Any] = field(default_factory=dict)
    until: Callable[[str], bool] | None = None
    key: bool = True
    extra: Sequence[str] = ()
    few: bool = False
    smoke: bool = False
    without: frozenset[str] = frozenset()

    def wanted(self, tool: str) -> set[str]:
        return self.reasons.get(tool) or self.reasons[""]


def reasons(*common: str, **tools: str) -> dict[str, set[str]]:
    return {"": set(common), **{k: {v} for k, v in tools.items()}}


def half_done(name: str) -> Script:
    """Changes a file, and then gets an error."""
    return lambda call, used: Fail(name) if used else Use(EDIT, WORK)


OK, ERROR, LIMITED = "Succeeded", "AgentError", "RateLimited"
CASES = [
    Case("a change", edits(), reasons(OK), few=True, smoke=True),
    Case("no change", always(Say("There was nothing to change.")), reasons(OK)),
    Case("401, a wrong key", always(Fail("401")), reasons(ERROR), few=True, smoke=True),
    Case("402, no credit", always(Fail("402")), reasons(ERROR, LIMITED)),
    Case("403", always(Fail("403")), reasons(ERROR)),
    Case("404, no such model", always(Fail("404")), reasons(ERROR)),
    Case("429, retry after 2 s", always(Fail("429")), reasons(LIMITED), few=True),
    Case("429, retry after an hour", always(Fail("429-long")), reasons(LIMITED)),
    Case("429 after a change", half_done("429-long"), reasons(LIMITED)),
    Case("500", always(Fail("500")), reasons(ERROR, LIMITED)),
    Case("529 or 503, overloaded", always(Fail("529")), reasons(LIMITED)),
    Case(
        "a refusal",
        always(Say("", "refusal")),
        # These tools do not hand on that the model declined, only that it said nothing.
        reasons("Refused", codex=ERROR, goose=ERROR, opencode=ERROR),
    ),
    Case(
        "a refusal after a change",
        lambda call, used: Say("", "refusal") if used else Use(EDIT, WORK),
        reasons("Refused", codex=ERROR, goose=ERROR, opencode=ERROR),
        few=True,
    ),
    Case("an empty answer", always(Say("")), reasons(ERROR)),
    Case(
        "an empty answer after a change",
        lambda call, used: Say("") if used else Use(EDIT, WORK),
        reasons(ERROR),
    ),
    Case(
        "a full context",
        always(Fail("context")),
        reasons(ERROR),
        # This version goes on shortening a conversation that cannot be shorter.
        without=frozenset({"opencode"}),
    ),
    Case(
        "agent.maxTurns: 2",
        lambda call, used: Use(f"echo {call} >> README.md", WORK),
        reasons("MaxTurnsExceeded"),
        agent={"maxTurns": 2},
    ),
    Case(
        'agent.maxCostUSD: "0.001"',
        lambda call, used: Use(f"echo {call} >> README.md", WORK),
        reasons("InvalidSpec", claude="BudgetExceeded", opencode="BudgetExceeded"),
        agent={"maxCostUSD": "0.001"},
    ),
    Case(
        "agent.idleTimeoutSeconds: 5",
        edits(command=f"{EDIT} && tail -f /dev/null"),
        reasons("IdleTimeout"),
        agent={"idleTimeoutSeconds": 5},
    ),
    Case(
        "SIGTERM while a tool runs",
        edits(command=f"{EDIT} && tail -f /dev/null"),
        reasons(ERROR),
        until=lambda log: WORK in log and ("tail -f" in log or "no output for 10 s" in log),
        few=True,
        smoke=True,
    ),
    Case(
        "SIGTERM in a retry",
        half_done("429-long"),
        reasons(ERROR, LIMITED),
        agent={"maxRetryWaitSeconds": 3000},
        until=lambda log: "waiting" in log or "error" in log,
    ),
    Case("no key", edits(), reasons(ERROR), key=False),
    Case("a mistyped flag", edits(), reasons(ERROR), extra=("--no-such-flag",)),
]


def branches(origins: Path) -> list[str]:
    path = origins / "acme/billing.git"
    return git("for-each-ref", "--format=%(refname:short)", "refs/heads", cwd=path).split()


def note(case: str, tool: str, ended: Ended, order: int) -> None:
    """Record the outcome that the user sees, for the table."""
    result = ended.result
    reason = result.get("reason") or (OK if ended.code == 0 else ERROR)
    OUTCOMES.mkdir(exist_ok=True)
    told = {"case": case, "tool": tool, "reason": reason, "order": order}
    told["message"] = result.get("summary", "")
    (OUTCOMES / f"{order:02}-{tool}.json").write_text(json.dumps(told))


def cases() -> list[Any]:
    return [
        pytest.param(tool, order, id=f"{tool}-{case.name}", marks=marks(tool, case))
        for tool in TOOLS
        for order, case in enumerate(CASES)
        if tool not in case.without
    ]


def marks(tool: str, case: Case) -> list[pytest.MarkDecorator]:
    smoke = case.smoke and tool == SMOKE_TOOL
    return [*([pytest.mark.few] if case.few else ()), *([pytest.mark.smoke] if smoke else ())]


@pytest.mark.parametrize(("tool", "order"), cases())
def test_the_user_is_told_how_it_ended(
    launch: Launch, origins: Path, tool: str, order: int
) -> None:
    case = CASES[order]
    real = launch(tool, case.script, key=case.key, agent=case.agent)
    ended = real.run("--commit", "--push", extra=case.extra, until=case.until)
    note(case.name, tool, ended, order)
    result = ended.result
    reason = result.get("reason") or (OK if ended.code == 0 else ERROR)
    assert reason in case.wanted(tool), ended.log + ended.message
    assert (reason == OK) is (ended.code == 0)
    assert result["summary"]
    if case.until is not None:
        assert ended.code == 143
    pushed = [x for x in branches(origins) if x.startswith(BRANCH)]
    assert bool(pushed) is (case.name == "a change")
    if pushed:
        assert result["outcome"] == "Changed"
        assert result["usage"]["inputTokens"] >= 4400
        assert result["usage"]["outputTokens"] >= 100
        assert result["pullRequest"] == "https://git.example/acme/billing/pull/12"
        assert WORK in ended.log


@pytest.mark.parametrize("tool", TOOLS)
def test_an_agent_may_commit_and_push_by_itself(launch: Launch, origins: Path, tool: str) -> None:
    command = f"{EDIT} && git commit -qam 'By the agent' && git push -q origin HEAD"
    ended = launch(tool, edits(command=command)).run("--commit", "--push")
    assert ended.code == 0, ended.log
    (branch,) = [x for x in branches(origins) if x.startswith(BRANCH)]
    shown = git("log", "-1", "--format=%an: %s", branch, cwd=origins / "acme/billing.git")
    assert shown == "KubeTask: By the agent"
    assert len(ended.result["commits"]) == 1


@pytest.mark.parametrize("tool", TOOLS)
def test_no_secret_leaves_in_any_piece(launch: Launch, origins: Path, tool: str) -> None:
    command = f"{EDIT}; env | sort; cat ../key.txt /kubetask/git/password"
    real = launch(tool, edits(f"Updated the readme. Key is {KEY}.", command))
    ended = real.run("--commit", "--push")
    assert ended.code == 0, ended.log
    assert ended.result["summary"] == "Updated the readme. Key is ***."
    (branch,) = [x for x in branches(origins) if x.startswith(BRANCH)]
    message = git("log", "-1", "--format=%B", branch, cwd=origins / "acme/billing.git")
    texts = ["".join(strings(x)) for x in ended.transcript.splitlines()]
    shown = ended.log + ended.message + message + "".join(texts) + ended.transcript
    assert [x for x in pieces_of(KEY) if x in shown] == []
    assert "hidden-in-a-file" not in shown
    assert "t0ken-of-the-test" not in shown


def strings(line: str) -> list[str]:
    """What an event says, without what stands between its pieces."""
    try:
        event = json.loads(line)
    except ValueError:
        return [line]
    if event.get("type") == "message" and isinstance(event.get("content"), str):
        return [event["content"]]
    message = event.get("message")
    parts = message.get("content") if isinstance(message, dict) else None
    return [x.get("text", "") for x in parts if isinstance(x, dict)] if parts else []


def pieces_of(secret: str) -> list[str]:
    return [secret[i : i + 8] for i in range(len(secret) - 7)]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_works_outside_of_its_folder_with_a_read_only_root(
    launch: Launch, tool: str
) -> None:
    command = f"{EDIT}; echo x > /tmp/outside.txt; cat /etc/hostname /tmp/outside.txt; id -u"
    real = launch(tool, edits(command=command), read_only=True)
    ended = real.run("--commit")
    assert ended.code == 0, ended.log
    assert ended.result["outcome"] == "Changed"
    assert (real.pod.room / "tmp/outside.txt").read_text() == "x\n"


@pytest.mark.parametrize("tool", TOOLS)
def test_huge_output_ends_well(launch: Launch, tool: str) -> None:
    def script(call: int, used: int) -> Step:
        time.sleep(2 if used else 0)  # a model takes its time over such an input
        return edits(command=f"seq 1 400000; {EDIT}")(call, used)

    ended = launch(tool, script).run("--commit")
    assert ended.code == 0, ended.log[-2000:]
    assert ended.result["outcome"] == "Changed"
    assert len(ended.log) < 200_000


OWN = {"claude": "CLAUDE.md", "gemini": "GEMINI.md"}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_instructions_of_a_repository_reach_the_model(launch: Launch, tool: str) -> None:
    files = {f"billing/{x}": f"MARK-{x}\n" for x in ("AGENTS.md", "CLAUDE.md", "GEMINI.md")}
    real = launch(tool, edits(), files=files)
    assert real.run().code == 0
    assert f"MARK-{OWN.get(tool, 'AGENTS.md')}" in real.models.prompts()
    for name in ("AGENTS.md", "CLAUDE.md", "GEMINI.md"):
        real = launch(
            tool,
            edits(),
            files={f"{name.lower()[:3]}/{name}": f"ONLY-{name}\n"},
            repositories=(name.lower()[:3],),
        )
        assert real.run().code == 0
        assert f"ONLY-{name}" in real.models.prompts()


PROMPT = "/review MARK Bump @types/node, ask ada@acme.example  !ls $HOME `id` @Override {{x}} END"


@pytest.mark.parametrize("tool", TOOLS)
def test_a_long_prompt_is_whole_and_nothing_in_it_is_a_command(launch: Launch, tool: str) -> None:
    prompt = f"{PROMPT}\n" + "word " * 16_000 + "LAST"
    real = launch(tool, edits(), prompt=prompt, files={"billing/acme.example.md": "SPILLED\n"})
    assert real.run().code == 0
    asked = real.models.prompts()
    assert json.dumps(prompt)[1:-1] in asked
    assert "SPILLED" not in asked


def _missing_server(tool: str) -> tuple[list[str], dict[str, str]]:
    """Arguments and files in HOME by which a tool is to start an MCP server that is not there."""
    if tool == "claude":
        return ["--mcp-config", '{"mcpServers":{"gone":{"command":"/no/such"}}}'], {}
    if tool == "gemini":
        return [], {".gemini/settings.json": '{"mcpServers":{"gone":{"command":"/no/such"}}}'}
    if tool == "codex":
        return ["-c", 'mcp_servers.gone.command="/no/such"'], {}
    if tool == "opencode":
        mcp = {"gone": {"type": "local", "command": ["/no/such"]}}
        return [], {".config/opencode/opencode.json": json.dumps({"mcp": mcp})}
    return ["--with-extension", "/no/such"], {}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_missing_mcp_server_does_not_end_the_task(launch: Launch, tool: str) -> None:
    arguments, home = _missing_server(tool)
    ended = launch(tool, edits(), home=home).run("--commit", extra=arguments)
    assert ended.code == 0, ended.log
    if tool in ("claude", "goose"):
        assert "gone is not available" in ended.log or "Failed to start extension" in ended.log


def test_tokens_of_a_second_agent_of_claude_are_counted(launch: Launch) -> None:
    arguments = {"description": "edit", "prompt": "SUBTASK", "subagent_type": "general-purpose"}
    call = Use(name="Agent", arguments={**arguments, "run_in_background": False})
    ended = launch("claude", lambda n, used: Say("Both are done.") if used else call).run(
        "--commit"
    )
    assert ended.code == 0, ended.log
    assert ended.result["usage"]["inputTokens"] == 4 * 2200
    assert ended.result["usage"]["outputTokens"] == 4 * 50
    assert ended.result["outcome"] == "Changed"


@pytest.mark.parametrize("tool", TOOLS)
def test_what_is_waited_for_is_in_the_log_within_ten_seconds(launch: Launch, tool: str) -> None:
    asked: list[float] = []

    def script(call: int, used: int) -> Step:
        asked.append(time.monotonic())
        # A tool may ask for the title of the conversation first.
        seen.wait(40)
        return Say("Done.")

    seen = threading.Event()
    real = launch(tool, script)
    noticed: list[float] = []

    def until(log: str) -> bool:
        if asked and "no output for 10 s; waiting for the model" in log and not noticed:
            noticed.append(time.monotonic())
            seen.set()
        return False

    ended = real.run(until=until)
    assert noticed, ended.log
    # The tool may have printed something of its own since it asked.
    assert noticed[0] - asked[0] < 20
    assert ended.code == 0


def _is_asked_for(real: RealPod, model: str) -> bool:
    name = model.rpartition("/")[2]
    return f'"model": "{name}"' in real.models.prompts() or any(
        f"/models/{name}:" in x for x in real.models.paths
    )


@pytest.mark.parametrize("tool", TOOLS)
def test_the_model_is_the_one_of_the_workspace_config_or_of_an_argument(
    launch: Launch, tool: str
) -> None:
    names = {"opencode": "openai/gpt-5-mini", "gemini": "gemini-2.5-pro"}
    model = names.get(tool, "test-model-9")
    real = launch(tool, edits(), agent={"model": model})
    assert real.run().code == 0
    assert _is_asked_for(real, model)
    real = launch(tool, edits())
    assert real.run("--model", model).code == 0
    assert _is_asked_for(real, model)


@pytest.mark.parametrize("tool", TOOLS)
def test_turns_and_cost_are_limited_by_arguments_too(launch: Launch, tool: str) -> None:
    def script(call: int, used: int) -> Step:
        return Use(f"echo {call} >> README.md", WORK)

    ended = launch(tool, script).run("--max-turns", "2")
    assert ended.result["reason"] == "MaxTurnsExceeded", ended.log
    ended = launch(tool, script).run("--max-cost-usd", "0.001")
    able = tool in ("claude", "opencode")
    assert ended.result["reason"] == ("BudgetExceeded" if able else "InvalidSpec"), ended.log


PAGE = (Path(__file__).parents[2] / "docs" / "agents.md").read_text()
DOCUMENTS = [
    x
    for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for x in yaml.safe_load_all(block)
]
EXAMPLES = {x["metadata"]["name"]: x["spec"] for x in DOCUMENTS if x["kind"] == "WorkspaceConfig"}
(SECRET,) = (x for x in DOCUMENTS if x["kind"] == "Secret")


@pytest.mark.few
@pytest.mark.parametrize("tool", TOOLS)
def test_the_example_of_the_page_works_with_its_one_secret(
    launch: Launch, origins: Path, tool: str
) -> None:
    spec = dict(EXAMPLES[tool])
    arguments = spec.pop("args")
    assert spec.pop("agentImage").startswith(f"quay.io/kubetask/kubetask-agent-{tool}:")
    assert spec.pop("git")["credentials"]["shareWithAgent"]  # here, that of the test's own host
    name, data = SECRET["metadata"]["name"], SECRET["stringData"]
    real = launch(tool, edits(), secrets={(name, k): KEY for k in data}, **spec)
    assert real.pod.config["credentials"] == spec["credentials"]
    ended = real.run(*arguments)
    assert ended.code == 0, ended.log
    assert [x for x in branches(origins) if x.startswith(BRANCH)]
    assert KEY in real.models.keys
