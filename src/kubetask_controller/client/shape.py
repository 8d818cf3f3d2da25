"""Reading JSON only as far as somebody wants to see it.

A Pod is 10 to 20 KB of JSON, of which a controller looks at a tenth. Read as a whole, it becomes hundreds of Python objects
that are thrown away at once; read by a shape, only what the shape names is made at all.
"""

from collections.abc import Callable
from typing import Any, TypedDict, cast

import msgspec
from pydantic_core import from_json

Decode = Callable[[bytes], Any]
"""Makes a value of a JSON document. Raises ValueError for what is no JSON."""


def event_decoder(shape: type[Any] | None) -> Decode:
    """Reads watch events whose objects have this shape, a TypedDict; None reads them as a whole.

    What does not fit is read as a whole too: the Status of an ERROR event, a null where a string should be.
    """
    if shape is None:
        return from_json
    event = TypedDict("event", {"type": str, "object": shape})  # type: ignore[valid-type]  # noqa: UP013
    slim = msgspec.json.Decoder(cast(Any, event))

    def decode(line: bytes) -> Any:
        try:
            return slim.decode(line)
        except msgspec.DecodeError:
            return from_json(line)

    return decode
