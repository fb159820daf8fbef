"""Whatever a server answers, every kind of call ends in a job or an error of ours, and no job is asked for twice."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final, cast

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from asana_jobs import (
    AsanaClient,
    Check,
    DuplicateProject,
    Job,
    PollPolicy,
    RateLimits,
    Response,
    RetryPolicy,
)
from asana_jobs._client.http.protocol import Request
from asana_jobs.errors import AsanaJobsError
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=4),
    max_leaves=10,
)
job_like = st.fixed_dictionaries(
    {},
    optional={
        "gid": st.sampled_from(["1203", "", "x", "12" * 40]) | json_values,
        "status": st.sampled_from(["in_progress", "succeeded", "failed", "paused", ""]) | json_values,
        "resource_subtype": st.text(max_size=5) | json_values,
        "new_project": st.fixed_dictionaries({"gid": st.text(max_size=5)}) | json_values,
        "organization_export": json_values,
    },
)
bodies = (
    st.binary(max_size=40)
    | json_values.map(lambda value: json.dumps(value).encode())
    | (job_like | json_values).map(lambda data: json.dumps({"data": data}).encode())
    | json_values.map(lambda errors: json.dumps({"errors": errors}).encode())
)
header_values = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=12)
headers = st.fixed_dictionaries(
    {},
    optional={
        "retry-after": header_values | st.integers(-5, 10**12).map(str) | st.floats().map(str),
        "content-type": header_values,
        "location": header_values,
    },
)
answers = st.builds(Response, status=st.integers(100, 599), headers=headers, body=bodies)

#: Calls of every kind; each may end in an error of ours, and in nothing else.
CALLS: Final[dict[str, Callable[[AsanaClient], Awaitable[object]]]] = {
    "get_job": lambda client: client.get_job("1203"),
    "request": lambda client: client.request("POST", "/tasks"),
    "start": lambda client: client.start(DuplicateProject("77", name="Q3")),
    "run": lambda client: client.run(DuplicateProject("77", name="Q3"), timeout=60),
    "check_job": lambda client: client.check_job("1203"),
    "wait_for_job": lambda client: client.wait_for_job("1203", timeout=60),
}


async def _ask(call: str, answer: Response) -> tuple[object, list[Request]]:
    clock = FakeClock()
    transport = ScriptedTransport(answer)
    client = AsanaClient(
        "token",
        transport=transport,
        clock=clock,
        limits=RateLimits.paid(),
        poll=PollPolicy(give_up_after=120),
        retry=RetryPolicy(jitter=0, max_retry_after=10),
    )
    async with client, clock.timeout(10_000):
        try:
            return await CALLS[call](client), transport.requests
        except AsanaJobsError as error:
            return error, transport.requests


@given(st.sampled_from(sorted(CALLS)), answers)
@example("wait_for_job", Response(status=429, headers={"retry-after": "999999999999"}))
@example("run", Response(status=429))
@example("start", Response(status=201, body=b'{"data": {"gid": "1", "status": 7}}'))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_any_answer_is_a_result_or_an_error_of_ours(call: str, answer: Response) -> None:
    """No answer makes a call hang or raise anything undocumented, and a start is repeated after a 429 only."""
    with asyncio.Runner() as runner:
        result, requests = runner.run(_ask(call, answer))

    assert isinstance(result, Job | Check | Response | AsanaJobsError)
    posts = [request for request in requests if request.method == "POST"]
    # A run that is always answered 429 tries again for as long as it has patience, and that is time.
    if call != "run" or answer.status != 429:
        assert len(posts) <= (5 if answer.status == 429 else 1)
    assert str(cast("object", result))
