"""The manifest of a task: what the controller asks the workspace to prepare, and what an agent may
read.

The controller hands it to the init container in ``KUBETASK_TASK_SPEC``; the init container writes
it, as JSON, to the file that ``KUBETASK_MANIFEST`` names. It holds names, paths and URLs; never a
file's content, never a secret. Version 1 is added to and never changed.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from kubetask_controller.api import constants as c
from kubetask_controller.api.patterns import (
    BRANCH_PATTERN,
    FILE_NAME_PATTERN,
    ORG_PATTERN,
    REPO_PATTERN,
    URL_PATTERN,
)

MANIFEST_VERSION: Final = 1


class ManifestModel(BaseModel):
    """Base of the manifest's models: what is read was written by a stranger as far as a Pod can
    tell.

    Configured as all models are; a task's Pod starts sooner without those of the kinds.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        extra="ignore",
        frozen=True,
    )


class ManifestFile(ManifestModel):
    """A file of the task. It is mounted at ``KUBETASK_FILES_DIR/<name>`` and appears in the task's
    folder by its name."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=FILE_NAME_PATTERN)]
    source: Literal["inline", "configMap", "secret"]
    secret: bool = False
    """The content is secret: it is not shown, and nobody else may read the file."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Digest of an inline file's content in UTF-8, as the spec of the task's owner has it. The
    ConfigMap that carries the content can be written by others."""


def _inside(path: str) -> str:
    parts = path.split("/")
    if {"", ".", "..", ".git"} & set(parts) or parts[0] == c.RESERVED_DIR or "\0" in path:
        raise ValueError("must be a folder inside of the task's folder")
    return path


class ManifestRepository(ManifestModel):
    """A repository of the task.

    Attributes:
        branch: where to start from; empty for the repository's default branch.
        url: where to clone from, without credentials.
        path: folder below the task's folder.
    """

    org: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=ORG_PATTERN)]
    repo: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=REPO_PATTERN)]
    branch: Annotated[str, StringConstraints(max_length=244, pattern=f"^$|{BRANCH_PATTERN}")] = ""
    url: Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=URL_PATTERN)]
    path: Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_inside)]


class Author(ManifestModel):
    """Who commits."""

    name: str = c.DEFAULT_AUTHOR_NAME
    email: str = c.DEFAULT_AUTHOR_EMAIL


class TaskManifest(ManifestModel):
    """All of a task.

    Attributes:
        task_id: folder of the task below ``/workspace/tasks``, unique for the object that owns it.
        task: name of the Task, or ``<run>-task-<index>``.
        run, index: the BatchRun and the task's position in it; both None for a Task.
        branch: the fresh branch that the agent works on.
        ca_bundle: path of a PEM file in the container, None for the image's own authorities.
        credentials: folder of the git credentials in the container, None where there are none.
        partial: leave out the contents of earlier commits where the server can; git fetches one when it is asked for it.
        secret_paths: files and folders in the agent's container that hold secrets, so that a log can mask them.
    """

    version: Literal[1] = MANIFEST_VERSION
    task_id: Annotated[str, Field(alias="taskID", pattern=r"^[a-z0-9]{8,64}$")]
    task: str
    namespace: str
    run: str | None = None
    index: int | None = None
    branch: Annotated[str, StringConstraints(pattern=BRANCH_PATTERN)]
    files: tuple[ManifestFile, ...] = ()
    repositories: tuple[ManifestRepository, ...] = ()
    author: Author = Author()
    ca_bundle: str | None = None
    credentials: str | None = None
    partial: bool = False
    secret_paths: tuple[str, ...] = ()


class RepositoryName(NamedTuple):
    """What tells one repository of a task from another."""

    org: str
    repo: str
    branch: str


def repository_url(template: str, *, org: str, repo: str) -> str:
    """The URL that a WorkspaceConfig's ``urlTemplate`` gives for a repository."""
    return template.replace("{org}", org).replace("{repo}", repo)


def repository_paths(names: Sequence[RepositoryName]) -> list[str]:
    """The folder of each repository below the task's folder.

    ``<repo>`` where that is clear, else ``<org>/<repo>`` for all of them, else with the branch
    too. All have the same form, so that no folder lies inside another.

    Raises:
        ValueError: two of them are the same repository and branch.
    """
    for form in (_short, _with_org, _with_branch):
        paths = [form(name) for name in names]
        if len({path.lower() for path in paths}) == len(paths):
            return paths
    twice = next(path for path, count in Counter(map(_with_branch, names)).items() if count > 1)
    raise ValueError(f"repository {twice} is named twice")


def _short(name: RepositoryName) -> str:
    return name.repo


def _with_org(name: RepositoryName) -> str:
    return f"{name.org.replace('/', '-')}/{name.repo}"


def _with_branch(name: RepositoryName) -> str:
    branch = name.branch.replace("/", "-")
    return f"{_with_org(name)}@{branch}" if branch else _with_org(name)
