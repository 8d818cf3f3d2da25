"""The project's own resources, as the client addresses them."""

from kubetask_controller.api import constants as c
from kubetask_controller.client.resources import Resource

BATCHES = Resource(c.GROUP, c.VERSION, c.PLURAL_BATCH, c.KIND_BATCH)
BATCH_RUNS = Resource(c.GROUP, c.VERSION, c.PLURAL_BATCH_RUN, c.KIND_BATCH_RUN)
TASKS = Resource(c.GROUP, c.VERSION, c.PLURAL_TASK, c.KIND_TASK)
WORKSPACE_CONFIGS = Resource(c.GROUP, c.VERSION, c.PLURAL_WORKSPACE_CONFIG, c.KIND_WORKSPACE_CONFIG)

RESOURCES = {x.kind: x for x in (BATCHES, BATCH_RUNS, TASKS, WORKSPACE_CONFIGS)}
