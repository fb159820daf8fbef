"""The budget of one token, shared by every client that has it: the gate, the running jobs, the repetitions of calls."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final
from weakref import WeakValueDictionary

import attrs

from asana_jobs._client.limits.gate import Gate
from asana_jobs._client.limits.running_jobs import RunningJobPermits


#: A full bucket, and what one repetition takes from it: 35 may fail in a row. The AWS SDKs have the same numbers.
FULL: Final = 500
REPETITION: Final = 14


@attrs.define(eq=False)
class RepetitionBucket:
    """The repetitions of calls that are left, so that many calls do not ask a server in trouble five times each.

    Starts, runs and looks do not draw on it: they wait out what is long, and are few.

    Attributes:
        level: What is left. Each repetition takes some of it, and each answer gives a little back.
    """

    level: int = FULL

    def draw(self) -> bool:
        """Take one repetition, and return whether there was one."""
        if self.level < REPETITION:
            return False
        self.level -= REPETITION
        return True

    def answered(self) -> None:
        """Take note that some request was answered by a server that is not in trouble."""
        if self.level < FULL:
            self.level += 1

    def worked(self) -> None:
        """Take note that a repetition was worth it: it costs nothing."""
        self.level = min(FULL, self.level + REPETITION)


@attrs.frozen(eq=False)
class TokenBudget:
    """What a token may do.

    Attributes:
        token: The token, or its provider.
        gate: When a request may go.
        running_jobs: How many jobs may run.
        repetitions: How many calls may be repeated.
    """

    token: object = attrs.field(repr=False)
    gate: Gate
    running_jobs: RunningJobPermits
    repetitions: RepetitionBucket


class TokenBudgets:
    """The budgets of one family of clients, by token. A budget is forgotten with the last client that has it."""

    def __init__(self) -> None:
        self._budgets: WeakValueDictionary[Hashable, TokenBudget] = WeakValueDictionary()

    def add(self, budget: TokenBudget) -> None:
        """Remember *budget* for the next client that has its token."""
        self._budgets[_key(budget.token)] = budget

    def find(self, token: object) -> TokenBudget | None:
        """Return the budget of *token*, if there is one."""
        return self._budgets.get(_key(token))


def _key(token: object) -> Hashable:
    # The id of a provider is its own for as long as its budget lives, which holds it.
    return id(token) if getattr(token, "__hash__", None) is None else token
