"""Programs in a task's Pod: the init container that prepares the workspace, and the entry point of the agent images."""
