"""Readers of the tools' output, over recordings of the real tools."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubetask_controller.api.constants import Reason
from kubetask_controller.workspace.agent.presets import PRESETS
from kubetask_controller.workspace.agent.report import AgentReport, OutputReader
from kubetask_controller.workspace.redaction import Redactor

DATA = Path(__file__).parent / "testdata"
RECORDINGS = sorted(x.stem for x in DATA.glob("*.jsonl"))
DONE = "Opened https://git.example/acme/billing/pull/12 for it."
KEY = "sk-fake-9f8e7d6c5b4a-key"
GOOD = {
    *("claude-429-twice", "claude-mcp", "claude-nochange", "claude-ok", "claude-old-ok"),
    *("claude-subagent", "claude-toolfail", "codex-429-twice", "codex-ok", "codex-toolfail"),
    *("gemini-429-twice", "gemini-ok", "gemini-secret", "gemini-tokens", "gemini-toolfail"),
    *("opencode-ok", "opencode-outside-env", "opencode-toolfail", "goose-anthropic-ok"),
    *("goose-mcp", "goose-ok", "goose-secret", "goose-toolfail"),
}
LIMITED = {
    *("claude-429", "claude-529", "codex-429-long", "codex-429-reset", "codex-500", "codex-529"),
    *("gemini-429-quota", "opencode-429", "opencode-429-quota", "opencode-529"),
    *("goose-429-quota", "goose-529"),
}
REFUSED = {
    *("claude-old-refusal", "claude-refusal-mid", "gemini-refusal", "opencode-refusal-mid"),
    "goose-anthropic-refusal",
}
WORDS = {
    "claude-401": "Invalid API key",
    "claude-404": "There's an issue with the selected model",
    "claude-background": "claude ended before its work in the background: Waits (killed)",
    "claude-badflag": "error: unknown option '--no-such-flag'",
    "claude-context": "Prompt is too long",
    "claude-empty": "claude ended without an answer",
    "claude-noauth": "Not logged in",
    "claude-sigterm": "claude ended without the event of a success",
    "codex-401": "unexpected status 401 Unauthorized: Incorrect API key",
    "codex-404": "The model `gpt-none` does not exist",
    "codex-badflag": "error: unexpected argument '--no-such-flag' found",
    "codex-context": "Codex ran out of room in the model's context window.",
    "codex-empty": "codex ended its turn without an answer",
    "codex-mcpreq": "Error: thread/start: thread/start failed",
    "codex-noauth": "Missing environment variable: `OPENAI_API_KEY`.",
    "codex-refusal-mid": "codex ended its turn without an answer",
    "gemini-404": "models/gemini-none is not found",
    "gemini-badflag": "Unknown arguments: such-flag",
    "gemini-context-mid": "The input token count (1200000) exceeds",
    "gemini-empty": "The model returned an empty response",
    "gemini-noauth": "Please set an Auth method",
    "gemini-refusal": "The model response was blocked due to safety settings.",
    "goose-401": "Ran into this error: Authentication error",
    "goose-404": "Ran into this error: Request failed: Resource not found (404)",
    "goose-500": "Ran into this error: Server error",
    "goose-badflag": "error: unexpected argument '--no-such-flag' found",
    "goose-context": "Ran into this error trying to compact",
    "goose-noauth": "error: No provider configured.",
    "goose-refusal-mid": "The model returned an empty response.",
    "opencode-401": "Incorrect API key provided",
    "opencode-badflag": "the tool printed its help: it does not understand a flag",
    "opencode-context": "Your input exceeds the context window of this model.",
    "opencode-empty": "opencode ended without an answer",
    "opencode-outside": "opencode ended in the middle of its work",
}


def read(name: str) -> tuple[OutputReader, list[str]]:
    reader = PRESETS[name.partition("-")[0]].reader()
    shown = [y for line in lines(name) for y in reader.feed(line)]
    return reader, [*shown, *reader.flush()]


def lines(name: str) -> Iterator[str]:
    with (DATA / f"{name}.jsonl").open() as file:
        for line in file:
            yield line.rstrip("\n")


@pytest.mark.parametrize("name", RECORDINGS)
def test_success_is_what_a_tool_reports_as_such_and_nothing_else(name: str) -> None:
    report = read(name)[0].report()
    assert report.failed is (name not in GOOD)


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_failure_has_its_reason_and_a_success_none(name: str) -> None:
    report = read(name)[0].report()
    wanted = {
        **dict.fromkeys(LIMITED, Reason.RATE_LIMITED),
        **dict.fromkeys(REFUSED, Reason.REFUSED),
        **dict.fromkeys(("claude-maxturns", "goose-maxturns"), Reason.MAX_TURNS_EXCEEDED),
        "claude-budget": Reason.BUDGET_EXCEEDED,
    }
    assert report.reason is wanted.get(name)


@pytest.mark.parametrize("name", sorted(WORDS))
def test_the_last_words_are_those_that_say_what_is_wrong(name: str) -> None:
    report = read(name)[0].report()
    assert report.summary.startswith(WORDS[name])
    assert "\n" not in report.summary


@pytest.mark.parametrize("name", sorted(x for x in RECORDINGS if x.endswith("-ok")))
def test_the_last_words_of_a_success_are_the_models_whole_answer(name: str) -> None:
    assert read(name)[0].report().summary == f"Updated the readme.\n\n{DONE}"


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_stream_that_breaks_off_before_its_last_event_is_no_success(name: str) -> None:
    reader = PRESETS[name.partition("-")[0]].reader()
    events = [x for x in lines(name) if x.startswith("{")]
    for line in events[:-1]:
        reader.feed(line)
    assert reader.report().failed


@pytest.mark.parametrize("name", sorted(GOOD))
def test_events_of_another_shape_make_no_success_and_no_exception(name: str) -> None:
    for wrong in (None, [], 7, "text", {"error": {"message": "broken"}}):
        reader = PRESETS[name.partition("-")[0]].reader()
        for line in lines(name):
            event = json.loads(line) if line.startswith("{") else {}
            reader.feed(json.dumps({k: (k == "type" and v) or wrong for k, v in event.items()}))
        assert reader.report().failed


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("claude-ok", {"inputTokens": 4400, "outputTokens": 100, "costUSD": "0.012"}),
        ("claude-subagent", {"inputTokens": 11000, "outputTokens": 250, "costUSD": "0.03"}),
        ("gemini-ok", {"inputTokens": 6600, "outputTokens": 150}),
        ("codex-ok", {"inputTokens": 4400, "outputTokens": 100}),
        ("opencode-ok", {"inputTokens": 4400, "outputTokens": 100, "costUSD": "0.0087"}),
        ("goose-ok", {"inputTokens": 4400, "outputTokens": 100, "costUSD": "0.0095"}),
        ("goose-maxturns", {"inputTokens": 2200, "outputTokens": 50, "costUSD": "0.00475"}),
        ("claude-sigterm", {"inputTokens": 2200, "outputTokens": 1}),
    ],
)
def test_tokens_and_cost_are_those_of_all_agents(name: str, usage: dict[str, object]) -> None:
    assert read(name)[0].report().usage == usage


@pytest.mark.parametrize("name", ["gemini-tokens", "gemini-ok", "goose-ok", "goose-toolfail"])
def test_the_log_has_whole_lines_whatever_the_pieces(name: str) -> None:
    _, shown = read(name)
    words = "could not do it." if "toolfail" in name else "I will update the readme."
    assert [x for x in shown if x.endswith(words)]
    if name.endswith("-ok"):
        assert DONE in shown
    if name == "gemini-tokens":
        text = "- Updated `README.md` to be better, with a new heading, and checked that nothing"
        assert [x for x in shown if x.startswith(text)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("claude-429", "waiting: the model answers 429 rate_limit; retry 7 of 10 in 37 s"),
        ("codex-429-long", "waiting: Reconnecting... 1/5 (exceeded retry limit, last status: 429"),
        ("gemini-429-twice", "waiting: Suggested retry after 2s.. Retrying after 11532ms..."),
        ("claude-mcp", "MCP server gone is not available: failed"),
        ("goose-mcp", "Failed to start extension 'mcp'"),
        ("codex-ok", "warning: Model metadata for `gpt-5` not found."),
    ],
)
def test_the_log_says_what_is_waited_for_and_what_is_missing(name: str, text: str) -> None:
    _, shown = read(name)
    assert [x for x in shown if text in x]


@pytest.mark.parametrize("name", ["gemini-secret", "goose-secret"])
@pytest.mark.parametrize("size", [0, 1, 4])
def test_a_secret_in_pieces_is_masked_in_each_line(name: str, size: int) -> None:
    redact = Redactor([KEY])
    pieces = redact.pieces()
    texts: list[str] = []
    for line in lines(name):
        for part in cut(line, size):
            masked = pieces(part)
            event = json.loads(masked) if masked.startswith("{") else {}
            if event.get("role") == "assistant":
                texts.append(event["content"])
            elif event.get("message", {}).get("role") == "assistant":
                texts += [x.get("text", "") for x in event["message"]["content"]]
    answer = "".join(texts)
    assert "Key is " in answer
    assert not [i for i in range(len(KEY) - 5) if KEY[i : i + 6] in answer]


def cut(line: str, size: int) -> Iterator[str]:
    """A message as several of `size` characters."""
    event = json.loads(line) if size and line.startswith("{") else {}
    holder, key = event, "content"
    if isinstance(event.get("message"), dict):
        holder = event["message"]["content"][0]
        key = "text"
    text = holder.get(key)
    if not isinstance(text, str):
        yield line
        return
    for start in range(0, len(text), size):
        holder[key] = text[start : start + size]
        yield json.dumps(event)


@pytest.mark.parametrize("name", ["gemini-secret", "goose-secret"])
def test_a_secret_in_pieces_is_masked_in_the_report(name: str) -> None:
    report = read(name)[0].report()
    assert KEY in report.summary
    assert report.masked(Redactor([KEY])).summary == "Updated the readme. Key is ***."


def test_goose_retries_are_read_from_its_log_file() -> None:
    reader = PRESETS["goose"].reader()
    first = (
        '{"level":"WARN","fields":{"message":"Request failed, retrying (1/3): RateLimitedExceeded'
        ' { details: \\"Rate limit reached.\\", retry_delay: Some(3600s) }"},'
        '"target":"goose_provider_types::retry"}'
    )
    second = (
        '{"level":"INFO","fields":{"message":"Backing off for 3600s before retry"},'
        '"target":"goose_provider_types::retry"}'
    )
    assert reader.log(first) == []
    assert reader.log(second)[0].startswith("waiting: Backing off for 3600s before retry")
    assert reader.wait is not None
    assert reader.wait.limited
    assert reader.wait.seconds == 3600


def test_codex_says_in_its_log_how_long_it_waits() -> None:
    reader = PRESETS["codex"].reader()
    shown = reader.feed(
        "2026-11-27T09:45:12Z  WARN turn{model=gpt}: codex_core::responses_retry: stream disconnected"
        " - retrying sampling request (1/5 in 3599.99s)... sampling_error=exceeded retry limit,"
        " last status: 429 Too Many Requests"
    )
    assert shown[0].startswith("waiting: retrying (1/5 in 3599.99s)")
    reader.feed('{"type":"error","message":"Reconnecting... 1/5 (last status: 429)"}')
    assert reader.wait is not None
    assert reader.wait.limited
    assert reader.wait.seconds == pytest.approx(3599.99)


def test_a_message_of_goose_itself_is_no_answer_whatever_its_words() -> None:
    reader = PRESETS["goose"].reader()
    for line in [x for x in lines("goose-ok") if x.startswith("{")][:-1]:
        reader.feed(line)
    own = {"id": "msg_6a7474a1-d734-43e9-8766-5220e167c19f", "role": "assistant", "metadata": {}}
    own["content"] = [{"type": "text", "text": "Something of a later version went wrong."}]
    reader.feed(json.dumps({"type": "message", "message": own}))
    reader.feed([x for x in lines("goose-ok") if x.startswith("{")][-1])
    report = reader.report()
    assert report.failed
    assert report.summary == "Something of a later version went wrong."


def test_goose_without_credits_is_rate_limited() -> None:
    reader = PRESETS["goose"].reader()
    note = {
        "type": "systemNotification",
        "notificationType": "creditsExhausted",
        "msg": "Please add credits to your account, then resend your message to continue.",
    }
    message = {"id": "msg_1", "role": "assistant", "content": [note]}
    reader.feed(json.dumps({"type": "message", "message": message}))
    reader.feed('{"type":"complete","total_tokens":0}')
    assert reader.report().failed
    assert reader.report().reason is Reason.RATE_LIMITED


def claude(*events: dict[str, object]) -> AgentReport:
    reader = PRESETS["claude"].reader()
    for event in events:
        reader.feed(event if isinstance(event, str) else json.dumps(event))
    reader.flush()
    return reader.report()


def said(text: str, name: str = "m1", **more: object) -> dict[str, object]:
    message = {"id": name, "content": [{"type": "text", "text": text}]}
    return {"type": "assistant", "message": message, **more}


def result(text: str) -> dict[str, object]:
    return {"type": "result", "subtype": "success", "is_error": False, "result": text}


def task(subtype: str, **more: object) -> dict[str, object]:
    return {"type": "system", "subtype": subtype, "task_id": "t", "description": "server", **more}


@pytest.mark.parametrize("status", ["killed", "failed", "stopped"])
def test_what_claude_ends_in_the_background_while_it_works_is_no_failure(status: str) -> None:
    begun = task("task_started", is_backgrounded=True)
    ended = task("task_updated", patch={"status": status})
    report = claude(begun, said("It starts."), ended, said("Done.", "m2"), result("Done."))
    assert not report.failed
    cut = claude(begun, said("It runs."), result("It runs."), task("task_updated", status="killed"))
    assert cut.failed


@pytest.mark.parametrize(
    "text",
    [
        "API error handling now retries on 5xx.",
        "Not logged in users are redirected to /login.",
        "Invalid API key errors now return 401.",
    ],
)
def test_a_summary_that_is_about_errors_is_a_success(text: str) -> None:
    assert not claude(said(text), result(text)).failed
    assert claude(said(text, is_api_error_message=True), result(text)).failed


@pytest.mark.parametrize(
    "after", ['{"type":"assistant","message":{"id":"m9","content":[{"type":"te']
)
def test_work_after_a_result_that_breaks_off_is_no_success(after: str) -> None:
    assert claude(said("Done."), result("Done."), after).failed
    tool = {"type": "user", "message": {"content": [{"type": "tool_result", "content": "ok"}]}}
    assert claude(said("Done."), result("Done."), tool).failed
    gemini = PRESETS["gemini"].reader()
    for line in [*lines("gemini-ok"), '{"type":"tool_use","tool_name":"run_sh']:
        gemini.feed(line)
    gemini.flush()
    assert gemini.report().failed


def test_what_a_model_says_about_limits_is_no_limit() -> None:
    report = claude(said("Next I add rate limiting to the gateway."))
    assert report.failed
    assert report.reason is None
