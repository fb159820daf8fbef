"""Policies: how often, how long, how many, as numbers that are checked where they are written down.

Durations are seconds, as `float` or `datetime.timedelta`.

| policy | says | and is given to |
| --- | --- | --- |
| `PollPolicy` | when a wait looks at its job, and how much trouble it survives | `AsanaClient(poll=...)`, `wait_for_job(job, poll=...)` |
| `RetryPolicy` | how one request is repeated | `AsanaClient(retry=...)` |
| `RateLimits` | what the token may do | `AsanaClient(limits=...)` |

```python
import asyncio

from asana_jobs import AsanaClient, PollPolicy, RateLimits, RetryPolicy


async def main() -> None:
    async with AsanaClient(
        limits=RateLimits.paid(),
        poll=PollPolicy(maximum=10, give_up_after=3600),  # a look every 10 s at least; outages of an hour
        retry=RetryPolicy(attempts=3),
    ) as asana:
        print((await asana.wait_for_job("1205")).status)


asyncio.run(main())
```

A `PollPolicy` is a wait strategy of tenacity's, and `wait_for_job` takes any other as well:

```python
import asyncio

from tenacity import wait_chain, wait_fixed, wait_random

from asana_jobs import AsanaClient, PollPolicy


async def main() -> None:
    async with AsanaClient() as asana:
        job = await asana.wait_for_job("1205", poll=wait_fixed(0.2))
        print(job.status)
        job = await asana.wait_for_job("1206", poll=wait_chain(wait_fixed(1), PollPolicy() + wait_random(0, 0.5)))
        print(job.status)


asyncio.run(main())
```

What is behind the numbers: `asana_jobs.guides.limits`, `asana_jobs.guides.waiting`.
"""

from __future__ import annotations

from datetime import timedelta
from math import inf, isfinite, log1p, sqrt
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import attrs
from tenacity.wait import wait_base


if TYPE_CHECKING:
    from tenacity import RetryCallState


__all__ = ["Duration", "PollPolicy", "RateLimits", "RetryPolicy", "seconds"]

#: Seconds, or a `timedelta`.
Duration: TypeAlias = float | timedelta
#: Seconds up to which a job of which nothing is known is about equally likely to finish in each; afterwards ever less.
TYPICAL_SECONDS: Final = 3.0


def _finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:  # a whole number beyond any float
        return False


def seconds(duration: Duration, what: str = "duration") -> float:
    """Return *duration* in seconds, or raise a `ValueError` about *what* if it is negative, not finite, or none."""
    value = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(
            f"{what} must be seconds or a timedelta, such as 300 or timedelta(minutes=5), not {duration!r}"
        )
    if not _finite(value) or value < 0:
        raise ValueError(f"{what} must be a finite number of seconds, at least 0, not {duration!r}")
    return float(value)


def in_seconds(value: Duration) -> float:
    """A converter: a span of time in seconds; what is none is left to `check_span`, which knows its name."""
    try:
        return value if type(value) is float else seconds(value)
    except ValueError:
        return cast("float", value)


