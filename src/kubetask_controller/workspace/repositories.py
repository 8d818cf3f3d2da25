"""The repositories of a task: one worktree on a new branch for each, which borrows objects from the origin's bare repository.

Guarantees: a worktree is always on the task's branch, at the tip of its base or at the requested commit. Refs, configuration
and stash belong to the task, so tasks of one repository are isolated from each other. A branch that cannot be pushed fails
the task before the agent starts.
"""

import contextlib
import hashlib
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubetask_controller.api.constants import Reason
from kubetask_controller.api.manifest import Checkout, ManifestRepository
from kubetask_controller.workspace.cache import BareRepository, RepositoryCache
from kubetask_controller.workspace.errors import PreparationError
from kubetask_controller.workspace.git import RETRY_DELAYS, Git, GitError, log_line, with_retries
from kubetask_controller.workspace.worktree import WorktreeSource, make_worktree

__all__ = ["RETRY_DELAYS", "Repositories", "StartPoint", "conflicting_branch", "find_start_point"]

HEADS = "refs/heads/"
TAGS = "refs/tags/"
_HEX = re.compile(r"^[0-9a-f]{7,64}$", re.IGNORECASE)


class CorruptRepositoryError(Exception):
    """The bare repository at `path` is corrupt."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path


@dataclass(frozen=True, slots=True)
class StartPoint:
    """The start point of a task.

    Attributes:
        base: branch that the work targets.
        ref: full ref or commit to start from; empty for the base itself.
    """

    base: str
    ref: str = ""


def find_start_point(
    wanted: str, refs: Mapping[str, str], default: Callable[[], str]
) -> StartPoint:
    """Resolve the field ``branch`` of a repository: a branch, else a tag, else a commit.

    Args:
        wanted: the field; empty for the default branch.
        refs: the refs of the origin, from `BareRepository.listed`.
        default: returns the default branch.

    Raises:
        GitError: it does not exist.
    """
    if not wanted:
        return StartPoint(default())
    if HEADS + wanted in refs:
        return StartPoint(wanted)
    if TAGS + wanted in refs:
        return StartPoint(default(), TAGS + wanted)
    if _HEX.match(wanted):
        return StartPoint(default(), wanted.lower())
    raise GitError(("fetch",), f"fatal: couldn't find remote ref {HEADS}{wanted}")


def conflicting_branch(branch: str, refs: Mapping[str, str]) -> str:
    """The branch of the origin that conflicts with `branch`: the same, a parent or a child; empty for none."""
    parts = branch.split("/")
    for above in ("/".join(parts[:x]) for x in range(1, len(parts) + 1)):
        if HEADS + above in refs:
            return above
    below = f"{HEADS}{branch}/"
    return next((x.removeprefix(HEADS) for x in refs if x.startswith(below)), "")


class Repositories:
    """Creates the worktrees of a task.

    Args:
        cache: the bare repositories of the volume.
        git: git with the task's credentials.
        partial: whether to omit the contents of earlier commits where the server supports it.
        checkout: how to check out.
        sleep: waits between tries.
    """

    def __init__(
        self,
        cache: RepositoryCache,
        git: Git,
        *,
        partial: bool = False,
        checkout: Checkout | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cache = cache
        self._git = git
        self._partial = partial
        self._checkout = checkout or Checkout()
        self._sleep = sleep

    def prepare(
        self, repository: ManifestRepository, *, branch: str, target: Path
    ) -> ManifestRepository:
        """Create a worktree of the repository at `target`, on `branch`; returns the repository with base and commits.

        Raises:
            PreparationError: CloneFailed, RateLimited, BranchExists or OOMKilled, with the message of the server or git.
        """
        shown = f"{repository.org}/{repository.repo}"
        started = time.monotonic()
        try:
            try:
                done, at = self._prepare(repository, branch, target)
            except CorruptRepositoryError as error:
                done, at = self._prepare(repository, branch, target, broken=error.path)
        except GitError as error:
            hint = ""
            if error.no_memory:
                hint = ": raise the memory limit in workspace.resources of the WorkspaceConfig"
            raise PreparationError(error.reason, f"{shown}: {error}{hint}") from error
        log_line(f"{shown} at {at[:12]} on {branch}, {time.monotonic() - started:.1f} s")
        return done

    def _prepare(
        self,
        repository: ManifestRepository,
        branch: str,
        target: Path,
        *,
        broken: Path | None = None,
    ) -> tuple[ManifestRepository, str]:
        """Like `prepare`. Raises CorruptRepositoryError, or GitError if a recreated repository is corrupt too."""
        # Waiting between tries holds no lock.
        source, existing = with_retries(
            lambda: self._fetch_locked(repository, branch, broken), sleep=self._sleep
        )
        # Writing the files takes longest and needs no lock.
        try:
            with_retries(
                lambda: make_worktree(self._git, source, target, self._checkout), sleep=self._sleep
            )
        except GitError as error:
            shutil.rmtree(target, ignore_errors=True)
            raise _broken(error, source.bare, broken) from error
        known = {"base": source.base, "base_commit": source.base_commit, "existing": existing}
        return repository.model_copy(update=known), source.at

    def _fetch_locked(
        self, repository: ManifestRepository, branch: str, broken: Path | None
    ) -> tuple[WorktreeSource, str]:
        depth = self._checkout.depth
        with self._cache.locked(repository.url, partial=self._partial, depth=depth) as bare:
            if broken is not None:
                bare.renew(broken)
            try:
                found = self._fetch(bare, repository, branch)
                with contextlib.suppress(GitError):
                    bare.tidy()
            except GitError as error:
                raise _broken(error, bare.path, broken) from error
            return found

    def _fetch(
        self, bare: BareRepository, repository: ManifestRepository, branch: str
    ) -> tuple[WorktreeSource, str]:
        """Fetch the task's objects into the bare repository; returns the source, and the tip of an existing task branch."""
        shown = f"{repository.org}/{repository.repo}"
        refs = bare.listed()
        bare.adopt_format(refs)
        start = find_start_point(repository.branch, refs, lambda: _default_branch(bare))
        existing = self._existing(shown, branch, refs)
        log_line(f"fetching {shown}, branch {start.base}")
        ref = f"refs/remotes/origin/{start.base}"
        if bare.tip(ref) != refs.get(HEADS + start.base, "?"):
            bare.fetch(f"+{HEADS}{start.base}:{ref}")
        base_commit = bare("rev-parse", "--verify", f"{ref}^{{commit}}")
        at = _fetch_start_point(bare, start.ref, refs) if start.ref else base_commit
        if existing and self._checkout.on_branch_exists == "Continue":
            theirs = f"refs/remotes/origin/{branch}"
            bare.fetch(f"+{HEADS}{branch}:{theirs}")
            at = existing = bare("rev-parse", "--verify", f"{theirs}^{{commit}}")
        if self._partial:
            bare.fetch_contents(at, self._checkout.sparse)
        source = WorktreeSource(
            bare=bare.path,
            url=repository.url,
            partial=self._partial,
            sha256=bare.sha256,
            branch=branch,
            base=start.base,
            base_commit=base_commit,
            at=at,
            default=not repository.branch or bool(start.ref),
            tags=_tags(bare, refs),
            shallow=_read(bare.path / "shallow"),
        )
        return source, existing

    def _existing(self, shown: str, branch: str, refs: Mapping[str, str]) -> str:
        """The tip of the task's branch at the server; empty if it does not exist.

        Raises:
            PreparationError: BranchExists.
        """
        other = conflicting_branch(branch, refs)
        if other == branch and self._checkout.on_branch_exists != "Fail":
            return refs[HEADS + branch]
        if other == branch:
            raise PreparationError(
                Reason.BRANCH_EXISTS,
                f"{shown}: the server already has a branch {branch}: delete it, choose another"
                " git.branchTemplate, or set git.onBranchExists to Replace or Continue",
            )
        if other:
            raise PreparationError(
                Reason.BRANCH_EXISTS,
                f"{shown}: the server has a branch {other}, which conflicts with {branch}:"
                " choose another git.branchTemplate, or delete it",
            )
        return ""


