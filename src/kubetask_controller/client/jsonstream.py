"""Splits a stream of bytes into JSON values.

A list of 10,000 Jobs is one document of 60 MB; parsed at once it would block the event loop for a
second and take several times its size in memory. ItemSplitter returns the items one at a time,
LineSplitter the lines of a watch. The caller feeds both; they do no I/O.
"""

import codecs
import json
import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import Any

_SPACE = re.compile(r"[ \t\r\n]*")
_SPACE_OR_COMMA = re.compile(r"[ \t\r\n,]*")
_decode_value = json.JSONDecoder().raw_decode


class MalformedStreamError(ValueError):
    """The bytes are not the expected JSON, or a value is too large."""


class LineSplitter:
    """Splits a stream into lines; a line may arrive in any number of pieces."""

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._rest: list[bytes] = []
        self._rest_size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The non-empty lines that `data` completes.

        Raises:
            MalformedStreamError: a line is longer than the limit.
        """
        if b"\n" not in data:
            self._keep(data)
            return []
        lines = data.split(b"\n")
        self._keep(lines[0])
        lines[0] = b"".join(self._rest)
        self._rest, self._rest_size = [], 0
        self._keep(lines.pop())
        return [line for line in lines if line and not line.isspace()]

    def _keep(self, data: bytes) -> None:
        self._rest_size += len(data)
        if self._rest_size > self._limit:
            raise MalformedStreamError(f"a line of more than {self._limit} bytes")
        if data:
            self._rest.append(data)


class _State(Enum):
    START = auto()
    MEMBERS = auto()
    ITEMS = auto()
    END = auto()


class ItemSplitter:
    """Parses a Kubernetes list: returns its items one by one, and collects all other members in `envelope`.

    Kubernetes writes ``metadata`` before ``items`` for built-in kinds and after them for custom
    resources, so the envelope is complete only at the end.
    """

    def __init__(self) -> None:
        self.envelope: dict[str, Any] = {}
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._state = _State.START
        self._text = ""
        self._position = 0
        self._eof = False
        # A partial value is not parsed again before its part of the buffer has doubled: else one
        # large object in small chunks would cost quadratic time.
        self._worthwhile = 0

    def feed(self, data: bytes, *, eof: bool = False) -> None:
        """Append bytes; with `eof` they are the last ones."""
        fresh = self._decoder.decode(data, eof)
        self._text = self._text[self._position :] + fresh
        self._worthwhile -= self._position
        self._position = 0
        self._eof = eof

    def items(self) -> Iterator[dict[str, Any]]:
        """The items that are complete so far; call it again after each feed.

        Raises:
            MalformedStreamError: the document is no list, or it ended early.
        """
        if len(self._text) < self._worthwhile and not self._eof:
            return
        try:
            while (item := self._next_item()) is not None:
                yield item
        except json.JSONDecodeError as error:
            raise MalformedStreamError(f"the list cannot be read: {error}") from None
        if self._eof and self._state is not _State.END:
            raise MalformedStreamError("the list was cut short")

    def _next_item(self) -> dict[str, Any] | None:
        """None when there is none any more, or not yet."""
        while self._state is not _State.END:
            if self._state is not _State.ITEMS:
                if not self._member():
                    return None
            elif self._peek(_SPACE_OR_COMMA) == "]":
                self._position += 1
                self._state = _State.MEMBERS
            else:
                known, item = self._value()
                if not known:
                    return None
                if not isinstance(item, dict):
                    raise MalformedStreamError("an item of the list is not an object")
                return item
        return None

    def _member(self) -> bool:
        """Parse one member of the envelope; False when more input is needed."""
        first = self._peek(_SPACE_OR_COMMA)
        if self._state is _State.START:
            if first not in ("{", ""):
                raise MalformedStreamError("the list is not an object")
            self._position += len(first)
            self._state = _State.MEMBERS if first else _State.START
            return bool(first)
        if first == "}":
            self._position += 1
            self._state = _State.END
            return True
        start = self._position
        done = self._key_and_value()
        if not done:
            self._position = start
        return done

    def _key_and_value(self) -> bool:
        known, key = self._value()
        colon = self._peek(_SPACE)
        if not known or not colon:
            return False
        if colon != ":" or not isinstance(key, str):
            raise MalformedStreamError("the list is not an object of named members")
        self._position += 1
        if key == "items" and self._peek(_SPACE) == "[":
            self._position += 1
            self._state = _State.ITEMS
            return True
        self._peek(_SPACE)
        known, value = self._value()
        if known:
            self.envelope[key] = value
        return known

    def _peek(self, skip: re.Pattern[str]) -> str:
        """The next character after those that `skip` matches; "" when it has not arrived."""
        match = skip.match(self._text, self._position)
        self._position = match.end() if match else self._position
        return self._text[self._position : self._position + 1]

    def _value(self) -> tuple[bool, Any]:
        """Whether the value at the present position is complete, and the value."""
        size = len(self._text)
        try:
            value, end = _decode_value(self._text, self._position)
        except json.JSONDecodeError:
            if self._eof and self._position < size:
                raise
            self._worthwhile = 2 * size - self._position
            return False, None
        if end == size and isinstance(value, int | float) and not self._eof:
            return False, None  # more digits may follow
        self._position = end
        return True, value
