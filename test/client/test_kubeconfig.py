import base64
import json

import pytest

from kubetask_controller.client import Client, ConfigError, TransportError, load_config
from kubetask_controller.client.config import load_in_cluster, load_kubeconfig
from kubetask_controller.client.resources import NAMESPACES
from support.client.authority import Authority


def write(path, **body):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body))
    return path


def cluster(name, server):
    return {"name": name, "cluster": {"server": server}}


def context(name, **body):
    return {"name": name, "context": body}


TWO = {
    "current-context": "one",
    "clusters": [cluster("a", "https://a.example.com/"), cluster("b", "https://b.example.com")],
    "contexts": [
        context("one", cluster="a", namespace="team"),
        context("two", cluster="b"),
        context("nowhere", cluster="c"),
        context("nobody", cluster="a", user="ghost"),
    ],
}


async def test_the_current_context_counts_unless_another_is_named(tmp_path):
    path = str(write(tmp_path / "config", **TWO))
    first, second = load_kubeconfig(path), load_kubeconfig(path, context="two")
    assert (first.host, first.namespace) == ("https://a.example.com", "team")
    assert (second.host, second.namespace) == ("https://b.example.com", "default")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("three", "no context named 'three'"),
        ("nowhere", "no cluster named 'c'"),
        ("nobody", "no user named 'ghost'"),
    ],
)
async def test_what_a_context_names_must_exist(tmp_path, name, says):
    with pytest.raises(ConfigError, match=says):
        load_kubeconfig(str(write(tmp_path / "config", **TWO)), context=name)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "kubeconfig"),
        ("- a list", "no mapping"),
        ("", "no current-context"),
        ('{"current-context": "x", "contexts": [{"context": {}}]}', "has no name"),
        ('{"current-context": "x", "contexts": [{"name": "x"}]}', "has no server"),
    ],
)
async def test_a_broken_file_is_told_by_what_is_wrong_with_it(tmp_path, content, says):
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(ConfigError, match=says):
        load_kubeconfig(str(path))


async def test_of_several_files_the_first_to_say_something_wins(tmp_path, monkeypatch):
    first = write(
        tmp_path / "first",
        clusters=[cluster("a", "https://first.example.com")],
        **{"current-context": "mine"},
    )
    second = write(
        tmp_path / "second",
        clusters=[cluster("a", "https://second.example.com")],
        contexts=[context("mine", cluster="a"), context("theirs", cluster="a")],
        **{"current-context": "theirs"},
    )
    missing = tmp_path / "missing"
    monkeypatch.setenv("KUBECONFIG", f"{missing}:{first}:{second}")
    config = await load_config()
    assert config.host == "https://first.example.com"
    monkeypatch.setenv("KUBECONFIG", f"{second}:{first}")
    assert (await load_config()).host == "https://second.example.com"


async def test_paths_are_relative_to_the_file_that_names_them(tmp_path, api, authority):
    api.subjects, api.tokens = {"jo"}, None
    crt, key = authority.files("jo")
    users = tmp_path / "users"
    users.mkdir()
    (users / "jo.crt").write_bytes(crt.read_bytes())
    (users / "jo.key").write_bytes(key.read_bytes())
    (tmp_path / "ca.crt").write_bytes(authority.ca)
    user = {"client-certificate": "jo.crt", "client-key": "jo.key"}
    write(users / "config", users=[{"name": "jo", "user": user}])
    there = {"server": api.url, "certificate-authority": "ca.crt"}
    write(
        tmp_path / "config",
        clusters=[{"name": "it", "cluster": there}],
        contexts=[context("here", cluster="it", user="jo")],
        **{"current-context": "here"},
    )
    config = load_kubeconfig(f"{tmp_path / 'config'}:{users / 'config'}")
    async with Client(config, user_agent="test/1") as client:
        await client.get(NAMESPACES, None, "default")
    assert api.asked[0].subject == "jo"


async def test_data_goes_before_files(connect, api, authority):
    api.subjects = {"data"}
    pair = authority.issue("data")
    user = {
        "client-certificate": "/nowhere.crt",
        "client-key": "/nowhere.key",
        "client-certificate-data": base64.b64encode(pair.certificate).decode(),
        "client-key-data": base64.b64encode(pair.key).decode(),
    }
    async with connect(user) as client:
        await client.get(NAMESPACES, None, "default")
    assert api.asked[0].subject == "data"


async def test_a_server_of_another_authority_is_not_spoken_to(connect, tmp_path, api):
    other = Authority(tmp_path, "another CA")
    async with connect(cluster={"certificate-authority": str(other.ca_file)}) as client:
        with pytest.raises(TransportError, match=r"(?i)certificate"):
            await client.get(NAMESPACES, None, "default", timeout=1)
    assert api.asked == []


async def test_a_server_may_be_believed_unseen(connect, api):
    believing = {"certificate-authority": None, "insecure-skip-tls-verify": True}
    async with connect(cluster=believing) as client:
        await client.get(NAMESPACES, None, "default")
    assert len(api.asked) == 1


