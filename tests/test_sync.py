"""`asana_jobs.sync`: the calls without asyncio, from threads, after a fork, and ended by signals."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from asana_jobs import DuplicateProject, ExportGraph, JobTimeoutError, Ledger, sync
from asana_jobs.errors import TokenError
from asana_jobs.testing import AsanaSimulator, SimulatorLimits


class ServedSimulator:
    """A simulator on the loop of a thread of its own, as a server elsewhere would be."""

    def __init__(self) -> None:
        self.simulator = AsanaSimulator(durations=0.02, latency=0.002, limits=SimulatorLimits.unlimited())
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self.simulator:
            self._ready.set()
            await self._stop.wait()

    def __enter__(self) -> AsanaSimulator:
        self._thread.start()
        assert self._ready.wait(300)
        return self.simulator

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Generator[AsanaSimulator, None, None]:
    """A simulator elsewhere, that the environment names."""
    with ServedSimulator() as simulator:
        monkeypatch.setenv("ASANA_ACCESS_TOKEN", "t")
        monkeypatch.setenv("ASANA_BASE_URL", simulator.base_url)
        yield simulator
        sync.close()


def copies(count: int) -> Iterator[DuplicateProject]:
    """Operations, one after the other."""
    return (DuplicateProject("1203", name=f"Copy {number}") for number in range(count))


def test_a_job_is_started_and_waited_for(simulator: AsanaSimulator) -> None:
    """``run`` gives the finished job, and ``wait_for_job`` what its gid stands for."""
    job = sync.run(DuplicateProject("1203", name="Q3"))

    assert job.succeeded
    assert job.expect_result().name == "Q3"
    assert sync.wait_for_job(job.gid).succeeded
    assert len(simulator.started) == 1


def test_errors_are_those_of_the_client(simulator: AsanaSimulator) -> None:
    """What a call raises is raised in the thread that made it."""
    simulator.add_job("77", ["in_progress"] * 1_000)
    with pytest.raises(JobTimeoutError, match="77"):
        sync.wait_for_job("77", timeout=0)
    with pytest.raises(ValueError, match="1203x"):
        sync.wait_for_job("1203x")
    with pytest.raises(ValueError, match="run_all"):
        next(sync.run_all(DuplicateProject("1203", name="Q3")))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_no_token_is_said_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token each call says so, ``run_all`` before its first outcome is asked for."""
    for call in (lambda: sync.run(DuplicateProject("1", name="x")), lambda: sync.run_all(copies(1))):
        with pytest.raises(TokenError, match="ASANA_ACCESS_TOKEN"):
            call()


def test_many_are_run_and_their_generator_stays_in_this_thread(simulator: AsanaSimulator) -> None:
    """``run_all`` yields every outcome; operations that are generated are generated where the loop body runs."""
    threads = set[int]()

    def noted() -> Iterator[DuplicateProject]:
        for operation in copies(6):
            threads.add(threading.get_ident())
            yield operation

    outcomes = list(sync.run_all(noted()))

    assert [outcome.succeeded for outcome in outcomes] == [True] * 6
    assert threads == {threading.get_ident()}
    assert len(simulator.started) == 6


def test_a_list_of_operations_is_run_too(simulator: AsanaSimulator) -> None:
    """A list does not wait for the body of the loop."""
    assert len(list(sync.run_all(list(copies(3))))) == len(simulator.started) == 3


def test_what_the_generator_of_operations_raises_comes_out(simulator: AsanaSimulator) -> None:
    """An error of the operations comes after the outcomes of what was started."""

    def broken() -> Iterator[DuplicateProject]:
        yield from copies(2)
        raise LookupError("no more rows")

    seen = list[bool]()
    with pytest.raises(LookupError, match="no more rows"):
        seen.extend(outcome.succeeded for outcome in sync.run_all(broken()))
    assert len(simulator.started) == 2


def test_leaving_the_loop_stops_starting(simulator: AsanaSimulator) -> None:
    """After ``break`` nothing more is started."""
    outcomes = sync.run_all(copies(500))
    for _ in outcomes:
        break
    outcomes.close()
    count = len(simulator.started)

    sync.wait_for_job(simulator.started[0].gid)
    assert len(simulator.started) == count < 30


