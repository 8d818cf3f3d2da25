"""Keeps secrets out of what is shown: logs, messages, results."""

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

MASK = "***"
MIN_LENGTH = 6
"""Shorter values are not masked: they would blacken half of every log, and are no secrets worth the name."""
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|(^|_)PAT$", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


class Redactor:
    """Masks known values, and user information in URLs."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        plain = {x.strip() for text in secrets for x in (text, *text.splitlines())}
        # Agents that print JSON print what is escaped in it.
        values = plain | {json.dumps(x)[1:-1] for x in plain}
        wanted = sorted((x for x in values if len(x) >= MIN_LENGTH), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, wanted))) if wanted else None

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return _USERINFO.sub("", text) if "://" in text else text


def secrets_in(places: Sequence[Path]) -> list[str]:
    """The contents of these files, and of the files in these folders, as far as they can be read and are text."""
    found = []
    for folder in places:
        if folder.is_file():
            with contextlib.suppress(OSError, UnicodeDecodeError):
                found.append(folder.read_text())
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            # Kubernetes' own ..data folders hold the same files once more.
            if path.is_file() and not any(
                x.startswith("..") for x in path.relative_to(folder).parts
            ):
                try:
                    found.append(path.read_text())
                except (OSError, UnicodeDecodeError):
                    continue
    return found


def secrets_of(environ: Mapping[str, str]) -> list[str]:
    """The values of variables that hold secrets by their names; a path or a number is none."""
    return [
        value
        for name, value in environ.items()
        if _SECRET_NAME.search(name) and not value.isdigit() and not _is_path(value)
    ]


def _is_path(value: str) -> bool:
    try:
        return value.startswith("/") and Path(value).exists()
    except (OSError, ValueError):
        return False
