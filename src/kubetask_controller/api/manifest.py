"""The manifest of a task: the input of the init container, which agents can read too.

The controller passes it to the init container in ``KUBETASK_TASK_SPEC``. The init container writes it
as JSON to the path in ``KUBETASK_MANIFEST``. It contains names, paths and URLs, and neither file
contents nor secrets. Version 1 may gain fields; existing fields never change.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal, NamedTuple
from urllib.parse import quote, unquote

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
    """Base of the manifest's models. A Pod cannot trust its input, so the models validate it.

    Configured like all models. A separate base, so that a task's Pod starts without importing the
    models of the kinds.
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
    """A file of the task, mounted at ``KUBETASK_FILES_DIR/<name>`` and available in the task's folder
    under its name."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=FILE_NAME_PATTERN)]
    source: Literal["inline", "configMap", "secret"]
    secret: bool = False
    """Whether the content is secret: it is never printed, and only the agent's user can read the file."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Digest of an inline file's content in UTF-8, from the spec of the task's owner. Other users could
    write the ConfigMap that contains the content."""


def _inside(path: str) -> str:
    parts = path.split("/")
    if {"", ".", "..", ".git"} & set(parts) or parts[0] == c.RESERVED_DIR or "\0" in path:
        raise ValueError("must be a folder inside the task's folder")
    return path


class ManifestRepository(ManifestModel):
    """A repository of the task.

    Attributes:
        branch: branch, tag or commit to start from; empty for the repository's default branch.
        url: where to clone from, without credentials.
        path: folder below the task's folder.
        host: name of the entry of `hosts`; empty for the first.
        base: branch that the work targets. The init container sets this and the following fields.
        base_commit: newest commit of the base when the task started.
        existing: tip of the task's branch at the server when the task started; empty if it did not
            exist.
    """

    org: Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=ORG_PATTERN)]
    repo: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=REPO_PATTERN)]
    branch: Annotated[str, StringConstraints(max_length=244, pattern=f"^$|{BRANCH_PATTERN}")] = ""
    url: Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=URL_PATTERN)]
    path: Annotated[str, StringConstraints(min_length=1, max_length=1024), AfterValidator(_inside)]
    host: str = ""
    base: str = ""
    base_commit: str = ""
    existing: str = ""


class ManifestHost(ManifestModel):
    """A git host.

    Attributes:
        name: name in ``git.hosts``; empty for the host of ``git.urlTemplate``.
        url_template: template of the URLs of its repositories.
        provider: kind of the host, for its API; empty to derive it from the host name.
        api_url: URL of its API; empty for the default of the provider.
        credentials: folder of the credentials in the container; None if there are none. For the
            first host, see `TaskManifest.credentials`.
        shared: whether the agent gets the credentials too.
    """

    name: str = ""
    url_template: str
    provider: str = ""
    api_url: Annotated[str, Field(alias="apiURL")] = ""
    credentials: str | None = None
    shared: bool = False


class Checkout(ManifestModel):
    """How repositories are checked out, committed and pushed.

    Attributes:
        depth: number of commits to fetch; 0 for all.
        sparse: folders to check out; empty for all.
        on_branch_exists: what to do if the server already has the task's branch.
        commit_message: template; empty for the default.
        signing: folder of the signing key in the agent's container.
        run_hooks: whether the repository's hooks run.
        timeout_seconds: timeout of a git command.
    """

    depth: int = 0
    sparse: tuple[str, ...] = ()
    submodules: bool = False
    lfs: bool = False
    on_branch_exists: Literal["Fail", "Replace", "Continue"] = "Fail"
    commit_message: str = ""
    sign_off: bool = False
    signing: str | None = None
    run_hooks: bool = False
    timeout_seconds: int = c.DEFAULT_GIT_TIMEOUT_SECONDS


class ManifestPullRequest(ManifestModel):
    """The pull request to open; the fields are those of ``spec.pullRequest``."""

    title: str = ""
    body: str = ""
    base: str = ""
    draft: bool = False
    labels: tuple[str, ...] = ()
    reviewers: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()
    auto_merge: Literal["", "Merge", "Squash", "Rebase"] = ""


class ManifestAgent(ManifestModel):
    """How kubetask-agent runs a tool; the fields are those of ``spec.agent``. 0 and empty are unset.

    Attributes:
        max_cost_usd: a decimal number.
        secret_env: variables of the agent's container that come from Secrets.
        secret_env_prefixes: prefixes of variables that come from whole Secrets; an empty prefix
            matches every variable that is not in `plain_env`.
        plain_env: other variables of the agent's container.
    """

    model: str = ""
    max_turns: int = 0
    max_cost_usd: Annotated[str, Field(alias="maxCostUSD")] = ""
    idle_timeout_seconds: int = 0
    max_retry_wait_seconds: int = c.DEFAULT_MAX_RETRY_WAIT_SECONDS
    secret_env: tuple[str, ...] = ()
    secret_env_prefixes: tuple[str, ...] = ()
    plain_env: tuple[str, ...] = ()


class Author(ManifestModel):
    """Author and committer of commits."""

    name: str = c.DEFAULT_AUTHOR_NAME
    email: str = c.DEFAULT_AUTHOR_EMAIL


class TaskManifest(ManifestModel):
    """The manifest of one task.

    Attributes:
        task_id: folder of the task below ``/workspace/tasks``, unique for the object that owns it.
        task: name of the Task, or ``<run>-task-<index>``.
        run, index: the BatchRun and the task's position in it; both None for a Task.
        branch: the new branch that the agent works on.
        ca_bundle: path of a PEM file in the container; None for the authorities of the image.
        credentials: folder of the git credentials in the container; None if there are none.
        partial: whether to clone without the contents of earlier commits, where the server supports it.
        hosts: the git hosts; that of ``git.urlTemplate`` is the first.
        checkout: how repositories are checked out, committed and pushed.
        pull_request: the pull requests to open; None for none.
        agent: how the tool runs, and which of its variables are secret.
        secret_paths: files and folders in the agent's container that contain secrets, to mask in the log.
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
    hosts: tuple[ManifestHost, ...] = ()
    checkout: Checkout = Checkout()
    pull_request: ManifestPullRequest | None = None
    agent: ManifestAgent = ManifestAgent()
    secret_paths: tuple[str, ...] = ()


