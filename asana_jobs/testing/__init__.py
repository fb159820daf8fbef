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
    from asana_jobs.testing._fake_clock import FakeClock
    from asana_jobs.testing._scripted_transport import ScriptedTransport
    from asana_jobs.testing.simulator.durations import (
        Duration,
        DurationLike,
        Fixed,
        Lognormal,
        Looks,
        Mixture,
        Stuck,
        Timeline,
    )
    from asana_jobs.testing.simulator.faults import (
        Fault,
        FaultRule,
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
    from asana_jobs.testing.simulator.jobs import SimulatedJob
    from asana_jobs.testing.simulator.limits import SimulatorLimits
    from asana_jobs.testing.simulator.requests import RequestLog, RequestRecord
    from asana_jobs.testing.simulator.simulator import AsanaSimulator
    from asana_jobs.testing.simulator.state_file import connection_hints, keep, serve

# pytest loads this package in every run for the sake of its plugin: nothing is imported before it is used.
_HOMES = {
    "AsanaSimulator": "simulator.simulator",
    "Duration": "simulator.durations",
    "DurationLike": "simulator.durations",
    "FakeClock": "_fake_clock",
    "Fault": "simulator.faults",
    "FaultRule": "simulator.faults",
    "Fixed": "simulator.durations",
    "HiddenJob": "simulator.faults",
    "HtmlPage": "simulator.faults",
    "Latency": "simulator.faults",
    "Lognormal": "simulator.durations",
    "Looks": "simulator.durations",
    "Mixture": "simulator.durations",
    "NewStatus": "simulator.faults",
    "NotJson": "simulator.faults",
    "RequestLog": "simulator.requests",
    "RequestRecord": "simulator.requests",
    "Reset": "simulator.faults",
    "ScriptedTransport": "_scripted_transport",
    "SimulatedJob": "simulator.jobs",
    "SimulatorLimits": "simulator.limits",
    "SlowDrip": "simulator.faults",
    "Status": "simulator.faults",
    "Stuck": "simulator.durations",
    "Timeline": "simulator.durations",
    "Truncated": "simulator.faults",
    "UnknownFields": "simulator.faults",
    "WrongContentType": "simulator.faults",
    "connection_hints": "simulator.state_file",
    "keep": "simulator.state_file",
    "serve": "simulator.state_file",
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
