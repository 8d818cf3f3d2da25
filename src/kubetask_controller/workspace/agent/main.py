"""The console script ``kubetask-agent``: one agent over one task, from its prompt to its result.

Exit codes: that of the agent; 0 where it did well; 1 where it says that it failed, where a push failed, or where the agent
cannot be run; 2 for flags that are not understood. The result is in the termination message in every case, unless the agent
wrote it itself.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubetask_controller.api import constants as c
from kubetask_controller.api.manifest import TaskManifest
from kubetask_controller.version import __version__
from kubetask_controller.workspace.agent.presets import PRESETS
from kubetask_controller.workspace.agent.process import Runner, Surroundings
from kubetask_controller.workspace.agent.prompt import make_prompt
from kubetask_controller.workspace.agent.publish import Published, PublishError, publish
from kubetask_controller.workspace.agent.result import Outcome, make_result
from kubetask_controller.workspace.agent.told import Reader, Told
from kubetask_controller.workspace.git import Git, say
from kubetask_controller.workspace.redaction import Redactor, secrets_in, secrets_of
from kubetask_controller.workspace.termination import leave, termination_log

TRANSCRIPT = f"{c.RESERVED_DIR}/agent.log"
SCRIPT = "script"
COMMAND = "command"
ENV_REPOSITORY = "KUBETASK_REPOSITORY"
"""For a script: the repository it is run in, ``org/repo``."""


@dataclass(frozen=True, slots=True)
class Task:
    """What the workspace prepared."""

    manifest: TaskManifest
    directory: Path
    environ: Mapping[str, str]
    redact: Redactor


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the agent and exit."""
    options = _parse(arguments)
    try:
        task = read_task(os.environ)
    except (KeyError, OSError, ValueError) as error:
        sys.exit(_failed(f"the workspace is not prepared: {error}"))
    written = _mark()
    try:
        code, told = _run(options, task)
    except (FileNotFoundError, PermissionError) as error:
        sys.exit(_failed(f"cannot run the agent: {error}"))
    code = code or int(told.failed)
    published: list[Published] = []
    problem, reason = "", None
    if code == 0:
        try:
            published = _publish(options, task, told)
        except PublishError as error:
            published, problem, reason = error.published, str(error), error.reason
            say(f"{reason.value}: {problem}")
    unchanged = not any(x.commits for x in published)
    outcome = Outcome(
        told,
        published,
        failed=bool(code or problem),
        problem=problem,
        reason=reason,
        nothing_done=options.fail_on_no_changes and unchanged and not code and not problem,
    )
    if _mark() == written:
        leave(make_result(task.manifest, outcome))
    sys.exit(code or int(bool(problem) or outcome.nothing_done))


def read_task(environ: Mapping[str, str]) -> Task:
    """The task from the environment.

    Raises:
        KeyError, OSError, ValueError: there is none that was prepared.
    """
    manifest = TaskManifest.model_validate_json(Path(environ[c.ENV_MANIFEST]).read_bytes())
    directory = Path(environ[c.ENV_TASK_DIR])
    places = [environ.get(c.ENV_GIT_CREDENTIALS), manifest.credentials, *manifest.secret_paths]
    secrets = secrets_in([Path(x) for x in places if x])
    secrets += secrets_in([directory / x.name for x in manifest.files if x.secret])
    secrets += secrets_of({k: v for k, v in environ.items() if k not in c.RESERVED_ENV})
    return Task(manifest, directory, environ, Redactor(secrets))


def _run(options: argparse.Namespace, task: Task) -> tuple[int, Told]:
    folder = task.directory / c.RESERVED_DIR
    folder.mkdir(exist_ok=True)
    runner = Runner(Surroundings(task.environ, task.directory / TRANSCRIPT, task.redact))
    if options.agent == SCRIPT:
        return _run_script(options, task, runner)
    if options.agent == COMMAND:
        one = task.manifest.repositories if len(task.manifest.repositories) == 1 else ()
        cwd = task.directory / one[0].path if one else task.directory
        reader = Reader()
        return runner.run(options.extra, reader, cwd=cwd), reader.told()
    preset = PRESETS[options.agent]
    reader = preset.reader()
    code = runner.run(
        preset.command(options.extra),
        reader,
        cwd=task.directory,
        stdin=make_prompt(task.manifest, task.directory),
        environ={k: v for k, v in preset.environ.items() if k not in task.environ},
    )
    return code, reader.told()


def _run_script(options: argparse.Namespace, task: Task, runner: Runner) -> tuple[int, Told]:
    """The script in each repository, in order, or in the task's folder; the first failure ends it."""
    command = ["sh", str(task.directory / options.script), *options.extra]
    places = [(x.path, f"{x.org}/{x.repo}") for x in task.manifest.repositories] or [(".", "")]
    code, told = 0, Told()
    for path, name in places:
        say(f"running {options.script} in {path}")
        reader = Reader()
        environ = {ENV_REPOSITORY: name} if name else {}
        code = runner.run(command, reader, cwd=task.directory / path, environ=environ)
        told = reader.told()
        if code:
            break
    return code, told


def _publish(options: argparse.Namespace, task: Task, told: Told) -> list[Published]:
    first = next(iter(told.summary.splitlines()), "")
    message = options.message or first[:72] or f"Changes of task {task.manifest.task}"
    wanted = task.manifest.pull_request is not None
    git = Git(
        environ=task.environ,
        redact=task.redact,
        show=say,
        timeout=task.manifest.checkout.timeout_seconds,
    )
    return publish(
        task.manifest,
        task.directory,
        git,
        message=message,
        commit=options.commit or wanted,
        push=options.push or wanted,
        description=told.summary,
        redact=task.redact,
    )


def _failed(text: str) -> int:
    print(text, file=sys.stderr, flush=True)
    leave({"summary": text})
    return 1


def _mark() -> tuple[int, int] | None:
    """Whether somebody wrote the termination message: its size and time."""
    try:
        state = termination_log().stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="kubetask-agent",
        description="Runs an agent over a prepared task and leaves its result.",
    )
    parser.add_argument("--version", action="version", version=f"kubetask {__version__}")
    kinds = (SCRIPT, COMMAND, *PRESETS)
    parser.add_argument(
        "--agent",
        choices=kinds,
        default=os.environ.get(c.ENV_AGENT) or next(filter(shutil.which, PRESETS), None),
        help=f"what to run; default: ${c.ENV_AGENT}, else the known agent that is installed",
    )
    parser.add_argument(
        "--script", default="", help="file of the task that sh runs in each repository"
    )
    parser.add_argument("--commit", action="store_true", help="commit what has changed")
    parser.add_argument("--push", action="store_true", help="push the branch where it has commits")
    parser.add_argument("--message", default="", help="of the commit; default: the agent's summary")
    parser.add_argument(
        "--fail-on-no-changes",
        action="store_true",
        help="fail, with reason NoChanges, without commits",
    )
    parser.add_argument(
        "extra", nargs="*", help="after --: arguments for the agent, or the command"
    )
    options = parser.parse_args(arguments)
    if options.agent not in kinds:
        parser.error(f"none of the known agents is installed: say --agent {'|'.join(kinds)}")
    if options.agent == SCRIPT and not options.script:
        parser.error("--agent script needs --script")
    if options.agent == COMMAND and not options.extra:
        parser.error("--agent command needs the command after --")
    return options
