"""Readers of the tools' output, over recordings that were changed as another version, terminal or tool would.

Whatever is printed, no reader raises, leaks a secret, calls a failure a success, or loses the reason of one.
"""

import base64
import html
import io
import json
import random
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from test_recordings import GOOD, RECORDINGS, lines

from kubetask_controller.api.constants import Reason
from kubetask_controller.api.text import clean_text
from kubetask_controller.workspace.agent.main import judged
from kubetask_controller.workspace.agent.presets import PRESETS
from kubetask_controller.workspace.agent.process import ExitStatus, Output, StopCause
from kubetask_controller.workspace.agent.report import AgentReport
from kubetask_controller.workspace.redaction import Redactor

JSON = dict[str, Any]
Change = Callable[[list[str], random.Random], list[str]]
BAD = sorted(set(RECORDINGS) - GOOD)
TOOLS = sorted(PRESETS)
VARIANTS = 6


def tool_of(name: str) -> str:
    return name.partition("-")[0]


def report(tool: str, text: list[str]) -> AgentReport:
    reader = PRESETS[tool].reader()
    for line in text:
        reader.feed(line)
    reader.flush()
    return reader.report()


def is_event(line: str) -> bool:
    return line.startswith("{")


def each_event(change: Callable[[JSON, random.Random], Any]) -> Change:
    def changed(text: list[str], dice: random.Random) -> list[str]:
        return [json.dumps(change(json.loads(x), dice)) if is_event(x) else x for x in text]

    return changed


def between(*noise: str) -> Change:
    """Puts lines before some events."""

    def changed(text: list[str], dice: random.Random) -> list[str]:
        return [
            y for x in text for y in ([*noise, x] if is_event(x) and dice.random() < 0.5 else [x])
        ]

    return changed


def shuffled(event: JSON, dice: random.Random) -> JSON:
    keys = list(event)
    dice.shuffle(keys)
    return {k: event[k] for k in keys}


def camel_case(value: Any) -> Any:
    if isinstance(value, list):
        return [camel_case(x) for x in value]
    if not isinstance(value, dict):
        return value
    return {re.sub(r"_([a-z])", lambda m: m[1].upper(), k): camel_case(v) for k, v in value.items()}


RETRIES = {
    "claude": '{"type":"system","subtype":"api_retry","attempt":1,"max_retries":10,"retry_delay_ms":500,'
    '"error_status":429,"error":"rate_limit"}',
    "gemini": "Attempt 1 failed with status 429. Retrying with backoff... _ApiError: {}",
    "codex": '{"type":"error","message":"Reconnecting... 1/5 (last status: 429)"}',
    "opencode": 'timestamp=1 level=ERROR message="stream error" error.error="Rate limit reached."',
    "goose": "retrying",
}
UNKNOWN = '{"type":"heartbeat.v2","n":1,"data":{"type":"result","status":"success"}}'
HARMLESS: dict[str, Change] = {
    "carriage returns": lambda text, dice: [f"{x}\r" for x in text],
    "colours": lambda text, dice: [f"\x1b[2K\x1b[36m{x}\x1b[0m" for x in text],
    "a byte order mark": lambda text, dice: [f"\ufeff{text[0]}", *text[1:]],
    "white space": lambda text, dice: [f"  {x}\t " if is_event(x) else x for x in text],
    "other words between": between("debug: all is well", "\x1b[33m50 %\x1b[0m", ""),
    "a line without an end": lambda text, dice: [
        f"progress 50%{x}" if is_event(x) and dice.random() < 0.5 else x for x in text
    ],
    "two events in a line": lambda text, dice: joined(text),
    "events of unknown kinds": between(UNKNOWN, '{"type":7}', "[1, 2]", "null", "{}"),
    "a log that quotes events": between(
        'level=debug sent={"type":"result","subtype":"success","is_error":false,"result":"x"}',
        'got "{"type":"error","message":"quoted"}"',
    ),
    "fields that nobody knows": each_event(lambda event, dice: {**event, "x_new": [{"error": 1}]}),
    "names in another order": each_event(shuffled),
    "names in camel case": each_event(lambda event, dice: camel_case(event)),
    "everything escaped": lambda text, dice: [
        json.dumps(json.loads(x), ensure_ascii=True, indent=None, separators=(" , ", " : "))
        if is_event(x)
        else x
        for x in text
    ],
    "bidirectional text": each_event(
        lambda event, dice: {**event, "note": "\u202etxet\u2066 \U000e0041"}
    ),
    "a huge line": between(json.dumps({"type": "heartbeat", "output": "x" * 200_000})),
}


