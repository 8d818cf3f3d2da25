"""Commits and pushes the agent's changes; keeps them as a patch if the push fails."""

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from kubetask_controller.api import constants as c
from kubetask_controller.api.constants import Reason
from kubetask_controller.api.manifest import ManifestRepository, TaskManifest
from kubetask_controller.workspace.git import Git, GitError, log_line, with_retries
from kubetask_controller.workspace.gitconfig import task_hosts
from kubetask_controller.workspace.redaction import Redactor

PATCHES_DIR = f"{c.RESERVED_DIR}/patches"
MAX_SHOWN_PATCH = 256 * 1024
"""Maximum size of a patch that is printed to the log; a larger one is only in the task's folder."""
MAX_SUBJECT = 72
"""Maximum length of a commit's first line."""
_URL = re.compile(r"https?://[^\s\"'<>()\[\]{}\\`]+")
_REQUEST = re.compile(r"/(pull|pulls|merge_requests|pull-requests|pullrequest)/\d+")
_LFS = re.compile(r"^[^'\"]* is stored by Git LFS: ")
_NO_HOOKS = ("-c", "core.hooksPath=/dev/null")
_PLACEHOLDER = re.compile(r"\{([a-z]+)\}")


@dataclass(frozen=True, slots=True)
class Published:
    """The outcome for one repository.

    Attributes:
        repository: the repository.
        commits: commits of its branch that are not in its base, newest first.
        pushed: whether the branch was pushed.
        request: URL of its pull request; empty for none.
        patch: file with the commits if the push failed; else empty.
    """

    repository: ManifestRepository
    commits: tuple[str, ...]
    pushed: bool
    request: str = ""
    patch: str = ""


class SecretError(GitError):
    """A commit adds a secret of the task."""


class PublishError(Exception):
    """Some changes were not pushed.

    Attributes:
        reason: the task's reason.
        published: the outcome for all repositories.
    """

    def __init__(self, reason: Reason, message: str, published: list[Published]) -> None:
        super().__init__(message)
        self.reason = reason
        self.published = published


def publish(
    manifest: TaskManifest,
    task_dir: Path,
    git: Git,
    *,
    message: str,
    commit: bool,
    push: bool,
    description: str = "",
    redact: Redactor | None = None,
) -> list[Published]:
    """Commit changes and push commits, as configured. Commits that cannot be pushed are kept as a patch.

    Args:
        manifest: the task's manifest.
        task_dir: the task's folder.
        git: git with the agent's credentials.
        message: message of the commits, if the manifest has no template.
        commit: whether to commit changes.
        push: whether to push commits.
        description: the agent's final message.
        redact: masks log lines; commits that add one of its secrets are not pushed.

    Raises:
        PublishError: at least one repository could not be committed or pushed; the message names it.
    """
    published: list[Published] = []
    problems: list[tuple[Reason, str]] = []
    for repository in manifest.repositories:
        work = _Work(manifest, task_dir, repository, git)
        shown = f"{repository.org}/{repository.repo}"
        try:
            if commit:
                work.commit(message, description)
            done = Published(repository, tuple(work.commits()), pushed=False)
        except GitError as error:
            problems.append((Reason.WORKSPACE_ERROR, f"{shown}: {error}"))
            continue
        if push and done.commits:
            try:
                if redact is not None:
                    work.refuse_secrets(redact)
                work.push()
                log_line(f"{shown}: pushed {manifest.branch} with {len(done.commits)} commits")
                done = replace(done, pushed=True)
            except GitError as error:
                reason, text = _refusal(error, manifest.branch)
                # Masking cannot find a secret in every form in which a commit can contain it.
                show = not isinstance(error, SecretError)
                done = replace(done, patch=work.keep(redact or str, show=show))
                problems.append((reason, f"{shown}: {text}"))
        published.append(done)
    if problems:
        raise PublishError(problems[0][0], "; ".join(x for _, x in problems), published)
    return published


