"""``asana-jobs run`` and ``resume``: operations from a file, or from what an earlier run kept beside its ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path  # cyclopts reads it at run time
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

import asana_jobs
from asana_jobs.cli.errors import ExitStatus, UsageError, say
from asana_jobs.cli.operations_file import (
    STANDARD_INPUT,
    load_operations,
    read_file,
    save_operations,
    saved_operations_path,
)
from asana_jobs.cli.options import DEFAULT_RUN, RunOptions
from asana_jobs.cli.program import run_async


if TYPE_CHECKING:
    from asana_jobs import Ledger
    from asana_jobs.cli.bulk import Item


def run(
    file: Annotated[Path, Parameter(name="FILE", allow_leading_hyphen=True)],
    /,
    *,
    ledger: Annotated[Path | None, Parameter(metavar="PATH")] = None,
    handling: RunOptions = DEFAULT_RUN,
) -> ExitStatus:
    """Start many jobs, as many at a time as Asana allows, each of them once.

    A line of JSON is an operation, with a key of your own if you like:

      {"kind": "duplicate_project", "gid": "1203", "name": "Q3"}

    CSV has the same names in its header, such as kind,gid,name,include,schedule_dates.start_on; empty cells are left out.

    After an interruption, run it again or use resume: what was started is watched, the rest is started.

    For example:

      asana-jobs run launches.csv --ledger launches.ledger
      asana-jobs run launches.jsonl --output jsonl | jq .state

    Args:
        file: JSON lines or CSV of operations; - reads standard input. Example: launches.csv
        ledger: The file that remembers what was started, so that nothing is started twice; it is made if need be.
            Without it, FILE.ledger. Example: --ledger launches.ledger
    """
    handling.check()
    name = str(file)
    if ledger is None and name == STANDARD_INPUT:
        raise UsageError("operations from standard input need --ledger PATH, to go on after an interruption")
    entries = read_file(name)
    path = ledger or Path(f"{name}.ledger")
    if ledger is None:
        say(f"The ledger is {path}\n")

    def prepare(_: Ledger) -> Sequence[Item]:
        if not _same(saved_operations_path(path), name):
            save_operations(path, entries)
        return [entry.item for entry in entries]

    return run_async(lambda: _run(path, handling, prepare))


def resume(
    ledger: Annotated[Path, Parameter(name="LEDGER")], /, *, handling: RunOptions = DEFAULT_RUN
) -> ExitStatus:
    """Go on with a run that was interrupted.

    What was started is watched, the rest is started; the run's file is not needed, its operations are kept beside the ledger, in LEDGER.jsonl.

    For example:

      asana-jobs resume launches.ledger
      asana-jobs resume launches.ledger --accept-unknown

    Args:
        ledger: The ledger of a run. Example: launches.ledger
    """
    handling.check()
    if not ledger.exists():
        raise UsageError(f"there is no ledger {ledger}")

    def prepare(opened: Ledger) -> Sequence[Item]:
        entries = load_operations(ledger)
        if entries is not None:
            return [entry.item for entry in entries]
        # Made by somebody's own program: what it has not got to, nobody wrote down.
        return [(row.key, row.operation) for row in opened.rows()]

    return run_async(lambda: _run(ledger, handling, prepare))


def _same(path: Path, file: str) -> bool:
    try:
        return file != STANDARD_INPUT and path.samefile(file)
    except OSError:
        return False


async def _run(path: Path, handling: RunOptions, prepare: Callable[[Ledger], Sequence[Item]]) -> ExitStatus:
    from asana_jobs.cli.bulk import BulkRun
    from asana_jobs.cli.learned import learning_client
    from asana_jobs.cli.report import Report

    report = Report("operations", handling.output)
    async with (
        learning_client(handling.budget, report.hear) as client,
        asana_jobs.Ledger.open(path, allow_network_file_system=handling.allow_network_file_system) as ledger,
    ):
        if handling.accept_unknown and (settled := await ledger.accept_unknown()):
            say(f"{settled} settled: not known to have been started, and never started again.\n")
        return await BulkRun(client, ledger, handling, report).run(prepare(ledger))
