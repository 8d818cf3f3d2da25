"""Keeps secrets out of what is shown: logs, messages, results."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

MASK = "***"
MIN_LENGTH = 6
"""Shorter values are not masked: they would blacken half of every log, and are no secrets worth the name."""
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


class Redactor:
    """Masks known values, and user information in URLs."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        values = {x.strip() for text in secrets for x in (text, *text.splitlines())}
        wanted = sorted((x for x in values if len(x) >= MIN_LENGTH), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, wanted))) if wanted else None

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return _USERINFO.sub("", text)


def secrets_in(folders: Sequence[Path]) -> list[str]:
    """The contents of the files in these folders, as far as they are there and are text."""
    found = []
    for folder in folders:
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
