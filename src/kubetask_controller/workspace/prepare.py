"""``kubetask-workspace prepare``: creates the task's folder from the manifest.

Idempotent: a restarted container starts over and produces the same result.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Reason
from kubetask_controller.api.manifest import TaskManifest
from kubetask_controller.workspace import gitconfig
from kubetask_controller.workspace.cache import RepositoryCache
from kubetask_controller.workspace.credentials import (
    AppTokens,
    check_hosts,
    check_signing,
    secrets_to_mask,
)
from kubetask_controller.workspace.errors import PreparationError
from kubetask_controller.workspace.files import write_files, write_home_files
from kubetask_controller.workspace.git import Git, log_line
from kubetask_controller.workspace.redaction import Redactor, proxy_secrets
from kubetask_controller.workspace.repositories import Repositories
from kubetask_controller.workspace.taskfolders import create_task_folder, remove_old_task_folders


def prepare(environ: Mapping[str, str] = os.environ) -> None:
    """Prepare the task that the environment describes.

    Raises:
        PreparationError: with the reason and the message for the status.
        OSError: the volume is not usable.
    """
    manifest = read_manifest(environ)
    workspace = Path(environ.get(c.ENV_WORKSPACE, c.MOUNT_WORKSPACE))
    task_dir = Path(environ.get(c.ENV_TASK_DIR) or workspace / c.TASKS_DIR / manifest.task_id)
    home = Path(environ.get(c.ENV_HOME, c.MOUNT_HOME))
    hosts = gitconfig.task_hosts(manifest)
    secrets = [y for x in hosts if x.folder for y in secrets_to_mask(Path(x.folder))]
    mask = Redactor(secrets + proxy_secrets(environ))
    check_hosts(hosts, workspace)
    check_signing(manifest.checkout.signing)
    tokens = AppTokens(hosts, mask.add, ca_file=home / gitconfig.BUNDLE)
    # The agent's image may run as any user, which must be able to write these files.
    os.umask(0)
    try:
        remove_old_task_folders(task_dir.parent, keep=task_dir.name)
        create_task_folder(task_dir)
        gitconfig.install(manifest, home)
        write_home_files(environ, home)
        git = Git(
            environ={**environ, "HOME": str(home), c.ENV_GIT_CONFIG: str(home / ".gitconfig")},
            redact=mask,
            show=log_line,
            timeout=manifest.checkout.timeout_seconds,
            fresh=tokens,
        )
        cache = RepositoryCache(workspace / c.REPOS_DIR, git)
        cache.remove_unused()
    except OSError as error:
        raise PreparationError(
            Reason.WORKSPACE_ERROR, f"the workspace volume is not usable: {error}"
        ) from error
    write_files(
        manifest.files,
        task_dir=task_dir,
        mounted=Path(environ.get(c.ENV_FILES_DIR, c.MOUNT_FILES)),
        repositories=[x.path for x in manifest.repositories],
    )
    repositories = Repositories(cache, git, partial=manifest.partial, checkout=manifest.checkout)
    prepared = tuple(
        repositories.prepare(x, branch=manifest.branch, target=task_dir / x.path)
        for x in manifest.repositories
    )
    manifest = manifest.model_copy(update={"repositories": prepared})
    _leave_tokens(hosts, tokens, home)
    path = Path(environ.get(c.ENV_MANIFEST) or task_dir / c.MANIFEST_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(manifest.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n")
    path.chmod(0o444)
    log_line(
        f"ready: {len(manifest.files)} files, {len(manifest.repositories)} repositories in {task_dir}"
    )


def _leave_tokens(hosts: list[gitconfig.TaskHost], tokens: AppTokens, home: Path) -> None:
    """Write the first token of each App whose Secret the agent shares: the agent's image may be unable to create one."""
    for host in hosts:
        shared = host.is_app and host.repositories and host.host.shared
        if shared:
            until, token = tokens.get(host)
            path = home / f"{gitconfig.APP_TOKEN}-{host.host.name or 'default'}"
            path.write_text(f"{int(until)}\n{token}\n")
            path.chmod(0o666)


def read_manifest(environ: Mapping[str, str]) -> TaskManifest:
    """The manifest from the environment.

    Raises:
        PreparationError: it is not set, or not valid.
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
