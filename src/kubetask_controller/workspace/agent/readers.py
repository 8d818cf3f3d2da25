"""How the known agents print their events: text for the log, tokens, cost and errors out of them."""

from typing import Any

from pydantic_core import to_json

from kubetask_controller.workspace.agent.told import JSON, Events, count


class ClaudeReader(Events):
    """``claude -p --output-format stream-json --verbose``."""

    def event(self, event: JSON) -> list[str]:
        """assistant (text, tool_use), result (usage, total_cost_usd, is_error); the rest is not shown."""
        kind = event.get("type")
        if kind == "assistant":
            return [y for x in event["message"].get("content") or () for y in self._part(x)]
        if kind == "result" or "result" in event:
            return self._result(event)
        return []

    def _part(self, part: JSON) -> list[str]:
        if part.get("type") == "text":
            self.summary = part["text"]
            return [part["text"]]
        if part.get("type") == "tool_use":
            return [called(part.get("name"), part.get("input"))]
        return []

    def _result(self, event: JSON) -> list[str]:
        usage = event.get("usage") or {}
        kinds = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        self.read = sum(count(usage.get(x)) for x in kinds)
        self.written = count(usage.get("output_tokens"))
        self.cost = number(event.get("total_cost_usd"))
        text = str(event.get("result") or "")
        refused = event.get("stop_reason") == "refusal"
        if event.get("is_error") or event.get("subtype", "success") != "success" or refused:
            self.failed = True
            told = [text, *map(str, event.get("errors") or ()), "refusal" if refused else ""]
            return self.error(": ".join(x for x in told if x) or str(event.get("subtype")))
        shown = [text] if text != self.summary else []
        self.summary = text or self.summary
        return shown


class GeminiReader(Events):
    """``gemini --output-format stream-json``, and the one object of ``json``."""

    def __init__(self) -> None:
        super().__init__()
        self._speaking = False

    def event(self, event: JSON) -> list[str]:
        """message (in pieces), tool_use, error, result (stats)."""
        kind = event.get("type")
        speaking, self._speaking = self._speaking, False
        if kind == "message":
            if event.get("role") != "assistant":
                return []
            text, self._speaking = str(event.get("content") or ""), bool(event.get("delta"))
            self.summary = self.summary + text if speaking else text
            return [text]
        if kind == "tool_use":
            return [called(event.get("tool_name"), event.get("parameters"))]
        if kind == "error":
            return self.error(str(event.get("message") or ""))
        if kind == "result" or "stats" in event or "response" in event:
            return self._result(event)
        return []

    def _result(self, event: JSON) -> list[str]:
        stats = event.get("stats") or {}
        self.read, self.written = (
            count(stats.get("input_tokens")),
            count(stats.get("output_tokens")),
        )
        for model in (stats.get("models") or {}).values() if not self.read else ():
            tokens = model.get("tokens") or {}
            self.read += count(tokens.get("prompt"))
            self.written += count(tokens.get("candidates"))
        self.summary = str(event.get("response") or self.summary)
        if event.get("status") == "error" or event.get("error"):
            self.failed = True
            error = event.get("error") or {}
            return self.error(str(error.get("message") or error.get("type") or "error"))
        return []


class CodexReader(Events):
    """``codex exec --json``."""

    def event(self, event: JSON) -> list[str]:
        """item.started and item.completed, turn.completed (usage), turn.failed, error."""
        kind, item = event.get("type"), event.get("item") or {}
        if kind == "item.started" and item.get("type") == "command_execution":
            return [f"$ {item.get('command')}"]
        if kind == "item.completed":
            return self._item(item)
        if kind == "turn.completed":
            usage = event.get("usage") or {}
            self.read += count(usage.get("input_tokens"))
            self.written += count(usage.get("output_tokens"))
            self.failed = False
        if kind == "turn.failed":
            self.failed = True
            return self.error(str((event.get("error") or {}).get("message") or ""))
        if kind == "error":
            return self.error(str(event.get("message") or ""))
        return []

    def _item(self, item: JSON) -> list[str]:
        if item.get("type") == "agent_message":
            self.summary = str(item.get("text") or "")
            return [self.summary]
        if item.get("type") == "file_change":
            return [f"{x.get('kind')} {x.get('path')}" for x in item.get("changes") or ()]
        if item.get("type") == "error":
            return self.error(str(item.get("message") or ""))
        return []


class OpenCodeReader(Events):
    """``opencode run --format json``."""

    def event(self, event: JSON) -> list[str]:
        """text, tool_use, step_finish (tokens, cost), error."""
        kind, part = event.get("type"), event.get("part") or {}
        if kind == "text":
            self.summary = str(part.get("text") or "")
            return [self.summary]
        if kind == "tool_use":
            return [called(part.get("tool"), (part.get("state") or {}).get("input"))]
        if kind == "step_finish":
            tokens = part.get("tokens") or {}
            cache = tokens.get("cache") or {}
            self.read += sum(
                map(count, (tokens.get("input"), cache.get("read"), cache.get("write")))
            )
            self.written += count(tokens.get("output")) + count(tokens.get("reasoning"))
            cost = number(part.get("cost"))
            self.cost = self.cost if cost is None else round((self.cost or 0.0) + cost, 9)
        if kind == "error":
            # It ends with exit code 0 all the same.
            self.failed = True
            error = event.get("error") or {}
            data = error.get("data") or {}
            return self.error(
                str(data.get("message") or error.get("message") or error.get("name") or error)
            )
        return []


class GooseReader(Events):
    """``goose run --output-format stream-json``."""

    def __init__(self) -> None:
        super().__init__()
        self._last = ""

    def event(self, event: JSON) -> list[str]:
        """message (text in pieces, toolRequest), error, complete (total_tokens, in and out in one)."""
        kind = event.get("type")
        if kind == "message":
            message = event.get("message") or {}
            if message.get("role") != "assistant":
                self._last = ""
                return []
            return [y for x in message.get("content") or () for y in self._part(x, message)]
        if kind == "error":
            self.failed = True
            return self.error(str(event.get("error") or ""))
        if kind == "complete":
            self.read = count(event.get("total_tokens"))
        return []

    def _part(self, part: JSON, message: JSON) -> list[str]:
        if part.get("type") == "text":
            text, name = str(part.get("text") or ""), str(message.get("id") or "")
            self.summary = self.summary + text if name and name == self._last else text
            self._last = name
            return [text]
        if part.get("type") == "toolRequest":
            value = (part.get("toolCall") or {}).get("value") or {}
            return [called(value.get("name"), value.get("arguments"))]
        return []


def called(name: Any, parameters: Any) -> str:
    """A line for the use of a tool."""
    shown = ""
    if isinstance(parameters, dict):
        for key in ("command", "file_path", "path", "filePath", "pattern", "url"):
            if isinstance(parameters.get(key), str):
                shown = parameters[key]
                break
        else:
            shown = to_json(parameters).decode()
    return f"[{name}] {shown}"


def number(value: Any) -> float | None:
    """A cost, None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
        return float(value)
    return None
