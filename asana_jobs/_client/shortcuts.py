"""``asana_jobs.wait_for_job``: a wait without a client at hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asana_jobs._client.assembly import find_way, make_session
from asana_jobs._client.http.protocol import Fields
from asana_jobs._client.http.retrying import WaitStrategy
from asana_jobs._client.http.secret import Secret
from asana_jobs._client.http.tokens import TokenProvider
from asana_jobs._client.waiting.durations import Durations
from asana_jobs._client.waiting.poller import Poller
from asana_jobs._client.waiting.waiter import JobWaiter, coroutine_function, make_wait
from asana_jobs.models import Job, R
from asana_jobs.policies import Duration, PollPolicy


@coroutine_function
def wait_for_job(
    job: Job[R] | str | Mapping[str, Any],
    *,
    token: str | TokenProvider | None = None,
    base_url: str | None = None,
    timeout: Duration | None = None,  # it cuts the last sleep and looks once more
    poll: PollPolicy | WaitStrategy | None = None,
    opt_fields: Fields | None = None,
    every_poll: bool = False,
    proxy: str | None = None,
    allow_plain_http: bool = False,
) -> JobWaiter[R]:
    """Wait for a job without a client at hand: in a script, a notebook, beside the official SDK.

    The same as `AsanaClient.wait_for_job`, with a client of its own that is made from the environment.
    Connections are closed when the wait ends; when it is iterated, with every state, so that leaving the loop
    leaves nothing open.

    ::

        job = asyncio.run(wait_for_job("1203", timeout=300))

    Args:
        job: A `Job`, a gid, an answer of the official SDK (a mapping with ``gid``) or a continuation token.
        token: As for `AsanaClient`; by default from the environment.
        base_url: As for `AsanaClient`; by default from the environment.
        timeout: Seconds (or a `timedelta`) from the first use; ``None`` waits for ever, ``0`` looks once.
        poll: A `PollPolicy`, or any tenacity wait strategy.
        opt_fields: Fields to ask for; the status always is.
        every_poll: Yield every look when iterated, not only changes.
        proxy: As for `AsanaClient`.
        allow_plain_http: As for `AsanaClient`.

    Raises:
        TokenError: there is no token in the environment.
        ValueError: at once, if an argument is wrong. For what waiting raises see `JobWaiter`.
    """
    token = Secret(token) if isinstance(token, str) else token  # tracebacks may show locals
    proxy = Secret(proxy) if isinstance(proxy, str) else proxy
    base_url, network = find_way(base_url, proxy=proxy, allow_plain_http=allow_plain_http)
    exchange = make_session(token, base_url=base_url, network=network)

    wait = make_wait(
        Poller(exchange, Durations()),
        PollPolicy(),
        job,
        timeout=timeout,
        poll=poll,
        opt_fields=opt_fields,
        after=exchange.transport.close,
    )
    return JobWaiter(wait, every_poll=every_poll)
