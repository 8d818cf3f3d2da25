"""The installed product, for whichever folder's tests ask for it: one controller for the session."""

from installed import (
    _controller,
    controller,
    git_host,
    installed,
    kubectl,
    namespace,
    second,
)

__all__ = ["_controller", "controller", "git_host", "installed", "kubectl", "namespace", "second"]
