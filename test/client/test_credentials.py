import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from kubetask_controller.client import (
    APIStatusError,
    Client,
    ConfigError,
    TransportError,
    connections,
    credentials,
)
from kubetask_controller.client.config import load_in_cluster
from kubetask_controller.client.resources import NAMESPACES
from support.client.authority import Authority

PLUGIN = """
import json, os, sys, time
here = os.path.dirname(os.path.abspath(__file__))
with open(here + "/runs", "a") as runs:
    runs.write(os.environ["KUBERNETES_EXEC_INFO"] + "\\n")
time.sleep(float(os.environ.get("SLOW", "0")))
sys.stdout.write(open(here + "/answer").read())
sys.stderr.write(open(here + "/complaint").read() if os.path.exists(here + "/complaint") else "")
sys.exit(int(os.environ.get("CODE", "0")))
"""
V1 = "client.authentication.k8s.io/v1"


def get(client, **more):
    return client.get(NAMESPACES, None, "default", **more)


class Plugin:
    """A credential plugin on disk that answers what a test says."""

    def __init__(self, directory):
        self.directory = directory
        (directory / "plugin.py").write_text(PLUGIN)
        self.answers()

    def answers(self, *, token="", expires_in=None, certificate=None, text=None, version=V1):
        status = {"token": token} if token else {}
        if expires_in is not None:
            moment = datetime.now(UTC) + timedelta(seconds=expires_in)
            status["expirationTimestamp"] = moment.isoformat()
        if certificate:
            status["clientCertificateData"] = certificate.certificate.decode()
            status["clientKeyData"] = certificate.key.decode()
        answer = {"apiVersion": version, "kind": "ExecCredential", "status": status}
        (self.directory / "answer").write_text(json.dumps(answer) if text is None else text)

    def complains(self, text):
        (self.directory / "complaint").write_text(text)

    def user(self, **more):
        command = {"command": sys.executable, "args": [str(self.directory / "plugin.py")]}
        env = [
            {"name": k.upper(), "value": str(more.pop(k))} for k in ("slow", "code") if k in more
        ]
        return {
            "exec": {"apiVersion": V1, "interactiveMode": "Never", **command, "env": env, **more}
        }

    @property
    def runs(self):
        path = self.directory / "runs"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]


@pytest.fixture
def plugin(tmp_path):
    directory = tmp_path / "plugin"
    directory.mkdir()
    return Plugin(directory)


@pytest.fixture
def minutes(monkeypatch):
    """Lets files look as if they had been read a minute ago."""

    def pass_():
        monkeypatch.setattr(credentials, "TOKEN_FILE_PERIOD", 0.0)
        monkeypatch.setattr(connections, "FILES_PERIOD", 0.0)

    return pass_


async def test_a_token_is_sent(connect, api):
    api.tokens = {"secret"}
    async with connect({"token": "secret\n"}) as client:
        await get(client)


async def test_without_credentials_none_are_sent(client, api):
    await get(client)
    assert "Authorization" not in api.asked[0].headers


async def test_a_token_file_is_read_again_after_a_minute(connect, api, tmp_path, minutes):
    file = tmp_path / "token"
    file.write_text("old\n")
    async with connect({"tokenFile": "token", "token": "stands back"}) as client:
        await get(client)
        file.write_text("new\n")
        await get(client)
        minutes()
        await get(client)
    assert [x.token for x in api.asked] == ["old", "old", "new"]


async def test_a_token_that_is_refused_is_read_again_at_once(connect, api, tmp_path):
    file = tmp_path / "token"
    file.write_text("old")
    api.tokens = {"old"}
    async with connect({"tokenFile": str(file)}) as client:
        await get(client)
        file.write_text("new")
        api.tokens = {"new"}
        await get(client)
        assert [x.token for x in api.asked] == ["old", "old", "new"]


async def test_a_token_that_is_refused_twice_is_an_error(connect, api, tmp_path):
    (tmp_path / "token").write_text("wrong")
    api.tokens = {"right"}
    async with connect({"tokenFile": "token"}) as client:
        with pytest.raises(APIStatusError) as refused:
            await get(client)
    assert (refused.value.code, len(api.asked)) == (401, 2)


async def test_a_fixed_token_that_is_refused_is_not_sent_twice(connect, api):
    api.tokens = {"right"}
    async with connect({"token": "wrong"}) as client:
        with pytest.raises(APIStatusError):
            await get(client)
    assert len(api.asked) == 1


