"""Every way to stop a process that runs operations on a ledger, at random instants; the server outlives it and counts.

What the ledger and the outcomes say after a resume is compared with what the server counted, and what is unknown with
its log: was it under way when the process was stopped? The suite stops a few; so many, and a table, by command::

    python tests/campaign/test_stops.py 200

Run with the word ``serve``, this module forks the processes that are stopped, so that Python starts once.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, Final, cast

import attrs
import pytest

from asana_jobs import AsanaClient, DuplicateProject, Ledger, Outcome, PollPolicy, RateLimits
from asana_jobs.__main__ import main
from asana_jobs._client.bulk.ledger_rows import LedgerRow, LedgerState
from asana_jobs.testing import AsanaSimulator, Lognormal, SimulatorLimits


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and signals")

OPERATIONS: Final = 12
#: Processes that share a ledger in one of the attacks.
PROCESSES: Final = 5
#: Seconds after which a process that was stopped, or resumed, hangs.
TOO_LONG: Final = 60.0
#: Seconds that an answer may be on its way from the server to the disk of a process that has little of a processor.
ON_ITS_WAY: Final = 0.5
#: Whose code runs where asyncio takes a step, and the seconds that this takes.
ASYNCIO: Final = {"asyncio", "concurrent", "threading"}
OUT_OF_ASYNCIO: Final = 0.0002


@attrs.frozen
class Attack:
    """A way to stop a process.

    Attributes:
        signals: What it is sent.
        program: What runs: a ``script`` under `asyncio.run`, one with a loop of its own, or the ``command`` line.
        processes: How many there are on one ledger, all but one of which are stopped.
        copied: Whether a copy of the ledger is resumed, taken while the process was halted.
        in_order: Whether requests under way are answered first, so that nothing is unknown.
    """

    signals: tuple[str, ...]
    program: str = "script"
    processes: int = 1
    copied: bool = False
    in_order: bool = False


ATTACKS: Final = {
    "SIGINT once": Attack(("SIGINT",), in_order=True),
    "SIGINT once, own loop": Attack(("SIGINT",), "own loop"),
    "SIGINT once, command": Attack(("SIGINT",), "command", in_order=True),
    "SIGINT twice": Attack(("SIGINT", "SIGINT")),
    "SIGINT twice, command": Attack(("SIGINT", "SIGINT"), "command"),
    "SIGTERM": Attack(("SIGTERM",)),
    "SIGTERM, command": Attack(("SIGTERM",), "command", in_order=True),
    "SIGHUP": Attack(("SIGHUP",)),
    "SIGHUP, command": Attack(("SIGHUP",), "command", in_order=True),
    "SIGKILL": Attack(("SIGKILL",)),
    "SIGSTOP, SIGCONT": Attack(("SIGSTOP", "SIGCONT"), in_order=True),
    "sys.exit": Attack(("SIGUSR1",)),
    "loop closed": Attack(("SIGUSR2",)),
    "every task cancelled": Attack(("SIGQUIT",)),
    "copy resumed": Attack(("SIGSTOP", "SIGKILL"), copied=True),
    "five processes": Attack(("SIGKILL",), processes=PROCESSES),
}

#: What a process would load by and by: it is to be stopped at work, not before.
LOADED_LATER: Final = (
    "aiohttp",
    "asana_jobs._client.bulk.ledger_keys",
    "asana_jobs._client.bulk.run",
    "asana_jobs.cli.bulk",
    "asana_jobs.cli.commands.run",
    "asana_jobs.cli.live_view",
    "asana_jobs.cli.report",
    "asana_jobs.cli.parser",
)


# --- The process that is stopped


async def work(ledger: str, prefix: str, base_url: str) -> None:
    """Run all operations, and write down each outcome as it comes."""
    spare_asyncio()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, sys.exit, 3)
    loop.add_signal_handler(signal.SIGUSR2, loop.stop)
    loop.add_signal_handler(signal.SIGQUIT, lambda: [task.cancel() for task in asyncio.all_tasks()])
    limits = RateLimits(requests_per_minute=60_000)
    poll = PollPolicy(initial=0.02, lag_price=0.005)
    async with AsanaClient("t", base_url=base_url, poll=poll, limits=limits) as client:
        with Ledger.open(ledger) as opened:
            async for outcome in client.run_all(operations(prefix), ledger=opened):
                print(json.dumps(_told(outcome)), flush=True)  # noqa: T201  # to a file


def spare_asyncio() -> None:
    """Have Ctrl-C come anywhere but between two steps of asyncio's own code, which it waits out.

    Interrupted there, as no code can be prepared for, asyncio forgets whom it was about to wake: a script that has done
    nothing wrong waits until Ctrl-C is pressed once more ("Note on Signal Handlers and Exceptions" in Python's `signal`).
    """
    interrupt = cast("Callable[[int, FrameType | None], object]", signal.getsignal(signal.SIGINT))

    def come(number: int, frame: FrameType | None) -> None:
        if frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ASYNCIO:
            signal.setitimer(signal.ITIMER_REAL, OUT_OF_ASYNCIO)
        else:
            interrupt(number, frame)

    for number in (signal.SIGINT, signal.SIGALRM):
        signal.signal(number, come)


def operations(prefix: str) -> list[DuplicateProject]:
    """What is to be done."""
    return [DuplicateProject("1203", name=f"{prefix} {number}") for number in range(OPERATIONS)]


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.operation.to_dict()["name"],
        "gid": outcome.job.gid if outcome.job and outcome.succeeded else None,
        "error": type(outcome.error).__name__ if outcome.error else None,
    }


def script(ledger: str, prefix: str, base_url: str) -> int:
    """Be a script: a loop that is stopped is closed under its tasks, and nothing tidies up."""
    try:
        asyncio.run(work(ledger, prefix, base_url))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 4
    except RuntimeError:
        return 5
    return 0


def own_loop(ledger: str, prefix: str, base_url: str) -> int:
    """Be a script that runs its own loop, and once more to end in order: Ctrl-C comes in whatever is running."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(work(ledger, prefix, base_url))
    try:
        loop.run_until_complete(task)
    except KeyboardInterrupt:
        if (
            not task.done()
        ):  # asyncio never returns from running a task that has ended in it, and nobody would know
            task.cancel()
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
        return 4
    return 0


def command(ledger: str, prefix: str, base_url: str) -> int:
    """Be the command line."""
    file = Path(f"{prefix}.jsonl")
    if not file.exists():
        file.write_text("".join(f"{json.dumps(one.to_dict())}\n" for one in operations(prefix)), "utf-8")
    os.environ |= {"ASANA_ACCESS_TOKEN": "t", "ASANA_BASE_URL": base_url}
    options = ["--output", "jsonl", "--requests-per-minute", "60000"]
    sys.argv[1:] = ["run", str(file), "--ledger", ledger, *options]
    return main()


PROGRAMS: Final[dict[str, Callable[[str, str, str], int]]] = {
    "script": script,
    "own loop": own_loop,
    "command": command,
}


def fork(program: str, ledger: str, prefix: str, base_url: str) -> int:
    """Start a process, which writes its outcomes to a file beside its ledger."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        for name, descriptor in (("told", 1), ("complaints", 2)):
            target = os.open(f"{ledger}.{os.getpid()}.{name}", os.O_WRONLY | os.O_CREAT)
            os.dup2(target, descriptor)
        status = PROGRAMS[program](ledger, prefix, base_url)
    except SystemExit:
        status = 3
    finally:
        os._exit(status)


def end_of(child: int) -> int | None:
    """Return the exit status of a process; ``None`` if it had to be killed, because it hangs."""
    give_up_at = time.monotonic() + TOO_LONG
    while time.monotonic() < give_up_at:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def serve() -> None:
    """Start processes, and wait for them, as told by line; this one has no thread that a fork would lose."""
    for name in LOADED_LATER:
        import_module(name)
    for line in sys.stdin:
        order, *arguments = json.loads(line)
        answer = fork(*arguments) if order == "fork" else end_of(*arguments)
        print(json.dumps(answer), flush=True)  # noqa: T201  # the other end reads it


class Processes:
    """The processes that are stopped, all of them forked by one."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def start(self, *arguments: str) -> int:
        """Start one, and return its id."""
        return int(self._ask("fork", *arguments) or 0)

    def wait(self, pid: int) -> int | None:
        """Return its exit status; ``None`` if it hangs."""
        return self._ask("wait", pid)

    def _ask(self, *order: object) -> int | None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(f"{json.dumps(order)}\n")
        self._server.stdin.flush()
        answer: int | None = json.loads(self._server.stdout.readline())
        return answer


@contextmanager
def forking() -> Generator[Processes, None, None]:
    """Have processes forked."""
    pipe = subprocess.PIPE
    arguments = [sys.executable, __file__, "serve"]
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True) as server:
        try:
            yield Processes(server)
        finally:
            assert server.stdin is not None
            server.stdin.close()  # which is its end


