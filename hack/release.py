"""Prepares, tags and builds a release. `.github/workflows/release.yml` runs `build` and `manifests` for each tag.

python -m hack.release prepare 0.2.0     write the version into the files that name it, and date its part of CHANGELOG.md
python -m hack.release check 0.2.0       fail when the commit is not ready to be released
python -m hack.release tag 0.2.0         check, then create the annotated tag v0.2.0, signed where git is configured to sign
python -m hack.release build 0.2.0       check, then build wheel, sdist, inventory and the build context of each image
python -m hack.release manifests 0.2.0   render install.yaml with the digests of the pushed images; write checksums
python -m hack.release notes 0.2.0       print the part of CHANGELOG.md

Artefacts depend on nothing but the commit and the digests: two builds of one commit have the same bytes.
"""

import argparse
import datetime
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).resolve().parent.parent
REGISTRY = "quay.io/kubetask"
# Targets of the Dockerfile that are published, as REGISTRY/kubetask-TARGET.
TARGETS = (
    "controller",
    "workspace",
    "agent",
    "agent-claude",
    "agent-gemini",
    "agent-codex",
    "agent-opencode",
    "agent-goose",
)
VERSION_FILE = "src/kubetask_controller/version.py"
CHANGELOG = "CHANGELOG.md"
NO_DATE = "YYYY-MM-DD"
# Files that name an image of this version.
_NAMING = ("README.md", "Dockerfile", "config", "docs", "hack", "src", "examples")
_TAG = re.compile(r"((?:kubetask-(?:controller|workspace|agent)[a-z-]*:|newTag: )v)(\d[\w.+-]*)")
_SEMVER = re.compile(r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ReleaseError(Exception):
    """What keeps the release from being made; the message has one problem on each line."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hack.release",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = ("prepare", "check", "tag", "build", "manifests", "notes")
    parser.add_argument("command", choices=commands)
    parser.add_argument("version", metavar="VERSION", help="such as 0.2.0")
    parser.add_argument("--dry-run", action="store_true", help="check, and say what would be done")
    parser.add_argument("--output", type=Path, help="folder; default: build/release/VERSION")
    parser.add_argument("--no-sbom", action="store_true", help="build: leave out the inventory")
    parser.add_argument(
        "--digest",
        action="append",
        default=[],
        metavar="TARGET=sha256:…",
        help="manifests: digest of a pushed image; once for each target of the Dockerfile",
    )
    parser.add_argument(
        "--digests", type=Path, metavar="FILE", help="manifests: the same, one on each line"
    )
    options = parser.parse_args(arguments)
    version, output = options.version, options.output or ROOT / "build/release" / options.version
    try:
        if not _SEMVER.fullmatch(version):
            raise ReleaseError(f"{version!r} is no version; write it as 0.2.0 or 0.2.0-rc.1")
        if options.command == "prepare":
            prepare(version, dry_run=options.dry_run)
        elif options.command == "notes":
            print(notes(version))
        else:
            check(version)
            if options.command == "tag":
                tag(version, dry_run=options.dry_run)
            elif options.command == "build":
                build(version, output, sbom=not options.no_sbom, dry_run=options.dry_run)
            elif options.command == "manifests":
                lines = options.digests.read_text().split() if options.digests else []
                digests = parse_digests([*lines, *options.digest])
                manifests(version, output, digests, dry_run=options.dry_run)
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def prepare(version: str, *, dry_run: bool) -> None:
    """Write the version into every file that names it, and date its part of the changelog."""
    changed = {}
    for path in _tracked(*_NAMING):
        text = _text(path)
        new = _TAG.sub(lambda x: x[1] + version, text)
        if path == VERSION_FILE:
            new = re.sub(r'(?<=__version__ = ")[^"]*', version, new)
        if new != text:
            changed[path] = new
    text = _text(CHANGELOG)
    if f"## [{version}]" not in text:
        text = text.replace(
            "## [Unreleased]\n", f"## [Unreleased]\n\n## [{version}] - {NO_DATE}\n", 1
        )
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    text = text.replace(f"## [{version}] - {NO_DATE}", f"## [{version}] - {today}")
    if text != _text(CHANGELOG):
        changed[CHANGELOG] = text
    for path, new in changed.items():
        print(path)
        if not dry_run:
            (ROOT / path).write_text(new, encoding="utf-8")
    print("Run make generate, commit, and then: python -m hack.release tag " + version)


def check(version: str) -> None:
    """Fail when the commit that is checked out is not ready to be released as this version.

    Raises:
        ReleaseError: the tree has changes, a file names another version, the changelog has no dated part for it, or
            the tag exists at another commit.
    """
    found = []
    if changes := _git("status", "--porcelain"):
        found.append(f"the tree has changes; commit them:\n{changes}")
    if f'__version__ = "{version}"' not in _text(VERSION_FILE):
        found.append(f"{VERSION_FILE} does not have the version {version}")
    for path in _tracked(*_NAMING):
        for number, line in enumerate(_text(path).splitlines(), 1):
            found += [
                f"{path}:{number} names the version {x[2]}"
                for x in _TAG.finditer(line)
                if x[2] != version
            ]
    heading = re.search(rf"^## \[{re.escape(version)}\] - (.*)$", _text(CHANGELOG), re.MULTILINE)
    if heading is None:
        found.append(f"{CHANGELOG} has no heading '## [{version}] - DATE'")
    elif not re.fullmatch(r"\d{4}-\d\d-\d\d", heading[1]):
        found.append(f"{CHANGELOG}: {version} has the date {heading[1]!r}; run prepare")
    elif not notes(version):
        found.append(f"{CHANGELOG} has no entry for {version}")
    tagged = _git(
        "rev-parse", "--verify", "--quiet", f"refs/tags/v{version}^{{commit}}", check=False
    )
    if tagged and tagged != _git("rev-parse", "HEAD"):
        found.append(f"the tag v{version} exists at another commit, {tagged[:12]}")
    if found:
        raise ReleaseError("\n".join(found))


def notes(version: str) -> str:
    """The part of the changelog for a version, without its heading."""
    pattern = rf"^## \[{re.escape(version)}\].*?$(.*?)(?=^## |^\[|\Z)"
    found = re.search(pattern, _text(CHANGELOG), re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def tag(version: str, *, dry_run: bool) -> None:
    """Create the annotated tag of the version. It is signed where ``user.signingKey`` or ``tag.gpgSign`` is set."""
    signed = _git("config", "user.signingkey", check=False) or (
        _git("config", "--type=bool", "tag.gpgsign", check=False) == "true"
    )
    name = f"v{version}"
    if _git("tag", "--list", name):
        print(f"{name} exists at this commit")
        return
    print(f"{'signed' if signed else 'annotated'} tag {name}")
    if not dry_run:
        message = f"KubeTask {version}\n\n{notes(version)}\n"
        # Headings of the changelog begin with #, which git takes for comments by default.
        flags = (
            "--sign" if signed else "--annotate",
            "--cleanup=whitespace",
            f"--message={message}",
        )
        _git("tag", *flags, name)
        print(f"Push it: git push origin {name}")


def build(version: str, output: Path, *, sbom: bool, dry_run: bool) -> None:
    """Build what follows from the commit alone into an empty folder."""
    names = [
        f"kubetask_controller-{version}-py3-none-any.whl",
        f"kubetask_controller-{version}.tar.gz",
        *([f"kubetask-{version}.cdx.json"] if sbom else []),
        *(f"context-{target}.tar" for target in TARGETS),
    ]
    print("\n".join(str(output / name) for name in names))
    if dry_run:
        return
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        tree = _export(Path(folder))
        environ = {**os.environ, "SOURCE_DATE_EPOCH": _git("log", "-1", "--format=%ct")}
        command = [sys.executable, "-m", "hatchling", "build", "--directory", str(output)]
        _run(command, cwd=tree, env=environ)
    for target in TARGETS:
        paths = context_paths(_text("Dockerfile"), target)
        file = output / f"context-{target}.tar"
        _git("archive", "--format=tar", f"--output={file.resolve()}", "HEAD", "--", *paths)
    if sbom:
        _run(["make", "--no-print-directory", "sbom"], cwd=ROOT, env=dict(os.environ))
        shutil.copyfile(ROOT / "dist/kubetask.cdx.json", output / f"kubetask-{version}.cdx.json")
    if missing := [x for x in names if not (output / x).exists()]:
        raise ReleaseError(f"the build did not write {', '.join(missing)}")
    write_checksums(output)


def context_paths(dockerfile: str, target: str) -> list[str]:
    """What `docker build --target` of this target reads: the Dockerfile, .dockerignore and the sources of each COPY.

    Raises:
        ReleaseError: no stage has this name.
    """
    stages: dict[
        str, tuple[set[str], set[str]]
    ] = {}  # stage: stages that it needs, paths that it copies
    current = ""
    parser = DockerfileParser(fileobj=io.BytesIO(dockerfile.encode()))
    for entry in parser.structure:
        words = entry["value"].split()
        if entry["instruction"] == "FROM":
            current = words[-1]
            stages[current] = ({words[0]}, set())
        elif entry["instruction"] in ("COPY", "ADD"):
            origin = [x.removeprefix("--from=") for x in words if x.startswith("--from=")]
            if origin:
                stages[current][0].update(origin)
            else:
                stages[current][1].update(x for x in words[:-1] if not x.startswith("--"))
    if target not in stages:
        raise ReleaseError(f"the Dockerfile has no target {target}")
    needed, paths = [target], {"Dockerfile", ".dockerignore"}
    for stage in needed:
        others, copied = stages[stage]
        paths |= copied
        needed += sorted(x for x in others if x in stages and x not in needed)
    return sorted(paths)


def parse_digests(values: Iterable[str]) -> dict[str, str]:
    """Digest of each image, by target.

    Raises:
        ReleaseError: a value is not TARGET=sha256:…, or a target is missing or unknown.
    """
    pairs = [x.partition("=") for x in values]
    found = {target: digest for target, _, digest in pairs}
    wrong = [
        f"{target}={digest} is not TARGET=sha256:… with a target of the Dockerfile"
        for target, digest in found.items()
        if target not in TARGETS or not _DIGEST.fullmatch(digest)
    ]
    wrong += [
        f"the digest of {x} is missing: --digest {x}=sha256:…" for x in TARGETS if x not in found
    ]
    if wrong:
        raise ReleaseError("\n".join(wrong))
    return found


def manifests(version: str, output: Path, digests: dict[str, str], *, dry_run: bool) -> None:
    """Render install.yaml, whose images are the given ones, list the images, and write checksums of all artefacts."""
    print("\n".join(str(output / x) for x in ("install.yaml", "images.txt", "SHA256SUMS")))
    if dry_run:
        return
    images = {x: f"{REGISTRY}/kubetask-{x}:v{version}@{digests[x]}" for x in TARGETS}
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        release = _export(Path(folder), "config") / "config" / "release"
        release.mkdir()
        (release / "kustomization.yaml").write_text(
            "resources: [../default]\n"
            "images:\n"
            f"  - {{name: {REGISTRY}/kubetask-controller, newTag: v{version}, digest: {digests['controller']}}}\n"
            "patches:\n"
            "  - target: {kind: Deployment, name: kubetask-controller}\n"
            "    patch: |\n"
            "      - op: add\n"
            "        path: /spec/template/spec/containers/0/env/-\n"
            f"        value: {{name: KUBETASK_WORKSPACE_IMAGE, value: '{images['workspace']}'}}\n"
        )
        kubectl = Path(sys.executable).with_name("kubectl")
        rendered = _run([str(kubectl), "kustomize", str(release)], cwd=ROOT, env=dict(os.environ))
    if images["controller"] not in rendered or images["workspace"] not in rendered:
        raise ReleaseError(
            "install.yaml does not name the images of the controller and the workspace"
        )
    header = f"# KubeTask {version}: kubectl apply --server-side -f install.yaml\n"
    (output / "install.yaml").write_text(header + rendered, encoding="utf-8")
    (output / "images.txt").write_text("".join(f"{x}\n" for x in images.values()), encoding="utf-8")
    write_checksums(output)


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS, which `sha256sum --check` reads."""
    files = sorted(x for x in folder.iterdir() if x.is_file() and x.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(x.read_bytes()).hexdigest()}  {x.name}\n" for x in files]
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _export(folder: Path, *paths: str) -> Path:
    archive = folder / "tree.tar"
    _git("archive", "--format=tar", f"--output={archive}", "HEAD", "--", *paths)
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "tree", filter="data")
    return folder / "tree"


def _tracked(*paths: str) -> list[str]:
    listed = _git("ls-files", "-z", "--", *paths).split("\0")
    skipped = (".png", ".svg", ".json", ".jsonl", ".txt")
    return [x for x in listed if x and not x.endswith(skipped) and (ROOT / x).is_file()]


def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _git(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if check and done.returncode:
        raise ReleaseError(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def _run(command: Sequence[str], *, cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        raise ReleaseError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
