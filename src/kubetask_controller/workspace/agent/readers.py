"""Readers of the events of the supported agents: text for the log, tokens, cost, errors and success.

They support the versions in hack/agents and older ones; docs/agents.md lists the output of each agent in each case.
"""

import re
from decimal import Decimal
from typing import Any

from kubetask_controller.api.constants import Reason
from kubetask_controller.types import JSON
from kubetask_controller.workspace.agent.report import (
    EventReader,
    Wait,
    cost_amount,
    error_message,
    fields,
    items,
    known_reason,
    said_failure,
    says_failure,
    token_count,
    words,
)

_SECONDS = re.compile(r"\b(?:in|for|after) (\d+(?:\.\d+)?) ?(ms|s)\b")


class ClaudeReader(EventReader):
    """``claude -p --output-format stream-json --verbose``. Background tasks add results; all must succeed."""

    tool = "claude"
    _WRONG = re.compile(
        r"^(API Error: |Claude Code is unable to respond|Credit balance is too low$|Prompt is too long$"
        r"|Invalid API key ·|Not logged in ·|(Claude )?(AI )?[Uu]sage limit reached\b"
        r"|Failed to authenticate\. )"
    )
    """A result that begins so is none, whatever a version calls it: the tool wrote it, and no model."""

    def __init__(self) -> None:
        super().__init__()
        self._results: list[bool] = []
        self._open = False
        """Work came after the last result."""
        self._failing = False
        """The last message says that the model answered with an error."""
        self._reason: Reason | None = None
        self._running: dict[str, str] = {}
        self._unfinished: dict[str, str] = {}
        self._messages: dict[str, JSON] = {}

    def event(self, event: JSON) -> list[str]:
        """assistant (text, tool_use), system (init, api_retry, tasks in the background), result."""
        kind = event.get("type")
        if kind == "system":
            return self._system(str(event.get("subtype")), event)
        if kind == "result" or (kind is None and "result" in event):
            return self._result(event)
        self.wait = None
        if kind == "assistant":
            return self._assistant(event)
        if kind == "user":
            self.activity = "the model"
            self._open = self._open or not event.get("parent_tool_use_id")
            return []
        if kind == "error":
            return self.error(
                error_message(event.get("error") or event) or "claude ended with error"
            )
        return self.unknown(event)

    def unread(self, text: str) -> None:
        """A result that cannot be read may be a bad one, and another event is work after the last result."""
        super().unread(text)
        self._open = True
        if re.search(r'"type"\s*:\s*"result"', text):
            self._results.append(False)
            self.error("claude printed a result that cannot be read")

    def _assistant(self, event: JSON) -> list[str]:
        message = fields(event.get("message"))
        name, own = str(message.get("id")), not event.get("parent_tool_use_id")
        if own:
            # The tool writes such a message itself.
            self._failing = bool(event.get("is_api_error_message"))
        self._open = self._open or own
        if name not in self._messages and own:
            self.turns += 1
        self._messages[name] = fields(message.get("usage"))
        shown: list[str] = []
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else items(content)
        for part in parts:
            if part.get("type") == "text":
                text, before, answered = words(part.get("text")), self.summary, self.answered
                shown += self.answer(text)
                if not own:
                    self.summary, self.answered = before, answered
            elif part.get("type") == "tool_use":
                answered = self.answered
                shown += self.call(part.get("name"), part.get("input"))
                self.answered = self.answered if own else answered
        return shown

    def _system(self, subtype: str, event: JSON) -> list[str]:
        if subtype == "init":
            bad = [
                x
                for x in items(event.get("mcp_servers"))
                if x.get("status") not in ("connected", "pending")
            ]
            return [f"MCP server {x.get('name')} is not available: {x.get('status')}" for x in bad]
        if subtype == "api_retry":
            status, error = event.get("error_status"), event.get("error")
            delay = token_count(event.get("retry_delay_ms")) / 1000
            tries = f"retry {event.get('attempt')} of {event.get('max_retries')}"
            limited = status in (402, 429, 503, 529) or known_reason(str(error)) is not None
            text = f"the model answers {status} {error}; {tries} in {delay:.0f} s"
            return self.waits(Wait(text, limited, delay, exact=True))
        task = str(event.get("task_id"))
        name = str(event.get("description") or event.get("summary") or task)
        if subtype == "task_started" and event.get("is_backgrounded"):
            self._running[task] = name
        if subtype == "background_tasks_changed":
            tasks = items(event.get("tasks"))
            self._running |= {str(x.get("task_id")): str(x.get("description")) for x in tasks}
        status = event.get("status") or fields(event.get("patch")).get("status")
        going = (None, "running", "pending", "paused")
        if subtype in ("task_updated", "task_notification") and status not in going:
            ran = self._running.pop(task, None)
            # The agent ends its own servers and watchers. After a result, its end cut the work off.
            if ran and status in ("killed", "stopped") and self._results and not self._open:
                self._unfinished.setdefault(task, f"{ran} ({status})")
        return []

    def _result(self, event: JSON) -> list[str]:
        self.wait, self.activity = None, "work in the background"
        self._count(event)
        text, subtype = words(event.get("result")), str(event.get("subtype"))
        stop, end = event.get("stop_reason"), event.get("terminal_reason")
        status = event.get("api_error_status")
        good = (
            subtype == "success"
            and event.get("is_error") is False
            and not says_failure(event)
            and stop in (None, "end_turn", "stop_sequence", "tool_use")
            and end in (None, "completed")
            and not status
            and not self._failing
            and not self._WRONG.match(text)
        )
        self._results.append(good)
        self._open = False
        if good:
            shown = self.answer(text) if text and text != self.summary else []
            self.ended_well()
            if not text.strip() and not self.answered:
                self._results[-1] = False
                return [*shown, *self.error("claude ended without an answer")]
            return shown
        if subtype == "error_max_turns" or end == "max_turns":
            self._reason = Reason.MAX_TURNS_EXCEEDED
        elif subtype == "error_max_budget_usd" or end == "budget_exhausted":
            self._reason = Reason.BUDGET_EXCEEDED
        elif stop == "refusal":
            self._reason = Reason.REFUSED
        elif status in (402, 429, 503, 529):
            self._reason = Reason.RATE_LIMITED
        errors = event.get("errors")
        told = [text, *map(error_message, errors if isinstance(errors, list) else [errors])]
        told = [x for x in (*told, error_message(event.get("error"))) if x]
        return self.error(
            ": ".join(dict.fromkeys(told))
            or f"claude ended with {subtype}: {stop or end or 'no reason'}"
        )

    def _count(self, event: JSON) -> None:
        models = [x for x in fields(event.get("model_usage")).values() if isinstance(x, dict)]
        usage = fields(event.get("usage"))
        # Those of other agents that this one starts are in modelUsage alone, for all turns together.
        read = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        if models:
            self.read = sum(token_count(x.get(k)) for x in models for k in read)
            self.written = sum(token_count(x.get("output_tokens")) for x in models)
        else:
            self.read += _claude_read(usage)
            self.written += token_count(usage.get("output_tokens"))
        cost = cost_amount(event.get("total_cost_usd"))
        cost = cost_amount(event.get("cost_usd")) if cost is None else cost
        self.cost = cost if cost is not None else self.cost

    def succeeded(self) -> bool:
        """Every result is a success and the last of the work, and no work in the background was cut off."""
        good = bool(self._results) and all(self._results) and not self._open
        return good and not self._lost_work()

    def report(self) -> Any:
        """The report at the end."""
        if lost := self._lost_work():
            self.error(f"claude ended before its work in the background: {', '.join(lost)}")
        if not self._results and self._messages:
            self.read = sum(map(_claude_read, self._messages.values()))
            self.written = sum(token_count(x.get("output_tokens")) for x in self._messages.values())
        return super().report()

    def reason(self) -> Reason | None:
        """The reason in the last failed result."""
        return self._reason

    def _lost_work(self) -> list[str]:
        return [*self._running.values(), *self._unfinished.values()]


