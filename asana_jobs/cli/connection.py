"""The client of a command."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

import asana_jobs
from asana_jobs.cli.errors import checking_arguments


if TYPE_CHECKING:
    from asana_jobs import AsanaClient, PollPolicy
    from asana_jobs.cli.options import BudgetOptions
    from asana_jobs.events import Event

#: A person looks on: three repetitions, some four seconds, before a request is given up.
_ATTEMPTS = 4


def open_client(
    budget: BudgetOptions,
    *,
    expected: float | None = None,
    on_event: Callable[[Event], object] | None = None,
    poll: PollPolicy | None = None,
) -> AsanaClient:
    """Return a client made from the environment, which begins with the requests a minute that are *expected*.

    Raises:
        TokenError: there is no token.
        UsageError: the environment or an option is wrong.
    """
    token, _ = asana_jobs.tokens.find_token()
    with checking_arguments():
        return asana_jobs.AsanaClient(
            token,
            limits=attrs.evolve(budget.limits(), expected=expected),
            retry=asana_jobs.RetryPolicy(attempts=_ATTEMPTS),
            on_event=on_event,
            poll=poll,
        )
