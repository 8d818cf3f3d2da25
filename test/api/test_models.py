"""The models read what the API server serves: the seed's examples, and objects from a newer version."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from kubetask_controller.api.batch import Batch
from kubetask_controller.api.batchrun import BatchRun
from kubetask_controller.api.task import Task
from kubetask_controller.api.workspaceconfig import WorkspaceConfig

KINDS: dict[str, type[BaseModel]] = {
    x.__name__: x for x in (Batch, BatchRun, Task, WorkspaceConfig)
}
SEED = Path(__file__).with_name("testdata") / "seed.yaml"
EXAMPLES = [x for x in yaml.safe_load_all(SEED.read_text()) if x]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda x: x["kind"])
def test_an_example_survives_the_way_through_its_model(example: dict[str, Any]) -> None:
    # A status in a manifest is dropped by the API server.
    served = {k: v for k, v in example.items() if k != "status"}
    model = KINDS[example["kind"]].model_validate(served)
    written = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert written["spec"] == example["spec"]


def test_a_field_of_a_newer_version_is_ignored() -> None:
    newer = {**EXAMPLES[0], "spec": {**EXAMPLES[0]["spec"], "invented": {"later": True}}}
    model = KINDS[newer["kind"]].model_validate(newer)
    assert "invented" not in model.model_dump(by_alias=True)["spec"]


def test_a_wrong_type_names_the_field() -> None:
    with pytest.raises(ValidationError, match=r"spec\.variableContexts"):
        Batch.model_validate(
            {
                "apiVersion": "kubetask.io/v1alpha1",
                "kind": "Batch",
                "metadata": {"name": "b"},
                "spec": {"variableContexts": "all"},
            }
        )
