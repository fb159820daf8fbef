"""First contact: what does not pass is said at once, until something was answered for the first time."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from file_server import FileServer, exports
from tenacity import wait_fixed

from asana_jobs import AsanaClient, DuplicateTask, Ledger, PollPolicy, RetryPolicy
from asana_jobs._client.http.first_contact import FirstContact
from asana_jobs.errors import (
    ConnectError,
    JobTimeoutError,
    RequestTimeoutError,
    ServerError,
    TokenError,
    TransportError,
)
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


REFUSED = ConnectError("refused", method="GET", path="/jobs/1203", gid="1203")
UNTRUSTED = ConnectError("not trusted", method="GET", path="/jobs/1203", gid="1203", permanent=True)
SILENCE = RequestTimeoutError("no answer within 30 s", method="GET", path="/jobs/1203", gid="1203")


class Unreached:
    """A network in which nothing answers before a moment, and from then on every job has succeeded.

    Attributes:
        sent: When each request was tried.
    """

    def __init__(
        self, clock: FakeClock, error: Exception = REFUSED, *, until: float = 1e9, takes: float = 0.0
    ) -> None:
        self.sent: list[float] = []
        self._clock, self._error, self._until, self._takes = clock, error, until, takes
        self._began = clock.monotonic()

    @property
    def now(self) -> float:
        """Seconds since it was made."""
        return self._clock.monotonic() - self._began

    async def send(self, request: object) -> str:
        """Fail, after a while if it takes one, or answer."""
        del request
        self.sent.append(self.now)
        if self.now < self._until:
            await self._clock.sleep(self._takes)
            raise self._error
        return "succeeded"


@pytest.fixture
async def server(client: AsanaClient, transport: ScriptedTransport) -> AsyncIterator[FileServer]:
    """The server of the files of `client`, whose export 1203 has finished."""
    exports(transport)
    server = FileServer()
    client._downloads = server  # pyright: ignore[reportPrivateUsage]
    yield server
    assert server.left_open == []


@pytest.mark.parametrize("call", ["wait", "get", "request", "start", "run"])
async def test_an_address_that_is_never_reached_is_said_within_four_seconds(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock, call: str
) -> None:
    """It is tried a few times, for a laptop that has just woken up, and for no longer."""
    network = Unreached(clock)
    transport.play(network.send)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "wait": lambda: client.wait_for_job("1203"),
        "get": lambda: client.get_job("1203"),
        "request": lambda: client.request("POST", "/tasks"),
        "start": lambda: client.start(DuplicateTask("1203")),
        "run": lambda: client.run(DuplicateTask("1203")),
    }

    with pytest.raises(ConnectError, match="refused"):
        await calls[call]()
    assert network.now == 4.0
    assert network.sent == [0.0, 0.5, 1.5, 3.5, 4.0]


@pytest.mark.parametrize("call", ["wait", "get", "start", "run", "check"])
async def test_a_certificate_that_is_not_trusted_is_said_at_once(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock, call: str
) -> None:
    """Nothing is tried a second time: it would be the same."""
    network = Unreached(clock, UNTRUSTED)
    transport.play(network.send)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "wait": lambda: client.wait_for_job("1203"),
        "get": lambda: client.get_job("1203"),
        "start": lambda: client.start(DuplicateTask("1203")),
        "run": lambda: client.run(DuplicateTask("1203")),
        "check": lambda: client.check_job("1203"),
    }

    with pytest.raises(ConnectError, match="not trusted"):
        await calls[call]()
    assert network.sent == [0.0]


@pytest.mark.parametrize("error", [REFUSED, UNTRUSTED])
@pytest.mark.parametrize("answer", ["in_progress", 503, 404])
async def test_after_the_first_answer_everything_passes(
    client: AsanaClient,
    transport: ScriptedTransport,
    clock: FakeClock,
    error: ConnectError,
    answer: str | int,
) -> None:
    """A captive portal, a server that comes back: whatever was answered once, a wait outlives ten minutes of it."""
    transport.play(answer)
    with pytest.raises(JobTimeoutError):
        await client.wait_for_job("1203", timeout=0)
    transport.play(Unreached(clock, error, until=600).send)

    assert (await client.wait_for_job("1203")).succeeded


async def test_an_answer_meanwhile_lets_everybody_wait_on(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock
) -> None:
    """The one answer that counts may be somebody else's."""
    network = Unreached(clock, until=60)

    async def send(request: object) -> str | int:
        if len(network.sent) == 2:
            network.sent.append(network.now)
            return 503
        return await network.send(request)

    transport.play(send)

    assert (await client.wait_for_job("1203")).succeeded


