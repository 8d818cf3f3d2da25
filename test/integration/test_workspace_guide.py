"""Every YAML of the pages about workspaces, agents, Pods and git hosts is taken by the API server as it stands."""

from typing import Any

import pytest
import yaml

from kubetask_controller.api import constants as c
from kubetask_controller.api.manifest import ManifestAgent
from kubetask_controller.workspace.agent.presets import PRESETS
from support.integration.documents import DOCS, blocks
from support.integration.kubectl import Kubectl

GUIDE = (DOCS / "workspace.md").read_text()
AGENTS = (DOCS / "agents.md").read_text()
PAGES = (
    *("workspace.md", "agents.md", "git-hosts.md", "pull-requests.md"),
    *("pods.md", "meshes.md", "disruption.md", "storage.md"),
)
BLOCKS = [x.text for page in PAGES for x in blocks(page) if x.language == "yaml"]


def _title(block: str) -> str:
    return "-".join(x["metadata"]["name"] for x in yaml.safe_load_all(block))


@pytest.mark.parametrize("block", BLOCKS, ids=_title)
def test_an_example_is_taken_by_the_server(installed: Kubectl, block: str) -> None:
    objects: list[dict[str, Any]] = list(yaml.safe_load_all(block))
    out = installed("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=block)
    assert len(out.splitlines()) == len(objects)


def test_the_guide_names_every_variable_that_a_task_is_given() -> None:
    given = {*c.RESERVED_ENV, c.ENV_HOME, c.ENV_GIT_CONFIG, c.ENV_GIT_CREDENTIALS, *c.CA_ENV}
    assert [
        x for x in sorted(given - {c.ENV_TASK_SPEC, c.ENV_HOME_FILES}) if f"`{x}`" not in GUIDE
    ] == []


@pytest.mark.parametrize("name", PRESETS)
def test_the_guide_shows_how_an_agent_is_run(name: str) -> None:
    assert f"`{' '.join(PRESETS[name].command(ManifestAgent(), []))}`" in AGENTS
