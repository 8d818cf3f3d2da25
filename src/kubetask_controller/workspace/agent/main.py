"""The console script ``kubetask-agent``: runs one agent on one task, from its prompt to its result.

Exit codes: that of the agent; 0 if it reports success; 1 if it does not, if it exceeded a limit, if a push failed, or if it
cannot be started; 128 plus the number of a signal that ended it; 2 for invalid flags. The termination message always contains
the result, unless the agent wrote it. All output is masked.
"""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Reason
from kubetask_controller.api.manifest import ManifestAgent, TaskManifest
from kubetask_controller.version import __version__
from kubetask_controller.workspace.agent.presets import PRESETS, Preset, git_variables
from kubetask_controller.workspace.agent.process import (
    AgentLimits,
    ExitStatus,
    ProcessContext,
    Runner,
)
from kubetask_controller.workspace.agent.prompt import make_prompt, without_at_paths
from kubetask_controller.workspace.agent.publish import Published, PublishError, publish
from kubetask_controller.workspace.agent.report import AgentReport, OutputReader
from kubetask_controller.workspace.agent.result import Outcome, make_result
from kubetask_controller.workspace.agent.supervisor import run_supervised
from kubetask_controller.workspace.credentials import AppTokenFiles, secrets_to_mask
from kubetask_controller.workspace.git import Git, log_line
from kubetask_controller.workspace.redaction import (
    Redactor,
    proxy_secrets,
    secret_variables,
    secrets_in,
    variable_values,
)
from kubetask_controller.workspace.termination import termination_log, write_termination_message

TRANSCRIPT = f"{c.RESERVED_DIR}/agent.log"
SCRIPT = "script"
COMMAND = "command"
ENV_REPOSITORY = "KUBETASK_REPOSITORY"
"""For a script: the repository in which it runs, as ``org/repo``."""
_OWN_ENV = frozenset(
    (*c.RESERVED_ENV, *c.CA_ENV, c.ENV_HOME, c.ENV_GIT_CONFIG, c.ENV_AGENT, ENV_REPOSITORY)
)
"""Variables of KubeTask and of its images."""
_PLAIN_ENV = frozenset(
    (
        *("PATH", "HOSTNAME", "PWD", "OLDPWD", "SHLVL", "TERM", "LANG", "LANGUAGE", "TZ"),
        *("SHELL", "USER", "LOGNAME", "TMPDIR", "EDITOR", "PAGER", "NO_COLOR", "COLORTERM"),
        *("GPG_KEY", "NODE_VERSION", "YARN_VERSION", "GOPATH", "JAVA_HOME", "TERMINATION_LOG"),
    )
)
_PLAIN_PREFIXES = ("LC_", "KUBERNETES_", "PYTHON", "KUBETASK_", "NPM_CONFIG_", "XDG_")
"""Prefixes of variables that images and Kubernetes set; they come from no Secret whose variables have no prefix."""


