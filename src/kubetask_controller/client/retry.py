"""When a request is retried, and after which delay: client-go's rules, as a pure function.

- After an answer of 429 or 5xx with Retry-After every request is retried: the server has not carried it
  out. The exception is "too large resource version", which the caller handles without a wait.
- A GET without an answer is retried, unless the connection was refused (then the caller backs off).
- A write without an answer is never retried, because it may have been carried out.
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
    """Seconds to wait before the next attempt, or None for no further attempt.

    Args:
        error: of the attempt.
        method: of the request, in capitals.
        attempt: 0 after the first attempt.
    """
    if isinstance(error, TransportError):
        repeatable = method == "GET" and not error.refused and not error.timed_out
        return TRANSPORT_DELAYS[attempt] if repeatable and attempt < len(TRANSPORT_DELAYS) else None
    if attempt >= MAX_RETRIES or not isinstance(error, APIStatusError):
        return None
    overloaded = error.code == 429 or error.code >= 500
    return error.retry_after if overloaded and not is_too_large_resource_version(error) else None
