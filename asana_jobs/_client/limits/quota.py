"""The arithmetic of one token's budget: numbers in, numbers out, no clock.

How many requests a minute Asana lets through is configured, or discovered by trying (`Quota`): Asana documents 150 on
free domains and 1500 on paid ones, and no header says which. A token whose quota is not configured starts at the lower
number and doubles while it is kept waiting and nothing is refused, as TCP does. A 429 brings it down; the quota that
was refused is remembered as the ceiling, and tried again only rarely.

`RateLimiter` keeps requests within the quota, `MinuteCounter` counts them, and `RateBudget` holds all three together.
After a 429 all callers pause (`Cooldown`). When the pause ends one request goes ahead, the probe; only its answer opens
the gate again.
"""

from __future__ import annotations

from math import floor, inf, isfinite
from typing import Final

import attrs

from asana_jobs.policies import RateLimits


#: Requests a minute that Asana documents for free and for paid domains.
FREE_QUOTA: Final = 150.0
PAID_QUOTA: Final = 1500.0

#: Seconds between two doublings of the quota while nothing was refused so far.
DOUBLING_INTERVAL: Final = 1.0
#: Factor between two neighbouring quotas once something was refused.
STEP_FACTOR: Final = 1.5
#: Seconds between two steps on the way back up.
STEP_INTERVAL: Final = 10.0
#: Seconds after a decrease in which nothing is tried: the server needs a minute to forget.
SETTLING_TIME: Final = 60.0
#: A quota is never taken to be less than one of so many parts of what Asana grants.
QUOTA_PARTS: Final = 20
#: Share of the ceiling that counts as the ceiling.
NEAR_CEILING: Final = 0.95

#: Seconds over which Asana counts.
WINDOW: Final = 60.0
#: Seconds by which the network may bunch requests together: two that left 61 seconds apart may arrive within 60.
NETWORK_JITTER: Final = 1.0
#: Requests that may go at once even where a second's worth is less.
MIN_BURST: Final = 5.0
#: Requests of the burst that routine looks leave for the caller's own requests. Were it the whole burst, looks could
#: never make up for a timer that fires late: at 34,000 a minute that took a fifth of the pace.
KEPT_FOR_CALLS: Final = 5
#: Part of a request by which sums of many small numbers may be off.
ROUNDING: Final = 1e-6

#: Our own backoff, in seconds, where Asana does not say how long: a minute forgives everything.
FIRST_BACKOFF: Final = 2.0
BACKOFF_FACTOR: Final = 3.0
LONGEST_BACKOFF: Final = 60.0
BACKOFF_JITTER: Final = 0.25


