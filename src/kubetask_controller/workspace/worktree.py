"""Creates the worktree of a task: its refs and files.

Guarantees: a worktree is on the task's branch at the start commit, and it is clean: files that the checkout itself changes
(line endings that .gitattributes normalises, files of Git LFS that were committed raw) are not shown as changed, so they are
not committed. Temporary files of tools are ignored. The file system settings that git detected (modes, links) are kept. No
code of the repository runs.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kubetask_controller.api.manifest import Checkout
from kubetask_controller.workspace.cache import object_format, promisor
from kubetask_controller.workspace.git import Git, GitError, log_line
from kubetask_controller.workspace.gitconfig import quoted

TOOL_FILES = (
    *(
        "/.kubetask/",
        ".DS_Store",
        "Thumbs.db",
        "*.swp",
        "*.swo",
        "*~",
        "*.orig",
        "*.rej",
        "core.[0-9]*",
    ),
    *(
        "__pycache__/",
        "*.py[co]",
        ".pytest_cache/",
        ".mypy_cache/",
        ".ruff_cache/",
        ".tox/",
        ".nox/",
    ),
    *(".venv/", "*.egg-info/", "node_modules/", ".npm/", ".pnpm-store/", ".gradle/", ".terraform/"),
    *(
        "/.aider*",
        "/.claude/settings.local.json",
        "/.claude/todos/",
        "/.gemini/tmp/",
        "/.opencode/",
    ),
    *("/.goose/", "/.codex/log/", "/.codex/sessions/", "/.cache/"),
)
"""Temporary files of tools that do not belong into a review. Tracked files are not ignored."""
MAX_SUBMODULE_DEPTH = 8
POINTER = b"version https://git-lfs.github.com/spec/"
_PACKED_REFS = "# pack-refs with: peeled fully-peeled sorted"
_CONVERTS = re.compile(r"\b(text|eol|crlf|ident|filter|working-tree-encoding)\b")
_MAX_POINTER = 1024
_KEEP_AS_IT_IS = "-text -ident -filter -working-tree-encoding"

# Without git-lfs, git would commit a large file instead of a pointer.
_GUARD = (
    r"f() { t=$(head -c 40 | tr -d '\000');"
    r' case "$t" in "version https://git-lfs.github.com/spec/"*) printf %s "$t"; cat;; "") ;;'
    r' *) echo "$1 is stored by Git LFS: set git.lfs in the WorkspaceConfig" >&2; exit 1;; esac; }; f %f'
)


@dataclass(frozen=True, slots=True)
class WorktreeSource:
    """The source of a worktree.

    Attributes:
        bare: the bare repository whose objects are borrowed.
        url: URL of the origin.
        partial: whether the bare repository lacks contents of earlier commits.
        sha256: whether objects have SHA-256 names.
        branch: the branch that the agent works on.
        base: branch that the work targets.
        base_commit: its newest commit.
        at: the start commit.
        default: whether the base is the default branch.
        tags: map of full ref to object and, for an annotated tag, the tagged commit.
        shallow: boundary commits of a shallow clone.
    """

    bare: Path
    url: str
    partial: bool
    branch: str
    base: str
    base_commit: str
    at: str
    default: bool
    tags: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    shallow: str = ""
    sha256: bool = False


def make_worktree(git: Git, source: WorktreeSource, target: Path, checkout: Checkout) -> None:
    """Create the repository and its files at `target`.

    Raises:
        GitError: git failed, or the URL of a submodule is not allowed.
    """
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    init = ("--quiet", "--template=", f"--initial-branch={source.branch}", "--", str(target))
    git("init", *object_format(sha256=source.sha256), *init)
    folder = target / ".git"
    (folder / "objects" / "info").mkdir(exist_ok=True)
    (folder / "objects" / "info" / "alternates").write_text(f"{source.bare / 'objects'}\n")
    (folder / "info").mkdir(exist_ok=True)
    (folder / "info" / "exclude").write_text("\n".join(TOOL_FILES) + "\n")
    config = folder / "config"
    # Keep the file system settings that git init detected.
    found = config.read_text()
    if source.partial:
        found = found.replace("repositoryformatversion = 0", "repositoryformatversion = 1")
    config.write_text(found + _config(source, checkout))
    if source.shallow:
        (folder / "shallow").write_text(source.shallow)
    (folder / "packed-refs").write_text(_packed_refs(source))
    at = ("-C", str(target))
    if source.default:
        head = ("refs/remotes/origin/HEAD", f"refs/remotes/origin/{source.base}")
        git(*at, "symbolic-ref", *head)
    if checkout.sparse:
        git(
            *at,
            "sparse-checkout",
            "set",
            "--cone",
            "--stdin",
            stdin="\n".join(checkout.sparse) + "\n",
        )
    # Contents of Git LFS are fetched afterwards with one command.
    skip = {"GIT_LFS_SKIP_SMUDGE": "1"}
    # This creates the branch.
    git(*at, "-c", "checkout.workers=0", "reset", "--quiet", "--hard", source.at, environ=skip)
    _finish(git, target, checkout)
    if (target / ".gitmodules").is_file():
        if checkout.submodules:
            _submodules(git, target, source.url, checkout)
        else:
            log_line("submodules are not checked out: set git.submodules in the WorkspaceConfig")


def _packed_refs(source: WorktreeSource) -> str:
    refs = {f"refs/remotes/origin/{source.base}": (source.base_commit, "")}
    if not _conflict(source.base, source.branch):
        refs[f"refs/heads/{source.base}"] = (source.base_commit, "")
    refs |= source.tags
    lines = [_PACKED_REFS]
    for ref, (name, peeled) in sorted(refs.items(), key=lambda x: x[0].encode()):
        lines.append(f"{name} {ref}")
        if peeled:
            lines.append(f"^{peeled}")
    return "\n".join(lines) + "\n"


def _conflict(one: str, other: str) -> bool:
    """Whether the branches are equal or git cannot have both."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _config(source: WorktreeSource, checkout: Checkout) -> str:
    """Additional lines for the configuration of a worktree's repository."""
    lines = [
        '[remote "origin"]',
        f"\turl = {quoted(source.url)}",
        "\tfetch = +refs/heads/*:refs/remotes/origin/*",
        *promisor(partial=source.partial, remote=True),
        *promisor(partial=source.partial, remote=False),
        f"[branch {quoted(source.base)}]",
        "\tremote = origin",
        f"\tmerge = {quoted(f'refs/heads/{source.base}')}",
        '[filter "lfs"]',
    ]
    if checkout.lfs:
        lines += [
            "\tclean = git-lfs clean -- %f",
            "\tsmudge = git-lfs smudge -- %f",
            "\tprocess = git-lfs filter-process",
            "\trequired = true",
        ]
    else:
        # A system-wide git-lfs of an image takes precedence; publishing pushes its objects.
        lines += [f"\tclean = {quoted(_GUARD)}", "\tsmudge = cat", "\trequired = true"]
    return "\n".join(lines) + "\n"


