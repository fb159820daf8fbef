"""What one token may send: the quota, the pace that keeps to it, and what was sent. Numbers only, no clock.

How many requests a minute Asana lets through: told, or found out by trying. Numbers only, no clock.

Asana documents 150 a minute on free domains and 1500 on paid ones, and no header says which. A token that was not
told starts at the lower number and doubles while it is kept waiting and nothing is refused, as TCP does. A 429
brings it down; the quota that was refused is remembered as the ceiling, and tried again only rarely.

How fast requests may go out: one timestamp and some arithmetic (GCRA), no clock.

Requests may come in bursts, but no minute ever sees more of them than the quota.

What was sent and what was refused in the last minute, counted by the second.

The pause that all callers share after a 429, as a value: numbers in, numbers out, no clock.

When it ends one request goes ahead, the probe. Only its answer opens the gate again.
"""

from __future__ import annotations

from collections import deque
from math import floor, inf, isfinite

import attrs

from asana_jobs.policies import RateLimits


FREE = 150.0
PAID = 1500.0

DOUBLING = 1.0
"""Seconds between two doublings while nothing was refused so far."""

STEP = 1.5
"""Factor between two neighbouring quotas once something was refused."""

CALM = 60.0
"""Seconds after a fall in which nothing is tried: the server needs a minute to forget."""

CLIMBING = 10.0
"""Seconds between two steps on the way back up."""

NEAR = 0.95
"""Share of the ceiling that counts as the ceiling."""


@attrs.frozen
class Quota:
    """What is known about the quota, in requests a minute.

    Attributes:
        estimate: The quota in force.
        floor: What Asana grants for sure if nobody else uses the token; ``most``: what it never exceeds.
        shortest: Seconds to keep away from the ceiling after a fall; ``longest``: where their doubling ends.
        patience: Seconds to keep away after the last fall.
        ceiling: The quota that was refused last.
        stepped_at: When the estimate last changed. ``calm_until``: when it may climb again.
        ceiling_until: When the ceiling may be tried again.
        spilled_until: Until when a 429 may be due to what went out before a fall from above the floor.
    """

    estimate: float
    floor: float
    most: float
    shortest: float
    longest: float
    patience: float
    ceiling: float = inf
    stepped_at: float = -inf
    calm_until: float = -inf
    ceiling_until: float = -inf
    spilled_until: float = -inf


def told(per_minute: float) -> Quota:
    """Return a quota that was configured: never exceeded, and returned to soon after a fall."""
    return Quota(
        per_minute, floor=per_minute, most=per_minute, shortest=CALM, longest=600.0, patience=CALM / 2
    )


def unknown(share: float = 1.0) -> Quota:
    """Return a quota to be found out, of which *share* is ours."""
    return Quota(
        FREE * share, floor=FREE * share, most=PAID * share, shortest=600.0, longest=3600.0, patience=300.0
    )


def grow(quota: Quota, now: float) -> Quota:
    """Return the next quota to try, given that callers had to wait and the present one was not refused."""
    if quota.estimate >= quota.most or now < quota.calm_until:
        return quota
    if quota.ceiling == inf:
        estimate = min(2 * quota.estimate, quota.most)
        return attrs.evolve(quota, estimate=estimate, stepped_at=now, calm_until=now + DOUBLING)
    estimate = min(STEP * quota.estimate, quota.most)
    if estimate < NEAR * quota.ceiling:
        return attrs.evolve(quota, estimate=estimate, stepped_at=now, calm_until=now + CLIMBING)
    if now < quota.ceiling_until:
        return quota
    # What is past the ceiling has to last a minute before the next step: a full log takes that long to show.
    return attrs.evolve(
        quota,
        estimate=estimate,
        ceiling=STEP * estimate,
        stepped_at=now,
        calm_until=now + CALM,
        ceiling_until=now,
    )


def fall(quota: Quota, now: float, accepted: float) -> Quota:
    """Return the quota to go on with after a 429, *accepted* requests having been answered in the minute before."""
    estimate, ceiling, spilled_until = quota.estimate / STEP, quota.estimate, quota.spilled_until
    if quota.estimate > quota.floor:
        spilled_until = now + CALM
        # What passed within a minute is no more than the quota and the burst that the server allows.
        estimate = max(quota.floor, min(estimate, accepted))
    elif now < spilled_until:
        # The server's minute is still full of what went before: the floor is not at fault, and tried again soon.
        ceiling = STEP * quota.floor
    # A quota that held for long was not at fault: something else took the requests, and may be gone soon.
    lasted = now >= quota.stepped_at + quota.longest
    patience = quota.shortest if lasted else min(2 * quota.patience, quota.longest)
    fallen = attrs.evolve(
        quota,
        # Somebody else may use the same token, so that even the floor is not ours alone; but never stop trying.
        estimate=max(estimate, quota.floor / 20),
        ceiling=ceiling,
        patience=patience,
        stepped_at=now,
        spilled_until=spilled_until,
    )
    return calm(fallen, now)


