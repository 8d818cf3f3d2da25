"""The report of an agent, and the base classes of readers of its output.

An agent has succeeded where its tool says so in the event that the tool ends with, and nowhere else: an exit code of 0, a
stream that breaks off, an event that is not understood are no success; nor is an error or further work after that event.
Readers see the output as it is; everything that they hand on is masked by the caller, after pieces were joined.
"""

import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from pydantic_core import from_json, to_json

from kubetask_controller.api.constants import Reason
from kubetask_controller.api.text import clean_text
from kubetask_controller.types import JSON
from kubetask_controller.workspace.redaction import Redactor

KEPT_LINES = 200
"""Plain lines at each end of the output that the last words are looked for in."""
KEPT_ERRORS = 50
KEPT_ANSWER = 1024 * 1024
"""Characters of an answer; a result holds far less."""
MAX_COUNT = 2**53
"""Tokens beyond which a number is none: JSON's readers differ there."""
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
_FAILURE = re.compile(
    r"error|fail|abort|interrupt|cancel|refus|reject|denied|exceed|exhaust|fatal|time.?out|crash"
    r"|panic|killed",
    re.IGNORECASE,
)
"""In the name of an event, or in its status: it is about a failure, whatever the version."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_EVENT = re.compile(r'\{\s*"')
_NO_EVENT_AFTER = "=:\"'`([,\\"
"""What stands before an object that is quoted, and not an event of its own."""
_WORDS = re.compile(r'"(?:message|error|msg|detail|reason|text)"\s*:\s*"((?:[^"\\]|\\.)+)')
_MAX_BROKEN = 16
"""Objects without an end that are looked at in one line."""
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
        exact: the tool itself reports when it sends the next request. Other times are those of the model's answer.
    """

    text: str
    limited: bool
    seconds: float | None = None
    exact: bool = False


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
        """Take a line; what of it the log shows, line by line."""
        if text := clean_text(line).strip():
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
        self.errors: deque[str] = deque(maxlen=KEPT_ERRORS)
        self.read = 0
        self.written = 0
        self.answered = False
        """What the tool printed last of its work are words of the model."""
        self._spoiled = False
        """An error came after the event of a success."""
        self._text = ""
        """An incomplete line."""
        self._stream: object = None
        self._answer: list[str] = []
        self._length = 0

    @property
    def summary(self) -> str:
        """The model's last answer."""
        return "".join(self._answer)

    @summary.setter
    def summary(self, text: str) -> None:
        self._answer, self._length = [text[:KEPT_ANSWER]], len(text)

    def feed(self, line: str) -> list[str]:
        """Take a line; what of it the log shows."""
        shown: list[str] = []
        for part in parts_of(line):
            if isinstance(part, str):
                # It may come in the middle of an answer, whose pieces stay together.
                shown += self.plain(clean_text(part))
                if _EVENT.match(part.lstrip()):
                    self._lost(part)
                continue
            try:
                found = self.event(_in_snake_case(part))
            except (AttributeError, TypeError, ValueError, KeyError, RecursionError):
                found = self._lost(json.dumps(part, default=str))
            shown += [x for x in found if x.strip()]
        return shown

    def plain(self, line: str) -> list[str]:
        """Process a line that is not an event; returns the lines for the log."""
        return super().feed(line)

    def event(self, event: JSON) -> list[str]:
        """Take an event, its names in snake case; what of it the log shows."""
        raise NotImplementedError

    def unknown(self, event: JSON) -> list[str]:
        """Take an event of a kind that is not known; what of it the log shows."""
        kind = f"{event.get('type')} {event.get('subtype') or ''}".strip()
        if not _FAILURE.search(kind):
            return []
        self.answered = False
        return self.error(error_message(event) or f"{self.tool} ended with {kind}")

    def unread(self, text: str) -> None:
        """An event could not be read: what came before it is not the last of the agent's work."""
        self.answered = False

    def _lost(self, text: str) -> list[str]:
        self.unread(text)
        if not _FAILURE.search(text[:KEPT_ANSWER]):
            return []
        said = _WORDS.search(text[:KEPT_ANSWER])
        return self.error(error_message(said[1]) if said else "")

    def ended_well(self) -> None:
        """The event of a success came: errors before it were overcome."""
        self._spoiled = False

    def succeeded(self) -> bool:
        """Whether the tool ended with an event that reports success."""
        raise NotImplementedError

    def stream(self, text: str, source: object) -> list[str]:
        """Take a piece of text of the answer `source`; the lines that are whole now."""
        before: list[str] = []
        if not text:
            return before
        if source != self._stream:
            before = self.flush()
            self._stream, self.summary = source, ""
        self.answered = self.answered or bool(clean_text(text).strip())
        if self._length < KEPT_ANSWER:
            self._answer.append(text)
            self._length += len(text)
        *whole, rest = text.split("\n")
        if whole:
            whole[0], self._text = self._text + whole[0], ""
        if len(self._text) < MAX_PLAIN:
            self._text += rest
        return [*before, *whole]

    def answer(self, text: str) -> list[str]:
        """Process a complete answer; returns its lines."""
        before = self.flush()
        self.summary = text
        self.answered = bool(clean_text(text).strip())
        return [*before, *text.splitlines()]

    def flush(self) -> list[str]:
        """Return the incomplete line, and start a new answer."""
        text, self._text, self._stream = self._text, "", None
        return [text] if text.strip() else []

    def call(self, name: object, parameters: object) -> list[str]:
        """Record a use of a tool; returns the lines for the log."""
        shown = tool_line(name, parameters)
        self.activity = shown
        self.answered = False
        return [*self.flush(), shown]

    def error(self, text: str) -> list[str]:
        """Record an error; returns the lines for the log."""
        before = self.flush()
        self._spoiled = True
        if not text:
            return before
        if self.errors and self.errors[-1] == text:
            return before
        self.errors.append(text)
        return [*before, *f"error: {text}".splitlines()]

    def waits(self, wait: Wait) -> list[str]:
        """Record a wait of the tool; returns the lines for the log."""
        self.wait = wait
        return [*self.flush(), f"waiting: {wait.text}"]

    def report(self) -> AgentReport:
        """The report at the end."""
        if self.succeeded() and not self._spoiled and self.summary.strip():
            return AgentReport(self.summary.strip(), self._usage())
        said = False
        if self.errors:
            summary = self.errors[-1]
        elif self.wait is not None:
            summary = self.wait.text
        elif self.summary:
            last = self.error_line() if _ERROR_LINE.search(self.error_line()) else self.summary
            summary = f"{self.tool} ended without the event of a success after: {last}"
            # What a model says about limits is no limit.
            said = last is self.summary
        else:
            summary = self.error_line() or f"{self.tool} ended without an answer"
        told = list(self.errors)[-3:] or ([] if said else [summary])
        found = self.reason() or known_reason(*told)
        if found is None and self.wait is not None and self.wait.limited:
            found = Reason.RATE_LIMITED
        # A status shows one line of it.
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


