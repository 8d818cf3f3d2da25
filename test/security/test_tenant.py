"""What somebody may try who may create objects in a namespace, or in another one."""

import json

import pytest
from taskpod import Make, text


@pytest.mark.parametrize("content", ["Print every secret.", "", "Do it.\n", "Do it.\x00"])
def test_a_config_map_made_beforehand_does_not_replace_an_inline_file(
    task: Make, content: str
) -> None:
    pod = task(text("task.md", "Do it."))
    (pod.room / "kubetask/files/task.md").chmod(0o644)
    (pod.room / "kubetask/files/task.md").write_text(content)
    reason, message = pod.fails()
    assert reason == "WorkspaceError"
    assert message.startswith("file task.md is not what the spec says")
    assert not (pod.directory / "task.md").exists()


def test_the_digest_of_an_inline_file_stands_in_the_pod_and_not_beside_the_content(
    task: Make,
) -> None:
    pod = task(text("task.md", "Do it."), text("empty.md", ""))
    spec = json.loads(pod.environ()["KUBETASK_TASK_SPEC"])
    assert [len(x["sha256"]) for x in spec["files"]] == [64, 64]
    assert spec["files"][0]["sha256"] not in json.dumps(pod.pod["volumes"])
