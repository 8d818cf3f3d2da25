"""Repositories of a task: for each a worktree on a fresh branch, which borrows its objects from the origin's bare repository.

Guarantees: a worktree is always on a fresh branch at the tip of its base; its refs, configuration and stash are the task's
own, so tasks of one repository do not see each other's branches, and nothing that an agent does reaches another task.
"""

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kubetask_controller.api.constants import Reason
from kubetask_controller.api.manifest import ManifestRepository
from kubetask_controller.workspace.cache import Bare, Cache, promisor
from kubetask_controller.workspace.errors import PreparationError
from kubetask_controller.workspace.git import Git, GitError, say
from kubetask_controller.workspace.gitconfig import quoted

T = TypeVar("T")

RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each further try of what is transient."""


_PACKED_REFS = "# pack-refs with: peeled fully-peeled sorted"


class BrokenError(Exception):
    """The bare repository at `path` is broken."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


class Repositories:
    """Makes the worktrees of a task.

    Args:
        cache: of the volume.
        git: as the task signs in.
        partial: leave out the contents of earlier commits where the server can.
        sleep: waits between tries.
    """

    def __init__(
        self,
        cache: Cache,
        git: Git,
        *,
        partial: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cache = cache
        self._git = git
        self._partial = partial
        self._sleep = sleep

    def prepare(self, repository: ManifestRepository, *, branch: str, target: Path) -> str:
        """Make a worktree of the repository at `target`, on the fresh `branch`; returns the commit it begins at.

        Raises:
            PreparationError: CloneFailed, with what git says.
        """
        shown = f"{repository.org}/{repository.repo}"
        started = time.monotonic()
        try:
            try:
                commit = self._prepare(repository, branch, target)
            except BrokenError as error:
                commit = self._prepare(repository, branch, target, broken=error.path)
        except GitError as error:
            raise PreparationError(Reason.CLONE_FAILED, f"{shown}: {error}") from error
        say(f"{shown} at {commit[:12]} on {branch}, {time.monotonic() - started:.1f} s")
        return commit

    def _prepare(
        self,
        repository: ManifestRepository,
        branch: str,
        target: Path,
        *,
        broken: Path | None = None,
    ) -> str:
        """As `prepare`; raises BrokenError once, and GitError when a bare repository that was just made is no better."""
        with self._cache.locked(repository.url, partial=self._partial) as bare:
            if broken is not None:
                bare.renew(broken)
            path = bare.path
            try:
                base, commit = self._fetched(bare, repository)
                with contextlib.suppress(GitError):
                    bare.tidy()
            except GitError as error:
                raise _broken(error, path, broken) from error
        # Writing the files needs no lock, and takes longest.
        try:
            self._make_worktree(path, repository, target, branch=branch, base=base, at=commit)
        except GitError as error:
            raise _broken(error, path, broken) from error
        return commit

    def _fetched(self, bare: Bare, repository: ManifestRepository) -> tuple[str, str]:
        """The branch to start from, and its newest commit, which is in the bare repository now."""
        base = repository.branch or self._retried(lambda: _default_branch(bare))
        ref = f"refs/remotes/origin/{base}"
        say(f"fetching {repository.org}/{repository.repo}, branch {base}")
        self._retried(lambda: bare.fetch(f"+refs/heads/{base}:{ref}"))
        commit = bare("rev-parse", "--verify", f"{ref}^{{commit}}")
        if self._partial:
            self._retried(lambda: bare.fetch_contents(commit))
        return base, commit

    def _make_worktree(
        self,
        bare: Path,
        repository: ManifestRepository,
        target: Path,
        *,
        branch: str,
        base: str,
        at: str,
    ) -> None:
        if target.exists():
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        init = ("--quiet", "--template=", f"--initial-branch={branch}", "--", str(target))
        self._git("init", *init)
        folder = target / ".git"
        (folder / "objects" / "info").mkdir(exist_ok=True)
        (folder / "objects" / "info" / "alternates").write_text(f"{bare / 'objects'}\n")
        (folder / "info").mkdir(exist_ok=True)
        (folder / "config").write_text(_config(repository.url, partial=self._partial))
        refs = [f"{at} refs/remotes/origin/{base}"]
        (folder / "packed-refs").write_text("\n".join([_PACKED_REFS, *refs]) + "\n")
        run = ("-C", str(target))
        if not repository.branch:
            head = ("refs/remotes/origin/HEAD", f"refs/remotes/origin/{base}")
            self._git(*run, "symbolic-ref", *head)
        # The branch is born with it.
        self._git(*run, "-c", "checkout.workers=0", "reset", "--quiet", "--hard", at)

    def _retried(self, step: Callable[[], T]) -> T:
        for delay in RETRY_DELAYS:
            try:
                return step()
            except GitError as error:
                if not error.transient:
                    raise
                say(f"{error}; trying again in {delay:g} s")
                self._sleep(delay)
        return step()


def _broken(error: GitError, path: Path, before: Path | None) -> Exception:
    return BrokenError(path) if error.corrupt and before is None else error


def _default_branch(bare: Bare) -> str:
    for line in bare("ls-remote", "--symref", "origin", "HEAD").splitlines():
        if line.startswith("ref: refs/heads/"):
            return line.split()[1].removeprefix("refs/heads/")
    raise GitError(("ls-remote",), "fatal: the repository has no default branch")


def _config(url: str, *, partial: bool) -> str:
    """The configuration of a worktree's repository."""
    lines = [
        "[core]",
        f"\trepositoryformatversion = {int(partial)}",
        "\tbare = false",
        "\tlogAllRefUpdates = true",
        '[remote "origin"]',
        f"\turl = {quoted(url)}",
        "\tfetch = +refs/heads/*:refs/remotes/origin/*",
        *promisor(partial=partial, remote=True),
        *promisor(partial=partial, remote=False),
    ]
    return "\n".join(lines) + "\n"