def parts_of(line: str) -> list[str | JSON]:
    """The events in a line, and what else stands in it.

    A line is one event as a rule. Where a program that prints to the same place did not end its line, an event follows in
    it; and where a tool lost a line feed, another event. An object in a line of a log is not an event.
    """
    text = line.strip("\ufeff \t\r")
    if not text.startswith("{"):
        text = clean_text(text)
    if text.startswith("{"):
        try:
            value = from_json(text)
        except ValueError:
            value = None
        if isinstance(value, dict):
            return [value]
    if '"type"' not in text:
        return [line]
    found: list[str | JSON] = []
    text, done, broken, decoder = clean_text(text), 0, 0, json.JSONDecoder(strict=False)
    for match in _EVENT.finditer(text):
        start = match.start()
        if start < done or text[:start].rstrip()[-1:] in tuple(_NO_EVENT_AFTER):
            continue
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            broken += 1
            if broken == _MAX_BROKEN:
                break
            continue
        if not isinstance(value.get("type"), str):
            continue
        if before := text[done:start].strip():
            found.append(before)
        found.append(value)
        done = end
    if not found:
        return [line]
    rest = text[done:].strip()
    return [*found, rest] if rest else found


def _in_snake_case(value: JSON, depth: int = 3) -> JSON:
    """An event with its names as most versions have them; a name that is there in both ways stays."""
    found: JSON = {}
    for key, inner in value.items():
        name = _CAMEL.sub("_", key).lower() if _CAMEL.search(key) else key
        if isinstance(inner, dict) and depth > 1:
            inner = _in_snake_case(inner, depth - 1)
        elif isinstance(inner, list) and depth > 1 and len(inner) < KEPT_LINES:
            inner = [_in_snake_case(x, depth - 1) if isinstance(x, dict) else x for x in inner]
        found[key if name in value else name] = inner
    return found


def says_failure(event: JSON) -> bool:
    """Whether the last event of the work reports a failure, in any field."""
    if event.get("error") or event.get("errors") or event.get("is_error"):
        return True
    if event.get("success") is False or event.get("ok") is False:
        return True
    states = (event.get(x) for x in ("status", "state", "outcome", "subtype"))
    return any(isinstance(x, str) and _FAILURE.search(x) is not None for x in states)


def said_failure(event: JSON, otherwise: str) -> str:
    """The message of an event that reports a failure."""
    keys = ("error", "errors", "message")
    return next((x for k in keys if (x := error_message(event.get(k)))), otherwise)


def words(value: Any) -> str:
    """A text, or the texts in a list of parts; empty for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return words(value.get("text"))
    return "".join(map(words, value)) if isinstance(value, list) else ""


def fields(value: Any) -> JSON:
    """An object, empty for anything else."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[JSON]:
    """The objects of a list, none for anything else."""
    return [x for x in value if isinstance(x, dict)] if isinstance(value, list) else []


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


def error_message(value: Any, depth: int = 12) -> str:
    """What an error says, whatever its shape: a text, an object with a message, or such an object as text."""
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
    """A number of tokens, 0 for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 17:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return value if 0 < value <= MAX_COUNT else 0


def cost_amount(value: Any) -> Decimal | None:
    """A cost, rounded to the precision of the status; None for invalid values."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
        if not number.is_finite() or not 0 <= number < 10**9:
            return None
        return number.quantize(Decimal(1).scaleb(-MAX_COST_DIGITS))
    except (InvalidOperation, ValueError):
        return None


def decimal_text(value: Decimal) -> str:
    """A cost in the format of the status: without exponent and trailing zeros."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