def test_a_ledger_remembers_what_was_run(simulator: AsanaSimulator, tmp_path: Path) -> None:
    """A run on a ledger is gone on with, and starts nothing a second time."""
    for _ in range(2):
        with Ledger.open(tmp_path / "ledger") as ledger:
            assert len(list(sync.run_all(copies(3), ledger=ledger))) == 3
    assert len(simulator.started) == 3


def test_an_export_is_written(simulator: AsanaSimulator, tmp_path: Path) -> None:
    """``export`` starts one and writes its file; given its job it writes it again."""
    written = sync.export(ExportGraph("1203"), tmp_path / "graph.json.gz")

    assert written.read_bytes()[:2] == b"\x1f\x8b"
    assert sync.export(simulator.started[0].gid, tmp_path / "again.json.gz").exists()
    assert len(simulator.started) == 1


def test_sixteen_threads_share_one_budget(simulator: AsanaSimulator) -> None:
    """Calls of many threads have one client: five jobs run at most, and every call ends."""
    with ThreadPoolExecutor(16) as threads:
        jobs = list(threads.map(sync.run, copies(20)))

    assert {job.status for job in jobs} == {"succeeded"}
    assert len({job.gid for job in jobs}) == len(simulator.started) == 20
    assert simulator.peak_jobs_running <= 5


def test_another_token_has_a_client_of_its_own(simulator: AsanaSimulator) -> None:
    """Each token is sent for its own calls only."""
    sync.run(DuplicateProject("1", name="a"), token="first")
    sync.run(DuplicateProject("1", name="b"), token="second")

    posts = simulator.requests.where(method="POST")
    assert len({request.token for request in posts}) == len(posts) == 2


async def test_inside_of_a_loop_it_says_what_to_do() -> None:
    """Where a loop runs, each call says that it would block it."""
    with pytest.raises(RuntimeError, match="would block the event loop"):
        sync.wait_for_job("1")
    with pytest.raises(RuntimeError, match="would block the event loop"):
        sync.run_all([])


def test_a_child_makes_its_own_after_a_fork(simulator: AsanaSimulator) -> None:
    """In a forked child calls work, what was begun before says so, and the parent goes on undisturbed."""
    assert sync.run(DuplicateProject("1203", name="parent")).succeeded
    begun = sync.run_all(copies(12))
    next(begun)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            works = sync.run(DuplicateProject("1203", name="child")).succeeded
            try:
                next(begun)
            except RuntimeError as error:
                status = 0 if works and "fork" in str(error) else 2
            sync.close()
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(begun)) == 11
    assert sync.wait_for_job(simulator.started[0].gid).succeeded


PROGRAM = """
import sys
from asana_jobs import DuplicateProject, sync
try:
    print("begun", flush=True)
    {call}
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize(
    "call",
    [
        "sync.run(DuplicateProject('1203', name='Q3'))",
        "list(sync.run_all(DuplicateProject('1203', name=str(n)) for n in range(100)))",
        "sync.wait_for_job('77')",
    ],
)
def test_ctrl_c_ends_a_call_in_order(simulator: AsanaSimulator, call: str) -> None:
    """A program in the middle of a call ends at Ctrl-C, with nothing on standard error and nothing started after."""
    simulator.add_job("77", ["in_progress"] * 10_000)
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(call=call)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "begun\n"
    while not [request for request in simulator.requests if request.status]:
        assert program.poll() is None
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=300)

    assert (out, err, program.returncode) == ("interrupted\n", "", 0)
    assert len(simulator.started) <= 5


def test_an_exit_in_the_middle_leaves_no_noise(simulator: AsanaSimulator) -> None:
    """A program that ends with a run half read says nothing of its own."""
    call = "run = sync.run_all(DuplicateProject('1203', name=str(n)) for n in range(100)); next(run)"
    program = subprocess.run(
        [sys.executable, "-X", "dev", "-c", PROGRAM.format(call=call)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    # On a busy machine asyncio says that a turn of its loop took long.
    noise = [line for line in program.stderr.splitlines() if not line.startswith("Executing <")]
    assert (program.stdout, noise, program.returncode) == ("begun\n", [], 0)
