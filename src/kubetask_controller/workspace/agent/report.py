"""The report of an agent, and the base classes of readers of its output.

An agent has succeeded only if its tool reports success in its final event: an exit code of 0, a truncated stream or an
unknown event is not a success. Readers process unmasked output; the caller masks their results, after joining the parts of
a text.
"""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic_core import from_json, to_json

from kubetask_controller.api.constants import Reason
from kubetask_controller.types import JSON
from kubetask_controller.workspace.redaction import Redactor

KEPT_LINES = 200
"""Number of plain lines at each end of the output that are searched for an error."""
MAX_COST_DIGITS = 6
MAX_SHOWN = 500
"""Maximum length of a log line for an event; the transcript contains the whole event."""
MAX_PLAIN = 16 * 1024
"""Maximum length of a log line of plain output, at which container runtimes split lines."""

_LIMITED = re.compile(
    r"rate.?limit|too many requests|\b429\b|quota|usage limit|overloaded|resource.?exhausted"
    r"|\b529\b|limit (will )?reset|hit your limit|insufficient.?(credit|balance|fund)|credit balance"
    r"|at capacity|high demand|payment.?required|\b402\b|credits?.?(exhausted|ran out)|out of credits"
    r"|\b503\b|service unavailable",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"refusal|refused (to|this request)|usage polic|content.?(filter|polic|management)"
    r"|prohibited.?content|blocked .*safety|safety (filter|setting|reason|classifier)"
    r"|safeguards flagged|flagged as|finish.?reason.{1,4}safety|cannot assist with",
    re.IGNORECASE,
)
_TURNS = re.compile(
    r"max(imum)?( number of|_| session)* ?(turns|actions|steps)|turn.?limit|max_turns|MaxSessionTurns",
    re.IGNORECASE,
)
_BUDGET = re.compile(r"max(imum)?[ _]budget|budget[ _](exhausted|exceeded)", re.IGNORECASE)
_ERROR_LINE = re.compile(
    r"^\W*(error|fatal|failed)\b|^\w*(error|exception):|unknown (argument|option|flag)"
    r"|unexpected argument|unrecognized|invalid (argument|option|auth|value)|no provider"
    r"|\b(must specify|must be set|is not set)\b",
    re.IGNORECASE,
)
_HELP_LINE = re.compile(r"^(usage|options|commands|positionals|arguments):?", re.IGNORECASE)
_OPTION_LINE = re.compile(r"^-{1,2}\w")
_TRY_HELP = re.compile(r"^(for more information|see|try)\b.*help", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AgentReport:
    """The report of an agent.

    Attributes:
        summary: its final message.
        usage: inputTokens, outputTokens and costUSD, if it reports them.
        reason: the reason of a failure; None for none. Ignored if the agent succeeded.
        failed: whether it did not report success, whatever its exit code is.
    """

    summary: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    reason: Reason | None = None
    failed: bool = False

    def masked(self, redact: Redactor) -> "AgentReport":
        """The report without secrets."""
        return replace(self, summary=redact.prose(self.summary), usage=redact.tree(self.usage))


@dataclass(frozen=True, slots=True)
class Wait:
    """A wait of a tool before it retries a call of its model.

    Attributes:
        text: description for the log.
        limited: whether a rate limit is the cause; else the model fails.
        seconds: time until the next try; None if the tool does not report it.
    """

    text: str
    limited: bool
    seconds: float | None = None


class OutputReader:
    """Reads plain output: the log shows every line, the last line is the summary, the exit code decides.

    Attributes:
        wait: the current wait of the tool; None while it works.
        activity: the current activity, for the log.
        turns: number of calls of the model.
        cost: cost so far in US dollars; None if the tool does not report it.
        max_shown: maximum length of a line in the log.
    """

    max_shown = MAX_PLAIN

    def __init__(self) -> None:
        self.wait: Wait | None = None
        self.activity = ""
        self.turns = 0
        self.cost: Decimal | None = None
        self._head: list[str] = []
        self._tail: deque[str] = deque(maxlen=KEPT_LINES)

    def feed(self, line: str) -> list[str]:
        """Process a line; returns the lines for the log."""
        if text := line.strip():
            if len(self._head) < KEPT_LINES:
                self._head.append(text)
            self._tail.append(text)
        return [line]

    def log(self, line: str) -> list[str]:
        """Process a line of the tool's log file; returns the lines for the log."""
        return []

    def flush(self) -> list[str]:
        """Remaining lines for the log at the end of the output."""
        return []

    def report(self) -> AgentReport:
        """The report at the end of the output."""
        lines = list(self._tail)
        return AgentReport(lines[-1] if lines else "", reason=known_reason(*lines[-5:]))

    def error_line(self) -> str:
        """The most specific error line of the plain output, else its last line."""
        lines = list(self._tail)
        if not lines:
            return ""
        seen = self._head if len(self._head) < KEPT_LINES else [*self._head, *lines]
        helped = any(map(_HELP_LINE.match, seen)) and any(map(_OPTION_LINE.match, seen))
        wrong = [x for x in seen if _ERROR_LINE.search(x)]
        if helped or _TRY_HELP.match(lines[-1]):
            return wrong[0] if wrong else "the tool printed its help: it does not understand a flag"
        clear = re.compile(r"^(error|fatal)\b|\b(must specify|must be set)\b", re.IGNORECASE)
        prefixed = [x for x in wrong if clear.search(x)]
        return (prefixed or lines)[-1]


class EventReader(OutputReader):
    """Reads JSON with one event per line, and returns a readable log. Other lines are processed as plain output.

    Subclasses implement `event` and `succeeded`.
    """

    tool = ""
    max_shown = MAX_SHOWN

    def __init__(self) -> None:
        super().__init__()
        self.activity = "the model"
        self.summary = ""
        self.errors: list[str] = []
        self.read = 0
        self.written = 0
        self._text = ""
        """An incomplete line."""
        self._stream: object = None
        self._answer = ""

    def feed(self, line: str) -> list[str]:
        """Process a line; returns the lines for the log."""
        value: Any = None
        if line.lstrip().startswith("{"):
            try:
                value = from_json(line)
            except ValueError:
                value = None
        if not isinstance(value, dict):
            # It may occur in the middle of an answer, whose parts stay together.
            return self.plain(line)
        try:
            shown = self.event(value)
        except (AttributeError, TypeError, ValueError, KeyError, RecursionError):
            shown = []  # another version of the tool uses another format
        return [x for x in shown if x.strip()]

    def plain(self, line: str) -> list[str]:
        """Process a line that is not an event; returns the lines for the log."""
        return super().feed(line)

    def event(self, event: JSON) -> list[str]:
        """Process an event; returns the lines for the log."""
        raise NotImplementedError

    def succeeded(self) -> bool:
        """Whether the tool ended with an event that reports success."""
        raise NotImplementedError

    def stream(self, text: str, source: object) -> list[str]:
        """Process a part of the answer `source`; returns the complete lines."""
        before = []
        if source != self._stream:
            before = self.flush()
            self._stream, self._answer = source, ""
        self._answer += text
        self.summary = self._answer
        *whole, self._text = (self._text + text).split("\n")
        return [*before, *whole]

    def answer(self, text: str) -> list[str]:
        """Process a complete answer; returns its lines."""
        before = self.flush()
        self.summary = text
        return [*before, *text.splitlines()]

    def flush(self) -> list[str]:
        """Return the incomplete line, and start a new answer."""
        text, self._text, self._stream = self._text, "", None
        return [text] if text.strip() else []

    def call(self, name: object, parameters: object) -> list[str]:
        """Record a use of a tool; returns the lines for the log."""
        shown = tool_line(name, parameters)
        self.activity = shown
        return [*self.flush(), shown]

    def error(self, text: str) -> list[str]:
        """Record an error; returns the lines for the log."""
        before = self.flush()
        if not text:
            return before
        if not self.errors or self.errors[-1] != text:
            self.errors.append(text)
        return [*before, *f"error: {text}".splitlines()]

    def waits(self, wait: Wait) -> list[str]:
        """Record a wait of the tool; returns the lines for the log."""
        self.wait = wait
        return [*self.flush(), f"waiting: {wait.text}"]

    def report(self) -> AgentReport:
        """The report at the end of the output."""
        if self.succeeded():
            summary = self.summary or self.error_line()
            return AgentReport(summary.strip(), self._usage())
        if self.errors:
            summary = self.errors[-1]
        elif self.wait is not None:
            summary = self.wait.text
        elif self.summary:
            last = self.error_line() if _ERROR_LINE.search(self.error_line()) else self.summary
            summary = f"{self.tool} ended without the event of a success after: {last}"
        else:
            summary = self.error_line() or f"{self.tool} ended without an answer"
        found = self.reason() or known_reason(*(self.errors[-3:] or [summary]))
        # The status contains one line.
        return AgentReport(" ".join(summary.split()), self._usage(), found, failed=True)

    def reason(self) -> Reason | None:
        """The reason of a failure, if an event contains it."""
        return None

    def _usage(self) -> JSON:
        usage: JSON = {}
        if self.read:
            usage["inputTokens"] = self.read
        if self.written:
            usage["outputTokens"] = self.written
        if self.cost is not None:
            usage["costUSD"] = decimal_text(self.cost)
        return usage


def known_reason(*texts: str) -> Reason | None:
    """The reason that matches an error message; the last text that matches a reason decides."""
    for text in reversed(texts):
        for pattern, reason in (
            (_BUDGET, Reason.BUDGET_EXCEEDED),
            (_TURNS, Reason.MAX_TURNS_EXCEEDED),
            (_REFUSED, Reason.REFUSED),
            (_LIMITED, Reason.RATE_LIMITED),
        ):
            if pattern.search(text):
                return reason
    return None


def tool_line(name: object, parameters: object) -> str:
    """A log line for the use of a tool."""
    shown = ""
    if isinstance(parameters, dict):
        keys = ("command", "cmd", "file_path", "path", "filePath", "pattern", "url", "description")
        texts = (parameters[x] for x in keys if isinstance(parameters.get(x), str))
        shown = next(texts, "") or to_json(parameters, serialize_unknown=True).decode()
    return f"[{name}] {' '.join(shown.split())}"


def error_message(value: Any, depth: int = 6) -> str:
    """The message of an error: a text, an object with a message, or such an object as text."""
    if depth == 0 or value is None:
        return ""
    if isinstance(value, str):
        text = value.strip()
        start = text.find("{")
        if start >= 0 and text.rstrip("]").endswith("}"):
            try:
                inner = from_json(text[start : text.rindex("}") + 1])
            except ValueError:
                return text
            return error_message(inner, depth - 1) or text
        return text
    if isinstance(value, Mapping):
        keys = ("message", "error", "data", "msg", "text", "detail", "details", "reason", "name")
        return next((x for k in keys if (x := error_message(value.get(k), depth - 1))), "")
    if isinstance(value, list):
        return next((x for y in value if (x := error_message(y, depth - 1))), "")
    return ""


def token_count(value: Any) -> int:
    """A number of tokens; 0 for invalid values."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def cost_amount(value: Any) -> Decimal | None:
    """A cost, rounded to the precision of the status; None for invalid values."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
        if not number.is_finite() or not 0 <= number < 10**9:
            return None
        return number.quantize(Decimal(1).scaleb(-MAX_COST_DIGITS))
    except InvalidOperation:
        return None


def decimal_text(value: Decimal) -> str:
    """A cost in the format of the status: without exponent and trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