@dataclass(frozen=True, slots=True)
class AgentTask:
    """A prepared task.

    Attributes:
        manifest: the manifest.
        directory: the task's folder.
        environ: the environment of this process.
        redact: masks every secret that the agent can read.
        settings: the settings of the tool, including flags.
    """

    manifest: TaskManifest
    directory: Path
    environ: Mapping[str, str]
    redact: Redactor
    settings: ManifestAgent


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the agent and exit."""
    run_supervised(lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> None:
    options = _parse(arguments)
    try:
        task = load_task(os.environ, options)
    except (KeyError, OSError, ValueError) as error:
        sys.exit(_failed(f"the workspace is not prepared: {error}"))
    if problem := _impossible(options, task):
        sys.exit(_failed(problem, Reason.INVALID_SPEC))
    written = _mark()
    published: list[Published] = []
    report, problem, reason = AgentReport(), "", None
    try:
        try:
            ended, report = _run(options, task)
        except (FileNotFoundError, PermissionError) as error:
            sys.exit(_failed(task.redact(f"cannot run the agent: {error}")))
        report = judged(ended, report, options.agent).masked(task.redact)
        code = ended.code or int(report.failed)
        if code == 0:
            published, problem, reason = deliver(options, task, report)
            if reason is not None:
                log_line(f"{reason.value}: {problem}")
    except SystemExit as end:
        # A signal while no agent runs: the work stays in the workspace.
        code = end.code if isinstance(end.code, int) else 1
        if code <= 128:
            raise
        report = replace(
            report, summary=f"{_ended_by(code - 128)}; not all of its work may be pushed"
        )
    unchanged = not any(x.commits for x in published)
    outcome = Outcome(
        report,
        published,
        failed=bool(code or problem),
        problem=problem,
        reason=reason,
        nothing_done=options.fail_on_no_changes and unchanged and not code and not problem,
    )
    if _mark() == written:
        write_termination_message(task.redact.tree(make_result(task.manifest, outcome)))
    else:
        _mask_own_result(task.redact)
    sys.exit(code or int(bool(problem) or outcome.nothing_done))


def load_task(environ: Mapping[str, str], options: argparse.Namespace | None = None) -> AgentTask:
    """Load the task from the environment.

    Raises:
        KeyError, OSError, ValueError: the task is not prepared.
    """
    manifest = TaskManifest.model_validate_json(Path(environ[c.ENV_MANIFEST]).read_bytes())
    directory = Path(environ[c.ENV_TASK_DIR])
    places = {environ.get(c.ENV_GIT_CREDENTIALS), manifest.credentials}
    places |= {x.credentials for x in manifest.hosts}
    secrets = [y for x in places if x for y in secrets_to_mask(Path(x))]
    secrets += secrets_in([Path(x) for x in manifest.secret_paths], too_large=_not_masked)
    secrets += secrets_in([directory / x.name for x in manifest.files if x.secret])
    secrets += secret_variables({k: v for k, v in environ.items() if k not in c.RESERVED_ENV})
    secrets += variable_values({k: v for k, v in environ.items() if _is_secret(manifest.agent, k)})
    secrets += proxy_secrets(environ)
    settings = _settings(manifest.agent, options) if options else manifest.agent
    tokens = AppTokenFiles(Path(environ.get(c.ENV_HOME) or c.MOUNT_HOME), manifest.hosts)
    return AgentTask(manifest, directory, environ, Redactor(secrets, tokens), settings)


def _is_secret(agent: ManifestAgent, name: str) -> bool:
    """Whether a variable comes from a Secret, according to the manifest."""
    if name in agent.secret_env:
        return True
    if name in agent.plain_env or name in _OWN_ENV:
        return False
    if name.startswith(tuple(x for x in agent.secret_env_prefixes if x)):
        return True
    if name in _PLAIN_ENV or name.startswith(_PLAIN_PREFIXES):
        return False
    return "" in agent.secret_env_prefixes


def _not_masked(folder: Path) -> None:
    log_line(f"{folder} contains more than Secrets can: its files are not masked")


def _settings(agent: ManifestAgent, options: argparse.Namespace) -> ManifestAgent:
    flags = {
        "model": options.model,
        "max_turns": options.max_turns,
        "max_cost_usd": options.max_cost_usd,
        "idle_timeout_seconds": options.idle_timeout,
        "max_retry_wait_seconds": options.max_retry_wait,
    }
    return agent.model_copy(update={k: v for k, v in flags.items() if v is not None})


def _impossible(options: argparse.Namespace, task: AgentTask) -> str:
    """Why the settings cannot be applied; empty if they can."""
    cost, preset = task.settings.max_cost_usd, PRESETS.get(options.agent)
    try:
        Decimal(cost or 0)
    except InvalidOperation:
        return f"agent.maxCostUSD: {cost} is not a number"
    if cost and (preset is None or not preset.reports_cost):
        able = " and ".join(x.name for x in PRESETS.values() if x.reports_cost)
        return (
            f"agent.maxCostUSD cannot be enforced: {options.agent} does not report its cost while it runs,"
            f" {able} do; remove the field from the WorkspaceConfig, or limit agent.maxTurns"
        )
    return ""


def _run(options: argparse.Namespace, task: AgentTask) -> tuple[ExitStatus, AgentReport]:
    folder = task.directory / c.RESERVED_DIR
    folder.mkdir(exist_ok=True)
    settings = task.settings
    limits = AgentLimits(
        idle_seconds=settings.idle_timeout_seconds,
        retry_wait_seconds=settings.max_retry_wait_seconds,
        turns=settings.max_turns,
        cost=Decimal(settings.max_cost_usd) if settings.max_cost_usd else None,
    )
    runner = Runner(ProcessContext(task.environ, task.directory / TRANSCRIPT, task.redact, limits))
    if options.agent == SCRIPT:
        return _run_script(options, task, runner)
    if options.agent == COMMAND:
        reader = OutputReader()
        return runner.run(options.extra, reader, cwd=_place(task)), reader.report()
    return _run_preset(PRESETS[options.agent], options, task, runner)


def _run_preset(
    preset: Preset, options: argparse.Namespace, task: AgentTask, runner: Runner
) -> tuple[ExitStatus, AgentReport]:
    cwd, home = _place(task), Path(task.environ.get(c.ENV_HOME) or c.MOUNT_HOME)
    prompt = make_prompt(task.manifest, task.directory, cwd=cwd, reads=preset.instructions)
    if preset.at_paths:
        prompt = without_at_paths(prompt, cwd)
    try:
        preset.install(task.settings, home)
    except OSError as error:
        log_line(f"writing the settings of {preset.name} failed: {error}")
    defaults = {**preset.environ, "NO_COLOR": "1"}
    if preset.git_in_environ:
        defaults |= git_variables(Git(environ=task.environ, redact=task.redact), task.environ)
    reader = preset.reader()
    ended = runner.run(
        preset.command(task.settings, options.extra),
        reader,
        cwd=cwd,
        stdin=prompt,
        environ={k: v for k, v in defaults.items() if k not in task.environ},
        logs=(home, preset.logs) if preset.logs else None,
    )
    return ended, reader.report()


def _place(task: AgentTask) -> Path:
    """The working directory of the agent: its repository, or the task's folder if it has several."""
    one = task.manifest.repositories if len(task.manifest.repositories) == 1 else ()
    return task.directory / one[0].path if one else task.directory