def find_pull_request(manifest: TaskManifest, text: str) -> str:
    """The last URL in a text that is a pull request of one of the task's repositories; empty if there is none."""
    for found in reversed(_URL.findall(text)):
        url = found.rstrip(".,;:!?*_")
        if _REQUEST.search(url) and _is_own(manifest, url):
            return str(url)
    return ""


def _is_own(manifest: TaskManifest, url: str) -> bool:
    for host in task_hosts(manifest):
        site = host.site
        # The host for SSH may have another name than that of the web pages.
        known = site.api_url or site.template.startswith(("http://", "https://"))
        for each in host.repositories:
            link = site.find(url, each.org, each.repo)
            if link and (not known or site.is_host_of(link)):
                return True
    return False


def fill_template(template: str, values: Mapping[str, str]) -> str:
    """A template with its placeholders replaced; unknown placeholders are kept."""
    return _PLACEHOLDER.sub(lambda x: values.get(x[1], x[0]), template)


def template_values(
    manifest: TaskManifest, repository: ManifestRepository, description: str, fallback: str = ""
) -> dict[str, str]:
    """Values of the placeholders of commit messages and pull requests."""
    first = next((x.strip() for x in description.splitlines() if x.strip()), "")
    summary = first if len(first) <= MAX_SUBJECT else f"{first[: MAX_SUBJECT - 1].rstrip()}…"
    return {
        "summary": summary or fallback or f"Changes of task {manifest.task}",
        "description": description.strip(),
        "task": manifest.task,
        "run": manifest.run or "",
        "index": "" if manifest.index is None else str(manifest.index),
        "namespace": manifest.namespace,
        "org": unquote(repository.org),
        "repo": unquote(repository.repo),
        "branch": manifest.branch,
        "base": repository.base or repository.branch,
    }


def _refusal(error: GitError, branch: str) -> tuple[Reason, str]:
    if "[rejected]" in error.output:
        return (
            Reason.BRANCH_EXISTS,
            f"the server already has a branch {branch} with other commits",
        )
    if error.rate_limited:
        return Reason.RATE_LIMITED, str(error)
    return Reason.PUSH_REJECTED, str(error)


