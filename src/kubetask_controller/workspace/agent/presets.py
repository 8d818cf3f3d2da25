"""How the known agents are run without a person: their command lines, and what they print at their end.

Pure functions: a preset makes an argument list of a prompt, and reads summary, tokens, cost and known ends out of the
output. What a tool prints beyond that is shown as it is.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from pydantic_core import from_json

from kubetask_controller.api.constants import Reason

JSON = dict[str, Any]

_LIMITED = re.compile(
    r"rate.?limit|too many requests|\b429\b|quota exceeded|usage limit|overloaded", re.I
)


@dataclass(frozen=True, slots=True)
class Told:
    """What an agent told at its end.

    Attributes:
        summary: its last words.
        usage: inputTokens, outputTokens, costUSD; as far as it says.
        reason: a known end, None for none.
    """

    summary: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Preset:
    """One tool."""

    name: str
    command: Callable[[str, Sequence[str]], list[str]]
    read: Callable[[str], Told]


def plain(output: str) -> Told:
    """The last line, and whether it speaks of a limit."""
    lines = [x.strip() for x in output.splitlines() if x.strip()]
    reason = Reason.RATE_LIMITED if any(_LIMITED.search(x) for x in lines[-5:]) else None
    return Told(lines[-1] if lines else "", reason=reason)


def read_claude(output: str) -> Told:
    """``claude -p --output-format json``: one object with result, usage and total_cost_usd."""
    found = _last_object(output, lambda x: x.get("type") == "result" or "result" in x)
    if found is None:
        return plain(output)
    usage = found.get("usage") or {}
    read = sum(
        usage.get(k) or 0
        for k in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )
    told = _usage(read, usage.get("output_tokens"), found.get("total_cost_usd"))
    summary = str(found.get("result") or "")
    reason = Reason.RATE_LIMITED if found.get("is_error") and _LIMITED.search(summary) else None
    return Told(summary, told, reason)


def read_gemini(output: str) -> Told:
    """``gemini --output-format json``: response, stats.models.*.tokens."""
    found = _last_object(output, lambda x: "response" in x or "error" in x)
    if found is None:
        return plain(output)
    models = ((found.get("stats") or {}).get("models") or {}).values()
    tokens = [x.get("tokens") or {} for x in models]
    usage = _usage(
        sum(x.get("prompt") or 0 for x in tokens),
        sum(x.get("candidates") or 0 for x in tokens),
        None,
    )
    error = (found.get("error") or {}).get("message") or ""
    reason = Reason.RATE_LIMITED if _LIMITED.search(error) else None
    return Told(str(found.get("response") or error), usage, reason)


def read_codex(output: str) -> Told:
    """``codex exec --json``: a line an event; the last agent message, and usage of each turn."""
    summary, read, written, reason = "", 0, 0, None
    for event in _objects(output):
        item = event.get("item") or {}
        if event.get("type") == "item.completed" and item.get("type") == "agent_message":
            summary = str(item.get("text") or "")
        if event.get("type") == "turn.completed":
            usage = event.get("usage") or {}
            read += usage.get("input_tokens") or 0
            written += usage.get("output_tokens") or 0
        if event.get("type") in ("error", "turn.failed"):
            text = str(event.get("message") or (event.get("error") or {}).get("message") or "")
            reason = Reason.RATE_LIMITED if _LIMITED.search(text) else reason
    if not summary and not read:
        return plain(output)
    return Told(summary, _usage(read, written, None), reason)


PRESETS: Mapping[str, Preset] = {
    x.name: x
    for x in (
        Preset(
            "claude",
            lambda prompt, more: [
                *("claude", "-p", prompt, "--output-format", "json"),
                *("--permission-mode", "bypassPermissions", *more),
            ],
            read_claude,
        ),
        Preset(
            "gemini",
            lambda prompt, more: [
                "gemini",
                "-p",
                prompt,
                "--yolo",
                "--output-format",
                "json",
                *more,
            ],
            read_gemini,
        ),
        Preset(
            "codex",
            lambda prompt, more: [
                *("codex", "exec", "--json", "--skip-git-repo-check"),
                *("--dangerously-bypass-approvals-and-sandbox", *more, "--", prompt),
            ],
            read_codex,
        ),
        Preset("opencode", lambda prompt, more: ["opencode", "run", *more, "--", prompt], plain),
        Preset(
            "goose",
            lambda prompt, more: ["goose", "run", "--no-session", *more, "--text", prompt],
            plain,
        ),
    )
}


def _usage(read: int | None, written: int | None, cost: float | None) -> JSON:
    usage: JSON = {}
    if read:
        usage["inputTokens"] = read
    if written:
        usage["outputTokens"] = written
    if cost is not None:
        usage["costUSD"] = str(Decimal(str(cost)).normalize())
    return usage


def _objects(output: str) -> list[JSON]:
    found = []
    for line in output.splitlines():
        if line.lstrip().startswith("{"):
            try:
                value = from_json(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                found.append(value)
    return found


def _last_object(output: str, wanted: Callable[[JSON], bool]) -> JSON | None:
    """The last object that is wanted: on a line of its own, or the whole output."""
    for value in reversed(_objects(output)):
        if wanted(value):
            return value
    start = output.find("{")
    if start >= 0:
        try:
            value = from_json(output[start:])
        except ValueError:
            return None
        if isinstance(value, dict) and wanted(value):
            return value
    return None