def calm(quota: Quota, now: float) -> Quota:
    """Return *quota* with its times of calm counted from *now*, when the pause after a fall is over."""
    if quota.ceiling == inf:
        return quota
    return attrs.evolve(quota, calm_until=now + CALM, ceiling_until=now + quota.patience)


WINDOW = 60.0
"""Seconds over which Asana counts."""

SLACK = 1.0
"""Seconds by which the network may bunch requests together: two that left 61 seconds apart may arrive within 60."""

FEW = 5.0
"""Requests that may go at once even where a second's worth is less."""


HAIR = 1e-6
"""Part of a request by which sums of many small numbers may be off."""


def _gap(pace: RateLimiter) -> float:
    return 1 / pace.rate


def _ahead(pace: RateLimiter) -> float:
    return (pace.burst - 1 + HAIR) / pace.rate


@attrs.frozen
class RateLimiter:
    """A steady rate with room for a burst. When the next request may go is a number that its user keeps.

    At most ``burst + seconds * rate`` requests go out in any stretch of *seconds*.

    Attributes:
        rate: Requests a second in the long run.
        burst: Requests that may go at once after a quiet time.
        gap: Seconds between requests in the long run.
        ahead: Seconds by which requests that may go at once are ahead of those that are evenly spaced.
    """

    rate: float
    burst: float
    # Kept, since every request asks for them.
    gap: float = attrs.field(init=False, default=attrs.Factory(_gap, takes_self=True))
    ahead: float = attrs.field(init=False, default=attrs.Factory(_ahead, takes_self=True))

    @classmethod
    def within(cls, quota: float, burst: float = inf) -> RateLimiter:
        """Return the fastest safe pace for *quota* requests a minute, bursting about a second's worth."""
        burst = min(burst, max(quota / WINDOW, min(FEW, quota / 10), 1.0))
        # The burst comes out of the same quota. Below two a minute nothing would be left after it, hence the half.
        return cls(max(quota - burst, quota / 2) / (WINDOW + SLACK), burst)

    def share(self, part: float) -> RateLimiter:
        """Return a pace of its own, for those who may use only *part* of this one."""
        return RateLimiter(self.rate * part, max(1.0, self.burst * part))

    def take(self, ready_at: float, now: float) -> float:
        """Return when the next request may go, if it was at *ready_at* and one goes *now*."""
        return max(now - self.ahead, ready_at) + self.gap

    def give_back(self, ready_at: float, taken: float, now: float) -> float:
        """Return when the next may go, if it was at *ready_at* and the one that *taken* came of was never sent.

        What could overfill a minute is not given back.
        """
        # Once a later request has found the pace idle, the lost turn is already forgiven.
        return ready_at if now - self.ahead > taken else ready_at - self.gap

    def retune(self, ready_at: float, before: RateLimiter, now: float) -> float:
        """Return when the next may go after *before* was the pace; who was ready for some requests stays so."""
        return now + (ready_at - now) * before.rate / self.rate


@attrs.define
class MinuteCounter:
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


@attrs.define  # never changed, but not frozen: one is made for each request, and freezing takes most of that time
class Debit:
    """One request's part of the allowance.

    Attributes:
        at: When it went out. ``pace``: the pace at which it did.
        ready_at: When the next may go, right after it. ``looking_at``: when the next routine look may, if it was one.
        waited: Whether the pace had kept it waiting, so that its answer says something about the quota.
    """

    at: float
    pace: RateLimiter
    ready_at: float
    looking_at: float | None
    waited: bool