async def test_a_token_file_that_vanishes_or_empties_does_not_matter_as_long_as_its_token_is_good(
    connect, api, tmp_path, minutes
):
    file = tmp_path / "token"
    file.write_text("good")
    async with connect({"tokenFile": str(file)}) as client:
        minutes()
        await get(client)
        file.write_text("")
        await get(client)
        file.unlink()
        await get(client)
    assert {x.token for x in api.asked} == {"good"}


async def test_a_token_file_that_was_never_there_is_an_error(connect):
    async with connect({"tokenFile": "nowhere"}) as client:
        with pytest.raises(ConfigError, match="nowhere"):
            await get(client)


async def test_a_pod_speaks_with_its_service_accounts_token_as_it_is_now(
    api, authority, tmp_path, minutes
):
    for name, content in (("token", b"first"), ("ca.crt", authority.ca), ("namespace", b"team\n")):
        (tmp_path / name).write_bytes(content)
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)}
    config = load_in_cluster(tmp_path, environ)
    assert (config.host, config.namespace) == (api.url, "team")
    async with Client(config, user_agent="test/1") as client:
        await get(client)
        (tmp_path / "token").write_text("second")
        minutes()
        await get(client)
    assert [x.token for x in api.asked] == ["first", "second"]


async def test_an_ipv6_service_address_is_put_in_brackets(tmp_path):
    for name in ("token", "ca.crt", "namespace"):
        (tmp_path / name).write_text("x")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    assert load_in_cluster(tmp_path, environ).host == "https://[fd00::1]:443"


@pytest.mark.parametrize("missing", ["token", "ca.crt", "namespace"])
async def test_a_pod_without_its_credentials_is_told_what_is_missing(tmp_path, missing):
    for name in {"token", "ca.crt", "namespace"} - {missing}:
        (tmp_path / name).write_text("x")
    environ = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(ConfigError, match=missing):
        load_in_cluster(tmp_path, environ)


async def test_a_clusters_authority_that_is_rotated_is_believed_without_a_restart(
    api, authority, tmp_path, minutes
):
    old = Authority(tmp_path, "old CA")
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("team")
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(api.port)}
    assert old.ca_file == tmp_path / "ca.crt"
    async with Client(load_in_cluster(tmp_path, environ), user_agent="test/1") as client:
        with pytest.raises(TransportError):
            await get(client, timeout=0.5)
        old.ca_file.write_bytes(authority.ca)
        minutes()
        await get(client)


async def test_a_client_certificate_that_is_rotated_is_used_for_what_comes(
    connect, api, authority, minutes
):
    certificate, key = authority.files("monday", "user")
    user = {"client-certificate": str(certificate), "client-key": str(key)}
    released = asyncio.Event()

    async def slow(request):
        await released.wait()
        return api_object()

    async with connect(user) as client:
        api.will(slow)
        under_way = asyncio.create_task(get(client))
        await api.arrival(1)
        authority.files("tuesday", "user")
        minutes()
        await get(client)
        released.set()
        await under_way
    assert [x.subject for x in api.asked] == ["monday", "tuesday"]


async def test_a_client_certificate_that_is_refused_is_read_again_at_once(connect, api, authority):
    certificate, key = authority.files("before", "refused")
    api.subjects = {"before"}
    async with connect({"client-certificate": str(certificate), "client-key": str(key)}) as client:
        await get(client)
        authority.files("after", "refused")
        api.subjects = {"after"}
        await get(client)
    assert [x.subject for x in api.asked] == ["before", "before", "after"]


async def test_a_certificate_caught_half_written_is_not_used(connect, api, authority, minutes):
    certificate, key = authority.files("whole", "halves")
    async with connect({"client-certificate": str(certificate), "client-key": str(key)}) as client:
        await get(client)
        key.write_bytes(authority.issue("whole").key)
        minutes()
        await get(client)
    assert [x.subject for x in api.asked] == ["whole", "whole"]


@pytest.mark.processes
async def test_a_plugin_runs_once_for_as_long_as_its_token_is_good(connect, api, plugin):
    plugin.answers(token="fresh", expires_in=3600)
    async with connect(plugin.user()) as client:
        await asyncio.gather(*(get(client) for _ in range(5)))
        await get(client)
    assert {x.token for x in api.asked} == {"fresh"}
    assert len(plugin.runs) == 1


