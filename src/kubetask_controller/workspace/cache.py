"""Bare repositories, one for each origin, shared by all tasks on a volume.

Guarantees: every operation on a bare repository holds a lock that the kernel releases when its holder exits, so concurrent
tasks, on one node or on several that share the volume, do not corrupt it. The next task cleans up after a killed one
(partial clones, git's lock files, partial packs). Objects that a running task borrows are never removed. A corrupt
repository is recreated beside the old one.

Agents never write here: each works in its own repository, which borrows the objects (alternates).
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from kubetask_controller.api.constants import Reason
from kubetask_controller.workspace.errors import PreparationError
from kubetask_controller.workspace.git import Git, log_line
from kubetask_controller.workspace.gitconfig import quoted

MAX_PACKS = 40
MAX_LOOSE = 6000
"""git is slow with more packs or loose objects, so they are repacked."""
UNPACK_LIMIT = 20
"""A fetched pack with fewer objects is unpacked."""
BARE_KEEP_SECONDS = 30 * 86400.0
"""Age after which an unused bare repository is removed."""
FILTER = "blob:none"
LOCKS_DIR = "locks"
"""Below the workspace: the lock files. Agents have no access to them, because any process that can open a file, even for
reading, can lock it."""
LOCK_SECONDS = 1800.0
"""Maximum wait for a lock, in seconds."""
LOCK_ANSWER_SECONDS = 60.0
"""Maximum time for the file system to respond to a lock request, in seconds."""
LOCK_HINT = (
    "mount the volume with support for locks: NFSv4, or NFSv3 with local_lock=flock if only one node uses it;"
    " SMB with nobrl"
)
_FSCK_HARMLESS = (
    *("zeroPaddedFilemode", "missingSpaceBeforeDate", "missingSpaceBeforeEmail", "badTimezone"),
    *("missingTaggerEntry", "missingNameBeforeEmail", "zeroPaddedDate", "badEmail", "missingEmail"),
    *("badDate", "badDateOverflow", "multipleAuthors", "badTagName", "duplicateEntries"),
)
"""Checks of git fsck that objects of old, harmless repositories fail."""
_SHA256 = "objectFormat = sha256"
_SHA256_DIGITS = 64
_READY = "kubetask-ready"
"""Marks a complete bare repository; its modification time is that of the last use."""


class RepositoryCache:
    """The bare repositories below one folder."""

    def __init__(self, root: Path, git: Git) -> None:
        self._root = root
        self._git = git
        self._locks = root.with_name(LOCKS_DIR)
        for folder in (root, self._locks):
            folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self, url: str, *, partial: bool, depth: int = 0) -> Iterator["BareRepository"]:
        """The bare repository of an origin, exclusively locked.

        Args:
            url: URL of the origin.
            partial: whether to omit the contents of earlier commits.
            depth: number of commits to fetch; 0 for all.
        """
        what = f"{url}\n{FILTER if partial else ''}" + (f"\n{depth}" if depth else "")
        key = hashlib.sha256(what.encode()).hexdigest()[:32]
        with lock(self._locks / f"{key}.lock"):
            bare = BareRepository(self._root, key, self._git, url=url, partial=partial, depth=depth)
            bare.ensure()
            yield bare

    def remove_unused(self, *, now: float | None = None) -> None:
        """Remove bare repositories that no task has used for BARE_KEEP_SECONDS."""
        moment = time.time() if now is None else now
        for path in self._root.glob("*.git"):
            try:
                used = (path / _READY).stat().st_mtime
            except OSError:
                continue  # incomplete: the next task that needs it recreates it
            if moment - used <= BARE_KEEP_SECONDS:
                continue
            with contextlib.suppress(BlockingIOError):
                key = path.name.partition("-")[0]
                with lock(self._locks / f"{key}.lock", wait=False):
                    shutil.rmtree(path, ignore_errors=True)
                    log_line(f"removed unused bare repository {path.name}")


class BareRepository:
    """One bare repository, under its lock."""

    def __init__(
        self, root: Path, key: str, git: Git, *, url: str, partial: bool, depth: int
    ) -> None:
        self._root, self._key, self._git = root, key, git
        self._url, self._partial, self._depth = url, partial, depth
        self._generation = max(
            (int(x.stem.rpartition("-")[2]) for x in root.glob(f"{key}-*.git")), default=0
        )
        self.sha256 = _SHA256 in _read(self.path / "config")
        """Whether its objects have SHA-256 names."""

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._root / f"{self._key}-{self._generation}.git"

    def __call__(self, *arguments: str, stdin: str | Path = "") -> str:
        """Run git in this repository."""
        return self._git("--git-dir", str(self.path), *arguments, stdin=stdin)

    def ensure(self) -> None:
        """Create the repository if it does not exist, else clean it up."""
        ready = self.path / _READY
        if ready.exists():
            os.utime(ready)
            self._clean()
            (self.path / "config").write_text(self._config())
            return
        if self.path.exists():
            log_line("removing an incomplete bare repository")
            shutil.rmtree(self.path)
        how = object_format(sha256=self.sha256)
        self._git("init", "--quiet", "--bare", "--template=", *how, "--", str(self.path))
        (self.path / "config").write_text(self._config())
        ready.touch()

    def renew(self, broken: Path) -> None:
        """Recreate the repository beside the corrupt one, from which running tasks may borrow, unless another task did it."""
        if self.path != broken:
            return
        log_line("bare repository is corrupt; recreating it")
        self._generation += 1
        self.ensure()

    def adopt_format(self, refs: Mapping[str, str]) -> None:
        """Recreate the repository if the names of the origin's objects have another format."""
        sha256 = any(len(x) == _SHA256_DIGITS for x in refs.values())
        if refs and sha256 != self.sha256:
            self.sha256 = sha256
            self._generation += 1
            self.ensure()

    def fetch(self, *refspecs: str, deepen: bool = True) -> None:
        """Fetch new objects.

        Args:
            refspecs: what to fetch, and the refs to update in this repository.
            deepen: whether to limit the fetch to the depth; else the full history is fetched.
        """
        more = [f"--filter={FILTER}"] if self._partial else []
        if self._depth and deepen:
            more.append(f"--depth={self._depth}")
        for refspec in refspecs:
            self._make_room(refspec.rpartition(":")[2])
        packs = self._packs()
        self(
            *(
                "fetch",
                "--progress",
                "--no-tags",
                "--no-write-fetch-head",
                *more,
                "--stdin",
                "origin",
            ),
            stdin="".join(f"{x}\n" for x in refspecs),
        )
        for pack in self._packs() - packs:
            self._unpack(pack)

    def _packs(self) -> set[Path]:
        return set((self.path / "objects" / "pack").glob("*.pack"))

    def _unpack(self, pack: Path) -> None:
        """Unpack a small, unused pack: with fetch.fsckObjects, git keeps every pack."""
        with pack.open("rb") as file:
            count = int.from_bytes(file.read(12)[8:], "big")
        if count >= UNPACK_LIMIT or pack.with_suffix(".promisor").exists():
            return
        # git does not write existing objects again.
        aside = self.path / "tmp_unpack"
        pack.rename(aside)
        for suffix in (".idx", ".rev"):
            pack.with_suffix(suffix).unlink(missing_ok=True)
        self("unpack-objects", "-q", stdin=aside)
        aside.unlink()

    def _make_room(self, ref: str) -> None:
        """Remove refs that conflict with this one: git cannot have both `release` and `release/1`."""
        if not ref.startswith("refs/remotes/origin/"):
            return
        parts = ref.split("/")
        above = ["/".join(parts[:x]) for x in range(4, len(parts))]
        for found in self("for-each-ref", "--format=%(refname)", f"{ref}/", *above).split():
            if found != ref and (found.startswith(f"{ref}/") or found in above):
                self("update-ref", "-d", found)

    def tip(self, ref: str) -> str:
        """The commit of a local ref; empty if there is none."""
        # This also lists refs below the ref.
        listed = self("for-each-ref", "--format=%(refname) %(objectname)", ref).split()
        return listed[1] if listed and listed[0] == ref else ""

    def listed(self) -> dict[str, str]:
        """Branches and tags of the origin: map of full ref (with ^{} for a peeled tag) to object."""
        refs = {}
        for line in self("ls-remote", "--heads", "--tags", "origin").splitlines():
            name, _, ref = line.partition("\t")
            refs[ref] = name
        return refs

    def present(self, commits: Iterable[str]) -> set[str]:
        """The subset of commits that exist locally. Sends no request."""
        out = self(
            *("rev-list", "--no-walk", "--ignore-missing", "--missing=print", "--stdin"),
            stdin="".join(f"{x}\n" for x in commits),
        )
        return {x for x in out.split() if not x.startswith("?")}

    def fetch_contents(self, commit: str, folders: Sequence[str] = ()) -> None:
        """In a partial clone: fetch the contents of one commit, or of some of its folders, with one request."""
        listed = self(
            *("rev-list", "--objects", "--no-walk", "--missing=print"),
            *(
                (commit, "--", *(f":(literal){x}" for x in folders))
                if folders
                else (f"{commit}^{{tree}}",)
            ),
        )
        missing = [x[1:] for x in listed.splitlines() if x.startswith("?")]
        if missing:
            self(
                *("-c", "fetch.negotiationAlgorithm=noop"),
                *("fetch", "--progress", "--no-tags", "--no-write-fetch-head"),
                *(f"--filter={FILTER}", "--stdin", "origin"),
                stdin="\n".join(missing) + "\n",
            )

    def tidy(self) -> None:
        """Repack small packs and loose objects. Unreachable objects are kept."""
        objects = self.path / "objects"
        packs = sum(1 for _ in (objects / "pack").glob("*.pack"))
        # The estimate of git gc: objects are spread evenly over 256 folders.
        loose = 256 * sum(1 for _ in (objects / "17").glob("*"))
        if packs <= MAX_PACKS and loose <= MAX_LOOSE:
            return
        log_line(f"repacking {packs} packs of the bare repository")
        # Packs of a partial clone have markers, which only a full repack keeps.
        how = ("-a", "-k") if self._partial else ("--geometric=2",)
        self("repack", "--quiet", "-d", *how)

    def _config(self) -> str:
        lines = [
            "[core]",
            f"\trepositoryformatversion = {int(self._partial or self.sha256)}",
            "\tbare = true",
            '[remote "origin"]',
            f"\turl = {quoted(self._url)}",
            "\tfetch = +refs/heads/*:refs/remotes/origin/*",
            *promisor(partial=self._partial, remote=True),
            *promisor(partial=self._partial, remote=False),
            *(["[extensions]", f"\t{_SHA256}"] if self.sha256 else []),
            "[gc]",
            "\tauto = 0",
            "[maintenance]",
            "\tauto = false",
            "[fetch]",
            "\tfsckObjects = true",
            '[fetch "fsck"]',
            *(f"\t{x} = ignore" for x in _FSCK_HARMLESS),
        ]
        return "\n".join(lines) + "\n"

    def _clean(self) -> None:
        """Remove temporary files of a killed git; the lock excludes other processes."""
        for folder, _, files in os.walk(self.path):
            for name in files:
                if name.endswith(".lock") or name.startswith(("tmp_", ".tmp-")):
                    (Path(folder) / name).unlink(missing_ok=True)


