"""``asana-jobs run``."""

from __future__ import annotations

from pathlib import Path  # cyclopts reads it at run time
from typing import Annotated

from cyclopts import Parameter

from asana_jobs.cli.commands.bulk_options import AS_IT_COMES, Handling
from asana_jobs.cli.exit_status import ExitStatus


def run(
    file: Annotated[
        Path,
        Parameter(
            name="FILE",
            allow_leading_hyphen=True,
            help="JSON lines or CSV of operations; - reads standard input. Example: launches.csv",
        ),
    ],
    /,
    *,
    ledger: Annotated[
        Path | None,
        Parameter(
            metavar="PATH",
            help="The file that remembers what was started, so that nothing is started twice; it is made if need "
            "be. Without it, FILE.ledger. Example: --ledger launches.ledger",
        ),
    ] = None,
    handling: Handling = AS_IT_COMES,
) -> ExitStatus:
    """Start many jobs, as many at a time as Asana allows, each of them once.

    A line of JSON is an operation, with a key of your own if you like:

      {"kind": "duplicate_project", "gid": "1203", "name": "Q3"}

    CSV has the same names in its header, such as kind,gid,name,include,schedule_dates.start_on; empty cells are left out.

    After an interruption, run it again or use resume: what was started is watched, the rest is started.

    For example:

      asana-jobs run launches.csv --ledger launches.ledger
      asana-jobs run launches.jsonl --output jsonl | jq .state
    """
    from asana_jobs.cli.bulk_sources import run_file  # noqa: PLC0415  # not needed to print a help page

    return run_file(str(file), None if ledger is None else str(ledger), handling)