def _claude_read(usage: JSON) -> int:
    kinds = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    return sum(token_count(usage.get(x)) for x in kinds)


class GeminiReader(EventReader):
    """``gemini --output-format stream-json``, and the one object of ``json``."""

    tool = "gemini"
    _RETRY = re.compile(r"^Attempt \d+ failed|Retrying (after|with backoff)")
    _NOISE = re.compile(
        r"^(Warning: 256-color|YOLO mode is enabled|Ripgrep is not available|\[STARTUP\]"
        r"|\s+at |Loaded cached credentials)"
    )

    def __init__(self) -> None:
        super().__init__()
        self._good = False
        self._stopped = ""

    def plain(self, line: str) -> list[str]:
        """gemini prints failed attempts as plain lines."""
        if self._NOISE.match(line):
            return []
        shown = super().plain(line)
        if self._RETRY.search(line):
            head, _, error = line.strip().partition(" _ApiError: ")
            text = f"{head} {error_message(error)}" if error else head
            return self.waits(Wait(text, _limited(line, default=True), _seconds(line)))
        return shown

    def event(self, event: JSON) -> list[str]:
        """message (in pieces), tool_use, tool_result, error, result (stats)."""
        kind = event.get("type")
        if kind == "message":
            if event.get("role") != "assistant":
                return []
            self.wait, self._stopped, self._good = None, "", False
            text = words(event.get("content"))
            return self.stream(text, "answer") if event.get("delta") else self.answer(text)
        if kind == "tool_use":
            self.wait, self._stopped, self._good = None, "", False
            self.turns += 1
            return self.call(event.get("tool_name"), event.get("parameters"))
        if kind == "tool_result":
            self.activity, self.answered = "the model", False
            return self.flush()
        if kind == "error":
            text = error_message(event) or "gemini ended with an error"
            if event.get("severity") != "warning" or re.search(
                r"loop|stopp|exceed|limit", text, re.IGNORECASE
            ):
                self._stopped = text
                return self.error(text)
            return [*self.flush(), f"warning: {text}"]
        if kind == "result" or (kind is None and ("stats" in event or "response" in event)):
            return self._result(event)
        return [] if kind == "init" else self.unknown(event)

    def _result(self, event: JSON) -> list[str]:
        stats = fields(event.get("stats"))
        self.read, self.written = (
            token_count(stats.get("input_tokens")),
            token_count(stats.get("output_tokens")),
        )
        for model in items(list(fields(stats.get("models")).values())) if not self.read else ():
            tokens = fields(model.get("tokens"))
            self.read += token_count(tokens.get("prompt"))
            self.written += token_count(tokens.get("candidates")) + token_count(
                tokens.get("thoughts")
            )
        self.wait = None
        shown = self.flush()
        if response := words(event.get("response")):
            self.summary, self.answered = response, True
        error = event.get("error")
        status = event.get("status") or ("success" if "response" in event else "")
        self._good = status == "success" and not says_failure(event) and not self._stopped
        if error or says_failure(event):
            before = self.errors[-1] if self.errors else f"gemini ended with status {status}"
            text = said_failure(event, before)
            text = re.sub(r"^\[API Error: (.*?)\](?=\s|$)", r"\1", text, flags=re.DOTALL)
            return [*shown, *self.error(text)]
        if self._good and not self.answered:
            self._good = False
            return [*shown, *self.error("gemini ended without an answer")]
        if self._good:
            self.ended_well()
        elif not self.errors:
            return [*shown, *self.error(f"gemini ended with status {status or 'unknown'}")]
        return shown

    def unread(self, text: str) -> None:
        """An event that cannot be read may be work after the result."""
        super().unread(text)
        self._good = False

    def succeeded(self) -> bool:
        """The result says so, the model's words are the last of the work, and nothing stopped the agent before."""
        return self._good