# --- Stopping it


@attrs.define
class Seen:
    """What an attack led to; all but the first three and the unknown have to be none."""

    cases: int = 0
    stops: int = 0
    operations: int = 0
    started_twice: int = 0
    lost: int = 0
    contradicted: int = 0
    hung: int = 0
    unknown_started: int = 0
    unknown_not_started: int = 0
    decidable: int = 0

    @property
    def faults(self) -> int:
        """How much went wrong."""
        return self.started_twice + self.lost + self.contradicted + self.hung + self.decidable


@attrs.frozen
class Stop:
    """When a process was stopped: from the first signal to its end, on the machine's clock."""

    began: float
    ended: float


class Campaign:
    """Stops processes until that was done often enough. It runs in a thread: the server lives on the loop."""

    def __init__(self, simulator: AsanaSimulator, folder: Path, processes: Processes) -> None:
        self.seen = {name: Seen() for name in ATTACKS}
        self._simulator = simulator
        self._folder = folder
        self._processes = processes
        self._dice = random.SystemRandom()
        self._cases = 0

    def run(self, attacks: Iterable[str]) -> None:
        """Make *attacks*, one after the other."""
        for name in attacks:
            self._attack(name)

    def _attack(self, name: str) -> None:
        attack, seen = ATTACKS[name], self.seen[name]
        self._cases += 1
        prefix = self._folder / str(self._cases)
        ledger = prefix.with_suffix(".ledger")

        def start() -> int:
            return self._processes.start(attack.program, str(ledger), str(prefix), self._simulator.base_url)

        pids = [start() for _ in range(attack.processes)]
        began: list[float] = []
        for pid in pids[: max(1, len(pids) - 1)]:
            began.append(self._send(attack, pid, ledger))
            seen.stops += 1
        ends: list[float] = []
        for pid in pids:
            seen.hung += self._processes.wait(pid) is None
            ends.append(time.monotonic())
        if attack.copied:
            ledger = _copy_of(ledger)
        last = start()
        status = self._processes.wait(last)
        seen.hung += status is None
        seen.cases += 1
        stops = [Stop(*instants) for instants in zip(began, ends, strict=False)]
        self._compare(name, ledger, prefix, last, stops)

    def _send(self, attack: Attack, pid: int, ledger: Path) -> float:
        slower = 2 if attack.program == "command" else 1
        time.sleep(self._dice.uniform(0.02, 0.4) * slower)
        began = time.monotonic()
        for number in attack.signals:
            with suppress(ProcessLookupError):
                os.kill(pid, getattr(signal, number))
            if attack.copied and number == "SIGSTOP":
                time.sleep(0.02)  # the kernel halts it by and by
                for path in ledger.parent.glob(f"{ledger.name}*"):
                    if path.name.removeprefix(ledger.name) in {"", "-wal"}:
                        shutil.copy(path, _copy_of(ledger, path.name.removeprefix(ledger.name)))
            time.sleep(self._dice.uniform(0.0, 0.1))
        return began

    def _compare(self, name: str, ledger: Path, prefix: Path, last: int, stops: list[Stop]) -> None:
        seen = self.seen[name]
        jobs = list(self._simulator.started)
        names: dict[str, str] = {job.gid: job.result["name"] for job in jobs}
        started = Counter(made for made in names.values() if made.startswith(f"{prefix} "))
        with Ledger.open(ledger) as opened:
            rows = {str(row.content["name"]): row for row in opened.rows()}
        outcomes = {told["name"]: told for told in _read(Path(f"{ledger}.{last}.told"))}
        seen.operations += OPERATIONS
        seen.started_twice += sum(times > 1 for times in started.values())
        for operation in (f"{prefix} {number}" for number in range(OPERATIONS)):
            row, told = rows.get(operation), outcomes.get(operation)
            if row is None or told is None:
                seen.lost += 1
            elif row.state is LedgerState.UNKNOWN:
                seen.unknown_started += operation in started
                seen.unknown_not_started += operation not in started
                seen.contradicted += told["error"] != "OutcomeUnknownError"
                if ATTACKS[name].in_order or not self._was_under_way(operation, row, stops):
                    seen.decidable += 1
            elif row.state is not LedgerState.SUCCEEDED:
                seen.lost += 1
            else:
                seen.contradicted += names.get(row.gid or "") != operation or told["gid"] != row.gid

    def _was_under_way(self, operation: str, row: LedgerRow, stops: list[Stop]) -> bool:
        """Whether the POST had left, or was about to, and its answer was not yet on disk, when somebody was stopped."""
        posts = [
            request
            for request in self._simulator.requests.where(method="POST")
            if f'"name": "{operation}"' in json.dumps(request.body)
        ]
        intent_at = row.created_at.timestamp() - time.time() + time.monotonic()
        over_at = max([post.answered or float("inf") for post in posts], default=intent_at) + ON_ITS_WAY
        return any(stop.began <= over_at and intent_at <= stop.ended for stop in stops)


