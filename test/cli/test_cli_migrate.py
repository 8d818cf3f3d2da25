"""migrate: what CodeSweep manifests become, what stays as it is, and what is told."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetask_controller.cli.migrate.blocks import split_block
from kubetask_controller.cli.migrate.contexts import repository_of
from kubetask_controller.cli.migrate.convert import convert
from kubetask_controller.cli.migrate.documents import concatenate, join_documents, split_documents
from kubetask_controller.cli.migrate.report import Report
from support.cli.cliobjects import Cli

DATA = Path(__file__).parent / "testdata"
BUNDLE = """\
apiVersion: codesweep.io/v1alpha1
kind: Bundle
metadata:
  name: b
spec:
"""


def migrated(text: str) -> tuple[str, list[str]]:
    report = Report("f.yaml")
    return convert(text, report), list(report.losses())


def spec(text: str) -> tuple[Any, list[str]]:
    """The spec that a Bundle's spec becomes, and what was lost."""
    new, losses = migrated(BUNDLE + text)
    return yaml.safe_load(new)["spec"], [x.removeprefix("f.yaml: Bundle/b: ") for x in losses]


def repository(**fields: str) -> list[dict]:
    return [{"type": "Repository", "repository": {"org": "myorg", **fields}}]


async def test_a_realistic_file_keeps_comments_neighbours_and_order(cli: Cli):
    end = await cli("migrate", "-f", str(DATA / "codesweep.yaml"))
    assert end.out == (DATA / "kubetask.yaml").read_text()
    assert end.code == 3
    file = DATA / "codesweep.yaml"
    bundle = f"{file}: Bundle/update-dependencies: "
    assert end.err.splitlines() == [
        f"{bundle}spec.repositories[5]: the host git.example.com belongs into"
        " spec.git.urlTemplate of the WorkspaceConfig",
        f"{bundle}spec.repositories[5].priority: unknown field; removed",
        f"{bundle}spec.retryPolicy: unknown field; removed",
        f"{file}: CodeSweepConfig/default: spec.jobTemplateRef: a WorkspaceConfig has no Job"
        " template: set agentImage; removed",
        f"{bundle}spec.workspaceConfigRef: claude was a Job template; create a WorkspaceConfig with"
        " that name",
        "3 objects migrated",
    ]


async def test_what_is_migrated_whole_ends_with_0_and_is_left_alone_the_second_time(cli: Cli):
    text = BUNDLE + "  repositories:\n  - org: myorg\n    repo: a\n"
    end = await cli("migrate", stdin=text)
    assert (end.code, end.err) == (0, "1 object migrated\n")
    again = await cli("migrate", stdin=end.out)
    assert (again.code, again.out, again.err) == (0, end.out, "0 objects migrated\n")


def test_lists_without_indentation_stay_so():
    text = BUNDLE + (
        "  repositories:\n"
        "  - org: myorg  # a\n"
        "    repo: a\n"
        "  # between\n"
        "  - repo: b\n"
        "    org: myorg\n"
        "  context:\n"
        "    files:\n"
        "    - name: task.md\n"
        "      content: >-\n"
        "        folded\n"
        "        text\n"
    )
    assert migrated(text)[0].partition("spec:\n")[2] == (
        "  variableContexts:\n"
        "  - - type: Repository\n"
        "      repository:\n"
        "        org: myorg  # a\n"
        "        repo: a\n"
        "  # between\n"
        "  - - type: Repository\n"
        "      repository:\n"
        "        repo: b\n"
        "        org: myorg\n"
        "  commonContext:\n"
        "  - type: File\n"
        "    file:\n"
        "      name: task.md\n"
        "      source:\n"
        "        inline: >-\n"
        "          folded\n"
        "          text\n"
    )