class CodexReader(EventReader):
    """``codex exec --json``. If the model refuses or returns nothing, the turn has no final message."""

    tool = "codex"
    _RETRY = re.compile(r"^Reconnecting|retrying sampling request|stream disconnected - retrying")

    def __init__(self) -> None:
        super().__init__()
        self._completed = False

    def plain(self, line: str) -> list[str]:
        """The log contains the time of the next try; see RUST_LOG in the preset."""
        shown = super().plain(line)
        if "retrying sampling request" in line:
            text = re.sub(r"^.*retrying sampling request", "retrying", line).strip()
            return self.waits(Wait(text, _limited(line), _seconds(line)))
        return shown

    def event(self, event: JSON) -> list[str]:
        """item.started, item.updated and item.completed, turn.completed (usage), turn.failed, error."""
        kind, item = str(event.get("type")), fields(event.get("item"))
        if kind == "error":
            text = error_message(event) or "codex ended with an error"
            if self._RETRY.match(text):
                seconds = self.wait.seconds if self.wait else None
                return self.waits(Wait(text, _limited(text), seconds))
            return self.error(text)
        if kind.startswith("item.") and item.get("type") != "error":
            self.wait, self._completed = None, False
        if kind == "item.started":
            self.answered = False
            return self._started(item)
        if kind == "item.completed":
            return self._item(item)
        if kind == "turn.completed":
            return self._turn(event)
        if kind == "turn.started":
            self._completed, self.answered = False, False
            return []
        if kind == "turn.failed":
            self._completed = False
            return self.error(said_failure(event, "codex ended with turn.failed"))
        return self.unknown(event)

    def _turn(self, event: JSON) -> list[str]:
        usage = fields(event.get("usage"))
        self.read += token_count(usage.get("input_tokens"))
        self.written += token_count(usage.get("output_tokens"))
        turn = fields(event.get("turn"))
        self._completed = not says_failure(event) and not says_failure(turn)
        if self._completed and self.answered:
            self.ended_well()
            return []
        if self._completed:
            return self.error("codex ended its turn without an answer; the model may have refused")
        said = said_failure(turn, "codex ended its turn without success")
        return self.error(said_failure(event, said))

    def _started(self, item: JSON) -> list[str]:
        kind = item.get("type")
        if kind == "command_execution":
            return self.call("shell", {"command": words(item.get("command"))})
        if kind == "mcp_tool_call":
            return self.call(f"{item.get('server')}.{item.get('tool')}", item.get("arguments"))
        if kind == "web_search":
            return self.call("web_search", {"url": words(item.get("query"))})
        return []

    def _item(self, item: JSON) -> list[str]:
        kind = item.get("type")
        if kind == "agent_message":
            return self.answer(words(item.get("text")))
        if kind == "error":
            # This includes warnings; turn.failed reports a failure of the turn.
            return [f"warning: {error_message(item)}"]
        if kind in ("reasoning", "todo_list"):
            return []
        self.answered, self.activity = False, "the model"
        self.turns += 1
        if kind == "file_change":
            return [f"{x.get('kind')} {x.get('path')}" for x in items(item.get("changes"))]
        return []

    def succeeded(self) -> bool:
        """The turn is completed, and the agent's message is the last of its work."""
        return self._completed and self.answered


