"""When a request is sent again, and after how long: client-go's rules, as pure functions.

- An answer of 429 or 5xx that carries Retry-After is obeyed, whatever the method: the server says
  that it wants to be asked again. The exception is "too large resource version", where the caller
  has something better to do than to wait.
- A GET without an answer is sent again, unless nothing listens there (the caller backs off then).
- A write without an answer is never sent again here, for it may have been carried out.
"""

from kubetask_controller.client.errors import (
    APIStatusError,
    ClientError,
    TransportError,
    is_too_large_resource_version,
)

MAX_RETRIES = 10
TRANSPORT_DELAYS = (0.1, 0.5, 1.0)


def retry_delay(error: ClientError, *, method: str, attempt: int) -> float | None:
    """Seconds to wait before the next attempt, or None to give up.

    Args:
        error: what the attempt ended with.
        method: of the request, in capitals.
        attempt: 0 after the first attempt.
    """
    if isinstance(error, TransportError):
        repeatable = method == "GET" and not error.refused and not error.timed_out
        return TRANSPORT_DELAYS[attempt] if repeatable and attempt < len(TRANSPORT_DELAYS) else None
    if attempt >= MAX_RETRIES or not isinstance(error, APIStatusError):
        return None
    sheds_load = error.code == 429 or error.code >= 500
    return error.retry_after if sheds_load and not is_too_large_resource_version(error) else None