def _copy_of(ledger: Path, suffix: str = "") -> Path:
    return ledger.with_name(f"{ledger.stem}.copy{suffix}")


def _read(path: Path) -> Iterable[dict[str, Any]]:
    """The outcomes that a process has told, in a script's words, whatever its program was."""
    for line in path.read_text("utf-8").splitlines():
        told = json.loads(line)
        if "event" not in told:
            yield told
        elif told["event"] == "outcome":
            error = told["error"] and told["error"]["error"]
            gid = told["job"]["gid"] if told["state"] == "succeeded" else None
            yield {"name": told["operation"]["name"], "gid": gid, "error": error}


async def stop_processes(attacks: Iterable[str], folder: Path) -> dict[str, Seen]:
    """Make *attacks*, one after the other, and return what each led to."""
    limits = SimulatorLimits.unlimited()
    async with AsanaSimulator(durations=Lognormal(0.05), latency=(0, 0.05), limits=limits) as simulator:
        with forking() as processes:
            campaign = Campaign(simulator, folder, processes)
            await asyncio.to_thread(campaign.run, attacks)
            return {name: seen for name, seen in campaign.seen.items() if seen.cases}


#: What the suite stops each time; the rest where long attacks are run.
QUICK: Final = ("SIGTERM, command", "SIGKILL", "five processes")