def _finish(git: Git, target: Path, checkout: Checkout) -> None:
    """Fetch the contents of Git LFS, and make sure that git shows no file as changed."""
    at = ("-C", str(target))
    listed = git(*at, "ls-files", "-z", "--", ".gitattributes", "**/.gitattributes", strip=False)
    # Checking every file takes time, and most repositories have no such attributes.
    if not any(_converts(target / x) for x in listed.split("\0") if x):
        return
    kept, raw = _lfs_files(git, target)
    attributes = target / ".git" / "info" / "attributes"
    patterns = [f"{_pattern(x)} {_KEEP_AS_IT_IS}" for x in raw]
    attributes.write_text("\n".join(patterns) + "\n" if patterns else "")
    if kept and checkout.lfs:
        git(*at, "lfs", "pull", "origin")
    elif kept:
        log_line(
            f"{kept} files of Git LFS are checked out as pointers: set git.lfs in the WorkspaceConfig to fetch them"
        )
    changed = _changed(git, target)
    if not changed:
        return
    patterns += [f"{_pattern(x)} {_KEEP_AS_IT_IS}" for x in changed if x not in raw]
    attributes.write_text("\n".join(patterns) + "\n")
    rest = _changed(git, target)
    if rest:
        # Names that are equal on this file system, or links that it does not support.
        git(
            *at, "update-index", "--assume-unchanged", "-z", "--stdin", stdin="\0".join(rest) + "\0"
        )
    log_line(
        f"{len(changed)} files differ from their commit after the checkout; they are not shown as changed"
    )