def _run_script(
    options: argparse.Namespace, task: AgentTask, runner: Runner
) -> tuple[ExitStatus, AgentReport]:
    """Run the script in each repository, in order, or in the task's folder; stop at the first failure."""
    command = ["sh", str(task.directory / options.script), *options.extra]
    places = [(x.path, f"{x.org}/{x.repo}") for x in task.manifest.repositories] or [(".", "")]
    ended, report = ExitStatus(0), AgentReport()
    for path, name in places:
        log_line(f"running {options.script} in {path}")
        reader = OutputReader()
        environ = {ENV_REPOSITORY: name} if name else {}
        ended = runner.run(command, reader, cwd=task.directory / path, environ=environ)
        report = reader.report()
        if ended.code:
            break
    return ended, report


def judged(status: ExitStatus, report: AgentReport, agent: str = "the agent") -> AgentReport:
    """The report, combined with the exit status: an exit code, a signal, a limit."""
    if status.stop is not None:
        return replace(report, summary=status.stop.message, reason=status.stop.reason, failed=True)
    if status.signalled:
        words = f"{_ended_by(status.signalled)}; its changes are not pushed"
        return replace(report, summary=words, reason=None, failed=True)
    if status.code and agent in PRESETS and not report.failed:
        end = _ended_by(status.code - 128, agent) if _is_signal(agent, status.code) else ""
        end = end or f"{agent} exited with {status.code}"
        words = f"{end} after it reported success: {' '.join(report.summary.split())}"
        return replace(report, summary=words, failed=True)
    if status.code > 128 and not report.summary:
        return replace(report, summary=_ended_by(status.code - 128, agent), failed=True)
    return report


def _is_signal(agent: str, code: int) -> bool:
    """Gemini exits with the HTTP status of its error, modulo 256."""
    return 128 < code < 128 + signal.NSIG and agent != "gemini"


def _ended_by(number: int, agent: str = "the agent") -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{agent} was ended by {name}"


