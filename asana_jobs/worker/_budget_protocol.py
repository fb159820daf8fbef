"""The messages between a process and the shared budget, as values and as JSON."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any, Final, cast

import attrs

from asana_jobs.errors import TokenError
from asana_jobs.gates import quota_numbers
from asana_jobs.policies import RateLimits


#: Seconds for which a lease lasts unless it is renewed: so long does a killed process hold up others.
LEASE_SECONDS: Final = 15.0
#: Seconds in which a job-starting request that may go must have written down its intent.
INTENT_SECONDS: Final = 60.0
#: Seconds for which a job counts as running whose process was killed, and which nobody watches any more.
PLACE_SECONDS: Final = 60.0
#: Seconds between two questions whether a job of somebody else has finished.
PLACE_POLL_SECONDS: Final = 0.1
#: Seconds between two questions whether somebody else has given back what is missing.
POLL_SECONDS: Final = 0.05
#: Seconds by which requests that were granted evenly may bunch before they arrive: processes stall.
BUNCHING_SECONDS: Final = 3.0
#: Seconds for which an unused budget is remembered.
FORGET_SECONDS: Final = 7 * 86400


def budget_name(token: str | None, budget: str | None, what: str = "budget") -> str:
    """Return what names a budget in Redis: a *budget*'s own name, or a fingerprint of the token; or a queue, by its own."""
    if (token is None) == (budget is None):
        raise ValueError("give a token, or the name of a budget if the token changes: one of the two")
    if budget is not None:
        if not budget or not budget.isascii() or not budget.isprintable() or set("{} ") & set(budget):
            raise ValueError(f"{what} must be a short ASCII name without blanks and braces, not {budget!r}")
        return budget
    if not isinstance(token, str) or not token:
        raise TokenError("the token must be a string that is not empty")
    # Tokens hold more than a hundred random bits: nobody guesses one from its fingerprint.
    return blake2b(token.encode(), digest_size=12, person=b"asana-jobs").hexdigest()


def keys_of(name: str) -> list[str]:
    """Return the keys of a budget; the braces keep them on one node of a cluster."""
    return [
        f"asana-jobs:{{{name}}}:{part}"
        for part in ("gate", "reads", "writes", "running", "starters", "counts")
    ]


def limits_for(limits: RateLimits) -> dict[str, Any]:
    """Write *limits* for the script."""
    return {
        **quota_numbers(limits),
        "known": limits.requests_per_minute is not None,
        "jitter": BUNCHING_SECONDS,
        "poll_share": limits.poll_share,
        "reads": max(1, int(limits.reads_in_flight * limits.share)),
        "writes": max(1, int(limits.writes_in_flight * limits.share)),
        "running": max(1, int(limits.jobs_running * limits.share)),
    }


@attrs.frozen
class AskGroup:
    """Requests of one kind that want to go.

    Attributes:
        lane: ``read`` or ``write``; ``job`` for a place among the running jobs.
        routine: Whether they are routine looks.
        count: How many there are.
        queue: They go away and come back when told.
        returning: They were told, and are back.
        running: The name of the job to be started, which takes a place among the running jobs.
    """

    lane: str
    routine: bool
    count: int
    queue: bool = False
    returning: bool = False
    running: str | None = None


@attrs.frozen
class RefusedRequest:
    """A 429.

    Attributes:
        id: The lease of its request; empty when that is not known.
        event: The number of the last 429 that was known when its request was sent.
        seconds: Its ``Retry-After``; negative when there is none.
        chance: A random number from 0 to 1, for our own backoff.
    """

    id: str
    event: int
    seconds: float
    chance: float


@attrs.frozen
class ReturnedLease:
    """A lease that was given back, or a place among the running jobs.

    Attributes:
        id: Its name.
        lane: ``read``, ``write`` or ``job``.
        routine: Whether it was for a routine look.
        answered: Whether Asana answered its request, other than with a 429.
        unsent: Whether its request was never sent.
        waited: Whether it had to be waited for.
        at: When it was granted, in seconds of the budget's clock.
        taken: When the next request might go right after it was granted.
        look_taken: When the next routine look might.
    """

    id: str
    lane: str
    routine: bool = False
    answered: bool = False
    unsent: bool = False
    waited: bool = False
    at: float = 0.0
    taken: float = 0.0
    look_taken: float = 0.0


@attrs.define
class PendingReport:
    """Events that the budget is to be told next.

    Attributes:
        releases: Leases and places that were given back.
        refusals: Requests that met a 429.
        left: Places that are held no longer, but go on counting until their lease is over.
        urgent: It is to be told at once.
    """

    releases: list[ReturnedLease] = attrs.field(factory=list[ReturnedLease])
    refusals: list[RefusedRequest] = attrs.field(factory=list[RefusedRequest])
    left: list[str] = attrs.field(factory=list[str])
    urgent: bool = False

    def __bool__(self) -> bool:
        return bool(self.releases or self.refusals or self.left or self.urgent)

    def put_back(self, pending: PendingReport) -> None:
        """Keep *pending*, which could not be told, for the next time."""
        self.releases[:0] = pending.releases
        self.refusals[:0] = pending.refusals
        self.left[:0] = pending.left
        self.urgent |= pending.urgent


