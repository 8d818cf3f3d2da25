"""A task's Pod on this machine: its folders, its git server and its agents."""