class OpenCodeReader(EventReader):
    """``opencode run --format json``. It ends with exit code 0 after most failures."""

    tool = "opencode"

    def __init__(self) -> None:
        super().__init__()
        # opencode prints the use of a tool after it has ended.
        self.activity = "the model, or a command of its"
        self._end = ""
        self._failed = False

    def plain(self, line: str) -> list[str]:
        """Only the log contains errors of the model that are retried; see OPENCODE_PRINT_LOGS in the preset."""
        shown = super().plain(line)
        if 'message="stream error"' in line:
            if "small=true" in line:
                return []
            found = re.search(r'error\.error="(.*?)"(?: \w+=|$)', line)
            text = found[1] if found else line.strip()
            return self.waits(Wait(text, _limited(text), _seconds(line)))
        return [] if re.match(r"timestamp=\S+ level=", line) else shown

    def event(self, event: JSON) -> list[str]:
        """step_start, text, tool_use, step_finish (reason, tokens, cost), error."""
        kind, part = event.get("type"), fields(event.get("part"))
        if kind == "error":
            self._failed = True
            return self.error(said_failure(event, "opencode ended with an error"))
        self.wait = None
        if kind == "step_start":
            self.turns += 1
            self._end, self.answered = "", False
            return self.flush()
        if kind == "text":
            self._end = ""
            return self.answer(words(part.get("text")))
        if kind == "tool_use":
            self._end = ""
            state = fields(part.get("state"))
            activity = self.activity
            shown = self.call(part.get("tool"), state.get("input"))
            self.activity = activity
            if state.get("status") == "error":
                shown += [f"[{part.get('tool')}] failed: {error_message(state.get('error'))}"]
            return shown
        if kind == "step_finish":
            return self._finish(part)
        return self.unknown(event)

    def unread(self, text: str) -> None:
        """A step whose end cannot be read has not ended."""
        super().unread(text)
        self._end = ""

    def _finish(self, part: JSON) -> list[str]:
        tokens = fields(part.get("tokens"))
        cache = fields(tokens.get("cache"))
        self.read += sum(
            map(token_count, (tokens.get("input"), cache.get("read"), cache.get("write")))
        )
        self.written += token_count(tokens.get("output")) + token_count(tokens.get("reasoning"))
        cost = cost_amount(part.get("cost"))
        if cost is not None:
            self.cost = (self.cost or Decimal(0)) + cost
        self._end = words(part.get("reason"))
        if says_failure(part):
            self._failed = True
            return self.error(said_failure(part, "opencode ended with an error"))
        if self._end == "stop":
            self.ended_well()
        return self.flush()

    def succeeded(self) -> bool:
        """The last step is the end of the work, with an answer, and no error came."""
        return self._end == "stop" and self.answered and not self._failed

    def report(self) -> Any:
        """The report at the end."""
        if not self.succeeded() and not self.errors and self._end:
            self.error(
                {
                    "stop": "opencode ended without an answer; the model may have refused",
                    "length": "opencode ended in the middle of an answer: the model's output limit",
                    "tool-calls": "opencode ended in the middle of its work, after a tool was not"
                    " allowed",
                }.get(self._end, f"opencode ended its work with {self._end}")
            )
        return super().report()

    def reason(self) -> Reason | None:
        """A step that a filter ended."""
        return Reason.REFUSED if re.search(r"content.?filter|safety", self._end) else None


