"""What kube-state-metrics is told to look at is there in our kinds, and of a sort that it can show."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kubetask_controller.api import crd

FILE = Path(__file__).resolve().parents[2] / "config" / "prometheus" / "kube-state-metrics.yaml"
RESOURCES = yaml.safe_load(FILE.read_text())["spec"]["resources"]
SCHEMAS = {
    x["spec"]["names"]["kind"]: x["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for x in crd.crds()
}
METRICS = [
    pytest.param(resource, metric, id=f"{resource['metricNamePrefix']}_{metric['name']}")
    for resource in RESOURCES
    for metric in resource["metrics"]
]


def at(schema: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """The schema of a field; KeyError where there is none."""
    for name in path:
        schema = schema["properties"][name]
    return schema


@pytest.mark.parametrize(("resource", "metric"), METRICS)
def test_a_metric_is_of_a_field_that_there_is(
    resource: dict[str, Any], metric: dict[str, Any]
) -> None:
    schema = SCHEMAS[resource["groupVersionKind"]["kind"]]
    kind = metric["each"]["type"]
    each = metric["each"][kind[0].lower() + kind[1:]]
    field = at(schema, each.get("path", []))
    if kind == "StateSet":
        assert field["enum"] == each["list"]
    elif kind == "Info":
        assert each["labelsFromPath"]
    elif field["type"] == "array":
        # Conditions: "True" and "False" are taken as 1 and 0.
        field = field["items"]
        assert set(at(field, each["valueFrom"])["enum"]) == {"True", "False", "Unknown"}
    else:
        # kube-state-metrics reads a decimal number out of a string, as it reads a time.
        decimal = field.get("pattern", "").startswith("^[0-9]")
        assert field["type"] == "integer" or field.get("format") == "date-time" or decimal
    for path in each.get("labelsFromPath", {}).values():
        assert at(field, path)["type"] == "string"


def test_labels_name_the_object() -> None:
    for resource in RESOURCES:
        assert ["metadata", "namespace"] in resource["labelsFromPath"].values()
        assert ["metadata", "name"] in resource["labelsFromPath"].values()