class RepositoryName(NamedTuple):
    """The fields that identify a repository of a task."""

    org: str
    repo: str
    branch: str
    host: str = ""


def repository_url(template: str, *, org: str, repo: str) -> str:
    """The URL of a repository, built from a ``urlTemplate``, with spaces percent-encoded."""
    names = {"{org}": _encoded(org), "{repo}": _encoded(repo)}
    return re.sub(r"\{(org|repo)\}", lambda x: names[x[0]], template)


def _encoded(name: str) -> str:
    return quote(name, safe="/~%!()'+,&")


def repository_paths(names: Sequence[RepositoryName]) -> list[str]:
    """The folder of each repository below the task's folder.

    ``<repo>`` where that is unique, else ``<org>/<repo>`` for all of them, else with the branch
    appended, else with the host prepended. All have the same form, so that no folder is nested in
    another.

    Raises:
        ValueError: two of them are the same repository and branch, or their folders differ only in case.
    """
    for form in (_short, _with_org, _with_branch, _with_host):
        paths = [form(name) for name in names]
        if len({path.lower() for path in paths}) == len(paths):
            return paths
    first: dict[str, RepositoryName] = {}
    for name in names:
        other = first.setdefault(_with_host(name).lower(), name)
        if other is not name and other == name:
            raise ValueError(f"repository {_with_branch(name)} is listed twice")
        if other is not name:
            both = f"{_shown(other)} and {_shown(name)}"
            raise ValueError(f"repositories {both} have the same folder: remove one of them")
    raise AssertionError("names that differ have folders that differ")


def _shown(name: RepositoryName) -> str:
    return f"{name.org}/{name.repo}" + (f"@{name.branch}" if name.branch else "")


def _short(name: RepositoryName) -> str:
    return unquote(name.repo)


def _with_org(name: RepositoryName) -> str:
    return f"{unquote(name.org).replace('/', '-')}/{unquote(name.repo)}"


def _with_branch(name: RepositoryName) -> str:
    branch = name.branch.replace("/", "-")
    return f"{_with_org(name)}@{branch}" if branch else _with_org(name)


def _with_host(name: RepositoryName) -> str:
    return f"{name.host}/{_with_branch(name)}" if name.host else _with_branch(name)