@pytest.mark.looptime(False)  # noqa: FBT003  # looptime's own way to say it
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "attacks", [QUICK, pytest.param(tuple(ATTACKS) * 3, marks=pytest.mark.long)], ids=["a few", "all, thrice"]
)
async def test_stopped_at_random_instants(attacks: tuple[str, ...], tmp_path: Path) -> None:
    """However and whenever it is stopped, a run resumed starts nothing twice, loses nothing, and says what is so."""
    seen = await stop_processes(attacks, tmp_path)

    assert sum(one.cases for one in seen.values()) == len(attacks)
    assert {name: one for name, one in seen.items() if one.faults} == {}


# --- As a command


def _table(seen: dict[str, Seen]) -> Iterable[str]:
    columns = [field.name for field in attrs.fields(Seen)]
    yield f"{'attack':<24}" + " ".join(column.replace("_", " ") for column in columns)
    total = [sum(getattr(one, column) for one in seen.values()) for column in columns]
    for name, numbers in [*((name, attrs.astuple(one)) for name, one in seen.items()), ("all", total)]:
        cells = zip(columns, numbers, strict=True)
        yield f"{name:<24}" + " ".join(f"{number:>{len(column)}}" for column, number in cells)


def _run(cases: int) -> None:
    attacks = [list(ATTACKS)[number % len(ATTACKS)] for number in range(cases)]
    with tempfile.TemporaryDirectory() as folder:
        seen = asyncio.run(stop_processes(attacks, Path(folder)))
    print("\n".join(_table(seen)))  # noqa: T201  # a command prints


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else _run(int(sys.argv[1]))
