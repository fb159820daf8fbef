"""pytest fixtures: `asana_simulator`, a running `AsanaSimulator`, and `asana_client`, pointed at it.

What the simulator is like is said by a mark on a test, its class or its module, which takes every argument of
`AsanaSimulator`, or for all tests below a conftest by the fixture `asana_simulator_options`; the mark wins::

    @pytest.mark.asana(durations=0.005, strict=True)
    async def test_a_copy(asana_client): ...

    @pytest.fixture
    def asana_simulator_options():
        return {"durations": 0.005}

Loaded in every pytest run of everybody who has `asana_jobs` installed, so it imports next to nothing
before a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from inspect import signature
from typing import TYPE_CHECKING, Any, Final

import pytest


if TYPE_CHECKING:
    from asana_jobs import AsanaClient, PollPolicy
    from asana_jobs.testing import AsanaSimulator

try:
    # In strict mode only fixtures made by pytest-asyncio are its own; auto mode takes them as well.
    from pytest_asyncio import fixture
except ImportError:  # pragma: no cover
    # Without it anyio's plugin runs plain async fixtures, and the tests of others are left alone.
    from pytest import fixture  # type: ignore[no-redef]  # noqa: PT013 - one name from two homes

_MARK: Final = (
    "asana(durations=..., speed=..., strict=..., ...): arguments of the AsanaSimulator behind the fixtures "
    "asana_simulator and asana_client"
)
# Seconds of lag that a look is worth at least: no job is looked at more often than every 17 ms.
_LAG_PRICE: Final = 5e-5
# More than fits into a minute: where the simulator has no quota, the client keeps to none.
_UNBOUNDED: Final = 1e6


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known to `--markers` and `--strict-markers`."""
    config.addinivalue_line("markers", _MARK)


@pytest.fixture
def asana_simulator_options() -> Mapping[str, Any]:
    """Arguments of the `AsanaSimulator` that `asana_simulator` runs; there to be overridden."""
    return {}


@fixture
async def asana_simulator(
    request: pytest.FixtureRequest, asana_simulator_options: Mapping[str, Any]
) -> AsyncIterator[AsanaSimulator]:
    """A local Asana in the test's own event loop: any gid exists, jobs take a second or two.

    The mark ``asana`` and the fixture `asana_simulator_options` take the arguments of `AsanaSimulator`.
    """
    from asana_jobs.testing import AsanaSimulator  # noqa: PLC0415 - see the module's docstring

    options = {**asana_simulator_options, **_marked(request)}
    _check_names(options, AsanaSimulator)
    async with AsanaSimulator(**options) as simulator:
        yield simulator


@fixture
async def asana_client(asana_simulator: AsanaSimulator) -> AsyncIterator[AsanaClient]:
    """An `AsanaClient` whose Asana is the `asana_simulator` of the same test.

    Where the simulator's jobs take milliseconds, it looks at them milliseconds after their start, and it keeps to a
    quota only where the simulator has one. Everything else is as by default. To test with a schedule or limits of your
    own, override this fixture.
    """
    from asana_jobs import AsanaClient, RateLimits  # noqa: PLC0415 - see the module's docstring

    bounded = asana_simulator.limits.requests_per_minute is not None
    known = asana_simulator.accounts.known
    async with AsanaClient(
        next(iter(known)) if known else "test-token",
        base_url=asana_simulator.base_url,
        limits=RateLimits() if bounded else RateLimits(requests_per_minute=_UNBOUNDED),
        poll=_poll(asana_simulator),
    ) as client:
        yield client


def _marked(request: pytest.FixtureRequest) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for mark in reversed([*request.node.iter_markers("asana")]):  # the test's own comes first, and wins
        if mark.args:
            pytest.fail(
                f"The mark asana takes keywords, such as durations=0.005, not {mark.args[0]!r}", pytrace=False
            )
        options.update(mark.kwargs)
    return options


def _check_names(options: Mapping[str, Any], simulator: type[AsanaSimulator]) -> None:
    known = [*signature(simulator).parameters]
    for name in options:
        if name not in known:
            pytest.fail(
                f"AsanaSimulator has no argument {name!r}. The mark asana and the fixture asana_simulator_options "
                f"take its arguments: {', '.join(known)}",
                pytrace=False,
            )


def _poll(simulator: AsanaSimulator) -> PollPolicy:
    """Return the usual schedule of looks, as much faster as the quickest jobs are done before the usual first look."""
    from asana_jobs import PollPolicy  # noqa: PLC0415 - see the module's docstring
    from asana_jobs.testing.simulator.durations import Timeline  # noqa: PLC0415 - the same
    from asana_jobs.testing.simulator.operations import KINDS  # noqa: PLC0415 - the same

    drawn = [simulator.domain.draw(kind, "0") for kind in KINDS]
    quickest = min(schedule.end if isinstance(schedule, Timeline) else 0.0 for schedule in drawn)
    usual = PollPolicy()
    share = min(1.0, quickest / usual.initial)
    return PollPolicy(initial=usual.initial * share, lag_price=max(usual.lag_price * share**2, _LAG_PRICE))
