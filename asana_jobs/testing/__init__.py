"""The test kit: a local Asana to point any client at, and doubles for tests with no socket at all.

`AsanaSimulator` is that Asana. In pytest the fixtures `asana_simulator` and `asana_client` run one and a client of it for
each test; they are there once this package is installed. The mark ``asana`` takes the arguments of `AsanaSimulator` for
one test, class or module, and the fixture `asana_simulator_options`, when it is overridden, for all tests below it::

    @pytest.mark.asana(durations=0.005, strict=True)
    async def test_a_copy(asana_client): ...

Jobs take a second or two unless that is said otherwise. With ``pytest --looptime`` (the package looptime) that time is
virtual, and passes at once. `FakeClock` and `ScriptedTransport` are for tests without a socket.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from asana_jobs.testing._clock import FakeClock
    from asana_jobs.testing._durations import (
        Duration,
        DurationLike,
        Fixed,
        Lognormal,
        Looks,
        Mixture,
        Stuck,
        Timeline,
    )
    from asana_jobs.testing._fault_plan import FaultRule
    from asana_jobs.testing._faults import (
        Fault,
        HiddenJob,
        HtmlPage,
        Latency,
        NewStatus,
        NotJson,
        Reset,
        SlowDrip,
        Status,
        Truncated,
        UnknownFields,
        WrongContentType,
    )
    from asana_jobs.testing._jobs import SimulatedJob
    from asana_jobs.testing._limits import SimulatorLimits
    from asana_jobs.testing._requests import RequestLog, RequestRecord
    from asana_jobs.testing._serving import connection_hints, keep, serve
    from asana_jobs.testing._simulator import AsanaSimulator
    from asana_jobs.testing._transport import ScriptedTransport

# pytest loads this package in every run for the sake of its plugin: nothing is imported before it is used.
_HOMES = {
    "AsanaSimulator": "_simulator",
    "Duration": "_durations",
    "DurationLike": "_durations",
    "FakeClock": "_clock",
    "Fault": "_faults",
    "FaultRule": "_fault_plan",
    "Fixed": "_durations",
    "HiddenJob": "_faults",
    "HtmlPage": "_faults",
    "Latency": "_faults",
    "Lognormal": "_durations",
    "Looks": "_durations",
    "Mixture": "_durations",
    "NewStatus": "_faults",
    "NotJson": "_faults",
    "RequestLog": "_requests",
    "RequestRecord": "_requests",
    "Reset": "_faults",
    "ScriptedTransport": "_transport",
    "SimulatedJob": "_jobs",
    "SimulatorLimits": "_limits",
    "SlowDrip": "_faults",
    "Status": "_faults",
    "Stuck": "_durations",
    "Timeline": "_durations",
    "Truncated": "_faults",
    "UnknownFields": "_faults",
    "WrongContentType": "_faults",
    "connection_hints": "_serving",
    "keep": "_serving",
    "serve": "_serving",
}

__all__ = [
    "AsanaSimulator",
    "Duration",
    "DurationLike",
    "FakeClock",
    "Fault",
    "FaultRule",
    "Fixed",
    "HiddenJob",
    "HtmlPage",
    "Latency",
    "Lognormal",
    "Looks",
    "Mixture",
    "NewStatus",
    "NotJson",
    "RequestLog",
    "RequestRecord",
    "Reset",
    "ScriptedTransport",
    "SimulatedJob",
    "SimulatorLimits",
    "SlowDrip",
    "Status",
    "Stuck",
    "Timeline",
    "Truncated",
    "UnknownFields",
    "WrongContentType",
    "connection_hints",
    "keep",
    "serve",
]


if not TYPE_CHECKING:  # a type checker would take any misspelt name for an object

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value
