"""A task's repository: its refs, its files, and what of them is not the agent's work.

Guarantees: a worktree is on the task's branch at the commit that the task begins with, and it is clean: files that the
checkout itself changes (line ends that .gitattributes would normalise, files of Git LFS that were committed raw) are not
shown as changed, so neither an agent nor we commit them. Droppings of tools are ignored. What git found out about the file
system (modes, links) is kept. Nothing of the repository runs.
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
from kubetask_controller.workspace.cache import promisor
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
"""What tools leave behind and nobody wants to review. What the repository tracks is not ignored."""
MAX_SUBMODULE_DEPTH = 8
POINTER = b"version https://git-lfs.github.com/spec/"
_PACKED_REFS = "# pack-refs with: peeled fully-peeled sorted"
_CONVERTS = re.compile(r"\b(text|eol|crlf|ident|filter|working-tree-encoding)\b")
_MAX_POINTER = 1024
_KEEP_AS_IT_IS = "-text -ident -filter -working-tree-encoding"

# Without git-lfs a large file would be committed as it is, to where pointers belong.
_GUARD = (
    r"f() { t=$(head -c 40 | tr -d '\000');"
    r' case "$t" in "version https://git-lfs.github.com/spec/"*) printf %s "$t"; cat;; "") ;;'
    r' *) echo "$1 is kept by Git LFS: set git.lfs in the WorkspaceConfig" >&2; exit 1;; esac; }; f %f'
)


@dataclass(frozen=True, slots=True)
class WorktreeSource:
    """Where a worktree comes from.

    Attributes:
        bare: the bare repository whose objects are borrowed.
        url: of the origin.
        partial: the bare repository lacks contents of earlier commits.
        branch: that the agent works on.
        base: branch that the work is for.
        base_commit: its newest commit.
        at: commit to begin with.
        default: the base is the default branch.
        tags: full ref to object and, for an annotated tag, what it tags.
        shallow: commits beyond which nothing was fetched.
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


def make_worktree(git: Git, source: WorktreeSource, target: Path, checkout: Checkout) -> None:
    """Make the repository and its files at `target`.

    Raises:
        GitError: git cannot; also for a submodule whose URL is not allowed.
    """
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    init = ("--quiet", "--template=", f"--initial-branch={source.branch}", "--", str(target))
    git("init", *init)
    folder = target / ".git"
    (folder / "objects" / "info").mkdir(exist_ok=True)
    (folder / "objects" / "info" / "alternates").write_text(f"{source.bare / 'objects'}\n")
    (folder / "info").mkdir(exist_ok=True)
    (folder / "info" / "exclude").write_text("\n".join(TOOL_FILES) + "\n")
    config = folder / "config"
    # What init found out about the file system stands first, and stays.
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
    # Contents of Git LFS come afterwards, all at once.
    skip = {"GIT_LFS_SKIP_SMUDGE": "1"}
    # The branch is born with it.
    git(*at, "-c", "checkout.workers=0", "reset", "--quiet", "--hard", source.at, environ=skip)
    _finish(git, target, checkout)
    if (target / ".gitmodules").is_file():
        if checkout.submodules:
            _submodules(git, target, source.url, checkout)
        else:
            log_line(
                "submodules are left empty: set git.submodules in the WorkspaceConfig to check them out"
            )


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
    """Whether git cannot have both branches, or they are the same."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _config(source: WorktreeSource, checkout: Checkout) -> str:
    """Lines for the configuration of a worktree's repository, after those that git itself wrote."""
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
        # Where an image has git-lfs for everybody, that one comes first, and publishing pushes what it kept.
        lines += [f"\tclean = {quoted(_GUARD)}", "\tsmudge = cat", "\trequired = true"]
    return "\n".join(lines) + "\n"


def _finish(git: Git, target: Path, checkout: Checkout) -> None:
    """See to it that the files are whole and that nothing is shown as changed."""
    at = ("-C", str(target))
    listed = git(*at, "ls-files", "-z", "--", ".gitattributes", "**/.gitattributes", strip=False)
    # Looking at every file takes its time, and most repositories say nothing of contents.
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
            f"{kept} files of Git LFS are left as pointers: set git.lfs in the WorkspaceConfig to fetch them"
        )
    changed = _changed(git, target)
    if not changed:
        return
    patterns += [f"{_pattern(x)} {_KEEP_AS_IT_IS}" for x in changed if x not in raw]
    attributes.write_text("\n".join(patterns) + "\n")
    rest = _changed(git, target)
    if rest:
        # Two names that the file system takes for one, links that it does not have.
        git(
            *at, "update-index", "--assume-unchanged", "-z", "--stdin", stdin="\0".join(rest) + "\0"
        )
    log_line(
        f"{len(changed)} files differ from their commit after the checkout; they are not shown as changed"
    )


def _converts(attributes: Path) -> bool:
    """Whether files may differ from what was committed, by these attributes."""
    try:
        return bool(_CONVERTS.search(attributes.read_text(errors="replace")))
    except OSError:
        return False


def _changed(git: Git, target: Path) -> list[str]:
    """Files that git shows as changed, every content compared."""
    with contextlib.suppress(FileNotFoundError):
        # An index that is older than all files makes git look at each of them.
        os.utime(target / ".git" / "index", (1, 1))
    out = git(
        *("-C", str(target), "status", "--porcelain", "-z"),
        *("--untracked-files=no", "--no-renames", "--ignore-submodules=all"),
        strip=False,
    )
    return [x[3:] for x in out.split("\0") if x]


def _lfs_files(git: Git, target: Path) -> tuple[int, list[str]]:
    """How many files Git LFS keeps, and those that were committed raw although it should."""
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
    """A line of an attributes file that means this path and no other."""
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
    # Which is quiet about what takes long, without --progress.
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
    """Refuse what is no URL of a host.

    Raises:
        GitError: a local path, unless the repository itself comes from the folder that it lies in.
    """
    scheme = urlsplit(url).scheme
    if scheme in ("https", "http", "ssh") or ("@" in url.partition(":")[0] and not scheme):
        return
    if scheme == "file" and urlsplit(origin).scheme == "file":
        root = Path(unquote(urlsplit(origin).path)).resolve().parent.parent
        if Path(unquote(urlsplit(url).path)).resolve().is_relative_to(root):
            return
    raise GitError(("submodule",), f"fatal: a submodule has the URL {url}, which is not allowed")
