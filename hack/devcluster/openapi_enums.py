"""Writes devcluster/apiserver/data/enums.json: which values fields take, as a real server publishes them.

    kubectl get --raw /openapi/v2 | python hack/devcluster/openapi_enums.py

The published JSON schemas that the development cluster starts from have none. `kubectl explain` shows them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "devcluster/apiserver/data/enums.json"
HEADING = "\n\nPossible enum values:"


def main() -> None:
    """From stdin to the file, a line for each type."""
    definitions: dict[str, Any] = json.load(sys.stdin)["definitions"]
    lines = []
    for name, definition in sorted(definitions.items()):
        fields = {
            field: found
            for field, schema in sorted((definition.get("properties") or {}).items())
            if (found := _values(schema))
        }
        if fields and name.startswith("io.k8s.api."):
            lines.append(f"{json.dumps(name)}:{json.dumps(fields, separators=(',', ':'))}")
    DATA.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _values(schema: dict[str, Any]) -> dict[str, Any] | None:
    values = (schema.get("items") or schema).get("enum")
    if not values:
        return None
    _, heading, text = schema.get("description", "").partition(HEADING)
    return {"values": values, "text": heading + text}


if __name__ == "__main__":
    main()
