"""What runs in a task's Pod: the init container that prepares the workspace, and our own agent's entry point."""
