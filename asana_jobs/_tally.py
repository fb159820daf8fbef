"""What was sent and what was refused in the last minute, counted by the second."""

from __future__ import annotations

from collections import deque
from math import floor

import attrs

from asana_jobs._pace import WINDOW


@attrs.define
class Tally:
    """A minute's worth of counts, kept in at most 61 entries.

    Attributes:
        sent: Requests in the last minute, as of the last `forget`. ``accepted``: how many were answered, other than with 429.
    """

    sent: int = 0
    accepted: int = 0
    _seconds: deque[list[int]] = attrs.field(factory=deque[list[int]])

    def count(self, now: float, *, sent: int = 0, accepted: int = 0) -> None:
        """Count what happened *now*."""
        second = floor(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self.forget(now)
            self._seconds.append([second, 0, 0])
        counts = self._seconds[-1]
        counts[1] += sent
        counts[2] += accepted
        self.sent += sent
        self.accepted += accepted

    def forget(self, now: float) -> None:
        """Drop what is older than a minute."""
        while self._seconds and self._seconds[0][0] <= now - WINDOW:
            _, sent, accepted = self._seconds.popleft()
            self.sent -= sent
            self.accepted -= accepted