def test_flow_style_anchors_and_aliases():
    found, losses = spec(
        "  context: {files: [{name: a.md, content: x}, {name: b.md, source: {inline: y}}]}\n"
        "  repositories:\n"
        "    - &first\n"
        "      org: myorg\n"
        "      repo: a\n"
        "    - *first\n"
        "    -\n"
        "      # alone\n"
        "      org: myorg\n"
        "      repo: b\n"
    )
    assert losses == []
    assert found["variableContexts"] == [
        repository(repo="a"),
        repository(repo="a"),
        repository(repo="b"),
    ]
    assert [x["file"] for x in found["commonContext"]] == [
        {"name": "a.md", "source": {"inline": "x"}},
        {"name": "b.md", "source": {"inline": "y"}},
    ]


def test_text_in_blocks_comes_through_unchanged():
    text = "Line\n\n  indented\n# no comment\n--- no document\n\ttab\nlast\n"
    body = "".join(f"          {x}\n" if x else "\n" for x in text.splitlines())
    found, losses = spec(
        "  repositories: [myorg/a]\n"
        "  context:\n    files:\n      - content: |\n" + body + "        name: a.md\n"
    )
    assert found["commonContext"][0]["file"] == {"name": "a.md", "source": {"inline": text}}
    assert losses == []


def test_what_has_no_place_is_told_by_its_path_and_its_comment_stays():
    text = (
        "  # why\n"
        "  schedule: nightly\n"
        "  # the repos\n"
        "  repositories:\n"
        "    - 7\n"
        "    - org: myorg\n"
        "      repo: a\n"
        "      # deep\n"
        "      depth: 1\n"
        "  context:\n"
        "    prompt: do it\n"
    )
    new, _ = migrated(BUNDLE + text)
    found, losses = spec(text)
    assert found == {"variableContexts": [repository(repo="a")]}
    assert losses == [
        "spec.schedule: unknown field; removed",
        "spec.repositories[0]: '7' is neither org/repo nor the URL of a repository; removed",
        "spec.repositories[1].depth: unknown field; removed",
        "spec.context.prompt: unknown field; removed",
    ]
    for comment in ("# why", "# the repos", "# deep"):
        assert comment in new


def test_what_the_server_would_refuse_is_told():
    _, losses = spec("  repositories: []\n")
    assert len(losses) == 1
    assert losses[0].startswith("spec.variableContexts: not valid in KubeTask")
    _, losses = spec("  repositories: [{org: myorg, repo: '../x'}]\n")
    assert "repository.repo: not valid in KubeTask" in losses[0]


def test_a_bundle_run_with_its_bundle_written_out_and_fields_of_the_server():
    text = """\
apiVersion: codesweep.io/v1alpha1
kind: BundleRun
metadata:
  name: r
  uid: 1234
  # mine
  labels: {a: b}
  finalizers: [codesweep.io/cleanup]
  ownerReferences:
    - apiVersion: codesweep.io/v1alpha1
      kind: Bundle
spec:
  bundleSpec:
    repositories:
      - {org: myorg, repo: a}
  jobTemplateRef: {name: claude, namespace: far}
  suspend: true
status:
  phase: Succeeded
"""
    new, losses = migrated(text)
    assert yaml.safe_load(new) == {
        "apiVersion": "kubetask.io/v1alpha1",
        "kind": "BatchRun",
        "metadata": {"name": "r", "labels": {"a": "b"}},
        "spec": {
            "batchSpec": {"variableContexts": [repository(repo="a")]},
            "workspaceConfigRef": "claude",
            "suspend": True,
        },
    }
    assert "# mine" in new
    assert [x.removeprefix("f.yaml: BundleRun/r: ") for x in losses] == [
        "metadata.finalizers: it mentions codesweep.io; removed",
        "metadata.ownerReferences: it mentions codesweep.io; removed",
        "spec.jobTemplateRef.namespace: far: references to other namespaces are not supported",
    ]