async def test_silence_is_no_missing_connection(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock
) -> None:
    """A server that takes the connection and does not answer in time is there: it is waited for as ever."""
    transport.play(Unreached(clock, SILENCE, until=600).send)

    assert (await client.wait_for_job("1203")).succeeded


async def test_an_attempt_that_takes_long_counts_from_its_beginning(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock
) -> None:
    """Ten seconds of connecting to an address where nobody says anything are enough."""
    network = Unreached(clock, takes=10)
    transport.play(network.send)

    with pytest.raises(ConnectError):
        await client.wait_for_job("1203")
    assert network.sent == [0.0]

    network.sent.clear()
    with pytest.raises(ConnectError):
        await client.get_job("1203")
    assert len(network.sent) == 1


async def test_it_can_be_longer_for_one_wait(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock
) -> None:
    """A policy of its own says how long; with ``give_up_after`` all of it is waited out, certificates too."""
    transport.play(Unreached(clock, until=60).send)
    assert (await client.wait_for_job("1203", poll=PollPolicy(first_contact=90))).succeeded


@pytest.mark.parametrize("error", [REFUSED, UNTRUSTED])
async def test_as_long_as_any_trouble_it_is_waited_out(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock, error: ConnectError
) -> None:
    """With as many seconds as ``give_up_after``, a wait is as patient from the start as later on."""
    transport.play(Unreached(clock, error, until=600).send)

    policy = PollPolicy(first_contact=900, give_up_after=900)
    assert (await client.wait_for_job("1204", poll=policy)).succeeded


async def test_the_policy_of_the_client_holds_for_its_calls(
    transport: ScriptedTransport, clock: FakeClock
) -> None:
    """``AsanaClient(poll=PollPolicy(first_contact=...))`` is for calls as well; attempts end them all the same."""
    network = Unreached(clock)
    transport.play(network.send)
    poll, retry = PollPolicy(first_contact=1), RetryPolicy(jitter=0)
    async with AsanaClient("t", transport=transport, clock=clock, poll=poll, retry=retry) as client:
        with pytest.raises(ConnectError):
            await client.get_job("1203")
        assert network.sent == [0.0, 0.5, 1.0]

    network.sent.clear()
    poll, retry = PollPolicy(first_contact=300), RetryPolicy(jitter=0, attempts=3)
    async with AsanaClient("t", transport=transport, clock=clock, poll=poll, retry=retry) as client:
        with pytest.raises(ConnectError):
            await client.get_job("1203")
        assert len(network.sent) == 3


async def test_a_deadline_comes_first(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock
) -> None:
    """A wait of two seconds ends after two, and names what was in the way."""
    transport.play(Unreached(clock).send)

    with pytest.raises(JobTimeoutError, match="last trouble: refused"):
        await client.wait_for_job("1203", timeout=2)


async def test_a_strategy_of_ones_own_says_when_to_try(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock
) -> None:
    """With ``poll=wait_fixed(3)`` it is tried every three seconds, and said by the first try that is late enough."""
    network = Unreached(clock)
    transport.play(network.send)

    with pytest.raises(ConnectError):
        await client.wait_for_job("1203", poll=wait_fixed(3))
    assert network.sent == [0.0, 3.0, 6.0]


async def test_many_waits_are_told_together(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock
) -> None:
    """A hundred waits learn it in seconds, from a handful of requests, those too that never tried themselves."""
    network = Unreached(clock)
    transport.play(network.send)

    waits = [client.wait_for_job(str(gid)) for gid in range(1, 101)]
    ended = await asyncio.gather(*waits, return_exceptions=True)

    assert {type(error) for error in ended} == {ConnectError}
    assert network.now <= 8.0
    assert len(network.sent) <= 110


async def test_a_check_reports_what_may_pass_and_comes_back(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock
) -> None:
    """A queue worker's next process is not ended by an outage that began in the last one."""
    transport.play(Unreached(clock, takes=10).send)
    check = await client.check_job("1203")
    assert isinstance(check.error, ConnectError)

    await clock.sleep(60)
    async with AsanaClient("t", transport=transport, clock=clock) as other:
        check = await other.check_job(check.continuation_token)
    assert isinstance(check.error, ConnectError)
    assert check.retry_in is not None


async def test_a_sibling_knows_what_its_family_reached(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock
) -> None:
    """`with_token` shares connections, and so what is known of them."""
    transport.play("succeeded")
    await client.get_job("1203")
    transport.play(Unreached(clock, until=60).send)

    assert (await client.with_token("other").wait_for_job("1204")).succeeded


