"""``kubetask-workspace prepare``: from the manifest to a folder in which an agent can begin.

May be repeated at any time: a container that is restarted begins anew and ends the same.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Reason
from kubetask_controller.api.manifest import TaskManifest
from kubetask_controller.workspace import gitconfig
from kubetask_controller.workspace.cache import Cache
from kubetask_controller.workspace.errors import PreparationError
from kubetask_controller.workspace.files import place_files
from kubetask_controller.workspace.git import Git, say
from kubetask_controller.workspace.housekeeping import clear, remove_old_tasks
from kubetask_controller.workspace.redaction import Redactor, secrets_in
from kubetask_controller.workspace.repositories import Repositories


def prepare(environ: Mapping[str, str] = os.environ) -> None:
    """Prepare the task that the environment describes.

    Raises:
        PreparationError: with the reason and the sentence for the status.
        OSError: the volume cannot be used.
    """
    manifest = read_manifest(environ)
    workspace = Path(environ.get(c.ENV_WORKSPACE, c.MOUNT_WORKSPACE))
    task_dir = Path(environ.get(c.ENV_TASK_DIR) or workspace / c.TASKS_DIR / manifest.task_id)
    home = Path(environ.get(c.ENV_HOME, c.MOUNT_HOME))
    secrets = secrets_in([Path(manifest.credentials)]) if manifest.credentials else []
    # The agent's image may run as any user, and must be able to work on what is made here.
    os.umask(0)
    try:
        remove_old_tasks(task_dir.parent, keep=task_dir.name)
        clear(task_dir)
        gitconfig.install(manifest, home)
        git = Git(
            environ={**environ, "HOME": str(home), c.ENV_GIT_CONFIG: str(home / ".gitconfig")},
            redact=Redactor(secrets),
            show=say,
        )
        cache = Cache(workspace / c.REPOS_DIR, git)
        cache.remove_unused()
    except OSError as error:
        raise PreparationError(
            Reason.WORKSPACE_ERROR, f"the workspace cannot be used: {error}"
        ) from error
    place_files(
        manifest.files,
        task_dir=task_dir,
        mounted=Path(environ.get(c.ENV_FILES_DIR, c.MOUNT_FILES)),
        repositories=[x.path for x in manifest.repositories],
    )
    repositories = Repositories(cache, git, partial=manifest.partial)
    for repository in manifest.repositories:
        repositories.prepare(repository, branch=manifest.branch, target=task_dir / repository.path)
    path = Path(environ.get(c.ENV_MANIFEST) or task_dir / c.MANIFEST_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(manifest.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n")
    path.chmod(0o444)
    say(
        f"ready: {len(manifest.files)} files, {len(manifest.repositories)} repositories in {task_dir}"
    )


def read_manifest(environ: Mapping[str, str]) -> TaskManifest:
    """The manifest that the controller gave.

    Raises:
        PreparationError: there is none, or it is of another version.
    """
    try:
        return TaskManifest.model_validate_json(environ[c.ENV_TASK_SPEC])
    except KeyError:
        raise PreparationError(Reason.WORKSPACE_ERROR, f"{c.ENV_TASK_SPEC} is not set") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise PreparationError(
            Reason.INVALID_SPEC, f"{c.ENV_TASK_SPEC}: {where}: {first['msg']}"
        ) from None