@attrs.define(eq=False, init=False)
class RateBudget:
    """The requests a minute that one token may send.

    Routine looks at jobs have a pace of their own on top, so that the rest is kept for the caller's own requests.

    Attributes:
        ready_at: The earliest time at which the next request may go. ``looking_at``: not before then if it is a look.
    """

    quota: Quota
    pace: RateLimiter
    looking: RateLimiter
    tally: MinuteCounter
    known: bool
    ready_at: float
    looking_at: float
    _poll_share: float

    def __init__(self, limits: RateLimits) -> None:
        per_minute = limits.requests_per_minute
        self.known = per_minute is not None
        self.quota = unknown(limits.share) if per_minute is None else told(per_minute * limits.share)
        self.pace = self._pace_within(self.quota)
        self._poll_share = limits.poll_share
        self.looking = self.pace.share(self._poll_share)
        self.ready_at = self.looking_at = -inf
        self.tally = MinuteCounter()

    @property
    def per_minute(self) -> float:
        """Requests a minute that go through when callers never stop coming: a little less than the quota."""
        return self.pace.rate * WINDOW

    def used(self, now: float) -> float:
        """Return the share of the quota that was used in the last minute."""
        return max(0, self.tally.sent(now)) / self.quota.estimate

    def spend(self, now: float, *, routine: bool, waited: bool) -> Debit:
        """Count one request that goes *now*."""
        pace = self.pace
        self.ready_at = ready_at = pace.take(self.ready_at, now)
        if routine:
            self.looking_at = self.looking.take(self.looking_at, now)
        self.tally.count(now, 1, 0)
        return Debit(now, pace, ready_at, self.looking_at if routine else None, waited)

    def give_back(self, spent: Debit, now: float) -> None:
        """Forget a request that was never sent."""
        self.tally.count(now, -1, 0)
        if spent.pace != self.pace:
            return  # at another pace its turn was worth something else
        self.ready_at = self.pace.give_back(self.ready_at, spent.ready_at, now)
        if spent.looking_at is not None:
            self.looking_at = self.looking.give_back(self.looking_at, spent.looking_at, now)

    def accept(self, spent: Debit, now: float) -> None:
        """Take note of an answer other than 429."""
        self.tally.count(now, 0, 1)
        # Only a request that the present quota let through, and would not have let through sooner, vouches for it.
        if spent.waited and spent.at >= self.quota.stepped_at:
            self._use(grow(self.quota, now), now)

    def refuse(self, now: float) -> None:
        """Take note of a 429 that says that the pace was too high."""
        self._use(fall(self.quota, now, self.tally.accepted(now)), now)

    def drain(self, at: float) -> None:
        """Have one request ready at *at*, when a pause ends, and the others evenly spaced behind it."""
        self.ready_at = max(self.ready_at, at)

    def resume(self, now: float) -> None:
        """Take note that a pause is over."""
        self.quota = calm(self.quota, now)

    def _pace_within(self, quota: Quota) -> RateLimiter:
        # While the quota is being found out, a deep burst could be refused as a whole.
        return RateLimiter.within(quota.estimate) if self.known else RateLimiter.within(quota.estimate, FEW)

    def _use(self, quota: Quota, now: float) -> None:
        if quota is not self.quota:
            self.quota = quota
            pace, looking = self.pace, self.looking
            self.pace = self._pace_within(quota)
            self.ready_at = self.pace.retune(self.ready_at, pace, now)
            self.looking = self.pace.share(self._poll_share)
            self.looking_at = self.looking.retune(self.looking_at, looking, now)


FIRST = 2.0
FACTOR = 3.0
LONGEST = 60.0
"""Our own backoff, in seconds, where Asana does not say how long: a minute forgives everything."""

JITTER = 0.25


@attrs.frozen
class Cooldown:
    """Whether requests may go, and since which 429 they may not.

    Attributes:
        until: When the probe may go; ``None`` while the gate is open.
        event: How many times the gate was shut: 429s to requests of one volley count once.
        streak: How many of those came without an accepted request in between.
    """

    until: float | None = None
    event: int = 0
    streak: int = 0

    def extend(self, now: float, seconds: float | None) -> Cooldown:
        """Take note of one more 429 to a request that left before the gate was shut."""
        until = now + _asked(seconds)
        return attrs.evolve(self, until=until if self.until is None else max(self.until, until))

    def shut(self, now: float, seconds: float | None, chance: float) -> Cooldown:
        """Shut the gate, *chance* being a random number from 0 to 1 for the jitter of our own backoff."""
        backoff = min(LONGEST, FIRST * FACTOR**self.streak) * (1 + JITTER * chance)
        if seconds is None or not isfinite(seconds):
            wait = backoff
        elif self.streak:
            # Asana's number was followed and was too short, so that it cannot be trusted alone.
            wait = max(seconds, backoff / FACTOR)
        else:
            wait = max(0.0, seconds)
        until = now + wait
        return Cooldown(
            until if self.until is None else max(self.until, until), self.event + 1, self.streak + 1
        )

    def open(self) -> Cooldown:
        """Let everybody go: a request was answered."""
        return Cooldown(None, self.event, 0)


def _asked(seconds: float | None) -> float:
    return seconds if seconds is not None and isfinite(seconds) and seconds > 0 else 0.0
