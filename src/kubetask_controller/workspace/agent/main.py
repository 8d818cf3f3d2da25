"""The console script ``kubetask-agent``: one agent over one task, from its prompt to its result.

Exit codes: that of the agent; 0 where it did well; 1 where a push failed; 2 for flags that are not understood. The result
is in the termination message in every case, unless the agent wrote it itself.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Reason
from kubetask_controller.api.manifest import TaskManifest
from kubetask_controller.version import __version__
from kubetask_controller.workspace.agent import presets
from kubetask_controller.workspace.agent.process import Ended, run
from kubetask_controller.workspace.agent.prompt import make_prompt
from kubetask_controller.workspace.agent.publish import Published, publish
from kubetask_controller.workspace.git import Git, GitError, say
from kubetask_controller.workspace.redaction import Redactor, secrets_in
from kubetask_controller.workspace.termination import leave, termination_log

TRANSCRIPT = f"{c.RESERVED_DIR}/agent.log"
SCRIPT = "script"
COMMAND = "command"
_SECRET_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")


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
        ended, told = _run(options, task)
    except (FileNotFoundError, PermissionError) as error:
        sys.exit(_failed(f"cannot run the agent: {error}"))
    published: list[Published] = []
    problem = ""
    if ended.code == 0:
        try:
            published = _publish(options, task, told)
        except GitError as error:
            problem = str(error)
    result = make_result(task.manifest, told, published, failed=bool(ended.code or problem))
    if problem:
        result["summary"] = problem
    elif not any(x.commits for x in published) and options.fail_on_no_changes and not ended.code:
        result |= {"reason": Reason.NO_CHANGES.value, "outcome": "unchanged"}
        problem = "no changes"
    if _mark() == written:
        leave(result)
    sys.exit(ended.code or (1 if problem else 0))


def read_task(environ: Mapping[str, str]) -> Task:
    """The task from the environment.

    Raises:
        KeyError, OSError, ValueError: there is none that was prepared.
    """
    manifest = TaskManifest.model_validate_json(Path(environ[c.ENV_MANIFEST]).read_bytes())
    folders = [Path(x) for x in (environ.get(c.ENV_GIT_CREDENTIALS), manifest.credentials) if x]
    secrets = secrets_in(folders)
    secrets += [v for k, v in environ.items() if any(x in k.upper() for x in _SECRET_NAMES)]
    directory = Path(environ[c.ENV_TASK_DIR])
    for file in manifest.files:
        if file.secret:
            secrets.append((directory / file.name).read_text(errors="replace"))
    return Task(manifest, directory, environ, Redactor(secrets))


def make_result(
    manifest: TaskManifest, told: presets.Told, published: Sequence[Published], *, failed: bool
) -> dict[str, Any]:
    """The result for the status."""
    commits = [commit for x in published for commit in x.commits]
    result: dict[str, Any] = {"summary": told.summary}
    if commits:
        result |= {"outcome": "changed", "branch": manifest.branch, "commits": commits}
    elif not failed:
        result["outcome"] = "unchanged"
    if told.usage:
        result["usage"] = dict(told.usage)
    if failed and told.reason is not None:
        result["reason"] = told.reason.value
    return result


def _run(options: argparse.Namespace, task: Task) -> tuple[Ended, presets.Told]:
    (task.directory / c.RESERVED_DIR).mkdir(exist_ok=True)
    transcript = task.directory / TRANSCRIPT
    if options.agent == SCRIPT:
        return _run_script(options, task, transcript)
    read: Callable[[str], presets.Told]
    if options.agent == COMMAND:
        command, read = list(options.extra), presets.plain
    else:
        preset = presets.PRESETS[options.agent]
        command, read = (
            preset.command(make_prompt(task.manifest, task.directory), options.extra),
            preset.read,
        )
    one = task.manifest.repositories if len(task.manifest.repositories) == 1 else ()
    cwd = task.directory / one[0].path if one and options.agent == COMMAND else task.directory
    ended = run(command, cwd=cwd, environ=task.environ, transcript=transcript, redact=task.redact)
    return ended, read(ended.output)


def _run_script(
    options: argparse.Namespace, task: Task, transcript: Path
) -> tuple[Ended, presets.Told]:
    """The script in each repository, in order; the first failure ends it."""
    command = ["sh", str(task.directory / options.script), *options.extra]
    told = presets.Told()
    ended = Ended(0, "")
    for repository in task.manifest.repositories:
        say(f"running {options.script} in {repository.path}")
        environ = {**task.environ, "KUBETASK_REPOSITORY": f"{repository.org}/{repository.repo}"}
        cwd = task.directory / repository.path
        ended = run(command, cwd=cwd, environ=environ, transcript=transcript, redact=task.redact)
        told = presets.plain(ended.output)
        if ended.code:
            break
    return ended, told


def _publish(options: argparse.Namespace, task: Task, told: presets.Told) -> list[Published]:
    title = (
        options.message or told.summary.splitlines()[0][:72]
        if (options.message or told.summary)
        else ""
    )
    message = title or f"Changes of task {task.manifest.task}"
    git = Git(environ=task.environ, redact=task.redact, show=say)
    return publish(
        task.manifest,
        task.directory,
        git,
        message=message,
        commit=options.commit,
        push=options.push,
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
    kinds = (SCRIPT, COMMAND, *presets.PRESETS)
    parser.add_argument("--agent", choices=kinds, required=True, help="what to run")
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
    if options.agent == SCRIPT and not options.script:
        parser.error("--agent script needs --script")
    if options.agent == COMMAND and not options.extra:
        parser.error("--agent command needs the command after --")
    return options
