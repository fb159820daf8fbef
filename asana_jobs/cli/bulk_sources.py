"""Where a bulk run's operations come from: a file, or what an earlier run kept beside its ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asana_jobs.cli.complaint import UsageError, say
from asana_jobs.cli.exit_status import ExitStatus
from asana_jobs.cli.operations_file import STANDARD_INPUT, read_file
from asana_jobs.cli.plan import load_plan, plan_path, save_plan
from asana_jobs.cli.running import run_async


if TYPE_CHECKING:
    from asana_jobs import Ledger
    from asana_jobs.cli.bulk import Item
    from asana_jobs.cli.commands.bulk_options import Handling


def run_file(file: str, ledger: str | None, handling: Handling) -> ExitStatus:
    """Run the operations of *file* on a ledger, which is beside it if none is named."""
    handling.check()
    if ledger is None and file == STANDARD_INPUT:
        raise UsageError("operations from standard input need --ledger PATH, to go on after an interruption")
    entries = read_file(file)
    path = Path(f"{file}.ledger" if ledger is None else ledger)
    if ledger is None:
        say(f"The ledger is {path}\n")

    def prepare(_: Ledger) -> Sequence[Item]:
        if not _same(plan_path(path), file):
            save_plan(path, entries)
        return [entry.item for entry in entries]

    return run_async(lambda: _run(path, handling, prepare))


def resume_ledger(name: str, handling: Handling) -> ExitStatus:
    """Go on with the run of a ledger, without its file."""
    handling.check()
    path = Path(name)
    if not path.exists():
        raise UsageError(f"there is no ledger {name}")

    def prepare(opened: Ledger) -> Sequence[Item]:
        entries = load_plan(path)
        if entries is not None:
            return [entry.item for entry in entries]
        # Made by somebody's own program: what it has not got to, nobody wrote down.
        return [(row.key, row.operation) for row in opened.rows()]

    return run_async(lambda: _run(path, handling, prepare))


def _same(path: Path, file: str) -> bool:
    try:
        return file != STANDARD_INPUT and path.samefile(file)
    except OSError:
        return False


async def _run(path: Path, handling: Handling, prepare: Callable[[Ledger], Sequence[Item]]) -> ExitStatus:
    from asana_jobs import Ledger  # noqa: PLC0415  # not needed to print a help page
    from asana_jobs.cli.bulk import Bulk  # noqa: PLC0415  # the same
    from asana_jobs.cli.connection import open_client  # noqa: PLC0415  # the same

    async with (
        open_client(handling.budget) as client,
        Ledger.open(path, allow_network_file_system=handling.allow_network_file_system) as ledger,
    ):
        if handling.accept_unknown and (settled := await ledger.accept_unknown()):
            say(f"{settled} settled: not known to have been started, and never started again.\n")
        bulk = Bulk(
            client=client,
            ledger=ledger,
            output=handling.output,
            timeout=handling.timeout,
            retry_unknown=handling.retry_unknown,
            retry_failed=handling.retry_failed,
        )
        return await bulk.run(prepare(ledger))
