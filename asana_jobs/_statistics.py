"""What a wait has done so far, for people who want numbers."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs


@attrs.frozen(kw_only=True)
class WaitStatistics:
    """What a wait has done so far.

    Attributes:
        looks: Requests that were answered or failed, those of other waiters on the same job included.
        waited: Seconds since the wait was first used.
        finished_after: The last moment at which the job is known to have been unfinished, if any.
        finished_before: The first moment at which it is known to have finished; ``None`` while it runs.
    """

    looks: int
    waited: float
    finished_after: datetime | None
    finished_before: datetime | None

    @property
    def lag_bound(self) -> float | None:
        """At most this many seconds passed between the job's end and our knowing it."""
        if self.finished_after is None or self.finished_before is None:
            return None
        return (self.finished_before - self.finished_after) / timedelta(seconds=1)
