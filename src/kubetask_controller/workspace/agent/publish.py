"""What an agent did to the repositories of its task: looked at, committed, pushed."""

import re
from dataclasses import dataclass
from pathlib import Path

from kubetask_controller.api.manifest import ManifestRepository, TaskManifest
from kubetask_controller.workspace.git import Git, GitError, say

_URL = re.compile(r"https?://[^\s\"'<>()\[\]{}\\`]+")
_REQUEST = re.compile(r"/(pull|pulls|merge_requests|pull-requests|pullrequest)/\d+")


@dataclass(frozen=True, slots=True)
class Published:
    """One repository afterwards.

    Attributes:
        repository: which.
        commits: those that its branch has beyond its base, the newest first.
        pushed: its branch is at the server.
    """

    repository: ManifestRepository
    commits: tuple[str, ...]
    pushed: bool


def publish(
    manifest: TaskManifest, task_dir: Path, git: Git, *, message: str, commit: bool, push: bool
) -> list[Published]:
    """Commit what has changed and push what is new, as asked.

    Raises:
        GitError: git refused; its message names the repository.
    """
    published = []
    for repository in manifest.repositories:
        folder = task_dir / repository.path
        shown = f"{repository.org}/{repository.repo}"
        try:
            commits = _commits(git, folder, repository, message=message if commit else "")
            if push and commits:
                _push(git, folder, manifest.branch)
                say(f"{shown}: pushed {manifest.branch} with {len(commits)} commits")
        except GitError as error:
            raise GitError(("push",), f"fatal: {shown}: {error}") from error
        published.append(Published(repository, tuple(commits), bool(push and commits)))
    return published


def pull_request(manifest: TaskManifest, text: str) -> str:
    """The last URL in a text that is a pull request of one of the task's repositories; empty for none."""
    for found in reversed(_URL.findall(text)):
        url = found.rstrip(".,;:!?*_")
        names = (f"/{x.org}/{x.repo}/".lower() for x in manifest.repositories)
        if _REQUEST.search(url) and any(x in url.lower() for x in names):
            return str(url)
    return ""


def _push(git: Git, folder: Path, branch: str) -> None:
    try:
        git("-C", str(folder), "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    except GitError as error:
        if "[rejected]" in error.output:
            raise GitError(
                ("push",), f"fatal: the server has a branch {branch} with other commits already"
            ) from error
        raise


def _commits(git: Git, folder: Path, repository: ManifestRepository, *, message: str) -> list[str]:
    at = ("-C", str(folder))
    if message:
        git(*at, "add", "--all")
        if git(*at, "status", "--porcelain"):
            git(*at, "commit", "--quiet", "--message", message)
    # Whatever the remote had is not the agent's. Where it pushed by itself, the remote has the agent's commits too.
    known = f"refs/remotes/origin/{repository.branch or 'HEAD'}"
    return git(*at, "rev-list", "HEAD", "--not", known).split()