def _broken(error: GitError, path: Path, before: Path | None) -> Exception:
    return CorruptRepositoryError(path) if error.corrupt and before is None else error


def _default_branch(bare: BareRepository) -> str:
    for line in bare("ls-remote", "--symref", "origin", "HEAD").splitlines():
        if line.startswith("ref: refs/heads/"):
            return line.split()[1].removeprefix("refs/heads/")
    raise GitError(("ls-remote",), "fatal: the repository has no default branch")


def _fetch_start_point(bare: BareRepository, wanted: str, refs: Mapping[str, str]) -> str:
    """Fetch a tag or a commit; returns the commit."""
    if wanted in refs:
        bare.fetch(f"+{wanted}:{_tag_ref(wanted)}")
        try:
            return bare("rev-parse", "--verify", "--quiet", f"{_tag_ref(wanted)}^{{commit}}")
        except GitError:
            name = wanted.removeprefix(TAGS)
            raise GitError(
                ("fetch",), f"fatal: the tag {name} does not point to a commit"
            ) from None
    if len(wanted) in (40, 64):
        with contextlib.suppress(GitError):
            bare.fetch(f"+{wanted}:refs/kubetask/commits/{wanted}")
            return wanted
    # An abbreviated commit, or a server that serves only commits of its branches and tags.
    names = [x for x in refs if not x.endswith("^{}")]
    bare.fetch(*(f"+{x}:{_tag_ref(x)}" for x in names))
    try:
        return bare("rev-parse", "--verify", "--quiet", f"{wanted}^{{commit}}")
    except GitError:
        raise GitError(
            ("fetch",),
            f"fatal: {wanted} is not a branch, a tag, or a commit of one",
        ) from None


def _tag_ref(ref: str) -> str:
    """The local ref for a tag of the origin; these refs never conflict with each other."""
    return f"refs/kubetask/refs/{hashlib.sha256(ref.encode()).hexdigest()[:40]}"


def _tags(bare: BareRepository, refs: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The origin's tags whose commits exist locally; fetches missing tag objects."""
    tagged = {
        x: (name, refs.get(f"{x}^{{}}", ""))
        for x, name in refs.items()
        if x.startswith(TAGS) and not x.endswith("^{}")
    }
    if not tagged:
        return {}
    here = bare.present({peeled or name for name, peeled in tagged.values()})
    wanted = {x: (name, peeled) for x, (name, peeled) in tagged.items() if (peeled or name) in here}
    annotated = [x for x, (_, peeled) in wanted.items() if peeled]
    if missing := _missing(bare, {x: wanted[x][0] for x in annotated}):
        bare.fetch(*(f"+{x}:{_tag_ref(x)}" for x in missing), deepen=False)
    return wanted


def _missing(bare: BareRepository, tags: Mapping[str, str]) -> Sequence[str]:
    """Tags whose objects do not exist locally."""
    if not tags:
        return []
    out = bare("for-each-ref", "--format=%(refname) %(objectname)", "refs/kubetask/refs/")
    have = dict(x.split() for x in out.splitlines())
    return [x for x, name in tags.items() if have.get(_tag_ref(x)) != name]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
