"""Names for JSON as Python has it, for every package."""

from typing import Any

JSON = dict[str, Any]
"""A JSON object."""