class RateBudget:
    """The requests a minute that one token may send.

    Routine looks at jobs may use all of it but a few requests, which are kept for the caller's own; and they have a pace of
    their own on top, which may be slower.

    Attributes:
        quota: The quota as far as it is known.
        pace: The pace of all requests.
        look_pace: The most that routine looks may use of it.
        counter: The requests of the last minute.
        known: Whether the quota was configured.
        ready_at: The earliest time at which the next request may go.
        look_ready_at: The earliest time at which a routine look may go as far as *look_pace* is concerned.
    """

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self.known = limits.requests_per_minute is not None
        self.quota = first_quota(limits)
        self.pace = self._pace_within(self.quota)
        self.look_pace = self.pace.share(limits.poll_share)
        self.ready_at = self.look_ready_at = -inf
        self.counter = MinuteCounter()

    @property
    def per_minute(self) -> float:
        """Requests a minute that go through when callers never stop coming: a little less than the quota."""
        return self.pace.rate * WINDOW

    @property
    def expected(self) -> float | None:
        """Requests a minute that a later client of the token may expect, or ``None`` if nothing was found out."""
        quota = None if self.known else found(self.quota)
        return None if quota is None else quota / self._limits.share

    def used(self, now: float) -> float:
        """Return the share of the quota that was used in the last minute."""
        return max(0, self.counter.sent(now)) / self.quota.estimate

    def ready_for_look(self, *, overdue: bool) -> float:
        """Return the earliest time at which a routine look may go; *overdue*, it may take what is kept for calls."""
        ready_at = self.ready_at if overdue else self.ready_at + self.pace.kept
        return max(ready_at, self.look_ready_at)

    def spend(self, now: float, *, routine: bool, waited: bool) -> Debit:
        """Count one request that goes *now*: whether it is a *routine* look, and whether the pace kept it waiting."""
        pace = self.pace
        self.ready_at = ready_at = pace.take(self.ready_at, now)
        if routine:
            self.look_ready_at = self.look_pace.take(self.look_ready_at, now)
        self.counter.count(now, 1, 0)
        return Debit(now, pace, ready_at, self.look_ready_at if routine else None, waited)

    def give_back(self, spent: Debit, now: float) -> None:
        """Forget a request that was never sent."""
        self.counter.count(now, -1, 0)
        if spent.pace != self.pace:
            return  # at another pace its turn was worth something else
        self.ready_at = self.pace.give_back(self.ready_at, spent.ready_at, now)
        if spent.look_ready_at is not None:
            self.look_ready_at = self.look_pace.give_back(self.look_ready_at, spent.look_ready_at, now)

    def accept(self, spent: Debit, now: float) -> None:
        """Take note of an answer other than 429."""
        self.counter.count(now, 0, 1)
        # Only a request that the present quota let through, and would not have let through sooner, vouches for it.
        if spent.waited and spent.at >= self.quota.changed_at:
            self._use(increase(self.quota, now), now)

    def refuse(self, now: float) -> None:
        """Take note of a 429 that says that the pace was too high."""
        self._use(decrease(self.quota, now, self.counter.accepted(now)), now)

    def drain(self, at: float) -> None:
        """Have one request ready at *at*, when a pause ends, and the others evenly spaced behind it."""
        self.ready_at = max(self.ready_at, at)

    def resume(self, now: float) -> None:
        """Take note that a pause is over."""
        self.quota = cool_down(self.quota, now)

    def _pace_within(self, quota: Quota) -> RateLimiter:
        # While the quota is being discovered, a deep burst could be refused as a whole.
        return RateLimiter.within(quota.estimate, inf if self.known else MIN_BURST)

    def _use(self, quota: Quota, now: float) -> None:
        if quota is not self.quota:
            self.quota = quota
            pace, look_pace = self.pace, self.look_pace
            self.pace = self._pace_within(quota)
            self.ready_at = self.pace.retune(self.ready_at, pace, now)
            self.look_pace = self.pace.share(self._limits.poll_share)
            self.look_ready_at = self.look_pace.retune(self.look_ready_at, look_pace, now)


@attrs.define
class Debit:
    """One request's part of the budget.

    Attributes:
        at: When it went out.
        pace: The pace at which it did.
        ready_at: When the next may go, right after it.
        look_ready_at: When the next routine look may go, if it was one.
        waited: Whether the pace had kept it waiting, so that its answer says something about the quota.
    """

    at: float
    pace: RateLimiter
    ready_at: float
    look_ready_at: float | None
    waited: bool


@attrs.frozen
class Quota:
    """The quota as far as it is known, in requests a minute. Times and backoffs are in seconds.

    Attributes:
        estimate: The quota in force.
        floor: The quota that Asana grants for sure if nobody else uses the token.
        maximum: The quota that Asana never exceeds.
        min_backoff: How long to keep below the ceiling after a first decrease.
        max_backoff: How long at most, however often the ceiling was refused.
        backoff: How long after the last decrease.
        ceiling: The quota that was refused last.
        changed_at: When the estimate last changed.
        steady_until: When it may be increased again.
        ceiling_until: When the ceiling may be tried again.
        overflow_until: Until when a 429 may be due to what went out before a decrease from above the floor.
    """

    estimate: float
    floor: float
    maximum: float
    min_backoff: float
    max_backoff: float
    backoff: float
    ceiling: float = inf
    changed_at: float = -inf
    steady_until: float = -inf
    ceiling_until: float = -inf
    overflow_until: float = -inf