@pytest.mark.processes
async def test_a_plugin_runs_again_before_its_token_ends(connect, api, plugin):
    plugin.answers(token="first", expires_in=10)
    async with connect(plugin.user()) as client:
        await get(client)
        plugin.answers(token="second", expires_in=3600)
        await get(client)
        await get(client)
    assert [x.token for x in api.asked] == ["first", "second", "second"]
    assert len(plugin.runs) == 2


@pytest.mark.processes
async def test_a_plugin_runs_again_when_its_token_is_refused(connect, api, plugin):
    plugin.answers(token="revoked")
    api.tokens = {"good"}
    async with connect(plugin.user()) as client:
        with pytest.raises(APIStatusError):
            await get(client)
        plugin.answers(token="good")
        await asyncio.gather(*(get(client) for _ in range(4)))
    assert api.asked[-1].token == "good"
    assert len(plugin.runs) <= 4, "not once for each request"


@pytest.mark.processes
async def test_a_plugin_may_give_a_certificate_and_a_new_one_later(connect, api, plugin, authority):
    plugin.answers(certificate=authority.issue("robot-1"), expires_in=10)
    async with connect(plugin.user()) as client:
        await get(client)
        plugin.answers(certificate=authority.issue("robot-2"), expires_in=3600)
        await get(client)
    assert [x.subject for x in api.asked] == ["robot-1", "robot-2"]


@pytest.mark.processes
async def test_a_plugin_is_told_what_it_needs_to_know(connect, api, plugin, authority):
    plugin.answers(token="t")
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    async with connect(
        plugin.user(provideClusterInfo=True), cluster={"extensions": [extension]}
    ) as client:
        await get(client)
    (info,) = plugin.runs
    assert (info["apiVersion"], info["kind"]) == (V1, "ExecCredential")
    assert info["spec"]["interactive"] is False
    assert info["spec"]["cluster"] == {"server": api.url, "config": {"audience": "x"}}


@pytest.mark.processes
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"text": "no json"}, "no ExecCredential"),
        ({"text": "[]"}, "no ExecCredential"),
        ({"token": ""}, "neither a token nor a client certificate"),
        ({"token": "t", "version": "client.authentication.k8s.io/v1beta1"}, "has apiVersion"),
        (
            {
                "text": json.dumps(
                    {
                        "apiVersion": V1,
                        "status": {"token": "t", "expirationTimestamp": "2030-01-01T00:00:00"},
                    }
                )
            },
            "time zone",
        ),
    ],
)
async def test_a_plugins_answer_that_makes_no_sense_is_told(connect, plugin, answer, says):
    plugin.answers(**answer)
    async with connect(plugin.user()) as client:
        with pytest.raises(ConfigError, match=says):
            await get(client)


@pytest.mark.processes
async def test_a_plugin_that_fails_is_quoted_and_tried_again_next_time(connect, api, plugin):
    plugin.complains("your session has ended")
    async with connect(plugin.user(code=3)) as client:
        with pytest.raises(ConfigError, match="exit code 3: your session has ended"):
            await get(client)
        with pytest.raises(ConfigError):
            await get(client)
    assert len(plugin.runs) == 2
    assert api.asked == []


@pytest.mark.processes
async def test_a_plugin_slower_than_its_first_callers_patience_still_gets_done(
    connect, api, plugin
):
    plugin.answers(token="late")
    async with connect(plugin.user(slow=0.6)) as client:
        with pytest.raises(TransportError, match=r"no answer in 0\.1 s"):
            await get(client, timeout=0.1)
        await get(client)
    assert len(plugin.runs) == 1
    assert api.asked[0].token == "late"


@pytest.mark.processes
async def test_a_plugin_that_hangs_is_ended_with_the_client(connect, plugin):
    async with connect(plugin.user(slow=60)) as client:
        with pytest.raises(TransportError):
            await get(client, timeout=0.2)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"command": "/nowhere/plugin", "installHint": "Install it."}, "Install it"),
        ({"command": ""}, "exec.command is missing"),
        ({"interactiveMode": "Always"}, "requires a terminal"),
    ],
)
async def test_a_plugin_that_cannot_run_is_told(connect, plugin, section, says):
    async with connect(plugin.user(**section)) as client:
        with pytest.raises(ConfigError, match=says):
            await get(client)


def api_object():
    return web.json_response({"metadata": {}})
