"""How long the node waits, in seconds.

Delays of its own (back-off, resync) are those of a kubelet and pass `Clock.speed` times faster; what an
object asks for never does.
"""

from __future__ import annotations

SANDBOX_SECONDS = 0.01
PULL_SECONDS = 0.02
RESYNC_SECONDS = 5.0
"""Until a container that could not be made is tried again (a kubelet: 10 to 15)."""
SETTLE_SECONDS = 0.05
"""From the start of the last of several containers to the status that shows them; not divided by the speed."""
SEEN_SECONDS = 0.8
"""What runs longer is shown as running, whatever else has to be started first."""
MOUNT_BACKOFF_SECONDS = 0.5
MOUNT_BACKOFF_MAX_SECONDS = 122.0
BACKOFF_SECONDS = 10.0
BACKOFF_MAX_SECONDS = 300.0
BACKOFF_RESET_SECONDS = 600.0
DEFAULT_GRACE_SECONDS = 30
FORCED_GRACE_SECONDS = 1
STOP_SECONDS = 5.0
"""How long `Node.stop` waits for killed processes to be gone."""