def deliver(
    options: argparse.Namespace, task: AgentTask, report: AgentReport
) -> tuple[list[Published], str, Reason | None]:
    """Push the work and open its pull requests, as configured; returns the problems and the task's reason too.

    Any other error is a problem too, because the result with commits, usage and cost is written afterwards.
    """
    problems: list[str] = []
    published: list[Published] = []
    reason = None
    try:
        published = _publish(options, task, report)
    except PublishError as error:
        published, reason = error.published, error.reason
        problems.append(str(error))
    except Exception as error:
        reason = Reason.WORKSPACE_ERROR
        problems.append(task.redact(f"committing or pushing failed: {error!r}"))
    if task.manifest.pull_request and any(x.pushed for x in published):
        try:
            # Importing takes time.
            from kubetask_controller.workspace.agent.pullrequests import open_requests

            published, refused = open_requests(
                task.manifest, published, report.summary, task.environ, redact=task.redact
            )
        except Exception as error:
            text = f"the branch was pushed, but opening pull requests failed: {error!r}"
            refused = [(Reason.PULL_REQUEST_FAILED, task.redact(text))]
        problems += [text for _, text in refused]
        reason = reason or next((x for x, _ in refused), None)
    return published, "; ".join(problems), reason


def _publish(options: argparse.Namespace, task: AgentTask, report: AgentReport) -> list[Published]:
    first = next(iter(report.summary.splitlines()), "")
    message = task.redact.prose(options.message or first)
    message = message if options.message else message[:72]
    wanted = task.manifest.pull_request is not None
    git = Git(
        environ=task.environ,
        redact=task.redact,
        show=log_line,
        timeout=task.manifest.checkout.timeout_seconds,
    )
    return publish(
        task.manifest,
        task.directory,
        git,
        message=message or f"Changes of task {task.manifest.task}",
        commit=options.commit or wanted,
        push=options.push or wanted,
        description=report.summary,
        redact=task.redact,
    )


def _mask_own_result(redact: Redactor) -> None:
    """Mask secrets in a result that the agent wrote itself."""
    try:
        text = termination_log().read_text(errors="replace")
        masked = redact.prose(text)
        if masked != text:
            termination_log().write_text(masked)
    except OSError as error:
        log_line(f"masking the agent's own result failed: {error}")


def _failed(text: str, reason: Reason | None = None) -> int:
    print(text, file=sys.stderr, flush=True)
    write_termination_message({"summary": text} | ({"reason": reason.value} if reason else {}))
    return 1


def _mark() -> tuple[int, int] | None:
    """Size and time of the termination message, to detect whether the agent wrote it."""
    try:
        state = termination_log().stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="kubetask-agent",
        description="Runs an agent on a prepared task and writes its result.",
    )
    parser.add_argument("--version", action="version", version=f"kubetask {__version__}")
    kinds = (SCRIPT, COMMAND, *PRESETS)
    parser.add_argument(
        "--agent",
        choices=kinds,
        default=os.environ.get(c.ENV_AGENT) or next(filter(shutil.which, PRESETS), None),
        help=f"what to run; default: ${c.ENV_AGENT}, else the supported agent that is installed",
    )
    parser.add_argument(
        "--script", default="", help="file of the task; sh runs it in each repository"
    )
    parser.add_argument("--commit", action="store_true", help="commit changes")
    parser.add_argument("--push", action="store_true", help="push the branch if it has commits")
    parser.add_argument(
        "--message", default="", help="message of the commit; default: the agent's summary"
    )
    parser.add_argument(
        "--fail-on-no-changes",
        action="store_true",
        help="fail with reason NoChanges if there are no commits",
    )
    parser.add_argument("--model", help="the tool's model; default: agent.model")
    parser.add_argument("--max-turns", type=int, help="default: agent.maxTurns")
    parser.add_argument("--max-cost-usd", help="default: agent.maxCostUSD")
    parser.add_argument(
        "--idle-timeout",
        type=int,
        metavar="SECONDS",
        help="fail with reason IdleTimeout after so many seconds without output;"
        " default: agent.idleTimeoutSeconds",
    )
    parser.add_argument(
        "--max-retry-wait",
        type=int,
        metavar="SECONDS",
        help="fail with reason RateLimited if the model rejects requests for longer;"
        " default: agent.maxRetryWaitSeconds",
    )
    parser.add_argument(
        "extra", nargs="*", help="after --: arguments for the agent, or the command"
    )
    options = parser.parse_args(arguments)
    if options.agent not in kinds:
        parser.error(f"no supported agent is installed: pass --agent {'|'.join(kinds)}")
    if options.agent == SCRIPT and not options.script:
        parser.error("--agent script needs --script")
    if options.agent == COMMAND and not options.extra:
        parser.error("--agent command needs the command after --")
    return options