def promisor(*, partial: bool, remote: bool) -> list[str]:
    """Lines of a repository's configuration for a partial clone: those of the remote, or the others."""
    if not partial:
        return []
    if remote:
        return ["\tpromisor = true", f"\tpartialclonefilter = {FILTER}"]
    return ["[extensions]", "\tpartialClone = origin"]


def object_format(*, sha256: bool) -> list[str]:
    """Options of git init."""
    return ["--object-format=sha256"] if sha256 else []


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


@contextlib.contextmanager
def lock(path: Path, *, wait: bool = True, limit: float = LOCK_SECONDS) -> Iterator[None]:
    """An exclusive lock between processes, which the kernel releases when its holder exits.

    Args:
        path: the lock file, which is created.
        wait: whether to wait for another holder.
        limit: maximum wait in seconds.

    Raises:
        BlockingIOError: another process holds the lock, and `wait` is false.
        PreparationError: the lock was not acquired within the limit, or the file system does not support locks.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    attempt = _Attempt(descriptor)
    try:
        try:
            if not attempt.make(fcntl.LOCK_NB, min(limit, LOCK_ANSWER_SECONDS)):
                raise _no_lock(f"did not return within {LOCK_ANSWER_SECONDS:.0f} s")
        except BlockingIOError:
            if not wait:
                raise
            log_line("waiting for another task that uses the same repository")
            if not attempt.make(0, limit):
                raise PreparationError(
                    Reason.WORKSPACE_ERROR,
                    f"another task has held the lock of a repository for {limit:.0f} s. If no other task runs, the volume"
                    f" keeps locks of deleted nodes: {LOCK_HINT}",
                ) from None
        except OSError as error:
            raise _no_lock(f"failed with {errno.errorcode.get(error.errno or 0, error)}") from error
        yield
    finally:
        attempt.close()


def _no_lock(what: str) -> PreparationError:
    return PreparationError(
        Reason.WORKSPACE_ERROR,
        f"the workspace volume is not usable: its file system does not support file locks (flock {what}): {LOCK_HINT}",
    )


class _Attempt:
    """flock with a timeout, in a thread, because a flock that blocks in the kernel cannot be interrupted otherwise."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._owner = threading.Lock()
        self._pending = False
        self._closed = False

    def make(self, flags: int, limit: float) -> bool:
        """Acquire the lock; False if that takes longer than `limit` seconds.

        Raises:
            OSError: as flock does.
        """
        errors: list[OSError] = []
        self._pending = True

        def attempt() -> None:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | flags)
            except OSError as error:
                errors.append(error)
            with self._owner:
                self._pending = False
                if self._closed:
                    os.close(self._descriptor)

        thread = threading.Thread(target=attempt, daemon=True)
        thread.start()
        thread.join(limit)
        if errors:
            raise errors[0]
        return not thread.is_alive()

    def close(self) -> None:
        """Release the lock, now or as soon as it is acquired."""
        with self._owner:
            self._closed = True
            if not self._pending:
                os.close(self._descriptor)
