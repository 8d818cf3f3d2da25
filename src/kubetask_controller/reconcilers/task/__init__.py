"""The reconciler of Task: one Job."""
