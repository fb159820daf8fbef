"""How a server ends: closed, told to stop, or killed at any instant, with nothing half written and nothing started twice."""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
from assistant import REAL_TIME, variables
from forked_server import Forks, GoneError, Server, forking_process

from asana_jobs import Ledger
from asana_jobs.testing import AsanaSimulator, Latency, SimulatorLimits


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and signals")

#: Starts of one round, and kills before it is let through.
KEYS, KILLS = 8, 2


def local_asana(seconds: float = 60.0, latency: tuple[float, float] = (0, 0)) -> AsanaSimulator:
    """A local Asana whose jobs take *seconds*."""
    return AsanaSimulator(durations=seconds, latency=latency, limits=SimulatorLimits.unlimited())


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the process that forks servers."""
    with forking_process(tmp_path_factory.mktemp("forks")) as address:
        yield address


@pytest.fixture
def source(address: str, tmp_path: Path) -> Forks:
    """Where servers come from."""
    forks = Forks(address, tmp_path / "log")
    forks.log.touch()
    return forks


@REAL_TIME
async def test_closed_or_told_to_stop_a_server_ends_without_a_word(tmp_path: Path, source: Forks) -> None:
    """Closed it ends with 0, by a signal with 130, amid a wait and amid nothing, at once, with nothing on standard error."""
    endings = {"close": 0, "SIGINT": 130, "SIGTERM": 130, "SIGHUP": 130}
    async with local_asana() as simulator:
        environment = variables(simulator, tmp_path)
        for ending, status in endings.items():
            for busy in (False, True):
                async with source.server(environment) as server:
                    if busy:
                        job = (await server.call("duplicate_project", gid="1203", key=ending, name="Q3"))[
                            "job"
                        ]
                        await server.send("tools/call", name="wait_for_job", arguments={"job": job})
                        await until(simulator, looks=2)
                    end(server, ending)
                    async with asyncio.timeout(60):
                        said = [json.loads(line) for line in (await server.rest()).splitlines()]
                        assert ["error" in message for message in said] == [True] * busy
                        assert await server.ended() == status, ending
        assert source.log.read_text() == ""
        with Ledger.open(tmp_path / "a.ledger"):
            pass
        assert len(simulator.started) == len(endings)


@REAL_TIME
async def test_a_client_that_reads_no_more_is_an_end_like_any_other(tmp_path: Path, source: Forks) -> None:
    """Where answers cannot be written any more, the server ends with 0, without a word."""
    async with local_asana() as simulator:
        async with source.server(variables(simulator, tmp_path)) as server:
            server.stop_reading()
            await server.send("tools/list")
            async with asyncio.timeout(60):
                assert await server.ended() == 0
        assert source.log.read_text() == ""


@REAL_TIME
async def test_a_start_that_has_left_is_written_down_before_the_end(tmp_path: Path, source: Forks) -> None:
    """Told to stop while Asana takes its time with the answer, the server waits for it; the next one gives the same job."""
    async with local_asana() as simulator:
        environment = variables(simulator, tmp_path)
        for number, ending in enumerate(("close", "SIGTERM")):
            simulator.fail_next(Latency(0.5), method="POST")
            call = {"gid": "1203", "key": ending, "name": ending}
            async with source.server(environment) as server:
                await server.send("tools/call", name="duplicate_project", arguments=call)
                await until(simulator, started=number + 1)
                end(server, ending)
                await server.rest()
                await server.ended()
            async with source.server(environment) as server:
                again = await server.call("duplicate_project", **call)
                assert again["job"] == simulator.started[number].gid
                server.hang_up()
                await server.ended()

        assert [job.result["name"] for job in simulator.started] == ["close", "SIGTERM"]
        assert source.log.read_text() == ""


async def until(simulator: AsanaSimulator, *, started: int = 1, looks: int = 1) -> None:
    """Wait until so many jobs were started, and the last one was looked at so often, the answer to its start included."""
    while len(simulator.started) < started or simulator.started[-1].looks < looks:  # noqa: ASYNC110  # it is another process
        await asyncio.sleep(0.01)


def end(server: Server, how: str) -> None:
    """Close a server, or send it a signal."""
    if how == "close":
        server.hang_up()
    else:
        os.kill(server.pid, signal.Signals[how])


@REAL_TIME
async def test_a_wrong_environment_is_said_by_each_tool(tmp_path: Path, source: Forks) -> None:
    """An address that is none, and a token with quotation marks, are named to the assistant, and the server goes on."""
    wrong = {
        "must start with https://": {"ASANA_BASE_URL": "ftp:nonsense", "ASANA_ACCESS_TOKEN": "t"},
        "has quotation marks around it": {"ASANA_BASE_URL": "", "ASANA_ACCESS_TOKEN": '"a-token"'},
    }
    for said, environment in wrong.items():
        async with source.server({**environment, "XDG_DATA_HOME": str(tmp_path)}) as server:
            for _ in range(2):
                assert said in (await server.call("get_job", job="1205"))["error"]
            server.hang_up()
            assert await server.ended() == 0


@attrs.define
class Campaign:
    """An assistant whose server is killed again and again, and who asks a person where nobody knows."""

    simulator: AsanaSimulator
    source: Forks
    environment: dict[str, str]
    dice: random.Random
    jobs: dict[str, str] = attrs.field(factory=dict[str, str])
    unknown: int = 0

    async def round(self, number: int) -> None:
        """Have servers do what an assistant asks, killed at random instants, and a last one to the end."""
        keys = [f"{number}-{turn}" for turn in range(KEYS)]
        for _ in range(KILLS):
            await self.live(keys, killed_after=self.dice.uniform(0, 0.3))
        await self.live(keys, killed_after=None)
        names = [job.result["name"] for job in self.simulator.started]
        assert [names.count(key) for key in keys] == [1] * KEYS

    async def live(self, keys: list[str], *, killed_after: float | None) -> None:
        """Have one server do all that, until it is killed."""
        async with self.source.server(self.environment, "--longest-call", "1s") as server:
            if killed_after is not None:
                asyncio.get_running_loop().call_later(killed_after, os.kill, server.pid, signal.SIGKILL)
            with suppress(GoneError, ConnectionError):
                for key in self.dice.sample(keys, KEYS):
                    await self.start(server, key)
                if killed_after is None:
                    server.hang_up()
                await server.rest()
            assert await server.ended() == (0 if killed_after is None else -signal.SIGKILL)

    async def start(self, server: Server, key: str) -> None:
        """Start a copy, and wait for it for a while; ask who can look in Asana where nobody knows."""
        answer = await server.call("duplicate_project", gid="1203", key=key, name=key)
        if "may or may not have been started" in answer.get("error", ""):
            self.unknown += 1
            is_there = any(job.result["name"] == key for job in self.simulator.started)
            decision = "it_started" if is_there else "it_did_not_start"
            await server.call("resolve_unknown", key=key, decision=decision)
            return
        if "settled by a person" in answer.get("error", ""):
            return
        assert "error" not in answer, answer
        assert self.jobs.setdefault(key, answer["job"]) == answer["job"]
        if self.dice.random() < 0.2:
            await server.call("wait_for_job", job=answer["job"])


async def campaign(kills: int, folder: Path, source: Forks) -> Campaign:
    """Kill that many servers at random instants."""
    async with local_asana(0.1, (0, 0.02)) as simulator:
        one = Campaign(simulator, source, variables(simulator, folder), random.SystemRandom())
        for number in range(kills // KILLS):
            await one.round(number)
        by_gid = {job.gid: job.result["name"] for job in simulator.started}
        assert all(by_gid[gid] == key for key, gid in one.jobs.items())
        assert source.log.read_text() == ""
    return one


@REAL_TIME
@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(10, marks=pytest.mark.timeout(120)),
        pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(600)]),
    ],
)
async def test_killed_at_random_instants_nothing_is_started_twice(
    kills: int, tmp_path: Path, source: Forks
) -> None:
    """Whenever the server is killed, the next one goes on: each key has one project, and each answer named the same job."""
    seen = await campaign(kills, tmp_path, source)

    assert len(seen.simulator.started) == KEYS * kills // KILLS
    assert seen.unknown <= kills  # at most the start that was under way
