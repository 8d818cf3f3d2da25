"""What an agent did to the repositories of its task: looked at, committed, pushed."""

from dataclasses import dataclass
from pathlib import Path

from kubetask_controller.api.manifest import ManifestRepository, TaskManifest
from kubetask_controller.workspace.git import Git, GitError, say


@dataclass(frozen=True, slots=True)
class Published:
    """One repository afterwards: the commits that its branch has beyond its base."""

    repository: ManifestRepository
    commits: tuple[str, ...]


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
                git(
                    "-C",
                    str(folder),
                    "push",
                    "--quiet",
                    "origin",
                    f"HEAD:refs/heads/{manifest.branch}",
                )
                say(f"{shown}: pushed {manifest.branch} with {len(commits)} commits")
        except GitError as error:
            raise GitError(("push",), f"fatal: {shown}: {error}") from error
        published.append(Published(repository, tuple(commits)))
    return published


def _commits(git: Git, folder: Path, repository: ManifestRepository, *, message: str) -> list[str]:
    at = ("-C", str(folder))
    if message:
        git(*at, "add", "--all")
        if git(*at, "status", "--porcelain"):
            git(*at, "commit", "--quiet", "--message", message)
    # Whatever the remote has is not the agent's.
    known = f"refs/remotes/origin/{repository.branch}" if repository.branch else "--remotes=origin"
    return git(*at, "rev-list", "HEAD", "--not", known).split()
