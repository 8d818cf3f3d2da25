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
GENERATED = re.compile(r"^(.*-)[bcdfghjklmnpqrstvwxz2456789]{5}$|^(.*\.)[0-9a-f]{16}$")
"""A generated name, and the name of an Event."""
WORDS = re.compile(r"[\w.-]+")
LONGEST_SENTENCE = 2000


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
        elif isinstance(expected, str) and isinstance(actual, str) and expected != actual:
            self._learn_text(expected, actual)

    def _learn_text(self, expected: str, actual: str) -> None:
        """Uids and generated names at the same positions."""
        ours = UUID.findall(actual)
        for number, uid in enumerate(UUID.findall(expected)):
            if number < len(ours):
                self.uids.setdefault(uid, ours[number])
        if len(expected) > LONGEST_SENTENCE:
            return
        words, others = WORDS.findall(expected), WORDS.findall(actual)
        if len(words) == len(others):
            for word, other in zip(words, others, strict=True):
                self._learn_word(word, other)

    def _learn_object(self, expected: dict[str, Any], actual: dict[str, Any]) -> None:
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
        # Keys of managedFields name owners and Pods by their uids.
        theirs = [key for key in expected if key not in actual and UUID.search(key)]
        ours = [key for key in actual if key not in expected and UUID.search(key)]
        for one, other in zip(theirs, ours, strict=False):
            self._learn_text(one, other)

    def _learn_word(self, expected: str, actual: str) -> None:
        one, other = GENERATED.match(expected), GENERATED.match(actual)
        if one and other and one.groups() == other.groups():
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
            return {self.text(each): self.body(inner, each) for each, inner in value.items()}
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
        """Whether `path` requests a state that depends on the time of the request."""
        found = VERSION_IN_QUERY.search(path)
        return (
            found is not None and 2 <= int(found[0]) <= 1_000_000 and found[0] not in self.versions
        )
