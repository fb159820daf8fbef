"""``asana-jobs resume``."""

from __future__ import annotations

from pathlib import Path  # cyclopts reads it at run time
from typing import Annotated

from cyclopts import Parameter

from asana_jobs.cli.commands.bulk_options import AS_IT_COMES, Handling
from asana_jobs.cli.exit_status import ExitStatus


def resume(
    ledger: Annotated[Path, Parameter(name="LEDGER", help="The ledger of a run. Example: launches.ledger")],
    /,
    *,
    handling: Handling = AS_IT_COMES,
) -> ExitStatus:
    """Go on with a run that was interrupted.

    What was started is watched, the rest is started; the run's file is not needed, its operations are kept beside the ledger, in LEDGER.jsonl.

    For example:

      asana-jobs resume launches.ledger
      asana-jobs resume launches.ledger --accept-unknown
    """
    from asana_jobs.cli.bulk_sources import resume_ledger  # noqa: PLC0415  # not needed to print a help page

    return resume_ledger(str(ledger), handling)