async def test_the_name_in_the_servers_certificate_may_be_given(connect, api):
    async with connect(cluster={"tls-server-name": "elsewhere.example.com"}) as client:
        with pytest.raises(TransportError, match=r"(?i)hostname|certificate"):
            await client.get(NAMESPACES, None, "default", timeout=1)
    by_name = {"server": api.url.replace("127.0.0.1", "localhost"), "tls-server-name": "127.0.0.1"}
    async with connect(cluster=by_name) as client:
        await client.get(NAMESPACES, None, "default")


async def test_a_certificate_without_its_key_is_refused(connect, authority):
    certificate, _ = authority.files("half")
    with pytest.raises(ConfigError, match="needs its key"):
        async with connect({"client-certificate": str(certificate)}):
            pass


async def test_a_file_that_is_missing_is_named(connect):
    with pytest.raises(ConfigError, match=r"nowhere\.crt"):
        async with connect({"client-certificate": "/nowhere.crt", "client-key": "/nowhere.key"}):
            pass


async def test_who_is_to_act_as_another_does(connect, api):
    user = {
        "token": "t",
        "as": "jane",
        "as-uid": "42",
        "as-groups": ["dev", "ops"],
        "as-user-extra": {"scope": ["one", "two"]},
    }
    async with connect(user) as client:
        await client.get(NAMESPACES, None, "default")
    headers = api.asked[0].headers
    assert headers["Impersonate-User"] == "jane"
    assert headers["Impersonate-Uid"] == "42"
    assert headers.getall("Impersonate-Group") == ["dev", "ops"]
    assert headers.getall("Impersonate-Extra-scope") == ["one", "two"]


async def test_groups_without_a_user_to_act_as_are_refused(kubeconfig):
    with pytest.raises(ConfigError, match="without as"):
        load_kubeconfig(str(kubeconfig({"as-groups": ["admins"]})))


async def test_a_way_to_log_in_that_is_not_known_is_told(kubeconfig):
    with pytest.raises(ConfigError, match="auth-provider oidc is not supported"):
        load_kubeconfig(str(kubeconfig({"auth-provider": {"name": "oidc"}})))


async def test_a_password_is_sent_as_http_wants_it(connect, api):
    async with connect({"username": "jo", "password": "pass:word"}) as client:
        await client.get(NAMESPACES, None, "default")
    scheme, encoded = api.asked[0].headers["Authorization"].split()
    assert (scheme, base64.b64decode(encoded)) == ("Basic", b"jo:pass:word")


@pytest.mark.parametrize(
    ("no_proxy", "expected"),
    [
        ("", "http://proxy:3128"),
        ("10.96.0.0/12", None),
        ("10.96.0.1", None),
        ("10.96.0.1:443", None),
        ("10.96.0.1:6443", "http://proxy:3128"),
        ("example.com, 192.168.0.0/16", "http://proxy:3128"),
        ("*", None),
    ],
)
async def test_a_proxy_is_used_unless_the_cluster_is_excepted(tmp_path, no_proxy, expected):
    for name, content in (("token", "t"), ("ca.crt", "ca"), ("namespace", "team\n")):
        (tmp_path / name).write_text(content)
    environ = {
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        "HTTPS_PROXY": "http://proxy:3128",
        "NO_PROXY": no_proxy,
    }
    assert load_in_cluster(tmp_path, environ).proxy == expected


@pytest.mark.parametrize(
    ("host", "no_proxy", "direct"),
    [
        ("api.example.com", "example.com", True),
        ("api.example.com", ".example.com", True),
        ("api.example.com", "*.example.com", True),
        ("example.com", ".example.com", False),
        ("badexample.com", "example.com", False),
        ("API.example.com", "api.EXAMPLE.com:6443", True),
        ("localhost", "", True),
    ],
)
async def test_names_are_excepted_with_all_below_them(tmp_path, host, no_proxy, direct):
    body = {**TWO, "clusters": [cluster("a", f"https://{host}:6443")]}
    environ = {"https_proxy": "proxy:3128", "no_proxy": no_proxy}
    config = load_kubeconfig(str(write(tmp_path / "config", **body)), environ=environ)
    assert (config.proxy is None) == direct


async def test_a_proxy_of_the_kubeconfig_goes_before_the_environments(tmp_path):
    named = {"server": "https://a.example.com", "proxy-url": "http://mine:1"}
    body = {**TWO, "clusters": [{"name": "a", "cluster": named}]}
    path = str(write(tmp_path / "config", **body))
    assert load_kubeconfig(path, environ={"HTTPS_PROXY": "http://other:1"}).proxy == "http://mine:1"
    named["proxy-url"] = "socks5://mine:1"
    with pytest.raises(ConfigError, match="only http and https"):
        load_kubeconfig(str(write(tmp_path / "config", **body)))


async def test_without_any_configuration_it_is_said_what_to_do(tmp_path, monkeypatch):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigError, match="set KUBECONFIG"):
        await load_config()
    with pytest.raises(ConfigError, match="does not exist"):
        await load_config(kubeconfig=str(tmp_path / "none"))
    write(tmp_path / ".kube" / "config", **TWO)
    assert (await load_config()).host == "https://a.example.com"