def first_quota(limits: RateLimits) -> Quota:
    """Return the quota to begin with: as configured, or to be discovered."""
    told = limits.requests_per_minute
    return discovered(limits.share, limits.expected) if told is None else fixed(told * limits.share)


def fixed(per_minute: float) -> Quota:
    """Return a quota that was configured: never exceeded, and returned to soon after a decrease."""
    return Quota(
        per_minute, floor=per_minute, maximum=per_minute, min_backoff=60.0, max_backoff=600.0, backoff=30.0
    )


def discovered(share: float = 1.0, expected: float | None = None) -> Quota:
    """Return a quota to be discovered, of which *share* is ours, or that an earlier client of the token has found."""
    floor, maximum = FREE_QUOTA * share, PAID_QUOTA * share
    quota = Quota(floor, floor=floor, maximum=maximum, min_backoff=600.0, max_backoff=3600.0, backoff=300.0)
    if expected is None:
        return quota
    estimate = min(max(floor, expected * share), maximum)
    return attrs.evolve(quota, estimate=estimate, ceiling=estimate)


def found(quota: Quota) -> float | None:
    """Return what was found out of a quota to be discovered, or ``None`` if it was neither refused nor the largest."""
    if quota.ceiling == inf and quota.estimate < quota.maximum:
        return None
    return max(quota.floor, quota.estimate)  # what is below is for as long as others use the token


def increase(quota: Quota, now: float) -> Quota:
    """Return the next quota to try, given that callers had to wait and the present one was not refused."""
    if quota.estimate >= quota.maximum or now < quota.steady_until:
        return quota
    if quota.ceiling == inf:
        estimate = min(2 * quota.estimate, quota.maximum)
        return attrs.evolve(quota, estimate=estimate, changed_at=now, steady_until=now + DOUBLING_INTERVAL)
    estimate = min(STEP_FACTOR * quota.estimate, quota.maximum)
    if estimate < NEAR_CEILING * quota.ceiling:
        return attrs.evolve(quota, estimate=estimate, changed_at=now, steady_until=now + STEP_INTERVAL)
    if quota.ceiling_until == -inf:
        return cool_down(quota, now)  # an earlier client was refused it, nobody knows when
    if now < quota.ceiling_until:
        return quota
    # What is past the ceiling has to last a minute before the next step: a full log takes that long to show.
    return attrs.evolve(
        quota,
        estimate=estimate,
        ceiling=STEP_FACTOR * estimate,
        changed_at=now,
        steady_until=now + SETTLING_TIME,
        ceiling_until=now,
    )


def decrease(quota: Quota, now: float, accepted: float) -> Quota:
    """Return the quota to go on with after a 429, *accepted* requests having been answered in the minute before."""
    estimate, ceiling, overflow_until = quota.estimate / STEP_FACTOR, quota.estimate, quota.overflow_until
    if quota.estimate > quota.floor:
        overflow_until = now + WINDOW
        # What passed within a minute is no more than the quota and the burst that the server allows.
        estimate = max(quota.floor, min(estimate, accepted))
    elif now < overflow_until:
        # The server's minute is still full of what went before: the floor is not at fault, and tried again soon.
        ceiling = STEP_FACTOR * quota.floor
    # A quota that held for long was not at fault: something else took the requests, and may be gone soon.
    lasted = now >= quota.changed_at + quota.max_backoff
    decreased = attrs.evolve(
        quota,
        # Somebody else may use the same token, so that even the floor is not ours alone; but never stop trying.
        estimate=max(estimate, quota.floor / QUOTA_PARTS),
        ceiling=ceiling,
        backoff=quota.min_backoff if lasted else min(2 * quota.backoff, quota.max_backoff),
        changed_at=now,
        overflow_until=overflow_until,
    )
    return cool_down(decreased, now)


def cool_down(quota: Quota, now: float) -> Quota:
    """Return *quota* with its backoffs counted from *now*, when the pause after a decrease is over."""
    if quota.ceiling == inf:
        return quota
    return attrs.evolve(quota, steady_until=now + SETTLING_TIME, ceiling_until=now + quota.backoff)


