"""Repositories of a task: a bare repository per origin, shared by all tasks of the volume, and a worktree for each task.

Guarantees: whatever is done to a bare repository is done under a lock, so twenty tasks at once, on one node or on several
that share the volume, corrupt nothing; what a killed task left (half a clone, git's lock files, worktrees without a
folder) is cleaned up by the next one; a worktree is always on a fresh branch at the tip of its base.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kubetask_controller.api.constants import REPOS_DIR, Reason
from kubetask_controller.api.manifest import ManifestRepository
from kubetask_controller.workspace.errors import PreparationError
from kubetask_controller.workspace.git import Git, GitError, say

RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try of what is transient."""
ABANDONED_SECONDS = 3600.0
"""Age after which a half-written pack is nobody's any more."""
_READY = "kubetask-ready"
"""In a bare repository whose making was finished."""


class Repositories:
    """The bare repositories of one workspace."""

    def __init__(
        self, workspace: Path, git: Git, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._root = workspace / REPOS_DIR
        self._git = git
        self._sleep = sleep

    def prepare(self, repository: ManifestRepository, *, branch: str, target: Path) -> str:
        """Make a worktree of the repository at `target`, on the fresh `branch`; returns the commit it begins at.

        Raises:
            PreparationError: CloneFailed, with what git says.
        """
        shown = f"{repository.org}/{repository.repo}"
        started = time.monotonic()
        try:
            commit = self._prepare(repository, branch, target)
        except GitError as error:
            raise PreparationError(Reason.CLONE_FAILED, f"{shown}: {error}") from error
        say(f"{shown} at {commit[:12]} on {branch}, {time.monotonic() - started:.1f} s")
        return commit

    def _prepare(self, repository: ManifestRepository, branch: str, target: Path) -> str:
        key = hashlib.sha256(repository.url.encode()).hexdigest()[:32]
        bare = self._root / f"{key}.git"
        self._root.mkdir(parents=True, exist_ok=True)
        with _locked(self._root / f"{key}.lock"):
            self._ensure_bare(bare, repository.url)
            base = repository.branch or self._retried(lambda: self._default_branch(bare))
            ref = f"refs/remotes/origin/{base}"
            say(f"fetching {repository.org}/{repository.repo}, branch {base}")
            refspec = f"+refs/heads/{base}:{ref}"
            self._retried(
                lambda: self._in(bare, "fetch", "--progress", "--no-tags", "origin", refspec)
            )
            commit = self._in(bare, "rev-parse", "--verify", f"{ref}^{{commit}}")
            self._add_worktree(bare, branch, target, commit)
        # Writing the files needs no lock, and takes longest.
        self._git("-C", str(target), "reset", "--quiet", "--hard", commit)
        return commit

    def _ensure_bare(self, bare: Path, url: str) -> None:
        if (bare / _READY).exists():
            _clean(bare)
            return
        if bare.exists():
            shutil.rmtree(bare)
        self._git("init", "--quiet", "--bare", "--shared=0666", "--", str(bare))
        for key, value in (
            ("remote.origin.url", url),
            ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("core.logAllRefUpdates", "true"),
        ):
            self._in(bare, "config", key, value)
        (bare / _READY).touch()

    def _default_branch(self, bare: Path) -> str:
        for line in self._in(bare, "ls-remote", "--symref", "origin", "HEAD").splitlines():
            if line.startswith("ref: refs/heads/"):
                return line.split()[1].removeprefix("refs/heads/")
        raise GitError(("ls-remote",), "fatal: the repository has no default branch")

    def _add_worktree(self, bare: Path, branch: str, target: Path, commit: str) -> None:
        if target.exists():
            shutil.rmtree(target)
        self._in(bare, "worktree", "prune")
        target.parent.mkdir(parents=True, exist_ok=True)
        arguments = ("--force", "--no-checkout", "-B", branch, "--", str(target), commit)
        self._in(bare, "worktree", "add", "--quiet", *arguments)

    def _in(self, bare: Path, *arguments: str) -> str:
        return self._git("--git-dir", str(bare), *arguments)

    def _retried(self, step: Callable[[], str]) -> str:
        for delay in RETRY_DELAYS:
            try:
                return step()
            except GitError as error:
                if not error.transient:
                    raise
                say(f"{error}; trying again in {delay:g} s")
                self._sleep(delay)
        return step()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """An exclusive lock between processes; the kernel lets go of it when its holder dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with contextlib.suppress(PermissionError):
            os.chmod(path, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another task that uses the same repository")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clean(bare: Path) -> None:
    """Remove what a killed git left: nobody else works here, as we hold the lock. Worktrees' own locks are their task's."""
    for folder, names, files in os.walk(bare):
        if Path(folder) == bare:
            names[:] = [x for x in names if x not in ("worktrees", "objects")]
        for name in files:
            if name.endswith(".lock"):
                (Path(folder) / name).unlink(missing_ok=True)
    now = time.time()
    for path in (bare / "objects" / "pack").glob("tmp_*"):
        with contextlib.suppress(FileNotFoundError):
            if now - path.stat().st_mtime > ABANDONED_SECONDS:
                path.unlink()
