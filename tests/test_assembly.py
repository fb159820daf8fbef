"""From arguments to a session: what is wrong is said before anything is made."""

import platform
from datetime import timedelta
from typing import Any

import pytest

from asana_jobs import AsanaClient, PollPolicy, __version__
from asana_jobs._client.assembly import (
    CLOCK_MEMBERS,
    GATE_MEMBERS,
    TRANSPORT_MEMBERS,
    make_session,
    user_agent_of,
)
from asana_jobs._client.clock import Clock, SystemClock
from asana_jobs._client.http.transport import AiohttpTransport, Transport
from asana_jobs._client.limits.gate import Gate, LocalGate
from asana_jobs.policies import RetryPolicy
from asana_jobs.testing import FakeClock, ScriptedTransport


BASE_URL = "https://app.asana.com/api/1.0"


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "30", True, timedelta(0)])
def test_a_timeout_that_is_none(timeout: float) -> None:
    """The timeout of a request must be a positive number of seconds."""
    with pytest.raises(ValueError, match="timeout"):
        AsanaClient("test-token", timeout=timeout)


@pytest.mark.parametrize(
    "part", ["limits", "retry", "poll", "durations", "gate", "clock", "transport", "session"]
)
@pytest.mark.parametrize("given", [5, 0])
def test_a_part_that_is_none(part: str, given: int) -> None:
    """What cannot be the part it is handed in as is a ValueError that names both, also where Python takes it for false."""
    wrong: dict[str, Any] = {part: given}
    with pytest.raises(ValueError, match=f"^{part} must be an? .*, not (int|{given})"):
        AsanaClient("test-token", **wrong)


@pytest.mark.parametrize(("part", "kind"), [("poll", PollPolicy), ("clock", FakeClock), ("gate", LocalGate)])
def test_a_part_that_is_still_a_class(part: str, kind: type) -> None:
    """A class in the place of its object is told apart from it."""
    wrong: dict[str, Any] = {part: kind}
    with pytest.raises(ValueError, match=f"not the class {kind.__name__} itself"):
        AsanaClient("test-token", **wrong)


def test_a_part_that_lacks_something() -> None:
    """A part that anybody may write is told what it lacks, and a token in its place is not shown."""
    wrong: Any = "secret-token"
    with pytest.raises(ValueError, match="has no acquire, snapshot") as caught:
        AsanaClient("test-token", gate=wrong)

    assert "secret-token" not in str(caught.value)


def test_a_user_agent_that_is_none() -> None:
    """A user agent that could break out of its header is a ValueError."""
    with pytest.raises(ValueError, match="user_agent"):
        AsanaClient("test-token", user_agent="acme\r\nX-Evil: 1")


def test_a_client_that_could_not_be_made_can_be_shown() -> None:
    """The traceback of a constructor that raised can be printed with its locals."""
    import traceback

    with pytest.raises(ValueError, match="timeout") as caught:
        AsanaClient("test-token", timeout=0)

    text = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "AsanaClient unfinished" in text


@pytest.mark.parametrize(
    ("protocol", "members"),
    [(Transport, TRANSPORT_MEMBERS), (Clock, CLOCK_MEMBERS), (Gate, GATE_MEMBERS)],
    ids=["transport", "clock", "gate"],
)
def test_every_member_of_a_part_is_asked_for(protocol: type, members: tuple[str, ...]) -> None:
    """A part that anybody may write is asked for all that its protocol declares, and nothing else."""
    assert members == tuple(name for name in vars(protocol) if not name.startswith("_"))


def test_a_session_beside_a_transport() -> None:
    """Only one of two ways to send can be meant."""
    wrong: Any = object()
    with pytest.raises(ValueError, match="give session or transport, not both"):
        AsanaClient("test-token", session=wrong, transport=ScriptedTransport("succeeded"))


def test_what_is_not_given_is_made() -> None:
    """From a token and an address alone comes a session with aiohttp, a gate of its own and the loop's clock."""
    made = make_session("test-token", base_url=BASE_URL)

    kinds = [type(part) for part in (made.transport, made.gate, made.clock)]
    assert kinds == [AiohttpTransport, LocalGate, SystemClock]
    assert (made.retry, made.timeout, made.telemetry.listening) == (RetryPolicy(), 30.0, False)


def test_what_is_given_is_used() -> None:
    """Parts that are handed in are those of the session, and the gate made for it goes by its clock."""
    clock, transport = FakeClock(), ScriptedTransport("succeeded")

    made = make_session("test-token", base_url=BASE_URL, clock=clock, transport=transport)

    assert made.clock is clock
    assert made.transport is transport
    assert made.gate._clock is clock  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]


def test_the_user_agent_names_us_last() -> None:
    """The User-Agent header has the product of the user, if there is one, before ours and Python."""
    ours = f"asana_jobs/{__version__} python/{platform.python_version()}"
    assert user_agent_of(None) == ours
    assert user_agent_of("shop/7") == f"shop/7 {ours}"
