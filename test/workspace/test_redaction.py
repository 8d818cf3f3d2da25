"""What is masked, whole, in pieces and encoded."""

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from kubetask_controller.workspace.redaction import MASK, Redactor, secrets_in, variable_values

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
