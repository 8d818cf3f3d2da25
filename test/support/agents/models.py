"""Model servers on loopback: Anthropic Messages, Google Generative Language, OpenAI Responses and Chat Completions.

One server speaks all four dialects, streaming. A `Script` decides what the model does, call by call. Nothing here is a model.
"""

import gzip
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JSON = dict[str, Any]

FINAL = "Updated the readme.\n\nOpened https://git.example/acme/billing/pull/12 for it."
EDIT = "printf '# better\\n' > README.md && ls -l"
READ, CACHED, WRITTEN = 1200, 1000, 50
"""Tokens of each call: read anew, read from a cache, written."""
COUNTER = itertools.count(1)


@dataclass(frozen=True)
class Say:
    """An answer. `stop`: end, refusal or max."""

    text: str
    stop: str = "end"


@dataclass(frozen=True)
class Use:
    """The use of a tool: a shell command, or where `name` is set that tool of claude."""

    command: str = ""
    text: str = ""
    name: str = ""
    arguments: JSON = field(default_factory=dict)


@dataclass(frozen=True)
class Fail:
    """An answer that is an error, by its name in the tables below."""

    name: str


Step = Say | Use | Fail
Script = Callable[[int, int], Step]
"""Of the number of this call, from 1, and of the tools that were used since the prompt."""


def edits(final: str = FINAL, command: str = EDIT) -> Script:
    """Uses one tool, and says that it is done."""
    return lambda call, used: Say(final) if used else Use(command, "I will update the readme.")


def always(step: Step) -> Script:
    """The same, whatever happens."""
    return lambda call, used: step


