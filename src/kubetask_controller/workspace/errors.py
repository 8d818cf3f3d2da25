"""The error of a failed preparation."""

from kubetask_controller.api.constants import Reason


class PreparationError(Exception):
    """The workspace cannot be prepared; the message is for the user.

    Attributes:
        reason: the task's reason in its status.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
