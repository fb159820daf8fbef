"""How many requests a minute Asana lets through: told, or found out by trying. Numbers only, no clock.

Asana documents 150 a minute on free domains and 1500 on paid ones, and no header says which. A token that was not
told starts at the lower number and doubles while it is kept waiting and nothing is refused, as TCP does. A 429
brings it down; the quota that was refused is remembered as the ceiling, and tried again only rarely.
"""

from __future__ import annotations

from math import inf

import attrs


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