@pytest.mark.parametrize("error", [REFUSED, UNTRUSTED])
async def test_a_run_with_a_ledger_is_patient_from_the_start(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock, tmp_path: Path, error: ConnectError
) -> None:
    """Started at boot by a supervisor, before the network: it waits as long as for any other trouble."""
    transport.play(Unreached(clock, error, until=600).send)

    with Ledger.open(tmp_path / "ledger") as ledger:
        outcomes = [outcome async for outcome in client.run_all([DuplicateTask("1203")], ledger=ledger)]
    assert [outcome.error for outcome in outcomes] == [None]


async def test_a_run_without_a_ledger_is_not(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock
) -> None:
    """Its outcomes say within seconds that nothing was started."""
    network = Unreached(clock)
    transport.play(network.send)

    outcomes = [outcome async for outcome in client.run_all(DuplicateTask(gid) for gid in "123")]
    assert [type(outcome.error) for outcome in outcomes] == [ConnectError] * 3
    assert network.now == 4.0


class _NoToken:
    """A provider whose own server does not do."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    async def __call__(self) -> str:
        raise self.error


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (REFUSED, 4.0),
        (UNTRUSTED, 0.0),
        (TransportError("answered 503", method="POST", path="/-/oauth_token"), 900.0),
    ],
)
async def test_a_token_server_that_is_never_reached_is_said_too(
    transport: ScriptedTransport, clock: FakeClock, error: TransportError, seconds: float
) -> None:
    """One that answers, if only 503, is there; one that cannot be reached is like Asana that cannot be."""
    began = clock.monotonic()
    async with AsanaClient(
        _NoToken(error), transport=transport, clock=clock, retry=RetryPolicy(jitter=0)
    ) as client:
        with pytest.raises(ConnectError, match="for want of a token"):
            await client.wait_for_job("1203")
    assert seconds <= clock.monotonic() - began <= seconds + 31


async def test_a_provider_without_a_token_is_said_at_once(
    transport: ScriptedTransport, clock: FakeClock
) -> None:
    """That is no trouble of connections."""
    async with AsanaClient(_NoToken(TokenError("none")), transport=transport, clock=clock) as client:
        with pytest.raises(TokenError):
            await client.wait_for_job("1203")


# Files of exports.


async def test_a_file_server_that_is_never_reached_is_said_within_four_seconds(
    client: AsanaClient, server: FileServer, clock: FakeClock, tmp_path: Path
) -> None:
    """A download from a refused host was silent for minutes."""
    server.script = [REFUSED] * 100
    began = clock.monotonic()

    with pytest.raises(ConnectError, match="the export of job 1203: refused"):
        await client.download_export("1203", tmp_path / "e.gz")
    assert clock.monotonic() - began == 4.0
    assert [*tmp_path.iterdir()] == []  # noqa: ASYNC240


async def test_a_file_server_that_is_not_trusted_is_said_at_once(
    client: AsanaClient, server: FileServer, tmp_path: Path
) -> None:
    """The certificate is the same a second time."""
    server.script = [UNTRUSTED] * 100

    with pytest.raises(ConnectError, match="not trusted") as raised:
        await client.download_export("1203", tmp_path / "e.gz")
    assert raised.value.permanent
    assert len(server.asked) == 1


async def test_a_file_server_that_answered_once_is_waited_for(
    client: AsanaClient, server: FileServer, tmp_path: Path
) -> None:
    """For whatever file that was: failures in a row are what ends it."""
    server.script = [503, *[REFUSED] * 10]
    await client.download_export("1203", tmp_path / "one.gz")

    server.script = [REFUSED] * 11
    assert (await client.download_export("1203", tmp_path / "two.gz")).exists()


async def test_a_link_that_cannot_be_asked_for_is_said_as_soon_as_any_call(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock, tmp_path: Path
) -> None:
    """Reading the job has lasted for four seconds already; the download does not repeat that a dozen times."""
    network = Unreached(clock)
    transport.play(network.send)

    with pytest.raises(ConnectError):
        await client.download_export("1203", tmp_path / "e.gz")
    assert network.now == 4.0


def test_there_is_no_bound_once_something_was_answered() -> None:
    """`FirstContact.patience` in a table."""
    contact = FirstContact()
    unanswered = ServerError("503", status=503, method="GET", path="/")
    table = {
        error: contact.patience(error, 4.0, 900.0)
        for error in (REFUSED, UNTRUSTED, SILENCE, unanswered, None)
    }

    assert table == {
        REFUSED: 4.0,
        UNTRUSTED: 0.0,
        SILENCE: float("inf"),
        unanswered: float("inf"),
        None: float("inf"),
    }
    assert contact.patience(UNTRUSTED, 900.0, 900.0) == float("inf")
    contact.made = True
    assert contact.patience(UNTRUSTED, 4.0, 900.0) == float("inf")
