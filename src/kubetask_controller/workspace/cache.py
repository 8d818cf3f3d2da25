"""Bare repositories, one for each origin, shared by all tasks of a volume.

Guarantees: whatever is done to a bare repository is done under a lock that dies with its holder, so twenty tasks at once,
on one node or on several that share the volume, corrupt nothing; what a killed task left (half a clone, git's lock files,
half a pack) is cleaned up by the next one; no object that a task has borrowed is ever removed while the task may need it.
A repository that broke nevertheless is set aside and made anew.

Agents never write here: each works in a repository of its own that borrows the objects.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from kubetask_controller.workspace.git import Git, say
from kubetask_controller.workspace.gitconfig import quoted

MAX_PACKS = 40
MAX_LOOSE = 6000
"""More packs or loose objects than this make git slow, and are gathered into few packs."""
BARE_KEEP_SECONDS = 30 * 86400.0
"""Age after which a bare repository that no task has used is removed."""
FILTER = "blob:none"
_READY = "kubetask-ready"
"""In a bare repository whose making was finished; its time is that of the last use."""


class Cache:
    """The bare repositories below one folder."""

    def __init__(self, root: Path, git: Git) -> None:
        self._root = root
        self._git = git
        root.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self, url: str, *, partial: bool) -> Iterator["Bare"]:
        """The bare repository of an origin, for us alone."""
        key = hashlib.sha256(f"{url}\n{FILTER if partial else ''}".encode()).hexdigest()[:32]
        with lock(self._root / f"{key}.lock"):
            bare = Bare(self._root, key, self._git, url=url, partial=partial)
            bare.ensure()
            yield bare

    def remove_unused(self, *, now: float | None = None) -> None:
        """Remove bare repositories that no task has used for long, and those set aside that nobody needs any more."""
        moment = time.time() if now is None else now
        for path in self._root.glob("*.git"):
            try:
                used = (path / _READY).stat().st_mtime
            except OSError:
                continue  # half made: whoever wants it next begins anew
            if moment - used <= BARE_KEEP_SECONDS:
                continue
            with contextlib.suppress(BlockingIOError):
                key = path.name.partition("-")[0]
                with lock(self._root / f"{key}.lock", wait=False):
                    shutil.rmtree(path, ignore_errors=True)
                    say(f"removed a bare repository that was not used for long, {path.name}")


class Bare:
    """One bare repository, under its lock. `path` is where it is."""

    def __init__(self, root: Path, key: str, git: Git, *, url: str, partial: bool) -> None:
        self._root, self._key, self._git = root, key, git
        self._url, self._partial = url, partial
        self._generation = max(
            (int(x.stem.rpartition("-")[2]) for x in root.glob(f"{key}-*.git")), default=0
        )

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._root / f"{self._key}-{self._generation}.git"

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        """git in this repository."""
        return self._git("--git-dir", str(self.path), *arguments, stdin=stdin)

    def ensure(self) -> None:
        """Make it where it is not there, clean it up where it is."""
        ready = self.path / _READY
        if ready.exists():
            os.utime(ready)
            self._clean()
            (self.path / "config").write_text(self._config())
            return
        if self.path.exists():
            say("removing a bare repository that was left half made")
            shutil.rmtree(self.path)
        self._git("init", "--quiet", "--bare", "--template=", "--", str(self.path))
        (self.path / "config").write_text(self._config())
        ready.touch()

    def renew(self, broken: Path) -> None:
        """Begin anew beside the broken one, from which tasks that run may still borrow; unless another task did that."""
        if self.path != broken:
            return
        say("the bare repository is broken and is made anew")
        self._generation += 1
        self.ensure()

    def fetch(self, refspec: str) -> None:
        """Bring what is new."""
        more = [f"--filter={FILTER}"] if self._partial else []
        self("fetch", "--progress", "--no-tags", "--no-write-fetch-head", *more, "origin", refspec)

    def fetch_contents(self, commit: str) -> None:
        """In a partial clone: the contents of one commit, in one go."""
        listed = self("rev-list", "--objects", "--no-walk", "--missing=print", f"{commit}^{{tree}}")
        missing = [x[1:] for x in listed.splitlines() if x.startswith("?")]
        if missing:
            self(
                *("-c", "fetch.negotiationAlgorithm=noop"),
                *("fetch", "--progress", "--no-tags", "--no-write-fetch-head"),
                *(f"--filter={FILTER}", "--stdin", "origin"),
                stdin="\n".join(missing) + "\n",
            )

    def tidy(self) -> None:
        """Gather small packs and loose objects. Nothing is dropped, whether it can be reached or not."""
        objects = self.path / "objects"
        packs = sum(1 for _ in (objects / "pack").glob("*.pack"))
        # As git itself guesses: objects are spread evenly over 256 folders.
        loose = 256 * sum(1 for _ in (objects / "17").glob("*"))
        if packs <= MAX_PACKS and loose <= MAX_LOOSE:
            return
        say(f"gathering {packs} packs of the bare repository")
        # Packs of a partial clone are marked, and only a whole repack keeps the marks.
        how = ("-a", "-k") if self._partial else ("--geometric=2",)
        self("repack", "--quiet", "-d", *how)

    def _config(self) -> str:
        lines = [
            "[core]",
            f"\trepositoryformatversion = {int(self._partial)}",
            "\tbare = true",
            '[remote "origin"]',
            f"\turl = {quoted(self._url)}",
            "\tfetch = +refs/heads/*:refs/remotes/origin/*",
            *promisor(partial=self._partial, remote=True),
            *promisor(partial=self._partial, remote=False),
            "[gc]",
            "\tauto = 0",
            "[maintenance]",
            "\tauto = false",
            "[fetch]",
            "\tunpackLimit = 20",
        ]
        return "\n".join(lines) + "\n"

    def _clean(self) -> None:
        """Remove what a killed git left: nobody else works here, as we hold the lock."""
        for folder, _, files in os.walk(self.path):
            for name in files:
                if name.endswith(".lock") or name.startswith(("tmp_", ".tmp-")):
                    (Path(folder) / name).unlink(missing_ok=True)


def promisor(*, partial: bool, remote: bool) -> list[str]:
    """Lines of a repository's configuration that mark a partial clone, those of its remote or the others."""
    if not partial:
        return []
    if remote:
        return ["\tpromisor = true", f"\tpartialclonefilter = {FILTER}"]
    return ["[extensions]", "\tpartialClone = origin"]


@contextlib.contextmanager
def lock(path: Path, *, wait: bool = True) -> Iterator[None]:
    """An exclusive lock between processes; the kernel lets go of it when its holder dies.

    Raises:
        BlockingIOError: another process holds it, and we were not to wait.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            say("waiting for another task that uses the same repository")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
