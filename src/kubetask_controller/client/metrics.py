"""What the client tells about its requests; the caller decides which metrics these become.

The shapes are those of client-go's ``rest_client_*`` metrics. Methods are called on the event loop
and must return at once.
"""

from typing import Protocol

ERROR_CODE = "<error>"
"""Label value that client-go uses for a request that got no answer."""


class RestMetrics(Protocol):
    """Receives one call per attempt, so that a request which was retried counts more than once."""

    def request_finished(self, *, method: str, host: str, code: str, seconds: float) -> None:
        """An answer's headers came, or none will (then the code is ``<error>``).

        For rest_client_requests_total and rest_client_request_duration_seconds.
        """

    def sizes(self, *, method: str, host: str, request_bytes: int, response_bytes: int) -> None:
        """A whole answer was read; not called for streams.

        For rest_client_request_size_bytes and rest_client_response_size_bytes.
        """

    def request_retried(self, *, method: str, host: str, code: str) -> None:
        """The request will be sent again: rest_client_request_retries_total."""

    def rate_limited(self, *, method: str, host: str, seconds: float) -> None:
        """The client-side limit let the request pass: rest_client_rate_limiter_duration_seconds."""

    def resolved(self, host: str, seconds: float) -> None:
        """The server's name was looked up: rest_client_dns_resolution_duration_seconds."""


class NoRestMetrics:
    """Counts nothing."""

    def request_finished(self, *, method: str, host: str, code: str, seconds: float) -> None:
        """Ignored."""

    def sizes(self, *, method: str, host: str, request_bytes: int, response_bytes: int) -> None:
        """Ignored."""

    def request_retried(self, *, method: str, host: str, code: str) -> None:
        """Ignored."""

    def rate_limited(self, *, method: str, host: str, seconds: float) -> None:
        """Ignored."""

    def resolved(self, host: str, seconds: float) -> None:
        """Ignored."""
