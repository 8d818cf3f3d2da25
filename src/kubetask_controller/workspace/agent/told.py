"""What an agent tells: its output line by line, and what is known of it at its end."""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pydantic_core import from_json

from kubetask_controller.api.constants import Reason

JSON = dict[str, Any]

TAIL_LINES = 20
MAX_LINE = 500
"""Characters of a line that a reader makes for the log; the transcript has all of it."""

_LIMITED = re.compile(
    r"rate.?limit|too many requests|\b429\b|quota|usage limit|overloaded|resource.?exhausted"
    r"|\b529\b|limit (will )?reset|hit your limit|insufficient.?credit|credit balance",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"refusal|refused to|usage polic|content.?(filter|polic|management)|prohibited.?content"
    r"|blocked .*safety|safety (filter|setting|reason)|finish.?reason.{1,4}safety|cannot assist with",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Told:
    """What an agent told until its end.

    Attributes:
        summary: its last words.
        usage: inputTokens, outputTokens, costUSD; as far as it says.
        reason: a known end, None for none; it counts only where the agent failed.
        failed: the agent says so, whatever its exit code.
    """

    summary: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    reason: Reason | None = None
    failed: bool = False


class Reader:
    """Reads plain output: every line is shown, and the last one is the summary."""

    def __init__(self) -> None:
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)

    def feed(self, line: str) -> list[str]:
        """Take a line; what of it the log shows."""
        if line.strip():
            self.tail.append(line.strip())
        return [line]

    def told(self) -> Told:
        """What is known at the end."""
        lines = list(self.tail)
        return Told(lines[-1] if lines else "", reason=known_reason(*lines[-5:]))


class Events(Reader):
    """Reads JSON, an event a line, and shows what a person wants of it. What is no JSON is read as plain output.

    Subclasses have `event`, and set what they find.
    """

    def __init__(self) -> None:
        super().__init__()
        self.summary = ""
        self.errors: list[str] = []
        self.read = 0
        self.written = 0
        self.cost: float | None = None
        self.failed = False

    def feed(self, line: str) -> list[str]:
        """Take a line; what of it the log shows."""
        value: Any = None
        if line.lstrip().startswith("{"):
            try:
                value = from_json(line)
            except ValueError:
                value = None
        if not isinstance(value, dict):
            return super().feed(line)
        try:
            shown = self.event(value)
        except (AttributeError, TypeError, ValueError):
            return []  # another version of the tool says it in another way
        return [y for x in shown if (y := shortened(x))]

    def event(self, event: JSON) -> list[str]:
        """Take an event; what of it the log shows."""
        raise NotImplementedError

    def error(self, text: str) -> list[str]:
        """Take note of an error; what the log shows."""
        if not text:
            return []
        self.errors.append(text)
        return [f"error: {text}"]

    def told(self) -> Told:
        """What is known at the end."""
        plain = list(self.tail)
        summary = self.summary or (self.errors or plain or [""])[-1]
        if self.failed and self.errors:
            summary = self.errors[-1]
        reason = known_reason(*self.errors[-3:], *([] if self.errors else plain[-5:]))
        return Told(summary.strip(), self._usage(), reason, self.failed)

    def _usage(self) -> JSON:
        usage: JSON = {}
        if self.read:
            usage["inputTokens"] = self.read
        if self.written:
            usage["outputTokens"] = self.written
        if self.cost is not None:
            usage["costUSD"] = f"{Decimal(str(self.cost)):f}"
        return usage


def known_reason(*texts: str) -> Reason | None:
    """The reason of the closed list that an error stands for."""
    if any(_LIMITED.search(x) for x in texts):
        return Reason.RATE_LIMITED
    if any(_REFUSED.search(x) for x in texts):
        return Reason.REFUSED
    return None


def shortened(text: str) -> str:
    """A text for the log: cut where it is long."""
    text = text.strip()
    return text if len(text) <= MAX_LINE else text[: MAX_LINE - 1] + "…"


def count(value: Any) -> int:
    """A number of tokens, 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
