"""What is masked, whole, in pieces and encoded."""

import base64
import json
import os
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from kubetask_controller.workspace.agent.main import load_task
from kubetask_controller.workspace.redaction import (
    MASK,
    MAX_FILES,
    Redactor,
    proxy_secrets,
    secret_variables,
    secrets_in,
    variable_values,
)
from support.workspace.taskpod import TaskPod, text

SECRET = 'p/a+s&s"w<o>rd-7f3a'


@pytest.mark.parametrize(
    "encode",
    [
        str,
        lambda x: json.dumps(x)[1:-1],
        lambda x: json.dumps(json.dumps(x)[1:-1])[1:-1],
        lambda x: (
            json.dumps(x)[1:-1]
            .replace("&", "\\u0026")
            .replace("<", "\\u003c")
            .replace(">", "\\u003e")
        ),
        lambda x: quote(x, safe=""),
    ],
)
def test_a_secret_is_masked_as_programs_encode_it(encode: object) -> None:
    shown = encode(SECRET)  # type: ignore[operator]
    assert Redactor([SECRET])(f"it is {shown}.") == f"it is {MASK}."


@pytest.mark.parametrize("user", ["", "x", "me", "git", "x-access-token", "oauth2"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_password_is_masked_in_the_base64_of_a_header(user: str, encode: object) -> None:
    header = encode(f"{user}:{SECRET}:more".encode()).decode()  # type: ignore[operator]
    masked = Redactor([SECRET])(f"Authorization: Basic {header}")
    assert MASK in masked
    body = base64.b64encode(SECRET.encode()).decode()
    assert body[4:-4] not in masked


@pytest.mark.parametrize("between", [" ", "\n", "\n    "])
def test_a_secret_is_masked_where_white_space_was_put_into_it(between: str) -> None:
    text = f"it is {SECRET[:8]}{between}{SECRET[8:]}, as said"
    assert Redactor([SECRET]).prose(text) == f"it is {MASK}, as said"


@pytest.mark.parametrize("size", range(1, 24))
def test_at_most_three_characters_of_a_secret_in_pieces_remain(size: int) -> None:
    pieces = Redactor([SECRET, "another-secret-1"]).pieces()
    text = f"The key is {SECRET}, and not another one."
    parts = [text[i : i + size] for i in range(0, len(text), size)]
    events = [json.loads(pieces(json.dumps({"delta": {"text": x}}) + "\n")) for x in parts]
    shown = "".join(x["delta"]["text"] for x in events)
    assert not [i for i in range(len(SECRET) - 3) if SECRET[i : i + 4] in shown]
    assert shown.startswith("The key is ")
    assert shown.endswith(" one.")


def test_pieces_of_one_text_are_followed_past_lines_of_another() -> None:
    pieces = Redactor([SECRET]).pieces()
    lines = [
        json.dumps({"content": SECRET[:9]}),
        "[STARTUP] a line of the log",
        json.dumps({"type": "progress", "note": "between"}),
        json.dumps({"content": SECRET[9:] + "."}),
    ]
    shown = [pieces(x) for x in lines]
    assert shown[1:3] == [lines[1], lines[2]]
    assert SECRET[9:] not in shown[3]
    assert SECRET[:9] not in shown[0]


def test_plain_text_in_pieces_is_one_text() -> None:
    pieces = Redactor([SECRET]).pieces()
    shown = [pieces(f"{SECRET[i : i + 5]}\n") for i in range(0, len(SECRET), 5)]
    assert shown == [f"{MASK}\n"] * 4


def test_what_is_no_secret_stays_as_it_is() -> None:
    pieces = Redactor([SECRET]).pieces()
    line = '{"a": [1, 2.50, null, "p/a, p"], "b":"\\u00e9"}\n'
    assert pieces(line) == line


def test_a_file_has_secrets_in_its_lines_and_values(tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text('{"type": "key", "inner": [{"private": "abcd-efgh-1"}]}')
    (tmp_path / "app.env").write_text('export A="quoted-value-1"\nb: plain-value-2\nc: word\n')
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data/key").write_text("seen-twice-3")
    redact = Redactor(secrets_in([tmp_path, tmp_path / "absent"]))
    assert redact("abcd-efgh-1 quoted-value-1 plain-value-2") == "*** *** ***"
    assert redact("key inner private word seen-twice-3") == "key inner private word seen-twice-3"


def test_the_path_of_a_file_is_no_secret(tmp_path: Path) -> None:
    found = variable_values({"A": str(tmp_path), "B": "123456789", "C": "/no/such/path"})
    assert found == ["123456789", "/no/such/path"]


@dataclass
class Source:
    """A way by which an agent gets a value of a Secret.

    Attributes:
        config: the spec of the WorkspaceConfig.
        files: what the containers have of the Secret, by path; `{}` stands for the value.
        environ: the variables of the agent that contain it.
    """

    config: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)


def mounted(**volume: Any) -> dict[str, Any]:
    mounts = [{"name": "store", "mountPath": "/etc/store", "readOnly": True}]
    return {"volumes": [{"name": "store", **volume}], "volumeMounts": mounts}


REF = {"name": "s", "key": "k"}
SOURCES = {
    "npmrc": Source(
        {"homeFiles": [{"path": ".npmrc", "secretKeyRef": REF}]},
        {"/home/agent/.npmrc": "//registry.example/:_authToken={}\n"},
    ),
    "netrc": Source(
        {"homeFiles": [{"path": ".netrc", "secretKeyRef": REF}]},
        {"/home/agent/.netrc": "machine git.example\nlogin user\npassword {}\n"},
    ),
    "a line of netrc": Source(
        {"homeFiles": [{"path": ".netrc", "secretKeyRef": REF}]},
        {"/home/agent/.netrc": "machine git.example login user password {}\n"},
    ),
    "git-credentials": Source(
        {"homeFiles": [{"path": ".git-credentials", "secretKeyRef": REF}]},
        {"/home/agent/.git-credentials": "https://user:{}@git.example\n"},
    ),
    "a folder below HOME": Source(
        {"homeFiles": [{"path": ".config/tool", "secretRef": {"name": "s"}}]},
        {"/home/agent/.config/tool/token": "{}\n"},
    ),
    "a Secret": Source(mounted(secret={"secretName": "s"}), {"/etc/store/token": "{}"}),
    "a projected Secret": Source(
        mounted(projected={"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}}]}),
        {"/etc/store/token": "{}"},
    ),
    "a store of secrets": Source(
        mounted(csi={"driver": "secrets-store.csi.k8s.io"}), {"/etc/store/app.json": '{"a": "{}"}'}
    ),
    "a proxy": Source(
        {"proxy": {"secretRef": {"name": "s"}}},
        environ={"HTTPS_PROXY": "http://user:{}@proxy.example:3128"},
    ),
    "a link in a variable": Source(
        {"env": [{"name": "STORE", "valueFrom": {"secretKeyRef": REF}}]},
        environ={"STORE": "postgres://user:{}@db.example/store"},
    ),
    "the token of an App": Source(
        files={"/home/agent/.kubetask-app-token-default": "1786000000\n{}\n"}
    ),
    **{
        prefix: Source(
            {"envFrom": [{"prefix": prefix, "secretRef": {"name": "s"}}]},
            environ={f"{prefix}SOME": "{}"},
        )
        for prefix in ("NPM_CONFIG_", "PYTHON", "KUBETASK_", "XDG_", "NODE_", "LC_")
    },
}


def redactor(room: Path, source: Source, value: str) -> Redactor:
    """What kubetask-agent masks with, where the agent gets a value from this source."""
    pod = TaskPod(room, [text("task.md")], source.config)
    for path, content in source.files.items():
        place = Path(pod.place(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content.replace("{}", value))
    environ = pod.environ("containers")
    manifest = Path(environ["KUBETASK_MANIFEST"])
    manifest.parent.mkdir(parents=True)
    manifest.write_text(pod.environ()["KUBETASK_TASK_SPEC"])
    given = {k: v.replace("{}", value) for k, v in source.environ.items()}
    return load_task({**environ, **given}).redact


@pytest.mark.parametrize("value", ["v3ry-hidden-value", "h1dden-8"])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_a_value_is_masked_whatever_brings_it_to_the_agent(
    tmp_path: Path, source: Source, value: str
) -> None:
    redact = redactor(tmp_path, source, value)
    assert redact(f"It is {value}.") == f"It is {MASK}."
    header = base64.b64encode(f"user:{value}".encode()).decode()
    masked = redact(f"Proxy-Authorization: Basic {header}")
    assert MASK in masked
    assert not [x for x in range(len(header) - 7) if header[x : x + 8] in masked[26:]]


def test_a_variable_of_kubetask_is_no_secret_of_the_prefix(tmp_path: Path) -> None:
    source = Source(
        {"envFrom": [{"prefix": "KUBETASK_", "secretRef": {"name": "s"}}]},
        environ={"KUBETASK_AGENT": "claude"},
    )
    assert redactor(tmp_path, source, "")("claude on kubetask/run-0") == "claude on kubetask/run-0"


@pytest.mark.parametrize("user", ["", "git", "x-access-token", "someone"])
@pytest.mark.parametrize("secret", ["abc123", "abc1234", "abc12345"])
def test_a_short_password_is_masked_in_the_base64_of_a_header(user: str, secret: str) -> None:
    header = base64.b64encode(f"{user}:{secret}".encode()).decode()
    assert MASK in Redactor([secret])(f"Authorization: Basic {header}")
    assert Redactor([secret])(base64.b64encode(secret.encode()).decode().rstrip("=")) == MASK


def test_tokens_of_github_that_are_made_later_are_masked() -> None:
    token = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"
    header = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    for shown in (token, f"ghs_123456_ey{'J0-x' * 8}.ey{'Jp_c' * 8}.c2ln", header):
        assert Redactor()(f"It is {shown}, as made.") == f"It is {MASK}, as made."
        line = Redactor().pieces()(json.dumps({"text": f"first\n{shown}"}))
        assert json.loads(line) == {"text": f"first\n{MASK}"}
    words = "it weighs_more_than_the_other_one_does and ghs_x"
    assert Redactor()(words) == words


def test_the_password_of_a_link_may_hold_an_at_sign_and_a_string_ends_before_the_next() -> None:
    assert Redactor()("from http://u:p@ss@host/x") == "from http://host/x"
    line = '{"a":"https://host","b":"me@host","c":"http://u:p@host"}'
    assert Redactor()(line) == '{"a":"https://host","b":"me@host","c":"http://host"}'


def test_the_password_of_a_proxy_is_masked_as_headers_contain_it() -> None:
    redact = Redactor(proxy_secrets({"https_proxy": "http://ada:p%40ss-w0@h:1", "NO_PROXY": "a@b"}))
    header = base64.b64encode(b"ada:p@ss-w0").decode()
    assert redact(f"p@ss-w0 p%40ss-w0 Basic {header}") == "*** *** Basic ***="


def test_a_default_password_that_is_its_user_hides_no_words() -> None:
    redact = Redactor(variable_values({"A": "postgres://postgres:postgres@host/db"}))
    assert redact("postgres is ready") == "postgres is ready"


def test_a_folder_of_data_is_not_masked(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 1):
        (tmp_path / str(number)).touch()
    (tmp_path / "0").write_text("a line of data")
    skipped: list[Path] = []
    assert secrets_in([tmp_path], skipped.append) == []
    assert skipped == [tmp_path]


def random_line(size: int) -> str:
    return base64.b64encode(random.Random(size).randbytes(size * 3 // 4)).decode()


def test_a_large_secret_takes_no_time_that_anybody_notices() -> None:
    long = random_line(64 * 1000)
    lines = [long[i : i + 64] for i in range(0, len(long), 64)]
    began = time.process_time()
    pieces = Redactor(["\n".join(lines)]).pieces()
    shown = [pieces(f"a line of the log, which is no secret, then {x}\n") for x in lines[:200]]
    assert time.process_time() - began < 2
    assert set(shown) == {f"a line of the log, which is no secret, then {MASK}\n"}


def test_a_long_line_is_masked_wherever_it_is_cut_and_in_base64() -> None:
    line = random_line(20000)
    redact = Redactor([line])
    assert set(redact(f"{line}")) == {"*"}
    pieces = redact.pieces()
    shown = [pieces(f"{line[i : i + 700]}\n") for i in range(0, len(line), 700)]
    assert set("".join(shown)) == {"*", "\n"}
    header = base64.b64encode(f"user:{line}".encode()).decode()
    masked = redact(header)
    assert not [x for x in range(0, len(header), 8) if header[x : x + 8] in masked[8:]]


@pytest.mark.parametrize("part", [" ", "\n", "login ", "a= x" + " " * 4000, "ghs_", "-", "a b "])
def test_a_text_that_repeats_itself_takes_no_time_that_anybody_notices(
    tmp_path: Path, part: str
) -> None:
    text = part * (20000 // len(part))
    (tmp_path / "key").write_text(f"{text}y\nsome-secret-1\n")
    began = time.process_time()
    assert "some-secret-1" in secrets_in([tmp_path])[0]
    assert Redactor(["some-secret-1"]).pieces()(f"{text}some-secret-1").endswith(MASK)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("depth", [500, 900, 3000, 20_000])
def test_json_of_any_depth_is_masked(tmp_path: Path, depth: int) -> None:
    text = '{"a":' * depth + '"v3ry-hidden-value"' + "}" * depth
    (tmp_path / "key.json").write_text(text)
    assert set(Redactor(secrets_in([tmp_path]))(text)) == {"*"}
    pieces = Redactor(["v3ry-hidden-value"]).pieces()
    assert pieces(text) == text.replace("v3ry-hidden-value", MASK)
    assert pieces("and v3ry-hidden-value") == f"and {MASK}"


def test_secrets_that_overlap_leave_nothing_between_them() -> None:
    assert Redactor(["abc-def-1", "def-1-ghi", "abc-def"])("is abc-def-1-ghi.") == f"is {MASK}."
    pieces = Redactor(["token-1", "token-1/and-its-end"]).pieces()
    shown = [
        json.loads(pieces(json.dumps({"a": x})))["a"] for x in ("token-1", "/and-its", "-end.")
    ]
    assert shown == [MASK, MASK, f"{MASK}."]


PRIVATE_KEY = f"-----BEGIN PRIVATE KEY-----\n{random_line(64)}\n{random_line(64)[::-1]}\n"


def base64_of(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


ENCODED = {
    "the auth of a registry": (
        json.dumps({"auths": {"r.example": {"auth": base64_of("robot:v3ry-h1dden")}}}),
        ["v3ry-h1dden", "robot:v3ry-h1dden"],
    ),
    "the auth of a registry in a manifest": (
        f"data:\n  .dockerconfigjson: {base64_of(json.dumps({'auth': base64_of('me:h1dden-8')}))}\n",
        ["h1dden-8"],
    ),
    "a key of a kubeconfig": (
        f"users:\n- user:\n    client-key-data: {base64_of(PRIVATE_KEY)}\n",
        PRIVATE_KEY.splitlines()[1:],
    ),
    "a header": (f"Authorization: Basic {base64_of('me:p4ss-word')}", ["p4ss-word"]),
    "a header of a list": (
        json.dumps([{"header": f"Basic {base64_of('me:p4ss-word')}"}]),
        ["p4ss-word"],
    ),
    "a link with a password": (base64_of("postgres://me:p4ss-word@db.example/x"), ["p4ss-word"]),
    "base64 of URLs": (
        base64.urlsafe_b64encode(b"me:p4ss~~~???word").decode().rstrip("="),
        ["p4ss~~~???word"],
    ),
    "base64 in lines": (
        "\n".join(base64_of("a-token-of-many-characters-1")[i : i + 20] for i in (0, 20)),
        ["a-token-of-many-characters-1"],
    ),
}


@pytest.mark.parametrize(("content", "values"), ENCODED.values(), ids=ENCODED)
def test_a_value_is_masked_that_a_secret_contains_in_base64(
    tmp_path: Path, content: str, values: list[str]
) -> None:
    (tmp_path / "key").write_text(content)
    for found in (secrets_in([tmp_path]), secret_variables({"SOME_SECRET": content})):
        redact = Redactor(found)
        for value in values:
            assert redact(f"It is {value}, as said.") == f"It is {MASK}, as said."
            header = base64_of(f"user:{value}:x")
            assert redact(header) != header
            pieces = redact.pieces()
            parts = [value[i : i + 5] for i in range(0, len(value), 5)]
            shown = "".join(json.loads(pieces(json.dumps({"text": x})))["text"] for x in parts)
            assert not [x for x in range(len(value) - 3) if value[x : x + 4] in shown]


def test_base64_of_a_word_and_the_claims_of_a_token_hide_no_words(tmp_path: Path) -> None:
    claims = base64.urlsafe_b64encode(b'{"email": "ada@people.example"}').decode().rstrip("=")
    (tmp_path / "token").write_text(f"eyJhbGciOiJSUzI1NiJ9.{claims}.c2lnbmF0dXJl")
    (tmp_path / "user").write_text(base64_of("postgres"))
    redact = Redactor(secrets_in([tmp_path]))
    text = "postgres is ready for ada@people.example"
    assert redact(text) == text


def test_a_token_that_is_renewed_is_masked_in_every_form(tmp_path: Path) -> None:
    source = SOURCES["the token of an App"]
    redact = redactor(tmp_path, source, "ghs_the-f1rst-token")
    assert redact("It is ghs_the-f1rst-token.") == f"It is {MASK}."
    pieces = redact.pieces()
    assert pieces("as usual\n") == "as usual\n"
    token = "app-t0ken-of-another-f0rm"
    (file,) = tmp_path.rglob(".kubetask-app-token-default")
    file.write_text(f"1786003600\n{token}\n")
    shown = [pieces(json.dumps({"text": token[i : i + 6]})) for i in range(0, len(token), 6)]
    assert {json.loads(x)["text"] for x in shown} == {MASK}
    assert redact.prose(f"{token[:9]} {token[9:]}") == MASK
    assert redact(f"a piece: {token[4:16]}.") == f"a piece: {MASK}."
    file.unlink()
    os.mkfifo(file)
    header = base64_of(f"x-access-token:{token}")
    assert redact(f"Basic {header}") == f"Basic {MASK}"
    assert redact.leaks(f"+export TOKEN={token}")
    assert redact("It was ghs_the-f1rst-token.") == f"It was {MASK}."


@pytest.mark.parametrize("size", range(1, 16))
@pytest.mark.parametrize(
    ("head", "rest"),
    [
        ("ghs_", "16C7e42F292c6912E7710c838347Ae178B4a"),
        ("github_pat_", "11ABCDEFG0" + "a1B2c3D4e5" * 7 + "ab"),
        ("eC1hY2Nlc3MtdG9rZW46", "Z2hzXzE2QzdlNDJGMjkyYzY5MTJFNzcxMGM4MzgzNDdBZTE3OEI0YQ"),
    ],
)
def test_tokens_of_github_that_are_made_later_are_masked_in_pieces(
    head: str, rest: str, size: int
) -> None:
    pieces = Redactor().pieces()
    text = f"The token is {head}{rest}. It is new."
    parts = [text[i : i + size] for i in range(0, len(text), size)]
    events = [json.loads(pieces(json.dumps({"delta": {"text": x}}) + "\n")) for x in parts]
    shown = "".join(x["delta"]["text"] for x in events)
    assert not [i for i in range(len(rest) - 3) if rest[i : i + 4] in shown]
    assert shown.startswith("The token is ")
    assert shown.endswith(". It is new.")


def test_what_looks_like_the_start_of_a_token_hides_nothing_after_it() -> None:
    pieces = Redactor().pieces()
    lines = ["a name that starts with ghs_", "", "is a token", "through g", "h over", "e", "C1 is"]
    assert [pieces(x) for x in lines] == lines
    assert [pieces(x) for x in ("weighs_more_2", "than the other")] == [
        "weighs_more_2",
        "than the other",
    ]
