"""The network campaign: whatever goes wrong on the wire, nothing is started twice and every doubt is reported."""

from collections import Counter

import pytest

from asana_jobs import AsanaClient, DuplicateProject, Outcome, RateLimits
from asana_jobs.errors import OutcomeUnknownError
from asana_jobs.testing import (
    AsanaSimulator,
    Fault,
    HtmlPage,
    Latency,
    Lognormal,
    NotJson,
    Reset,
    SimulatorLimits,
    Status,
    Truncated,
)


OPERATIONS = [DuplicateProject("1203", name=f"Copy {number}") for number in range(1000)]

#: What becomes of a POST, and whether its job was started all the same.
TROUBLE: list[tuple[Fault, bool]] = [
    (Reset(effect=False), False),
    (Reset(effect=True), True),
    (Status(503, effect=True), True),
    (Truncated(), True),
    (Latency(after=60), True),
]


async def run(simulator: AsanaSimulator, count: int = len(OPERATIONS)) -> list[Outcome]:
    """Start *count* operations."""
    async with AsanaClient("t", base_url=simulator.base_url, limits=RateLimits.paid()) as client:
        return [outcome async for outcome in client.run_all(OPERATIONS[:count])]


def check(simulator: AsanaSimulator, outcomes: list[Outcome]) -> None:
    """Check the promises: each started at most once, each known or reported as unknown."""
    started = Counter(job.result["name"] for job in simulator.started)
    sent = Counter(record.body["data"]["name"] for record in simulator.requests if record.method == "POST")
    accepted = {r.body["data"]["name"] for r in simulator.requests if r.method == "POST" and r.fault is None}
    doubtful = {_name(outcome) for outcome in outcomes if isinstance(outcome.error, OutcomeUnknownError)}

    assert len(outcomes) == len(OPERATIONS)
    assert max(started.values()) == 1
    assert max(sent.values()) == 1
    for outcome in outcomes:
        assert outcome.succeeded or _name(outcome) in doubtful
        assert not outcome.succeeded or started[_name(outcome)] == 1
    # Every doubtful one, and no other, lost its answer.
    assert doubtful == {operation.name for operation in OPERATIONS} - accepted


def _name(outcome: Outcome) -> str:
    assert isinstance(outcome.operation, DuplicateProject)
    return outcome.operation.name


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_trouble_of_every_kind() -> None:
    """A tenth each of resets before and after the start, 5xx after it, cut and late answers: 1,000 started once."""
    async with AsanaSimulator(
        seed=1, durations=Lognormal(2), latency=0.05, limits=SimulatorLimits.unlimited()
    ) as simulator:
        for number, (fault, _) in enumerate(TROUBLE):
            # Each has a tenth of all: of what the ones before it have left.
            share = 0.1 / (1 - 0.1 * number)
            simulator.fail_next(fault, method="POST", times=None, probability=share)
        losses: list[Fault] = [Reset(), Status(502), Truncated(), NotJson(), HtmlPage(502)]
        for loss in losses:
            simulator.fail_next(loss, method="GET", times=None, probability=0.03)

        outcomes = await run(simulator)

        check(simulator, outcomes)
        met = Counter(record.fault for record in simulator.requests if record.method == "POST")
        assert all(met[fault] > 50 for fault, _ in TROUBLE)
        assert sum(isinstance(outcome.error, OutcomeUnknownError) for outcome in outcomes) == sum(
            met[fault] for fault, _ in TROUBLE
        )


async def test_slow_answers_within_the_timeout() -> None:
    """Answers that take almost as long as a request may are waited for: nothing is doubtful."""
    async with AsanaSimulator(
        durations=Lognormal(2), latency=(0, 25), limits=SimulatorLimits.unlimited()
    ) as simulator:
        outcomes = await run(simulator, 100)

        assert all(outcome.succeeded for outcome in outcomes)
        assert len(simulator.started) == 100
        assert simulator.peak_jobs_running <= 5
