"""Logs of all tasks of a run as one stream of whole lines."""