def check_span(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Refuse what is no span of time in seconds: an attrs validator."""
    if type(value) is not float or not 0 <= value < inf:
        seconds(cast("float", value), attribute.name)


def _number(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
        raise ValueError(f"{attribute.name} must be a number, not {value!r}")


def _at_least(lowest: float) -> Any:
    def check(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
        _number(instance, attribute, value)
        if value < lowest:
            raise ValueError(f"{attribute.name} must be at least {lowest:g}, not {value!r}")

    return check


def _count(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{attribute.name} must be a whole number of at least 1, not {value!r}")


def _share(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    _number(instance, attribute, value)
    if not 0 < value <= 1:
        raise ValueError(f"{attribute.name} must be above 0 and at most 1, not {value!r}")


def _quota(instance: object, attribute: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None:
        _number(instance, attribute, value)
        if value < 1:
            raise ValueError(f"{attribute.name} must be at least 1, or None to find it out, not {value!r}")


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """The repetitions of one request that fails in a way that may pass.

    The wait before repetition *n* is ``initial * factor ** (n - 1)``, at most ``maximum``, shortened at random
    by up to ``jitter`` of itself. A ``Retry-After`` that asks for longer wins.

    Calls of one token have 35 repetitions together that fail, and a part of one more for each answer: a hundred calls
    do not ask a server in trouble five hundred times. Beyond, a call ends with the error that it has. Starts, runs and
    waits are not bound to it, nor is the repetition after a 429, for which everybody pauses.

    Attributes:
        attempts: Tries in all, the first one included; 1 never repeats.
        initial: Seconds before the first repetition.
        factor: Growth of the wait from one repetition to the next.
        maximum: Longest wait in seconds.
        jitter: Share of each wait that is random, 0 to 1.
        max_retry_after: A ``Retry-After`` above this many seconds is raised as `RateLimitError` instead of
            being waited for.
    """

    attempts: int = attrs.field(default=5, validator=_count)
    initial: float = attrs.field(default=0.5, converter=in_seconds, validator=check_span)
    factor: float = attrs.field(default=2.0, validator=_at_least(1))
    maximum: float = attrs.field(default=30.0, converter=in_seconds, validator=check_span)
    jitter: float = attrs.field(default=0.25, validator=[_at_least(0), attrs.validators.le(1)])
    max_retry_after: float = attrs.field(default=120.0, converter=in_seconds, validator=check_span)


@attrs.frozen(kw_only=True)
class PollPolicy(wait_base):
    """The moments at which a wait looks at its job: a wait strategy of tenacity's.

    A look is due when the lag it is expected to save is worth ``lag_price``: right after the start the gaps
    are short, and they grow with the square root of the job's age, or as the durations seen so far suggest.

    In ``AsyncRetrying(wait=PollPolicy())``, as in a sum or a chain of strategies, it knows no job, and answers the gap
    of one that is as old as the retrying has lasted. What waits for a job by such a sum or chain has the patience
    (``give_up_after``, ``not_found_grace``) of the first policy in it.

    Attributes:
        lag_price: Seconds of lag that one request is worth. Lower looks more often.
        initial: Seconds from a job's start to the earliest look.
        maximum: Longest gap between two looks in seconds.
        give_up_after: Seconds of unbroken transient trouble (429, 5xx, resets, timeouts) after which a wait
            raises the last error. Longer than the outages to be survived.
        first_contact: Seconds of trouble in making a connection after which it is raised as long as nothing has ever
            been answered: an address that is wrong, or a proxy that is missing, does not pass. A certificate that is
            not trusted is raised at once then. With as many as ``give_up_after``, all of that is waited out.
        not_found_grace: Seconds of a job's life in which a 404 counts as transient.
    """

    lag_price: float = attrs.field(default=0.1, converter=in_seconds, validator=check_span)
    initial: float = attrs.field(default=0.5, converter=in_seconds, validator=check_span)
    maximum: float = attrs.field(default=60.0, converter=in_seconds, validator=check_span)
    give_up_after: float = attrs.field(default=900.0, converter=in_seconds, validator=check_span)
    first_contact: float = attrs.field(default=4.0, converter=in_seconds, validator=check_span)
    not_found_grace: float = attrs.field(default=3.0, converter=in_seconds, validator=check_span)

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds until the next attempt; *retry_state* is tenacity's."""
        age = retry_state.seconds_since_start or 0.0
        # With a hazard of 1 / (age + typical), the gap u is worth its price where u log(1 + u / (age + typical)) / 2 is.
        # Newton's way to it, from below.
        since, gap = age + TYPICAL_SECONDS, sqrt(2 * self.lag_price * (age + TYPICAL_SECONDS))
        for _ in range(4):
            if gap > 0:
                growth = log1p(gap / since)
                gap -= (gap * growth - 2 * self.lag_price) / (growth + gap / (since + gap))
        return max(min(gap, self.maximum), self.initial - age, 0.0)


@attrs.frozen(kw_only=True)
class RateLimits:
    """The limits that Asana sets one token (developers.asana.com, rate limits).

    Attributes:
        requests_per_minute: The quota in requests a minute, 150 on free domains and 1500 on paid ones; ``None`` finds
            it out.
        expected: Requests a minute that an earlier client found out (`GateSnapshot.expected`), so that this one need
            not: where it begins, and what it does not go beyond in the first minutes. ``None`` if nobody knows. It
            says nothing where *requests_per_minute* is given.
        reads_in_flight: GET requests at once.
        writes_in_flight: Other requests at once.
        jobs_running: Started jobs that are not known to be finished, at once.
        poll_share: Share of the quota that looking at jobs may use at most, for those who want a cap. A few
            requests are kept for your own calls, which go first, in any case.
        share: Share of all these numbers that this process may use, such as ``1/4`` for one of four.
    """

    requests_per_minute: float | None = attrs.field(default=None, validator=_quota)
    expected: float | None = attrs.field(default=None, validator=_quota)
    reads_in_flight: int = attrs.field(default=50, validator=_count)
    writes_in_flight: int = attrs.field(default=15, validator=_count)
    jobs_running: int = attrs.field(default=5, validator=_count)
    poll_share: float = attrs.field(default=1.0, validator=_share)
    share: float = attrs.field(default=1.0, validator=_share)

    @classmethod
    def free(cls) -> RateLimits:
        """Return the limits of a free domain: 150 requests a minute."""
        return cls(requests_per_minute=150)

    @classmethod
    def paid(cls) -> RateLimits:
        """Return the limits of a paid domain: 1500 requests a minute."""
        return cls(requests_per_minute=1500)


def check_policy(poll: object) -> PollPolicy:
    """Return the *poll* of everything that a client or a worker watches, or raise a `ValueError`.

    Raises:
        ValueError: it is no `PollPolicy`; the message shows what to write instead.
    """
    if isinstance(poll, PollPolicy):
        return poll
    if isinstance(poll, type):
        raise ValueError(
            f"poll must be a PollPolicy, not the class {poll.__name__} itself: write poll=PollPolicy()"
        )
    found, gap = _gap_meant(poll)
    strategy = "..." if callable(poll) else f"wait_fixed({gap})"
    raise ValueError(
        f"poll must be a PollPolicy here, not {found}; wait_for_job(job, poll={strategy}) takes a wait strategy"
    )


def no_strategy(poll: object) -> ValueError:
    """Return the error about a *poll* that cannot say when to look again, which shows what to write instead."""
    what = "a PollPolicy or a tenacity wait strategy"
    if isinstance(poll, type):
        answers = issubclass(poll, PollPolicy) or any("__call__" in vars(kind) for kind in poll.__mro__)
        needs_none = answers and poll.__name__ != "wait_fixed"
        example = f"{poll.__name__}() or wait_fixed(5)" if needs_none else "wait_fixed(5)"
        return ValueError(f"poll must be {what}, not the class {poll.__name__} itself: write poll={example}")
    found, gap = _gap_meant(poll)
    return ValueError(
        f"poll must be {what}, not {found}: write poll=wait_fixed({gap}) (from tenacity) to look at equal distances"
    )


def _gap_meant(poll: object) -> tuple[str, str]:
    """Return how a *poll* that cannot be one is shown, and the seconds that it may mean."""
    # What is neither a span of time nor a word is not shown: it may be a token in the wrong place.
    gap, found = "5", type(poll).__name__
    if isinstance(poll, timedelta):
        found = f"timedelta({poll})"
        gap = f"{poll.total_seconds():g}" if poll >= timedelta(0) else gap
    elif isinstance(poll, int | float) and not isinstance(poll, bool) and _finite(poll):
        found = f"{poll:g}"
        gap = found if poll >= 0 else gap
    elif isinstance(poll, str) and poll.isalpha() and len(poll) <= 20:
        found = repr(poll)
    return found, gap
