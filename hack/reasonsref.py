"""Renders docs/reference/reasons.md: every reason of runs, tasks and Events, with its meaning."""

from kubetask_controller.api.constants import REASONS_BY_PHASE, EventReason, Phase, Reason
from kubetask_controller.cli.explain import reason_text
from kubetask_controller.cli.ui.views import EVENT_WORDS

_HEADER = """\
# Reasons

Generated from `src/kubetask_controller/api/constants.py` by `make generate`. Do not edit.

`status.reason` and `status.tasks[].reason` explain the phase, `message` contains the details. The lists are closed: scripts
and alerts can match on them. A new version may add reasons; existing ones do not change.

## Runs and tasks

| reason | phases | meaning | what to do |
|---|---|---|---|
"""
_EVENTS = """
## Events

Events of a BatchRun or Task, from `kubectl describe` or `kubectl get events`.

| reason | meaning |
|---|---|
"""


def render_reasons() -> str:
    """The page as Markdown."""
    rows = []
    for reason in Reason:
        phases = [x.value for x in Phase if reason in REASONS_BY_PHASE[x]]
        text = reason_text(reason)
        rows.append(f"| `{reason}` | {', '.join(phases)} | {text.what} | {text.todo or '-'} |\n")
    events = [f"| `{x}` | {EVENT_WORDS[x]} |\n" for x in EventReason]
    return _HEADER + "".join(rows) + _EVENTS + "".join(events)
