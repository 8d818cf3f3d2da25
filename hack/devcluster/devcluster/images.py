"""The node's images: which program runs for an image name.

There is no registry and nothing is unpacked: every image has the file system of the machine, and an
`ImageSpec` describes the differences. An image that is not registered cannot be pulled, as on a real node
(`ErrImagePull`, then `ImagePullBackOff`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DIGEST = re.compile(r"^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,}\Z")
_PART = re.compile(r"^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*\Z")
_HOST = re.compile(
    r"^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]+)?\Z"
)
_TAG = re.compile(r"^\w[\w.-]{0,127}\Z", re.ASCII)
_FIELDS = ("entrypoint", "cmd", "env", "path", "working_dir", "user")


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The configuration of an image.

    `entrypoint` and `cmd` are run where the container gives no command or args; `path` are folders put first
    in PATH (a virtual environment's `bin`); `user` is `uid` or `uid:gid`, '' for root.
    """

    entrypoint: Sequence[str] = ()
    cmd: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    path: Sequence[str] = ()
    working_dir: str = "/"
    user: str = ""

    def environment(self) -> dict[str, str]:
        """The variables every container of the image starts with; PATH is always there."""
        env = {"PATH": DEFAULT_PATH, **self.env}
        env["PATH"] = ":".join([*self.path, env["PATH"]])
        return env

    def folders(self) -> list[str]:
        """Folders of the machine that its programs need, outer ones first. A volume mounted above them must not hide them."""
        found = [*self.path, *interpreter_folders()] if self.path else []
        return sorted({each for each in found if each != "/"}, key=lambda each: each.count("/"))

    @classmethod
    def decode(cls, raw: Mapping[str, Any] | None) -> ImageSpec:
        """From a mapping as in a file of images. Raises ValueError for a field that does not exist."""
        raw = dict(raw or {})
        unknown = sorted(set(raw) - set(_FIELDS))
        if unknown:
            raise ValueError(f"unknown {', '.join(unknown)} (an image has {', '.join(_FIELDS)})")
        return cls(**raw)


class Images:
    """Images by name. A name may be a pattern (`quay.io/myorg/*`); an exact name wins, then the pattern registered last."""

    def __init__(self, images: Mapping[str, ImageSpec] | None = None) -> None:
        self._exact: dict[str, ImageSpec] = {}
        self._patterns: dict[str, ImageSpec] = {}
        for name, spec in (images or {}).items():
            self.register(name, spec)

    @classmethod
    def from_file(cls, path: Path) -> Images:
        """From YAML: image name -> {entrypoint, cmd, env, path, working_dir, user}. Raises ValueError naming the entry."""
        images = cls()
        images.load(path)
        return images

    def load(self, path: Path) -> None:
        """Register the images of a YAML file; ${BIN} in it is replaced by the folder of this interpreter's programs."""
        import yaml

        text = path.read_text(encoding="utf-8").replace("${BIN}", str(Path(sys.executable).parent))
        raw = yaml.safe_load(text) or {}
        for name, spec in raw.items():
            try:
                self.register(name, ImageSpec.decode(spec))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}: image {name!r}: {error}") from None

    def register(self, name: str, spec: ImageSpec) -> None:
        """Add an image, or replace it; containers that run already keep what they started with."""
        self.forget(name)
        if _is_pattern(name):
            self._patterns[name] = spec
        else:
            self._exact[normalize(name)] = spec

    def forget(self, name: str) -> None:
        """Remove an image, if it is there."""
        if _is_pattern(name):
            self._patterns.pop(name, None)
        else:
            self._exact.pop(normalize(name), None)

    def find(self, name: str) -> ImageSpec | None:
        """The image for a container's `image` field, or None. Raises ValueError if the field is not an image name."""
        full = normalize(name)
        if full in self._exact:
            return self._exact[full]
        for pattern in reversed(self._patterns):
            if fnmatchcase(full, pattern) or fnmatchcase(name, pattern):
                return self._patterns[pattern]
        return None

    def __iter__(self) -> Iterator[str]:
        """Names and patterns."""
        return iter([*self._exact, *self._patterns])


def interpreter_folders() -> set[str]:
    """Directories of this interpreter's programs and of their imports."""
    folders = {each for each in map(Path, sys.path) if each.is_absolute() and each.is_dir()}
    return {str(each) for each in {Path(sys.prefix), Path(sys.base_prefix), *folders}}


def _is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def normalize(name: str) -> str:
    """The full form of an image name: host, tag and `library/` filled in. Raises ValueError with containerd's message."""
    rest, _, digest = name.partition("@")
    head, slash, tail = rest.rpartition("/")
    last, colon, tag = tail.partition(":")
    path = f"{head}{slash}{last}"
    if not path or (digest and not _DIGEST.match(digest)) or (colon and not _TAG.match(tag)):
        raise ValueError("invalid reference format")
    host, slash, remainder = path.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, remainder = "docker.io", path if slash else f"library/{path}"
    if not _HOST.match(host) or not all(_PART.match(part) for part in remainder.split("/")):
        raise ValueError("invalid reference format")
    suffix = f"@{digest}" if digest else f":{tag or 'latest'}"
    return f"{host}/{remainder}{suffix}"