TEXTUAL = (
    "carriage returns",
    "other words between",
    "a line without an end",
    "events of unknown kinds",
)


def joined(text: list[str]) -> list[str]:
    out: list[str] = []
    for line in text:
        if out and is_event(line) and is_event(out[-1]) and out[-1].count("\n") == 0:
            out[-1] += line
        else:
            out.append(line)
    return out


def seeded(*parts: object) -> random.Random:
    return random.Random(repr(parts))


@pytest.mark.parametrize("change", HARMLESS)
@pytest.mark.parametrize("tool", TOOLS)
def test_what_is_printed_in_another_way_ends_in_the_same(tool: str, change: str) -> None:
    for name in (x for x in RECORDINGS if tool_of(x) == tool):
        text = list(lines(name))
        seen = report(tool, HARMLESS[change](text, seeded(name, change)))
        was = report(tool, text)
        assert (name, seen.failed, seen.reason) == (name, was.failed, was.reason), seen
        if any(map(is_event, text)) or change in ("colours", "carriage returns"):
            assert clean_text(seen.summary) == was.summary


@pytest.mark.parametrize("tool", TOOLS)
def test_a_thousand_retries_are_no_failure_and_lose_no_reason(tool: str) -> None:
    for name in (x for x in RECORDINGS if tool_of(x) == tool):
        text = list(lines(name))
        first = next((i for i, x in enumerate(text) if is_event(x)), 0)
        seen = report(tool, [*text[:first], *[RETRIES[tool]] * 1000, *text[first:]])
        was = report(tool, text)
        assert (name, seen.failed) == (name, was.failed)
        assert seen.reason is was.reason or (was.failed and was.reason is None)


def ends(text: list[str]) -> int:
    """The place of the last event."""
    return max(i for i, x in enumerate(text) if is_event(x))


def last(change: Callable[[JSON], Any]) -> Change:
    def changed(text: list[str], dice: random.Random) -> list[str]:
        place = ends(text)
        event = json.loads(text[place])
        inner = event.get("part", event)
        inner |= change(inner)
        return [*text[:place], json.dumps(event), *text[place + 1 :]]

    return changed


def after(line: str) -> Change:
    return lambda text, dice: [*text, line]


WORK = {
    "claude": '{"type":"assistant","message":{"id":"n","content":[{"type":"text","text":"More."}]}}',
    "gemini": '{"type":"tool_use","tool_name":"run_shell_command","parameters":{}}',
    "codex": '{"type":"item.started","item":{"type":"command_execution","command":"x"}}',
    "opencode": '{"type":"step_start","part":{"type":"step-start"}}',
    "goose": '{"type":"message","message":{"role":"assistant","content":[{"type":"text","text":"More."}]}}',
}
SPOILED: dict[str, Change] = {
    "the end in half": lambda text, dice: [
        *text[: ends(text)],
        text[ends(text)][: dice.randrange(1, len(text[ends(text)]))],
    ],
    "the end on two lines": lambda text, dice: [
        *text[: ends(text)],
        text[ends(text)][:40],
        text[ends(text)][40:],
    ],
    "no end": lambda text, dice: text[: ends(text)],
    "cut anywhere": lambda text, dice: text[: dice.randrange(ends(text) + 1)],
    "an error in it": last(lambda event: {"error": {"message": "The server is on fire."}}),
    "errors in it": last(lambda event: {"errors": ["The server is on fire."]}),
    "a bad status": last(lambda event: {"status": "failed"}),
    "an error after it": after('{"type":"error","message":"The server is on fire."}'),
    "an error of another kind": after(
        '{"type":"session.failed","reason":"The server is on fire."}'
    ),
    "a broken error after it": after('{"type":"error","message":"The server is on fire.", "sta'),
    "no answer": lambda text, dice: [x for x in text if not has_answer(x)],
    "an answer that is no text": lambda text, dice: [
        no_text(x) if has_answer(x) else x for x in text
    ],
    "more work after it": lambda text, dice: [*text, WORK[dice.choice(TOOLS)]],
}