def _gap(limiter: RateLimiter) -> float:
    return 1 / limiter.rate


def _ahead(limiter: RateLimiter) -> float:
    return (limiter.burst - 1 + ROUNDING) / limiter.rate


def _kept(limiter: RateLimiter) -> float:
    return min(limiter.ahead, KEPT_FOR_CALLS * limiter.gap)


@attrs.frozen
class RateLimiter:
    """A steady rate with room for a burst (GCRA). When the next request may go is a number that its user keeps.

    At most ``burst + seconds * rate`` requests go out in any stretch of *seconds*.

    Attributes:
        rate: Requests a second in the long run.
        burst: Requests that may go at once after a quiet time.
        gap: Seconds between requests in the long run.
        ahead: Seconds by which requests that may go at once are ahead of those that are evenly spaced.
        kept: Seconds of these that routine looks leave for others.
    """

    rate: float
    burst: float
    gap: float = attrs.field(init=False, default=attrs.Factory(_gap, takes_self=True))
    ahead: float = attrs.field(init=False, default=attrs.Factory(_ahead, takes_self=True))
    kept: float = attrs.field(init=False, default=attrs.Factory(_kept, takes_self=True))

    @classmethod
    def within(cls, quota: float, burst: float = inf) -> RateLimiter:
        """Return the fastest safe pace for *quota* requests a minute, with bursts of about a second's worth.

        Args:
            quota: Requests a minute, none of which may see more.
            burst: Requests that may go at once at most.
        """
        burst = min(burst, max(quota / WINDOW, min(MIN_BURST, quota / 10), 1.0))
        # The burst comes out of the same quota. Below two a minute nothing would be left after it, hence the half.
        return cls(max(quota - burst, quota / 2) / (WINDOW + NETWORK_JITTER), burst)

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
    """The requests of the last minute, by the second: how many were sent in it, how many accepted."""

    _seconds: dict[int, list[int]] = attrs.field(factory=dict[int, list[int]])

    def count(self, now: float, sent: int, accepted: int) -> None:
        """Count what happened *now*: requests *sent*, and *accepted*, which is answered otherwise than with 429."""
        counts = self._seconds.get(floor(now)) or self._begin(now)
        counts[0] += sent
        counts[1] += accepted

    def sent(self, now: float) -> int:
        """Return how many were sent in the last minute."""
        self._forget(now)
        return sum(sent for sent, _ in self._seconds.values())

    def accepted(self, now: float) -> int:
        """Return how many were accepted in the last minute."""
        self._forget(now)
        return sum(accepted for _, accepted in self._seconds.values())

    def _begin(self, now: float) -> list[int]:
        self._forget(now)
        return self._seconds.setdefault(floor(now), [0, 0])

    def _forget(self, now: float) -> None:
        for second in [second for second in self._seconds if second <= now - WINDOW]:
            del self._seconds[second]


@attrs.frozen
class Cooldown:
    """The pause after a 429: whether requests may go, and since which 429 they may not.

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
        pause = seconds if seconds is not None and isfinite(seconds) and seconds > 0 else 0.0
        return attrs.evolve(self, until=self._later(now + pause))

    def shut(self, now: float, seconds: float | None, chance: float) -> Cooldown:
        """Shut the gate.

        Args:
            now: The time in seconds.
            seconds: How long Asana asks to wait, if it does.
            chance: A random number from 0 to 1, for the jitter of our own backoff.
        """
        backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * BACKOFF_FACTOR**self.streak)
        backoff *= 1 + BACKOFF_JITTER * chance
        if seconds is None or not isfinite(seconds):
            pause = backoff
        elif self.streak:
            # Asana's number was followed and was too short, so that it cannot be trusted alone.
            pause = max(seconds, backoff / BACKOFF_FACTOR)
        else:
            pause = max(0.0, seconds)
        return Cooldown(self._later(now + pause), self.event + 1, self.streak + 1)

    def open(self) -> Cooldown:
        """Let everybody go: a request was answered."""
        return Cooldown(None, self.event, 0)

    def _later(self, until: float) -> float:
        return until if self.until is None else max(self.until, until)
