"""The interface through which the client reports its requests, so that it depends on no metrics library.

It corresponds to client-go's ``rest_client_*`` metrics. Methods run on the event loop and must return at
once.
"""

from typing import Protocol

ERROR_CODE = "<error>"
"""client-go's label value for a request without an answer."""


class RestMetrics(Protocol):
    """Receives one call for each attempt, so that a retried request counts more than once."""

    def request_finished(self, *, method: str, host: str, code: str, seconds: float) -> None:
        """The headers of an answer arrived, or the request failed (then the code is ``<error>``).

        For rest_client_requests_total and rest_client_request_duration_seconds.
        """

    def sizes(self, *, method: str, host: str, request_bytes: int, response_bytes: int) -> None:
        """An answer was read completely; not called for streams.

        For rest_client_request_size_bytes and rest_client_response_size_bytes.
        """

    def request_retried(self, *, method: str, host: str, code: str) -> None:
        """The request will be sent again: rest_client_request_retries_total."""

    def rate_limited(self, *, method: str, host: str, seconds: float) -> None:
        """The client-side limit admitted the request: rest_client_rate_limiter_duration_seconds."""

    def resolved(self, host: str, seconds: float) -> None:
        """The server's name was resolved: rest_client_dns_resolution_duration_seconds."""


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
