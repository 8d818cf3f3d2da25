"""Types that every package uses."""

from typing import Any

JSON = dict[str, Any]
"""A JSON object, such as a Kubernetes object as the API server sends it."""