class Models(ThreadingHTTPServer):
    """The server. `requests`, `paths` and `keys` are what it got; `url` is where it is."""

    daemon_threads = True

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.requests: list[JSON] = []
        self.paths: list[str] = []
        self.keys: set[str] = set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._calls = itertools.count(1)
        self._thread = threading.Thread(target=self.serve_forever)

    def __enter__(self) -> "Models":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A tool that was ended closes its connections as it likes."""

    def step(self, used: int) -> Step:
        return self.script(next(self._calls), used)

    def prompts(self) -> str:
        """All that was asked, as JSON text."""
        return json.dumps(self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Models

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        if "/models" in self.path:
            model = {"id": "gpt-5", "object": "model", "created": 1, "owned_by": "test"}
            self.answer(200, {"object": "list", "data": [model], "models": []})
        else:
            self.answer(404, {"error": {"message": "not found", "type": "not_found_error"}})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self._body()
        path = self.path.split("?")[0]
        dialects = (("/messages", anthropic), ("/responses", responses), ("/completions", chat))
        if path.endswith("count_tokens"):
            return self.answer(200, {"input_tokens": 100})
        if ":countTokens" in path:
            return self.answer(200, {"totalTokens": 100})
        self.server.requests.append(body)
        self.server.paths.append(path)
        names = ("authorization", "x-api-key", "x-goog-api-key")
        keys = {x.removeprefix("Bearer ") for name in names if (x := self.headers.get(name))}
        self.server.keys |= keys
        if not keys:
            body["no_key"] = True
        for end, dialect in dialects:
            if path.endswith(end):
                return dialect(self, body)
        if "enerateContent" in path:
            return gemini(self, body)
        return self.answer(404, {"error": {"message": "not found", "type": "not_found_error"}})

    def _body(self) -> JSON:
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        try:
            value = json.loads(data or b"{}")
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def answer(self, status: int, value: JSON, headers: JSON | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def stream(self, events: Iterable[JSON], *, named: bool = False, end: str = "") -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for event in events:
            head = f"event: {event['type']}\n" if named else ""
            self.wfile.write(f"{head}data: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
        self.wfile.write(end.encode())


def pieces(text: str) -> list[str]:
    """A text as models stream it; a long one in large pieces."""
    size = 7 if len(text) < 5000 else 4000
    return [text[i : i + size] for i in range(0, len(text), size)]


def used_since_prompt(messages: list[Any], results: Callable[[Any], list[Any]]) -> int:
    return sum(len(results(x)) for x in messages)


# ---- Anthropic Messages

_LIMIT = "This request would exceed your organization's rate limit of 50 requests per minute."
ANTHROPIC: dict[str, tuple[int, JSON, str, str]] = {
    "401": (401, {}, "authentication_error", "invalid x-api-key"),
    "402": (402, {}, "billing_error", "Your credit balance is too low to access the API."),
    "403": (403, {}, "permission_error", "Your API key does not have permission to use this."),
    "404": (404, {}, "not_found_error", "model: claude-none"),
    "429": (429, {"retry-after": "2"}, "rate_limit_error", _LIMIT),
    "429-long": (429, {"retry-after": "3600"}, "rate_limit_error", _LIMIT),
    "500": (500, {}, "api_error", "Internal server error"),
    "529": (529, {}, "overloaded_error", "Overloaded"),
    "context": (400, {}, "invalid_request_error", "prompt is too long: 208310 tokens > 200000"),
}


def anthropic(handler: _Handler, body: JSON) -> None:
    messages = body.get("messages") or []

    def results(message: Any) -> list[Any]:
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        return [x for x in parts if isinstance(x, dict) and x.get("type") == "tool_result"]

    tools = {x.get("name") for x in body.get("tools") or ()}
    used = used_since_prompt(messages, results)
    first = json.dumps(messages[:1])
    if not tools:
        step: Step = Say('{"title": "Update readme"}')
    elif "SUBTASK" in first:
        step = Say("The second agent is done.") if used else Use(EDIT, "I am the second agent.")
    else:
        step = handler.server.step(used)
    step = Fail("401") if "no_key" in body else step
    if isinstance(step, Fail):
        status, headers, kind, text = ANTHROPIC[step.name]
        return handler.answer(
            status, {"type": "error", "error": {"type": kind, "message": text}}, headers
        )
    blocks: list[JSON] = []
    stop = "tool_use"
    if isinstance(step, Use):
        blocks += [{"type": "text", "text": step.text}] if step.text else []
        shell = next((x for x in ("Bash", "bash", "shell", "developer__shell") if x in tools), "")
        arguments = step.arguments or {"command": step.command}
        if shell.lower() == "bash" and not step.name:
            arguments = {**arguments, "description": "Updates the readme"}
        call = {"type": "tool_use", "id": f"toolu_{next(COUNTER):06d}", "input": arguments}
        blocks.append({**call, "name": step.name or shell})
    else:
        blocks += [{"type": "text", "text": step.text}] if step.text else []
        stop = {"end": "end_turn", "refusal": "refusal", "max": "max_tokens"}[step.stop]
    usage = {"input_tokens": READ, "cache_read_input_tokens": CACHED, "output_tokens": 1}
    usage["cache_creation_input_tokens"] = 0
    message = {"id": f"msg_{next(COUNTER):06d}", "type": "message", "role": "assistant"}
    message |= {"model": body.get("model"), "content": [], "stop_reason": None, "usage": usage}
    if not body.get("stream"):
        usage["output_tokens"] = WRITTEN
        return handler.answer(200, {**message, "content": blocks, "stop_reason": stop})

    def events() -> Iterator[JSON]:
        yield {"type": "message_start", "message": message}
        for index, block in enumerate(blocks):
            start = {"type": "content_block_start", "index": index}
            delta = {"type": "content_block_delta", "index": index}
            if block["type"] == "text":
                yield {**start, "content_block": {"type": "text", "text": ""}}
                for piece in pieces(block["text"]):
                    yield {**delta, "delta": {"type": "text_delta", "text": piece}}
            else:
                yield {**start, "content_block": {**block, "input": {}}}
                text = json.dumps(block["input"])
                yield {**delta, "delta": {"type": "input_json_delta", "partial_json": text}}
            yield {"type": "content_block_stop", "index": index}
        end = {"stop_reason": stop, "stop_sequence": None}
        yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": WRITTEN}}
        yield {"type": "message_stop"}

    return handler.stream(events(), named=True)


# ---- OpenAI

_QUOTA = "Rate limit reached for gpt-5 on requests per min. Please try again in 2s."
OPENAI: dict[str, tuple[int, JSON, JSON]] = {
    "401": (401, {}, {"message": "Incorrect API key provided.", "code": "invalid_api_key"}),
    "402": (402, {}, {"message": "Insufficient credits.", "code": "payment_required"}),
    "403": (403, {}, {"message": "You are not allowed to use this model.", "code": None}),
    "404": (404, {}, {"message": "The model `x` does not exist.", "code": "model_not_found"}),
    "429": (429, {"retry-after": "2"}, {"message": _QUOTA, "code": "rate_limit_exceeded"}),
    "429-long": (429, {"retry-after": "3600"}, {"message": _QUOTA, "code": "rate_limit_exceeded"}),
    "500": (500, {}, {"message": "The server had an error.", "code": None}),
    "529": (503, {}, {"message": "Our servers are overloaded.", "code": "server_is_overloaded"}),
    "context": (
        400,
        {},
        {
            "message": "Your input exceeds the context window of this model.",
            "code": "context_length_exceeded",
        },
    ),
}


def _openai_error(handler: _Handler, name: str) -> None:
    status, headers, error = OPENAI[name]
    handler.answer(
        status, {"error": {"type": "invalid_request_error", "param": None, **error}}, headers
    )


def responses(handler: _Handler, body: JSON) -> None:
    items = body.get("input") or []
    kinds = ("function_call_output", "custom_tool_call_output", "local_shell_call_output")
    items = items if isinstance(items, list) else []

    def results(item: Any) -> list[Any]:
        return [item] if isinstance(item, dict) and item.get("type") in kinds else []

    step = handler.server.step(used_since_prompt(items, results))
    name = f"resp_{next(COUNTER):06d}"
    base = {"id": name, "object": "response", "created_at": int(time.time()), "output": []}
    base |= {"model": body.get("model"), "status": "in_progress"}
    if isinstance(step, Fail):
        if step.name != "context":
            return _openai_error(handler, step.name)
        error = {k: OPENAI["context"][2][k] for k in ("code", "message")}
        failed = {**base, "status": "failed", "error": error, "usage": None}
        return handler.stream(
            [
                {"type": "response.created", "response": base},
                {"type": "response.failed", "response": failed},
            ],
            named=True,
        )
    out: list[JSON] = []
    if isinstance(step, Use):
        out += [_message(step.text)] if step.text else []
        out.append(_call(body, items, step.command))
    elif step.stop == "refusal":
        out.append(_message("", "I cannot assist with that request."))
    elif step.text:
        out.append(_message(step.text))
    events: list[JSON] = [{"type": "response.created", "response": base}]
    for index, item in enumerate(out):
        place = {"output_index": index}
        events.append({"type": "response.output_item.added", **place, "item": _begun(item)})
        events += [{"item_id": item["id"], **place, **x} for x in _deltas(item)]
        events.append({"type": "response.output_item.done", **place, "item": item})
    usage = {"input_tokens": READ + CACHED, "input_tokens_details": {"cached_tokens": CACHED}}
    usage |= {"output_tokens": WRITTEN, "output_tokens_details": {"reasoning_tokens": 0}}
    usage["total_tokens"] = READ + CACHED + WRITTEN
    final = {**base, "status": "completed", "output": out, "usage": usage}
    events.append({"type": "response.completed", "response": final})
    for number, event in enumerate(events):
        event["sequence_number"] = number
    if not body.get("stream"):
        return handler.answer(200, final)
    return handler.stream(events, named=True)


def _message(text: str, refusal: str = "") -> JSON:
    part: JSON = {"type": "output_text", "text": text, "annotations": []}
    if refusal:
        part = {"type": "refusal", "refusal": refusal}
    item = {"type": "message", "id": f"msg_{next(COUNTER):06d}", "role": "assistant"}
    return {**item, "status": "completed", "content": [part]}


def _call(body: JSON, items: list[Any], command: str) -> JSON:
    names = {x.get("name"): x for x in body.get("tools") or ()}
    number = next(COUNTER)
    call = {"id": f"fc_{number:06d}", "call_id": f"call_{number:06d}", "status": "completed"}
    if any(isinstance(x, dict) and x.get("type") == "additional_tools" for x in items):
        # The newest models write JavaScript that calls tools.
        script = f"const r = await tools.exec_command({json.dumps({'cmd': command})}); text(r);"
        own = {"type": "custom_tool_call", "name": "exec", "namespace": "functions"}
        return {**call, **own, "id": f"ctc_{number:06d}", "input": script}
    if "exec_command" in names:
        name, arguments = "exec_command", {"cmd": command}
    elif "array" in json.dumps(names.get("shell") or {}):
        name, arguments = "shell", {"command": ["bash", "-lc", command]}  # type: ignore[dict-item]
    else:
        shells = [x for x in names if x and ("shell" in x or "bash" in x)]
        name, arguments = next(iter(shells), "shell"), {"command": command}
        arguments |= {"description": "Updates the readme"} if name == "bash" else {}
    return {**call, "type": "function_call", "name": name, "arguments": json.dumps(arguments)}


def _begun(item: JSON) -> JSON:
    empty = {"message": {"content": []}, "function_call": {"arguments": ""}}
    return {**item, "status": "in_progress", **empty.get(item["type"], {"input": ""})}


def _deltas(item: JSON) -> list[JSON]:
    if item["type"] == "function_call":
        text = item["arguments"]
        kind = "response.function_call_arguments"
        return [
            {"type": f"{kind}.delta", "delta": text},
            {"type": f"{kind}.done", "arguments": text},
        ]
    if item["type"] == "custom_tool_call":
        text, kind = item["input"], "response.custom_tool_call_input"
        return [{"type": f"{kind}.delta", "delta": text}, {"type": f"{kind}.done", "input": text}]
    (part,) = item["content"]
    place = {"content_index": 0}
    kind, key = "response.refusal", "refusal"
    if part["type"] == "output_text":
        kind, key = "response.output_text", "text"
    text = part[key]
    return [
        {"type": "response.content_part.added", **place, "part": {**part, key: ""}},
        *({"type": f"{kind}.delta", **place, "delta": x} for x in pieces(text)),
        {"type": f"{kind}.done", **place, key: text},
        {"type": "response.content_part.done", **place, "part": part},
    ]


def chat(handler: _Handler, body: JSON) -> None:
    tools = {(x.get("function") or {}).get("name") for x in body.get("tools") or ()}
    used = sum(x.get("role") == "tool" for x in body.get("messages") or ())
    step: Step = handler.server.step(used) if tools else Say("Update readme")
    step = Fail("401") if "no_key" in body else step
    if isinstance(step, Fail):
        return _openai_error(handler, step.name)
    text, calls, finish, refusal = step.text, [], "stop", None
    if isinstance(step, Use):
        name = next((x for x in ("bash", "shell", "developer__shell") if x in tools), "shell")
        arguments = {"command": step.command}
        arguments |= {"description": "Updates the readme"} if name == "bash" else {}
        function = {"name": name, "arguments": json.dumps(arguments)}
        calls = [{"id": f"call_{next(COUNTER):06d}", "type": "function", "function": function}]
        finish = "tool_calls"
    elif step.stop == "refusal":
        finish, refusal = "content_filter", "I cannot assist with that request."
    elif step.stop == "max":
        finish = "length"
    usage = {"prompt_tokens": READ + CACHED, "completion_tokens": WRITTEN}
    usage |= {"total_tokens": READ + CACHED + WRITTEN}
    usage["prompt_tokens_details"] = {"cached_tokens": CACHED}  # type: ignore[assignment]
    base = {"id": f"chatcmpl-{next(COUNTER):06d}", "created": int(time.time())}
    base["model"] = body.get("model") or ""
    if not body.get("stream"):
        message = {"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {})
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return handler.answer(
            200, {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
        )

    def chunk(delta: JSON, end: str | None = None) -> JSON:
        choice = {"index": 0, "delta": delta, "finish_reason": end}
        return {**base, "object": "chat.completion.chunk", "choices": [choice]}

    events = [chunk({"role": "assistant", "content": ""})]
    events += [chunk({"content": x}) for x in pieces(text)]
    if calls:
        events.append(chunk({"tool_calls": [{"index": 0, **x} for x in calls]}))
    if refusal:
        events.append(chunk({"refusal": refusal}))
    events.append(chunk({}, finish))
    last = {**base, "object": "chat.completion.chunk", "choices": [], "usage": usage}
    return handler.stream([*events, last], end="data: [DONE]\n\n")


# ---- Google Generative Language

_RETRY = "type.googleapis.com/google.rpc.RetryInfo"
GOOGLE: dict[str, tuple[int, str, str, list[JSON]]] = {
    "401": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", []),
    "402": (403, "PERMISSION_DENIED", "Billing is disabled for this project.", []),
    "403": (403, "PERMISSION_DENIED", "The caller does not have permission", []),
    "404": (404, "NOT_FOUND", "models/gemini-none is not found for API version v1beta", []),
    "429": (
        429,
        "RESOURCE_EXHAUSTED",
        "Resource has been exhausted (e.g. check quota).",
        [{"@type": _RETRY, "retryDelay": "2s"}],
    ),
    "429-long": (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota.",
        [{"@type": _RETRY, "retryDelay": "3600s"}],
    ),
    "500": (500, "INTERNAL", "An internal error has occurred. Please retry", []),
    "529": (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", []),
    "context": (
        400,
        "INVALID_ARGUMENT",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        [],
    ),
}
_ROUTED = {"model_choice": "flash", "reasoning": "simple", "complexity_score": 10}
_ROUTED |= {"complexity_reasoning": "x", "next_speaker": "user", "confidence": 0.1, "analysis": ""}


def gemini(handler: _Handler, body: JSON) -> None:
    contents = body.get("contents") or []
    declared = [y for x in body.get("tools") or () for y in x.get("functionDeclarations") or ()]

    def results(content: Any) -> list[Any]:
        return [x for x in content.get("parts") or () if "functionResponse" in x]

    step: Step = Say(json.dumps(_ROUTED))
    if declared:
        step = handler.server.step(used_since_prompt(contents, results))
    if isinstance(step, Fail):
        status, kind, text, details = GOOGLE[step.name]
        error = {"code": status, "message": text, "status": kind, "details": details}
        return handler.answer(status, {"error": error})
    usage = {"promptTokenCount": READ + CACHED, "cachedContentTokenCount": CACHED}
    usage |= {"candidatesTokenCount": WRITTEN, "totalTokenCount": READ + CACHED + WRITTEN}

    def candidate(parts: list[JSON], finish: str = "") -> JSON:
        made: JSON = {"content": {"role": "model", "parts": parts}, "index": 0}
        made |= {"finishReason": finish} if finish else {}
        return {"candidates": [made], "usageMetadata": usage, "modelVersion": "gemini-test"}

    if isinstance(step, Use):
        arguments = {"command": step.command, "description": "Updates the readme"}
        call = {"functionCall": {"name": "run_shell_command", "args": arguments}}
        out = [candidate([{"text": step.text}])] if step.text else []
        out.append(candidate([call], "STOP"))
    elif step.stop == "refusal":
        out = [candidate([], "SAFETY")]
    else:
        out = [candidate([{"text": x}]) for x in pieces(step.text)]
        out.append(candidate([], "MAX_TOKENS" if step.stop == "max" else "STOP"))
    if ":stream" not in handler.path:
        parts = [y for x in out for y in x["candidates"][0]["content"]["parts"]]
        return handler.answer(200, candidate(parts, "STOP"))
    return handler.stream(out)