def write_message(
    *,
    process: str,
    limits: dict[str, Any],
    pending: PendingReport,
    held: list[dict[str, str]],
    asks: list[AskGroup],
    reservations: list[float],
    first_looks: int,
    expected: float | None,
    recovering: bool,
) -> str:
    """Write one message for the script.

    Args:
        process: A name for this process.
        limits: As `limits_for` writes them.
        pending: What the budget is to be told.
        held: Leases and places that are held here.
        asks: Who wants to go.
        reservations: In how many seconds looks return, each.
        first_looks: Waits of the queue that nobody has looked at yet, about.
        expected: What time it should be by the budget's clock, from its last reply and what passed here since.
        recovering: Whether Redis was away since the last reply.
    """
    return json.dumps(
        {
            "process": process,
            "limits": limits,
            "releases": [attrs.asdict(lease, recurse=False) for lease in pending.releases],
            "refusals": [attrs.asdict(refusal, recurse=False) for refusal in pending.refusals],
            "held": [*held, *({"id": name, "lane": "job"} for name in pending.left)],
            "asks": [
                {name: value for name, value in attrs.asdict(ask, recurse=False).items() if value is not None}
                for ask in asks
            ],
            "reservations": reservations,
            "first_looks": first_looks,
            **({} if expected is None else {"expected": expected}),
            "starting": any(ask.lane == "job" for ask in asks),
            "recovering": recovering,
            "lease_seconds": LEASE_SECONDS,
            "intent_seconds": INTENT_SECONDS,
            "place_seconds": PLACE_SECONDS,
            "poll_seconds": POLL_SECONDS,
            "place_poll_seconds": PLACE_POLL_SECONDS,
            "forget_seconds": FORGET_SECONDS,
        }
    )


@attrs.frozen
class AskReply:
    """The budget's reply to one `AskGroup`.

    Attributes:
        granted: The names of leases, and for how many seconds from now each has used the pace up, and that of looks.
        tickets: Seconds after which those who queue come back, one each.
        wait: Seconds until the next one of them may go; negative when too many jobs are running.
    """

    granted: list[tuple[str, float, float]]
    tickets: list[float]
    wait: float


@attrs.frozen
class Reply:
    """The budget's reply to one message, and its state.

    Attributes:
        answers: One for each `AskGroup`, in their order.
        reserved: For each reservation, in how many seconds its turn comes; negative where there is no queue by then.
        event: The number of the last 429.
        at: When this was, in seconds of the budget's clock: that of Redis, but for its leaps.
        quota: Requests a minute that the token is taken to have.
        found: Whether these were found out: they are the most there can be, or more were refused.
        pace: Requests a minute that are let go.
        used: The part of the quota that was used in the last minute.
        reads: Reads in flight.
        writes: Writes in flight.
        running: Running jobs.
        queued_for: Seconds until the end of the queue of looks that return.
        paused_for: Seconds for which nothing is sent.
        reopening: Whether one request goes ahead to see if the pause is over.
        rejected: Answers with 429 so far.
    """

    answers: list[AskReply]
    reserved: list[float]
    event: int
    at: float
    quota: float
    found: bool
    pace: float
    used: float
    reads: int
    writes: int
    running: int
    queued_for: float
    paused_for: float
    reopening: bool
    rejected: int


def read_reply(text: str) -> Reply:
    """Read what the script wrote."""
    found = cast("dict[str, Any]", json.loads(text))
    # Lua does not tell an empty list from an empty mapping: iterating does for both.
    told = cast("list[dict[str, Any]]", list(found.pop("answers")))
    answers = [
        AskReply(
            [_granted(lease) for lease in answer["granted"]], list(answer["tickets"]), float(answer["wait"])
        )
        for answer in told
    ]
    reserved = [float(seconds) for seconds in found.pop("reserved")]
    whole = {name: int(found.pop(name)) for name in ("event", "reads", "writes", "running", "rejected")}
    at, reopening = float(found.pop("at")), bool(found.pop("reopening"))
    return Reply(
        answers=answers,
        reserved=reserved,
        **whole,
        at=at,
        found=bool(found.pop("found")),
        reopening=reopening,
        **found,
    )


def _granted(lease: Any) -> tuple[str, float, float]:
    return (lease, 0.0, 0.0) if isinstance(lease, str) else (lease[0], float(lease[1]), float(lease[2]))
