"""Which request meets which fault: by count, by predicate or at random."""

from collections.abc import Callable
from random import Random

from attrs import define, field

from asana_jobs.testing._faults import Fault, HiddenJob
from asana_jobs.testing._requests import RequestRecord


@define(eq=False)
class FaultRule:
    """A fault and the requests it is meant for.

    Attributes:
        fault: what happens.
        times: how many requests are still to meet it; None for all of them.
        method: only requests with this method.
        path: only paths like this pattern, such as `/jobs/*`.
        when: only requests this function says yes to.
        probability: share of the matching requests that meet it, between 0 and 1.
        applied: how many requests met it.
    """

    fault: Fault
    times: int | None = None
    method: str | None = None
    path: str | None = None
    when: Callable[[RequestRecord], bool] | None = None
    probability: float = 1.0
    _random: Random = field(factory=Random, repr=False, alias="random")
    applied: int = 0

    def meets(self, record: RequestRecord, *, by_path: bool = False) -> bool:
        """Whether this request, its `record`, meets the fault; counts it if so. `by_path`: only if a path is named."""
        if by_path and self.path is None:
            return False
        if self.times is not None and self.applied >= self.times:
            return False
        # Only a request that starts a job can have its job hidden.
        method = self.method or ("POST" if isinstance(self.fault, HiddenJob) else None)
        if not record.matches(method=method, path=self.path):
            return False
        if self.when is not None and not self.when(record):
            return False
        if self.probability < 1.0 and self._random.random() >= self.probability:
            return False
        self.applied += 1
        return True


@define
class FaultPlan:
    """The rules in the order they were made: the first that matches decides, one fault per request."""

    rules: list[FaultRule] = field(factory=list[FaultRule])

    def choose(self, record: RequestRecord, *, by_path: bool = False) -> Fault | None:
        """The fault this request meets, None for no fault.

        With `by_path` only rules for certain paths count: downloads and the OAuth endpoints are not
        meant unless they are named.
        """
        for rule in self.rules:
            if rule.meets(record, by_path=by_path):
                return rule.fault
        return None
