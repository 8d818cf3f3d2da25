"""What differs from run to run, and how the recording's is turned into ours.

Uids, resourceVersions, generated names and continue tokens are bound to ours where they first appear and must stay bound; the
instants that the recording shows become the placeholder of their format.
"""

from __future__ import annotations

import re
from typing import Any

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
VERSION_IN_QUERY = re.compile(r"(?<=[?&]resourceVersion=)\d+")
TOKEN_IN_QUERY = re.compile(r"(?<=[?&]continue=)[^&]+")
GENERATED = re.compile(r"^(.*-)[bcdfghjklmnpqrstvwxz2456789]{5}$")


class Names:
    """The recording's names of things, and ours."""

    def __init__(self) -> None:
        self.uids: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self.words: dict[str, str] = {}
        self.tokens: dict[str, str] = {}

    # --- binding

    def learn(self, expected: Any, actual: Any) -> None:
        """Bind what an answer shows for the first time."""
        if isinstance(expected, dict) and isinstance(actual, dict):
            self._learn_object(expected, actual)
        elif isinstance(expected, list) and isinstance(actual, list):
            for one, other in zip(expected, actual, strict=False):
                self.learn(one, other)
        elif (
            isinstance(expected, str)
            and isinstance(actual, str)
            and UUID.fullmatch(expected)
            and UUID.fullmatch(actual)
        ):
            self.uids.setdefault(expected, actual)

    def _learn_object(self, expected: dict[str, Any], actual: dict[str, Any]) -> None:
        if "generateName" in expected:
            self._learn_word(expected.get("name"), actual.get("name"))
        # A list has a resourceVersion too, but its own: how much else was written differs.
        if "name" in expected:
            one, other = expected.get("resourceVersion"), actual.get("resourceVersion")
            if isinstance(one, str) and isinstance(other, str):
                self.versions.setdefault(one, other)
        if expected.get("continue") and actual.get("continue"):
            self.tokens.setdefault(expected["continue"], actual["continue"])
        for key, value in expected.items():
            if key in actual:
                self.learn(value, actual[key])

    def _learn_word(self, expected: Any, actual: Any) -> None:
        if isinstance(expected, str) and isinstance(actual, str):
            one, other = GENERATED.match(expected), GENERATED.match(actual)
            if one and other and one[1] == other[1]:
                self.words.setdefault(expected, actual)

    # --- translation

    def text(self, text: str) -> str:
        """Uids and generated names of the recording replaced by ours."""
        text = UUID.sub(lambda found: self.uids.get(found[0], found[0]), text)
        for word, mine in self.words.items():
            text = text.replace(word, mine)
        return text

    def body(self, value: Any, key: str = "") -> Any:
        """JSON of the recording in our names."""
        if isinstance(value, dict):
            return {each: self.body(inner, each) for each, inner in value.items()}
        if isinstance(value, list):
            return [self.body(inner) for inner in value]
        if not isinstance(value, str):
            return value
        if key == "resourceVersion":
            return self.versions.get(value, value)
        return self.text(value)

    def path(self, path: str, current: str) -> str:
        """A request's path. A resourceVersion that nothing was seen to have is `current`, unless it was made up."""

        def version(found: re.Match[str]) -> str:
            made_up = int(found[0]) < 2 or int(found[0]) > 1_000_000
            return found[0] if made_up else self.versions.get(found[0], current)

        path = TOKEN_IN_QUERY.sub(lambda found: self.tokens.get(found[0], found[0]), path)
        return self.text(VERSION_IN_QUERY.sub(version, path))

    def needs_current(self, path: str) -> bool:
        """Whether `path` asks for a state that is only known by when it was asked for."""
        found = VERSION_IN_QUERY.search(path)
        return (
            found is not None and 2 <= int(found[0]) <= 1_000_000 and found[0] not in self.versions
        )