async def test_a_job_template_is_fine_where_a_workspace_config_has_its_name(
    cli: Cli, tmp_path: Path
):
    run = "apiVersion: codesweep.io/v1\nkind: BundleRun\nmetadata: {name: r}\n"
    (tmp_path / "run.yaml").write_text(run + "spec: {bundleRef: b, jobTemplateRef: claude}\n")
    config = "apiVersion: codesweep.io/v1\nkind: CodeSweepConfig\nmetadata: {name: claude}\n"
    (tmp_path / "zz.yml").write_text(config + "spec: {agentImage: x}\n")
    end = await cli("migrate", "-f", str(tmp_path))
    assert (end.code, end.err) == (0, "2 objects migrated\n")
    first, second = yaml.safe_load_all(end.out)
    assert first["spec"] == {"batchRef": "b", "workspaceConfigRef": "claude"}
    assert second["kind"] == "WorkspaceConfig"


async def test_a_list_from_kubectl_and_json(cli: Cli):
    items = [
        {
            "apiVersion": "codesweep.io/v1alpha1",
            "kind": "Bundle",
            "metadata": {"name": "b", "resourceVersion": "5", "managedFields": []},
            "spec": {"repositories": [{"org": "myorg", "repo": "a"}]},
        },
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}},
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    end = await cli("migrate", stdin=text)
    assert end.code == 0
    batch, other = json.loads(end.out)["items"]
    assert batch["metadata"] == {"name": "b"}
    assert batch["spec"] == {"variableContexts": [repository(repo="a")]}
    assert other == items[1]
    single = await cli("migrate", stdin=json.dumps(items[0]))
    assert json.loads(single.out)["kind"] == "Batch"


def test_every_item_of_a_list_is_converted_like_a_document():
    role = (
        "  - apiVersion: rbac.authorization.k8s.io/v1\n    kind: Role\n    metadata: {name: r}\n"
        "    rules:\n      - apiGroups: [codesweep.io]\n        resources: [bundles]\n"
        "        verbs: [get]\n"
    )
    webhook = "  - kind: Webhook\n    metadata: {name: w}\n    group: codesweep.io\n"
    new, losses = migrated("apiVersion: v1\nkind: List\nitems:\n" + role + webhook)
    (found, other) = yaml.safe_load(new)["items"]
    assert found["rules"] == [
        {"apiGroups": ["kubetask.io"], "resources": ["batches"], "verbs": ["get"]}
    ]
    assert other["group"] == "codesweep.io"
    assert losses == ["f.yaml: Webhook/w: it mentions codesweep.io; unchanged"]


def test_other_documents_that_speak_of_codesweep_are_named():
    crd = (
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"
        "metadata: {name: bundles.codesweep.io}\n"
    )
    webhook = "kind: Webhook\nmetadata: {name: w}\nrules: [{apiGroups: [codesweep.io]}]\n"
    template = "apiVersion: codesweep.io/v1alpha1\nkind: Bundle\nspec:\n  {{- range }}\n  x\n"
    comment = "# once codesweep.io\nkind: ConfigMap\n"
    text = "---\n".join((crd, webhook, template, comment))
    new, losses = migrated(text)
    assert new == text
    assert [x.partition(";")[0].partition(" (")[0] for x in losses] == [
        "f.yaml: CustomResourceDefinition/bundles.codesweep.io: unchanged: the installation of KubeTask"
        " contains its CRDs",
        "f.yaml: Webhook/w: it mentions codesweep.io",
        "f.yaml: document 3: it is not plain YAML",
    ]


async def test_in_place_writes_only_what_changed(cli: Cli, tmp_path: Path):
    (tmp_path / "deep").mkdir()
    ours = tmp_path / "deep" / "b.yaml"
    ours.write_bytes((BUNDLE + "  repositories: [myorg/a]\n").replace("\n", "\r\n").encode())
    other = tmp_path / "a.yaml"
    other.write_bytes(b"kind:   X\r\n")
    before = other.stat().st_mtime_ns
    end = await cli("migrate", "-R", "-f", str(tmp_path), "--in-place")
    assert (end.code, end.out) == (0, "")
    assert ours.read_bytes().count(b"\r\n") == ours.read_bytes().count(b"\n")
    assert yaml.safe_load(ours.read_bytes())["kind"] == "Batch"
    assert other.stat().st_mtime_ns == before


