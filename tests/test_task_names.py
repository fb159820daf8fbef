"""Tasks say what they are for: who lists those of a program that hangs sees which jobs it waits for."""

import ast
import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

import asana_jobs
from asana_jobs import AsanaClient, DuplicateProject, ExportGraph, Ledger
from asana_jobs.testing import AsanaSimulator


PACKAGE = Path(asana_jobs.__file__).parent


def of_ours(task: asyncio.Task[Any]) -> bool:
    """Whether *task* runs a coroutine of the package."""
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and PACKAGE in Path(code.co_filename).parents


@pytest.fixture
async def made() -> list[asyncio.Task[Any]]:
    """Every task that is made from now on in this loop."""
    tasks: list[asyncio.Task[Any]] = []

    def make(
        loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **named: Any
    ) -> asyncio.Task[Any]:
        tasks.append(asyncio.Task(work, loop=loop, **named))
        return tasks[-1]

    asyncio.get_running_loop().set_task_factory(cast("Any", make))
    return tasks


async def test_every_task_of_a_busy_program_has_a_name(
    simulator: AsanaSimulator, wired: AsanaClient, made: list[asyncio.Task[Any]], tmp_path: Path
) -> None:
    """A run on a ledger, waits, a monitor and a download at once: none of their tasks is a mere ``Task-17``."""
    started: list[str] = []

    async def run(ledger: Ledger) -> None:
        operations = [
            ("row 1", DuplicateProject("1203", name="A")),
            ("row 2", DuplicateProject("1204", name="B")),
        ]
        async with wired.run_all(operations, ledger=ledger, timeout=0.05) as outcomes:
            async for outcome in outcomes:
                assert outcome.job is not None
                started.append(outcome.job.gid)

    async def watch() -> None:
        jobs = [await wired.start(DuplicateProject("1205", name=f"C {n}")) for n in range(3)]
        started.extend(job.gid for job in jobs)
        async with wired.monitor_jobs(jobs) as monitor:
            async for _ in monitor:
                pass

    async def export() -> None:
        job = await wired.run(ExportGraph("1206"))
        await wired.download_export(job, tmp_path / "export.json.gz")

    with Ledger.open(tmp_path / "run.ledger") as ledger:
        await asyncio.gather(run(ledger), watch(), export())
    names = [task.get_name() for task in made if of_ours(task)]

    assert [name for name in names if not name.startswith("asana")] == []
    assert {f"asana-job-{gid}" for gid in started} <= set(names)
    assert {"asana_jobs run", "asana_jobs operation row 1", "asana_jobs duplicate_project 1203"} <= set(names)
    assert {"asana_jobs poller", "asana_jobs leases of the ledger"} <= set(names)


def unnamed(call: ast.Call) -> bool:
    """Whether *call* makes a task without saying how it is called."""
    maker = ast.unparse(call.func)
    if maker in {"asyncio.gather", "asyncio.ensure_future", "asyncio.wait_for", "asyncio.shield"}:
        # They make tasks without names of what is no task yet.
        return any(isinstance(argument, ast.Call) for argument in _flat(call.args))
    if maker.endswith(".spawn"):
        return len(call.args) < 2
    return maker.endswith(".create_task") and not any(given.arg == "name" for given in call.keywords)


def _flat(arguments: list[ast.expr]) -> list[ast.expr]:
    """Return *arguments*, and of a generator that is one what it makes."""
    bare = [argument.value if isinstance(argument, ast.Starred) else argument for argument in arguments]
    return [argument.elt if isinstance(argument, ast.GeneratorExp) else argument for argument in bare]


def test_no_task_is_made_without_a_name() -> None:
    """The worker's, the command line's and the simulator's too: wherever the source makes a task, it names it."""
    assert [
        f"{path.name}: {ast.unparse(call)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(call, ast.Call) and unnamed(call)
    ] == []


def test_what_makes_tasks_without_names_is_recognised() -> None:
    """The test above sees what it is for."""
    sources = (
        "asyncio.create_task(work())",
        "tasks.create_task(work())",
        "loop.create_task(work(), context=context)",
        "lifetime.spawn(work())",
        "asyncio.gather(*(one.close() for one in all))",
        "asyncio.gather(work(), more())",
        "asyncio.ensure_future(work())",
    )
    named = ("asyncio.create_task(work(), name='x')", "lifetime.spawn(work(), 'x')", "asyncio.gather(*tasks)")

    def verdict(source: str) -> bool:
        call = ast.parse(source, mode="eval").body
        assert isinstance(call, ast.Call)
        return unnamed(call)

    assert [source for source in (*sources, *named) if verdict(source)] == [*sources]