class _Work:
    """One repository of a task."""

    def __init__(
        self, manifest: TaskManifest, task_dir: Path, repository: ManifestRepository, git: Git
    ) -> None:
        self._manifest, self._task_dir, self._repository = manifest, task_dir, repository
        self._checkout = manifest.checkout
        self._git = git
        hooks = () if self._checkout.run_hooks else _NO_HOOKS
        self._at = ("-C", str(task_dir / repository.path), *hooks)

    def commit(self, message: str, description: str) -> None:
        """Commit the agent's changes."""
        embedded = [
            x
            for x in self._run("ls-files", "--others", "--exclude-standard", "-z").split("\0")
            if x.endswith("/")
        ]
        for name in embedded:
            log_line(
                f"{self._repository.path}: not committed: {name}, because it is a git repository"
            )
        paths = [".", *(f":(exclude,literal){x.rstrip('/')}" for x in embedded)]
        more = ["--sparse"] if self._checkout.sparse else []
        try:
            self._run(
                *("add", "--all", *more, "--pathspec-from-file=-", "--pathspec-file-nul"),
                stdin="\0".join(paths) + "\0",
            )
        except GitError as error:
            # Printed by the filter that replaces Git LFS.
            lines = [x for x in error.output.splitlines() if _LFS.match(x)]
            if lines:
                raise GitError(("add",), f"fatal: {lines[0]}") from error
            raise
        if not self._run("diff", "--cached", "--name-only", "-z", "--ignore-submodules=dirty"):
            return
        template = self._checkout.commit_message
        values = template_values(self._manifest, self._repository, description, fallback=message)
        text = fill_template(template, values) if template else message
        sign_off = ["--signoff"] if self._checkout.sign_off else []
        self._run("commit", "--quiet", "--cleanup=whitespace", *sign_off, "--file=-", stdin=text)

    def refuse_secrets(self, redact: Redactor) -> None:
        """Raise SecretError if a commit's message, or a line that it adds, contains a secret.

        Files that git counts as binary, as the attributes of the repository say, are read too.
        """
        show = ("show", "--no-color", "--no-ext-diff", "--no-textconv")
        for commit in self.commits():
            leaked = redact.contains(self._run(*show, "--no-patch", "--format=%B", commit))
            # One that is too large to read is not checked.
            with contextlib.suppress(GitError):
                shown = self._run(*show, "--text", "--unified=0", "--format=", commit)
                added = (x for x in shown.splitlines() if x.startswith("+"))
                leaked = leaked or redact.leaks("\n".join(added))
            if leaked:
                raise SecretError(
                    ("push",),
                    f"fatal: commit {commit[:12]} adds a secret of the task, and is not pushed",
                )

    def commits(self) -> list[str]:
        """Commits that are not in the base, newest first."""
        known = [
            f"refs/remotes/origin/{self._repository.base or self._repository.branch or 'HEAD'}"
        ]
        if self._repository.base_commit:
            # The agent may have changed its refs.
            known = [*self._existing(known), self._repository.base_commit]
        # If the agent pushed its commits, the remote-tracking branch has them too.
        return self._run("rev-list", "HEAD", "--not", *known).split()

    def push(self) -> None:
        """Push the branch. onBranchExists Replace overwrites an existing branch, but only if it is unchanged."""
        branch = self._manifest.branch
        if self._checkout.lfs or self._has_lfs_objects():
            with_retries(lambda: self._run("lfs", "push", "origin", "HEAD"))
        what = ("--quiet", "origin", f"HEAD:refs/heads/{branch}")
        try:
            with_retries(lambda: self._run("push", *what))
            return
        except GitError as error:
            if "[rejected]" not in error.output or self._at_server(branch):
                if "[rejected]" in error.output:
                    return
                raise
            if self._checkout.on_branch_exists != "Replace" or not self._repository.existing:
                raise
        lease = f"--force-with-lease=refs/heads/{branch}:{self._repository.existing}"
        with_retries(lambda: self._run("push", lease, *what))

    def keep(self, redact: Callable[[str], str], *, show: bool) -> str:
        """Write the commits as a patch into the task's folder; returns the file, empty on failure.

        With `show`, the log contains the patch too, without the contents of binary files: in the encoding of git, no
        secret is found.
        """
        folder = self._task_dir / PATCHES_DIR
        path = folder / f"{self._repository.path.replace('/', '-')}.patch"
        base = self._repository.base_commit
        try:
            folder.mkdir(parents=True, exist_ok=True)
            span = f"{base}..HEAD" if base else "@{upstream}..HEAD"
            self._run("format-patch", "--quiet", "--binary", f"--output={path}", span)
            shown = ""
            if show and path.stat().st_size <= MAX_SHOWN_PATCH:
                shown = self._run("format-patch", "--no-binary", "--stdout", span)
        except (GitError, OSError) as error:
            log_line(f"{self._repository.path}: writing the commits as a patch failed: {error}")
            return ""
        log_line(f"{self._repository.path}: the commits are in {path}")
        if shown:
            log_line(f"----- BEGIN PATCH {self._repository.path} -----")
            for line in shown.splitlines():
                log_line(redact(line))
            log_line(f"----- END PATCH {self._repository.path} -----")
        return str(path)

    def _has_lfs_objects(self) -> bool:
        folder = self._task_dir / self._repository.path / ".git" / "lfs" / "objects"
        return folder.is_dir() and any(folder.iterdir())

    def _at_server(self, branch: str) -> bool:
        """Whether the server already has the newest commit, as after a push whose response was lost."""
        out = self._run("ls-remote", "origin", f"refs/heads/{branch}")
        return out.partition("\t")[0] == self._run("rev-parse", "HEAD")

    def _existing(self, refs: list[str]) -> list[str]:
        return [x for x in refs if self._run("for-each-ref", "--count=1", x)]

    def _run(self, *arguments: str, stdin: str = "") -> str:
        return self._git(*self._at, *arguments, stdin=stdin)
