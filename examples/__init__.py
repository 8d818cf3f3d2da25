"""Operators that use kubetask_controller.client and kubetask_controller.runtime, and nothing else of the project."""