class GooseReader(EventReader):
    """``goose run --output-format stream-json``.

    It ends with exit code 0 after most failures, and reports them in ordinary messages. Messages of the model have
    `inference` in their metadata; in versions without it, the text identifies goose's own messages.
    """

    tool = "goose"
    _OWN = re.compile(
        r"^(Ran into this error|The model returned an empty response|I've reached the maximum"
        r"|The provider refused|Context limit|Tool calls? (limit|repetition)|.{0,40}(insufficient"
        r"|out of) credits|Please retry if you think|Request failed|Error:)",
        re.IGNORECASE,
    )
    _GENERATED = re.compile(r"^msg_[0-9a-f]{8}-[0-9a-f]{4}-")

    def __init__(self) -> None:
        super().__init__()
        self._complete = False
        self._inferred = False
        self._own = ""
        """The last message, where it is goose's own."""
        self._silent = False

    def plain(self, line: str) -> list[str]:
        """goose prints failures of extensions as plain lines; the banner is skipped."""
        return [] if re.match(r"^\s*(__\( O\)>|\\____\)|L L\b)", line) else super().plain(line)

    def log(self, line: str) -> list[str]:
        """Only goose's log file contains the retries of a provider."""
        if "goose_provider_types::retry" not in line and "Backing off for" not in line:
            return []
        found = re.search(
            r'"message":"(Request failed, retrying.*?|Backing off for .*?)"[},]', line
        )
        text = found[1].replace('\\"', "") if found else line
        limited = _limited(text) or bool(self.wait and self.wait.limited)
        if not text.startswith("Backing off"):
            self.wait = Wait(text, limited, _seconds(text))
            return []
        before = self.wait.text if self.wait else ""
        return self.waits(Wait(f"{text}: {before}" if before else text, limited, _seconds(text)))

    def event(self, event: JSON) -> list[str]:
        """message (text in pieces, toolRequest, error, systemNotification), error, complete (tokens, cost)."""
        kind = event.get("type")
        if kind == "message":
            message = fields(event.get("message"))
            self.wait, self._complete = None, False
            if message.get("role") != "assistant":
                self.activity, self.answered = "the model", False
                return self.flush()
            content = message.get("content")
            text = [{"type": "text", "text": content}] if isinstance(content, str) else content
            return [y for x in items(text) for y in self._part(x, message)]
        if kind == "error":
            self._own = error_message(event.get("error") or event) or "goose ended with an error"
            return self.error(self._own)
        if kind == "complete":
            return self._end(event)
        return self.unknown(event)

    def _end(self, event: JSON) -> list[str]:
        self.read = token_count(event.get("input_tokens"))
        self.written = token_count(event.get("output_tokens"))
        total = event.get("total_tokens")
        self.read = self.read or max(0, token_count(total) - self.written)
        self._silent = total == 0
        self.cost = cost_amount(event.get("cost_usd"))
        self._complete = not says_failure(event)
        if not self._complete:
            self._own = said_failure(event, "goose ended with an error")
            return self.error(self._own)
        if self.answered and not self._own:
            self.ended_well()
        return self.flush()

    def _part(self, part: JSON, message: JSON) -> list[str]:
        kind, name = part.get("type"), str(message.get("id") or "")
        inferred = bool(fields(message.get("metadata")).get("inference"))
        self._inferred = self._inferred or inferred
        if kind == "text":
            text = words(part.get("text"))
            own = not inferred and (
                bool(self._OWN.match(text))
                or (self._inferred and bool(self._GENERATED.match(name)))
                or (self._inferred and not name)
            )
            if own:
                self._own, self.answered = text, False
                return self.error(_goose_message(text))
            self._own = ""
            return self.stream(text, name or message.get("created"))
        if kind in ("toolRequest", "tool_request"):
            call = fields(part.get("tool_call"))
            value = fields(call.get("value"))
            self._own = ""
            self.turns += 1
            return self.call(value.get("name"), value.get("arguments"))
        if kind == "error":
            self._own = error_message(part) or "goose ended with an error"
            return self.error(_goose_message(self._own))
        if kind in ("systemNotification", "system_notification"):
            text, sort = error_message(part), str(part.get("notification_type"))
            if sort in ("inlineMessage", "progressMessage", "thinkingMessage"):
                return [*self.flush(), text]
            self._own = text or sort
            return self.error(f"{text or sort} ({sort})")
        found = self.unknown(part)
        if found:
            self._own = error_message(part) or str(kind)
        return found

    def succeeded(self) -> bool:
        """It is complete, and the model's words are the last of its work."""
        return self._complete and self.answered and not self._own and not self._silent


def _goose_message(text: str) -> str:
    return text.split("\n\nPlease retry if you think", 1)[0].split("\n\nPlease start a new", 1)[0]


def _limited(text: str, *, default: bool = False) -> bool:
    if re.search(r"status 5(00|02|04)|\b500\b", text):
        return False
    found = known_reason(text)
    return default if found is None else found is Reason.RATE_LIMITED


def _seconds(text: str) -> float | None:
    found = _SECONDS.findall(text)
    return max((float(x) / (1000 if unit == "ms" else 1) for x, unit in found), default=None)
