"""Why a workspace cannot be prepared."""

from kubetask_controller.api.constants import Reason


class PreparationError(Exception):
    """The end of a preparation, for the user.

    Attributes:
        reason: of the closed list; the task's reason in its status.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