def has_answer(line: str) -> bool:
    """An event with words of the model."""
    event = json.loads(line) if is_event(line) else {}
    return any(
        (
            event.get("type") in ("text", "result") and ("part" in event or "result" in event),
            event.get("type") == "assistant",
            event.get("role") == "assistant",
            (event.get("item") or {}).get("type") == "agent_message",
            (event.get("message") or {}).get("role") == "assistant"
            if isinstance(event.get("message"), dict)
            else False,
        )
    )


def no_text(line: str) -> str:
    event = json.loads(line)

    def walk(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: walk(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [walk(x) for x in value]
        return 7 if key in ("text", "result", "content") and isinstance(value, str) else value

    return json.dumps(walk(event))


@pytest.mark.parametrize("change", SPOILED)
@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_success_that_is_spoiled_is_none(name: str, change: str) -> None:
    tool = tool_of(name)
    for number in range(VARIANTS):
        text = SPOILED[change](list(lines(name)), seeded(name, change, number))
        if change == "more work after it":
            text[-1] = WORK[tool]
        seen = report(tool, text)
        assert seen.failed, text
        assert seen.summary
        if "on fire" in "".join(text):
            assert "The server is on fire." in seen.summary


WEIRD = (
    *(None, [], {}, 7, -1, 1e308, float("nan"), "NaN", "", "x", True, [None], [[]], {"a": {}}),
    *(
        10**400,
        -(10**400),
        "9" * 5000,
        "\u202e\u0000",
        {"message": None},
        [{"text": 3}],
        ["x"] * 50,
    ),
)


def broken(value: Any, dice: random.Random, odds: float, key: str = "") -> Any:
    """A value with some of its inner ones replaced, renamed, dropped or doubled; no words are put into a mouth."""
    if dice.random() < odds:
        silent = key in ("text", "content", "message", "result", "response", "item", "part")
        return dice.choice([x for x in WEIRD if not (silent and isinstance(x, str | list))])
    if isinstance(value, dict):
        out = {}
        for name, inner in value.items():
            roll = dice.random()
            if roll < odds / 3 and name != "type":
                continue
            shown = f"{name}X" if roll < odds / 2 and name != "type" else name
            out[shown] = inner if name == "type" else broken(inner, dice, odds, name)
        return out
    if isinstance(value, list):
        return [broken(x, dice, odds, key) for x in value]
    return value


# Without the events of it, its work in the background is not known.
STURDY = [x for x in BAD if x != "claude-background"]


@pytest.mark.parametrize("tool", TOOLS)
def test_no_version_of_a_failure_is_a_success(tool: str) -> None:
    for name in (x for x in STURDY if tool_of(x) == tool):
        for number in range(3 * VARIANTS):
            dice = seeded(name, number)
            change = each_event(lambda event, dice: broken(event, dice, 0.04))
            text = change(list(lines(name)), dice)
            for other in dice.sample(TEXTUAL, 2):
                text = HARMLESS[other](text, dice)
            seen = report(tool, text)
            assert seen.failed, (name, number)
            assert seen.summary, (name, number)


@pytest.mark.parametrize("tool", TOOLS)
def test_what_another_tool_prints_is_no_success(tool: str) -> None:
    for name in RECORDINGS:
        if tool_of(name) != tool:
            assert report(tool, list(lines(name))).failed, name


@pytest.mark.parametrize("name", RECORDINGS)
def test_what_is_known_of_use_and_cost_stays_what_a_status_takes(name: str) -> None:
    for number in range(VARIANTS):
        change = each_event(lambda event, dice: broken(event, dice, 0.15))
        seen = report(tool_of(name), change(list(lines(name)), seeded(name, number, "usage")))
        assert seen.summary
        for key in ("inputTokens", "outputTokens"):
            assert 0 <= seen.usage.get(key, 0) < 2**63
        cost = seen.usage.get("costUSD", "0")
        assert re.fullmatch(r"\d{1,12}(\.\d{1,6})?", cost)
        assert Decimal(cost).is_finite()


@pytest.mark.parametrize(
    ("cost", "shown"),
    [
        *[("0.25", "0.25"), (0.25, "0.25"), (1e-3, "0.001"), (3, "3"), ("1e2", "100")],
        *[
            (x, None)
            for x in ("NaN", float("nan"), float("inf"), -1, "-0.5", "$1", None, True, 1e30)
        ],
        *[(x, None) for x in (10**400, [], {"usd": 1})],
    ],
)
def test_a_cost_that_is_none_is_left_out_and_ends_nothing(cost: object, shown: str | None) -> None:
    for name, key in (("claude-ok", "total_cost_usd"), ("goose-ok", "cost_usd")):
        text = list(lines(name))
        text[-1] = json.dumps({**json.loads(text[-1]), key: cost})
        seen = report(tool_of(name), text)
        assert not seen.failed
        assert seen.usage.get("costUSD") == shown


REASONS = [x for x in RECORDINGS if report(tool_of(x), list(lines(x))).reason is not None]


@pytest.mark.parametrize("name", REASONS)
def test_a_reason_is_kept_where_the_error_has_another_shape(name: str) -> None:
    def shapes(event: JSON, dice: random.Random) -> JSON:
        for key in ("message", "error"):
            if event.get("type") in ("error", "turn.failed", "result") and event.get(key):
                said = event[key]
                nested = {"code": 1, "error": {"details": [{"message": said}]}}
                event[key] = dice.choice([said, nested, json.dumps(nested), [nested]])
        return event

    was = report(tool_of(name), list(lines(name)))
    for number in range(VARIANTS):
        text = each_event(shapes)(list(lines(name)), seeded(name, number, "shape"))
        seen = report(tool_of(name), text)
        assert (seen.failed, seen.reason) == (True, was.reason)


LIMIT = StopCause(Reason.IDLE_TIMEOUT, "no output for 5 s")


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_process_that_ended_badly_has_not_succeeded_whatever_it_says(name: str) -> None:
    tool = tool_of(name)
    said = report(tool, list(lines(name)))
    for code in (1, 2, 53, 130, 137, 143, 173, 255):
        ended = judged(ExitStatus(code), said, tool)
        assert ended.failed
        assert ended.reason is said.reason
        assert ended.summary == said.summary or f"{tool} " in ended.summary
    for signalled in (ExitStatus(143, signalled=15), ExitStatus(143, signalled=15, stop=None)):
        assert judged(signalled, said, tool).failed
        assert "SIGTERM" in judged(signalled, said, tool).summary
    stopped = judged(ExitStatus(1, stop=LIMIT), said, tool)
    assert (stopped.failed, stopped.reason) == (True, Reason.IDLE_TIMEOUT)


# ---- secrets

SECRETS = (
    "sk-fake-9f8e7d6c5b4a-key",
    'p/a+s&s"w<o>rd-7f3a',
    "pässwörd-€uro-4711-x",
    "ghp_" + "aB3" * 40,
)
SPELT: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "as JSON": lambda x: json.dumps(x)[1:-1],
    "as JSON in JSON": lambda x: json.dumps(json.dumps(x))[1:-1],
    "in a URL": lambda x: quote(x, safe=""),
    "in a path": lambda x: quote(x).lower() if quote(x).lower() == quote(x) else quote(x),
    "in HTML": html.escape,
    "as base64": lambda x: base64.b64encode(f"user:{x}:more".encode()).decode(),
    "as base64 for URLs": lambda x: base64.urlsafe_b64encode(x.encode()).decode(),
    "as base64 on lines": lambda x: base64.encodebytes(
        f"Authorization: Basic {x}".encode()
    ).decode(),
    "as hexadecimal": lambda x: x.encode().hex(),
    "with colours": lambda x: "\x1b[1m".join((x[:7], x[7:])),
    "with characters nobody sees": lambda x: "\u200b".join((x[:5], x[5:9], x[9:])),
    "with joiners": lambda x: "\u200d".join((x[:5], x[5:9], x[9:])),
    "with a line end": lambda x: "\n".join((x[:9], x[9:])),
}


def spelt(event: Any, words: str) -> Any:
    """An event whose words of the model are others."""
    if isinstance(event, dict):
        return {k: spelt(v, words) for k, v in event.items()}
    if isinstance(event, list):
        return [spelt(x, words) for x in event]
    return words if isinstance(event, str) and event.startswith("Updated the readme.") else event


def in_chunks(tool: str, text: list[str], words: str, size: int) -> list[str]:
    """A recording whose answer comes in pieces of `size` characters, where the tool prints pieces."""
    out: list[str] = []
    pieces = [words[i : i + size] for i in range(0, len(words), size)]
    answer = False
    for line in text:
        event = json.loads(line) if is_event(line) else {}
        answer = answer or '"Updated' in line
        if tool == "gemini" and event.get("role") == "assistant" and answer:
            out += [json.dumps({**event, "content": x}) for x in pieces]
            pieces = []
        elif tool == "goose" and event.get("type") == "message" and answer:
            for piece in pieces:
                event["message"]["content"][0]["text"] = piece
                out.append(json.dumps(event))
            pieces = []
        else:
            out.append(json.dumps(spelt(event, words)) if event else line)
    return out


def leaves(tool: str, text: list[str], redact: Redactor, folder: Path) -> tuple[str, str, str]:
    """Log, transcript, last words: what leaves a task."""
    path = folder / "agent.log"
    path.unlink(missing_ok=True)
    output, reader, shown = Output(path, redact), PRESETS[tool].reader(), io.StringIO()
    with redirect_stdout(shown):
        output.follow([f"{x}\n" for x in text], reader)
        output.show(reader.flush(), reader.max_shown)
    # What shows a status removes what nobody sees.
    return shown.getvalue(), path.read_text(), clean_text(reader.report().masked(redact).summary)


def said(transcript: str) -> str:
    """The texts of a transcript one after another."""

    def walk(value: Any) -> str:
        inner = (
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        )
        return value if isinstance(value, str) else "".join(walk(x) for x in inner)

    events = [json.loads(x) for x in transcript.splitlines() if is_event(x)]
    texts = [walk(x.get("content") or x.get("message", {}).get("content")) for x in events]
    return "".join(texts)


def exposed(secret: str, spell: str, text: str) -> list[str]:
    """Pieces of a secret that can be read in a text."""
    seen = re.sub(r"[\s\u200b\u200c\u200d]|\x1b\[\d*m", "", text)
    size, forms = 8, {secret}
    if spell == "as JSON":
        forms, size = {json.dumps(secret)[1:-1]}, 8 if secret.isascii() else 24
    if spell in ("in a URL", "in a path", "in HTML", "as hexadecimal", "as JSON in JSON"):
        forms, size = {SPELT[spell](secret)}, 12
    if spell.startswith("as base64"):
        # The first and the last characters depend on what stands around.
        stable = {base64.b64encode(b"\0" * x + secret.encode()).decode()[8:-8] for x in range(3)}
        forms, size = stable | {x.replace("+", "-").replace("/", "_") for x in stable}, 12
    return [
        x[i : i + size] for x in forms for i in range(len(x) - size + 1) if x[i : i + size] in seen
    ]


@pytest.mark.parametrize("spell", SPELT)
@pytest.mark.parametrize("tool", TOOLS)
def test_no_spelling_of_a_secret_leaves_in_any_piece(tool: str, spell: str, tmp_path: Path) -> None:
    for secret in SECRETS:
        redact = Redactor([*SECRETS, "another-one-123"])
        words = f"Updated the readme. Key is {SPELT[spell](secret)}, as it was."
        # An escape sequence that is cut in two is no longer one.
        for size in (4000,) if spell == "with colours" else (4000, 1, 5, 16):
            text = in_chunks(tool, list(lines(f"{tool}-ok")), words, size)
            log, transcript, summary = leaves(tool, text, redact, tmp_path)
            for shown in (log, transcript, said(transcript), summary):
                assert exposed(secret, spell, shown) == [], (secret, size)
            assert summary.startswith("Updated the readme. Key is ")
            assert summary.endswith("as it was.")
            if tool not in ("gemini", "goose"):
                break


@pytest.mark.parametrize("tool", ["gemini", "goose"])
@pytest.mark.parametrize("noise", ["plain words", UNKNOWN, *(WORK[x] for x in ("gemini", "goose"))])
def test_a_secret_in_pieces_with_something_between_them_does_not_leave(
    tool: str, noise: str, tmp_path: Path
) -> None:
    redact = Redactor(SECRETS)
    for secret in SECRETS:
        words = f"Updated the readme. Key is {secret}, as it was."
        for size in (9, 12, 20):
            text = in_chunks(tool, list(lines(f"{tool}-ok")), words, size)
            text = [y for x in text for y in (x, noise)]
            for shown in leaves(tool, text, redact, tmp_path):
                assert exposed(secret, "as it is", shown) == [], (secret, size)