def _converts(attributes: Path) -> bool:
    """Whether these attributes may make files differ from the commit."""
    try:
        return bool(_CONVERTS.search(attributes.read_text(errors="replace")))
    except OSError:
        return False


def _changed(git: Git, target: Path) -> list[str]:
    """Files that git shows as changed after comparing all contents."""
    with contextlib.suppress(FileNotFoundError):
        # git compares the contents of all files that are newer than the index.
        os.utime(target / ".git" / "index", (1, 1))
    out = git(
        *("-C", str(target), "status", "--porcelain", "-z"),
        *("--untracked-files=no", "--no-renames", "--ignore-submodules=all"),
        strip=False,
    )
    return [x[3:] for x in out.split("\0") if x]


def _lfs_files(git: Git, target: Path) -> tuple[int, list[str]]:
    """Number of files in Git LFS, and the files that were committed raw although attributes require Git LFS."""
    at = ("-C", str(target))
    listed = git(*at, "ls-files", "-z", strip=False)
    out = git(*at, "check-attr", "-z", "--stdin", "filter", stdin=listed, strip=False).split("\0")
    kept, raw = 0, []
    for path, value in zip(out[::3], out[2::3], strict=False):
        if value != "lfs":
            continue
        file = target / path
        if not file.is_file() or file.is_symlink():
            continue
        with file.open("rb") as opened:
            head = opened.read(len(POINTER))
        if head == POINTER and file.stat().st_size <= _MAX_POINTER:
            kept += 1
        elif head:
            raw.append(path)
    return kept, raw


def _pattern(path: str) -> str:
    """A pattern for an attributes file that matches only this path."""
    escaped = "".join(f"\\{x}" if x in "*?[\\" else x for x in f"/{path}")
    return quoted(escaped)


def _submodules(git: Git, target: Path, url: str, checkout: Checkout, level: int = 0) -> None:
    """Check out the submodules of a worktree, and theirs."""
    if level >= MAX_SUBMODULE_DEPTH:
        raise GitError(
            ("submodule",), f"fatal: submodules are nested deeper than {MAX_SUBMODULE_DEPTH}"
        )
    at = ("-C", str(target))
    git(*at, "submodule", "--quiet", "init")
    try:
        out = git(
            *at, "config", "--local", "-z", "--get-regexp", r"^submodule\..*\.url$", strip=False
        )
    except GitError:
        return
    for entry in filter(None, out.split("\0")):
        _check_submodule(entry.partition("\n")[2], url)
    depth = [f"--depth={checkout.depth}"] if checkout.depth else []
    # Without --progress, it prints nothing during long operations.
    git(
        *at,
        *("submodule", "update", "--progress", "--recommend-shallow", "--jobs=2", *depth),
        environ={"GIT_ALLOW_PROTOCOL": _protocols(url)},
    )
    listed = git(*at, "ls-files", "--stage", "-z", strip=False)
    for line in listed.split("\0"):
        if line.startswith("160000 "):
            inner = target / line.partition("\t")[2]
            if (inner / ".gitmodules").is_file():
                _submodules(git, inner, url, checkout, level + 1)


def _protocols(url: str) -> str:
    return "https:http:ssh" + (":file" if urlsplit(url).scheme == "file" else "")


def _check_submodule(url: str, origin: str) -> None:
    """Reject a submodule without a remote URL.

    Raises:
        GitError: the URL is a local path outside the folder of a local origin.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("https", "http", "ssh") or ("@" in url.partition(":")[0] and not scheme):
        return
    if scheme == "file" and urlsplit(origin).scheme == "file":
        root = Path(unquote(urlsplit(origin).path)).resolve().parent.parent
        if Path(unquote(urlsplit(url).path)).resolve().is_relative_to(root):
            return
    raise GitError(("submodule",), f"fatal: a submodule has the URL {url}, which is not allowed")
