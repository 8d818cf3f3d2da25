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
    known_reason,
    token_count,
)

_SECONDS = re.compile(r"\b(?:in|for|after) (\d+(?:\.\d+)?) ?(ms|s)\b")


class ClaudeReader(EventReader):
    """``claude -p --output-format stream-json --verbose``. Background tasks add results; all must succeed."""

    tool = "claude"

    def __init__(self) -> None:
        super().__init__()
        self._results: list[bool] = []
        self._reason: Reason | None = None
        self._running: dict[str, str] = {}
        self._unfinished: dict[str, str] = {}
        self._messages: dict[str, JSON] = {}

    def event(self, event: JSON) -> list[str]:
        """assistant (text, tool_use), system (init, api_retry, tasks in the background), result."""
        kind = event.get("type")
        if kind == "system":
            return self._system(str(event.get("subtype")), event)
        if kind == "result" or "result" in event:
            return self._result(event)
        self.wait = None
        if kind == "assistant":
            return self._assistant(event)
        if kind == "user":
            self.activity = "the model"
            return []
        if kind == "error":
            return self.error(error_message(event.get("error") or event))
        return []

    def _assistant(self, event: JSON) -> list[str]:
        message = event["message"]
        name = str(message.get("id"))
        if name not in self._messages and not event.get("parent_tool_use_id"):
            self.turns += 1
        self._messages[name] = message.get("usage") or {}
        own = not event.get("parent_tool_use_id")
        shown: list[str] = []
        for part in message.get("content") or ():
            if part.get("type") == "text":
                text, before = str(part.get("text") or ""), self.summary
                shown += self.answer(text)
                if not own:
                    self.summary = before
            elif part.get("type") == "tool_use":
                shown += self.call(part.get("name"), part.get("input"))
        return shown

    def _system(self, subtype: str, event: JSON) -> list[str]:
        if subtype == "init":
            servers = event.get("mcp_servers") or ()
            bad = [x for x in servers if x.get("status") not in ("connected", "pending")]
            return [f"MCP server {x.get('name')} is not available: {x.get('status')}" for x in bad]
        if subtype == "api_retry":
            status, error = event.get("error_status"), event.get("error")
            delay = token_count(event.get("retry_delay_ms")) / 1000
            tries = f"retry {event.get('attempt')} of {event.get('max_retries')}"
            limited = status in (402, 429, 503, 529) or known_reason(str(error)) is not None
            text = f"the model answers {status} {error}; {tries} in {delay:.0f} s"
            return self.waits(Wait(text, limited, delay))
        task = str(event.get("task_id"))
        name = str(event.get("description") or event.get("summary") or task)
        if subtype == "task_started" and event.get("is_backgrounded"):
            self._running[task] = name
        if subtype == "background_tasks_changed":
            tasks = event.get("tasks") or ()
            self._running |= {str(x.get("task_id")): str(x.get("description")) for x in tasks}
        status = event.get("status") or (event.get("patch") or {}).get("status")
        if subtype in ("task_updated", "task_notification") and status not in (None, "running"):
            name = self._running.pop(task, name)
            if status != "completed":
                self._unfinished.setdefault(task, f"{name} ({status})")
        return []

    def _result(self, event: JSON) -> list[str]:
        self.wait, self.activity = None, "work in the background"
        self._count(event)
        text, subtype = str(event.get("result") or ""), str(event.get("subtype"))
        stop, end = event.get("stop_reason"), event.get("terminal_reason")
        good = (
            subtype == "success"
            and event.get("is_error") is False
            and stop not in ("refusal", "max_tokens", "model_context_window_exceeded")
            and end in (None, "completed")
        )
        self._results.append(good)
        if good:
            shown = self.answer(text) if text and text != self.summary else []
            self.summary = text or self.summary
            return shown
        status = event.get("api_error_status")
        if subtype == "error_max_turns" or end == "max_turns":
            self._reason = Reason.MAX_TURNS_EXCEEDED
        elif subtype == "error_max_budget_usd" or end == "budget_exhausted":
            self._reason = Reason.BUDGET_EXCEEDED
        elif stop == "refusal":
            self._reason = Reason.REFUSED
        elif status in (402, 429, 503, 529):
            self._reason = Reason.RATE_LIMITED
        texts = [text, *map(str, event.get("errors") or ())]
        message = ": ".join(x for x in texts if x)
        return self.error(message or f"claude ended with {subtype}: {stop or end or 'no reason'}")

    def _count(self, event: JSON) -> None:
        models = [x for x in (event.get("modelUsage") or {}).values() if isinstance(x, dict)]
        usage = event.get("usage") or {}
        # Only modelUsage contains the tokens of subagents, as a sum over all turns.
        read = ("inputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
        if models:
            self.read = sum(token_count(x.get(k)) for x in models for k in read)
            self.written = sum(token_count(x.get("outputTokens")) for x in models)
        else:
            self.read += _claude_read(usage)
            self.written += token_count(usage.get("output_tokens"))
        cost = cost_amount(event.get("total_cost_usd"))
        self.cost = cost if cost is not None else self.cost

    def succeeded(self) -> bool:
        """Whether every result is a success and every background task ended."""
        answered = bool(self.summary or self._messages)
        return bool(self._results) and all(self._results) and answered and not self._lost()

    def report(self) -> Any:
        """The report at the end of the output."""
        if lost := self._lost():
            self.error(f"claude ended before its work in the background: {', '.join(lost)}")
        if self._results and all(self._results) and not (self.summary or self._messages):
            self.error("claude ended without an answer")
        if not self._results and self._messages:
            self.read = sum(map(_claude_read, self._messages.values()))
            self.written = sum(token_count(x.get("output_tokens")) for x in self._messages.values())
        return super().report()

    def reason(self) -> Reason | None:
        """The reason in the last failed result."""
        return self._reason

    def _lost(self) -> list[str]:
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
            self.wait, self._stopped = None, ""
            text = str(event.get("content") or "")
            return self.stream(text, "answer") if event.get("delta") else self.answer(text)
        if kind == "tool_use":
            self.wait, self._stopped = None, ""
            self.turns += 1
            return self.call(event.get("tool_name"), event.get("parameters"))
        if kind == "tool_result":
            self.activity = "the model"
            return self.flush()
        if kind == "error":
            text = error_message(event)
            if event.get("severity") != "warning" or re.search(
                r"loop|stopp|exceed|limit", text, re.IGNORECASE
            ):
                self._stopped = text
                return self.error(text)
            return [*self.flush(), f"warning: {text}"]
        if kind == "result" or "stats" in event or "response" in event:
            return self._result(event)
        return []

    def _result(self, event: JSON) -> list[str]:
        stats = event.get("stats") or {}
        self.read, self.written = (
            token_count(stats.get("input_tokens")),
            token_count(stats.get("output_tokens")),
        )
        for model in (stats.get("models") or {}).values() if not self.read else ():
            tokens = model.get("tokens") or {}
            self.read += token_count(tokens.get("prompt"))
            self.written += token_count(tokens.get("candidates")) + token_count(
                tokens.get("thoughts")
            )
        self.wait = None
        shown = self.flush()
        self.summary = str(event.get("response") or self.summary)
        error = event.get("error")
        status = event.get("status") or ("success" if "response" in event else "")
        self._good = status == "success" and not error and not self._stopped
        if error:
            text = error_message(error) or "gemini ended with an error"
            text = re.sub(r"^\[API Error: (.*?)\](?=\s|$)", r"\1", text, flags=re.DOTALL)
            return [*shown, *self.error(text)]
        if not self._good and not self.errors:
            return [*shown, *self.error(f"gemini ended with status {status or 'unknown'}")]
        return shown

    def succeeded(self) -> bool:
        """Whether the result reports success and nothing stopped the agent before."""
        return self._good


class CodexReader(EventReader):
    """``codex exec --json``. If the model refuses or returns nothing, the turn has no final message."""

    tool = "codex"
    _RETRY = re.compile(r"^Reconnecting|retrying sampling request|stream disconnected - retrying")

    def __init__(self) -> None:
        super().__init__()
        self._completed = False
        self._answered = False

    def plain(self, line: str) -> list[str]:
        """The log contains the time of the next try; see RUST_LOG in the preset."""
        shown = super().plain(line)
        if "retrying sampling request" in line:
            text = re.sub(r"^.*retrying sampling request", "retrying", line).strip()
            return self.waits(Wait(text, _limited(line), _seconds(line)))
        return shown

    def event(self, event: JSON) -> list[str]:
        """item.started, item.updated and item.completed, turn.completed (usage), turn.failed, error."""
        kind, item = str(event.get("type")), event.get("item") or {}
        if kind == "error":
            text = error_message(event)
            if self._RETRY.match(text):
                seconds = self.wait.seconds if self.wait else None
                return self.waits(Wait(text, _limited(text), seconds))
            return self.error(text)
        if kind.startswith("item.") and item.get("type") != "error":
            self.wait = None
        if kind == "item.started":
            self._answered = False
            return self._started(item)
        if kind == "item.completed":
            return self._item(item)
        if kind == "turn.completed":
            usage = event.get("usage") or {}
            self.read += token_count(usage.get("input_tokens"))
            self.written += token_count(usage.get("output_tokens"))
            self._completed = True
        if kind == "turn.started":
            self._completed, self._answered = False, False
        if kind == "turn.failed":
            self._completed = False
            return self.error(error_message(event.get("error")) or "codex ended with turn.failed")
        return []

    def _started(self, item: JSON) -> list[str]:
        kind = item.get("type")
        if kind == "command_execution":
            return self.call("shell", {"command": str(item.get("command"))})
        if kind == "mcp_tool_call":
            return self.call(f"{item.get('server')}.{item.get('tool')}", item.get("arguments"))
        if kind == "web_search":
            return self.call("web_search", {"url": str(item.get("query"))})
        return []

    def _item(self, item: JSON) -> list[str]:
        kind = item.get("type")
        if kind == "agent_message":
            text = str(item.get("text") or "")
            self._answered = bool(text.strip())
            return self.answer(text)
        if kind == "error":
            # This includes warnings; turn.failed reports a failure of the turn.
            return [f"warning: {error_message(item)}"]
        if kind in ("reasoning", "todo_list"):
            return []
        self._answered, self.activity = False, "the model"
        self.turns += 1
        if kind == "file_change":
            return [f"{x.get('kind')} {x.get('path')}" for x in item.get("changes") or ()]
        return []

    def succeeded(self) -> bool:
        """Whether the turn is completed and its last item is the agent's message."""
        return self._completed and self._answered

    def report(self) -> Any:
        """The report at the end of the output."""
        if self._completed and not self._answered and not self.errors:
            self.error("codex ended its turn without an answer; the model may have refused")
        return super().report()


class OpenCodeReader(EventReader):
    """``opencode run --format json``. It ends with exit code 0 after most failures."""

    tool = "opencode"

    def __init__(self) -> None:
        super().__init__()
        # opencode prints the use of a tool after it has ended.
        self.activity = "the model, or a command of its"
        self._end = ""
        self._answered = False
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
        kind, part = event.get("type"), event.get("part") or {}
        if kind == "error":
            self._failed = True
            error = event.get("error") or {}
            return self.error(error_message(error) or "opencode ended with an error")
        self.wait = None
        if kind == "step_start":
            self.turns += 1
            self._end, self._answered = "", False
        if kind == "text":
            text = str(part.get("text") or "")
            self._answered = bool(text.strip())
            return self.answer(text)
        if kind == "tool_use":
            state = part.get("state") or {}
            activity = self.activity
            shown = self.call(part.get("tool"), state.get("input"))
            self.activity = activity
            if state.get("status") == "error":
                shown += [f"[{part.get('tool')}] failed: {error_message(state.get('error'))}"]
            return shown
        if kind == "step_finish":
            return self._finish(part)
        return []

    def _finish(self, part: JSON) -> list[str]:
        tokens = part.get("tokens") or {}
        cache = tokens.get("cache") or {}
        self.read += sum(
            map(token_count, (tokens.get("input"), cache.get("read"), cache.get("write")))
        )
        self.written += token_count(tokens.get("output")) + token_count(tokens.get("reasoning"))
        cost = cost_amount(part.get("cost"))
        if cost is not None:
            self.cost = (self.cost or Decimal(0)) + cost
        self._end = str(part.get("reason") or "")
        return self.flush()

    def succeeded(self) -> bool:
        """Whether the last step ended the work with an answer and without an error."""
        return self._end == "stop" and self._answered and not self._failed

    def report(self) -> Any:
        """The report at the end of the output."""
        if not self.succeeded() and not self.errors:
            if self._end == "stop":
                self.error("opencode ended without an answer; the model may have refused")
            elif self._end == "length":
                self.error("opencode ended in the middle of an answer: the model's output limit")
            elif self._end == "tool-calls":
                self.error("opencode ended in the middle of its work, after a tool was not allowed")
        return super().report()


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
        """The last message, if goose created it."""
        self._answered = False
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
            message = event.get("message") or {}
            self.wait = None
            if message.get("role") != "assistant":
                self.activity = "the model"
                return self.flush()
            return [y for x in message.get("content") or () for y in self._part(x, message)]
        if kind == "error":
            self._own = error_message(event.get("error") or event)
            return self.error(self._own)
        if kind == "complete":
            self._complete = True
            self.read = token_count(event.get("input_tokens"))
            self.written = token_count(event.get("output_tokens"))
            total = event.get("total_tokens")
            self.read = self.read or max(0, token_count(total) - self.written)
            self._silent = total == 0
            self.cost = cost_amount(event.get("cost_usd"))
            return self.flush()
        return []

    def _part(self, part: JSON, message: JSON) -> list[str]:
        kind, name = part.get("type"), str(message.get("id") or "")
        inferred = bool((message.get("metadata") or {}).get("inference"))
        self._inferred = self._inferred or inferred
        if kind == "text":
            text = str(part.get("text") or "")
            own = not inferred and (
                bool(self._OWN.match(text))
                or (self._inferred and bool(self._GENERATED.match(name)))
                or (self._inferred and not name)
            )
            if own:
                self._own, self._answered = text, False
                return self.error(_goose_message(text))
            self._own, self._answered = "", self._answered or bool(text.strip())
            return self.stream(text, name or message.get("created"))
        if kind == "toolRequest":
            call = part.get("toolCall") or {}
            value = call.get("value") or {}
            self._own, self._answered = "", False
            self.turns += 1
            return self.call(value.get("name"), value.get("arguments"))
        if kind == "error":
            self._own = error_message(part)
            return self.error(_goose_message(self._own))
        if kind == "systemNotification":
            text, sort = error_message(part), str(part.get("notificationType"))
            if sort in ("inlineMessage", "progressMessage", "thinkingMessage"):
                return [*self.flush(), text]
            self._own = text or sort
            return self.error(f"{text or sort} ({sort})")
        return []

    def succeeded(self) -> bool:
        """Whether the output is complete and ends with a message of the model."""
        return self._complete and self._answered and not self._own and not self._silent


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
