"""The reconciler of BatchRun: the desired Jobs of a run against the actual ones."""
