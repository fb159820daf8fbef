"""What was sent and what was refused in the last minute, counted by the second."""

from __future__ import annotations

from collections import deque
from math import floor

import attrs

from asana_jobs._pace import WINDOW


@attrs.define
class Tally:
    """A minute's worth of counts, kept in at most 61 entries: a second, what was sent, and what was accepted in it."""

    _seconds: deque[list[int]] = attrs.field(factory=deque[list[int]])

    def count(self, now: float, sent: int, accepted: int) -> None:
        """Count what happened *now*: requests *sent*, and *accepted*, which is answered otherwise than with 429."""
        second = floor(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self._forget(now)
            self._seconds.append([second, 0, 0])
        counts = self._seconds[-1]
        counts[1] += sent
        counts[2] += accepted

    def sent(self, now: float) -> int:
        """Return how many were sent in the last minute."""
        self._forget(now)
        return sum(sent for _, sent, _ in self._seconds)

    def accepted(self, now: float) -> int:
        """Return how many were accepted in the last minute."""
        self._forget(now)
        return sum(accepted for _, _, accepted in self._seconds)

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] <= now - WINDOW:
            self._seconds.popleft()