async def test_files_that_are_not_there_are_usage_errors(cli: Cli, tmp_path: Path):
    assert (await cli("migrate", "-f", str(tmp_path / "no.yaml"))).code == 2
    assert (await cli("migrate", "-f", str(tmp_path))).code == 2
    assert (await cli("migrate", "--in-place")).code == 2


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a/b", {"org": "a", "repo": "b"}),
        ("a/b@release/1", {"org": "a", "repo": "b", "branch": "release/1"}),
        ("https://github.com/a/b.git", {"org": "a", "repo": "b", "host": "github.com"}),
        ("git@gitlab.com:g/s/b.git", {"org": "g/s", "repo": "b", "host": "gitlab.com"}),
        ("ssh://git@h:22/a/b", {"org": "a", "repo": "b", "host": "h:22"}),
        ("github.com/myorg/a", {"org": "myorg", "repo": "a", "host": "github.com"}),
        ("gitlab.com/g/s/b", {"org": "g/s", "repo": "b", "host": "gitlab.com"}),
        ("my.org/b", {"org": "my.org", "repo": "b"}),
        (
            "https://me@dev.azure.com/o/My%20Project/_git/r",
            {"org": "o/My Project", "repo": "r", "host": "dev.azure.com"},
        ),
        ("https://github.com/o/a/tree/main", None),
        ("https://github.com/o/a/pulls", None),
        ("https://gitlab.com/o/a/-/tree/main", None),
        ("https://git.example/o/a/blob/main/README.md", None),
        ("https://github.com/o/a?tab=readme", None),
        ("https://github.com/o/", None),
        ("a/b@", None),
        ("a//b", None),
        ("justone", None),
        ("", None),
    ],
)
def test_repositories_in_one_word(text: str, fields: dict | None):
    assert repository_of(text) == fields


@given(st.lists(st.sampled_from(["---", "--- # c", "--- {}", "a: b", "", "  ---", "...", "# x"])))
def test_documents_are_put_together_as_they_were(lines: list[str]):
    text = "\n".join(lines)
    assert join_documents(split_documents(text)) == text


_KEYS = st.text("abcxyz", min_size=1, max_size=4)
_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=30) | st.just(
    "two\nlines\n"
)
_REPOSITORY = st.fixed_dictionaries({"org": _KEYS, "repo": _KEYS}, optional={"branch": _KEYS})
_FILE = st.fixed_dictionaries({"name": _KEYS, "content": _TEXT})


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(_REPOSITORY, min_size=1), st.lists(_FILE), st.sampled_from([None, False, True]))
def test_any_bundle_means_the_same_afterwards(repositories, files, style):
    body = {
        "apiVersion": "codesweep.io/v1alpha1",
        "kind": "Bundle",
        "metadata": {"name": "b"},
        "spec": {"context": {"files": files}, "repositories": repositories},
    }
    text = yaml.dump(body, allow_unicode=True, default_flow_style=style, sort_keys=False)
    found = yaml.safe_load(migrated(text)[0])["spec"]
    assert found["variableContexts"] == [
        [{"type": "Repository", "repository": x}] for x in repositories
    ]
    assert (found.get("commonContext") or []) == [
        {"type": "File", "file": {"name": x["name"], "source": {"inline": x["content"]}}}
        for x in files
    ]


@settings(deadline=None)
@given(
    st.recursive(_TEXT, lambda x: st.lists(x, min_size=1) | st.dictionaries(_KEYS, x, min_size=1))
)
def test_cutting_loses_no_line(value):
    if isinstance(value, str):
        return
    lines = yaml.dump(value, default_flow_style=False).rstrip("\n").split("\n")
    assert split_block(lines).text() == lines


def test_files_become_one_stream():
    assert concatenate(["a: 1", "---\nb: 2\n", "c: 3\n"]) == "a: 1\n---\nb: 2\n---\nc: 3\n"
