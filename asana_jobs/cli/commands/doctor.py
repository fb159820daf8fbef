"""``asana-jobs doctor``."""

from __future__ import annotations

from asana_jobs.cli.commands.options import ALL_OF_IT, Budget, Output
from asana_jobs.cli.exit_status import ExitStatus


def doctor(*, output: Output = "auto", budget: Budget = ALL_OF_IT) -> ExitStatus:
    """Check the token, the connection and the budget.

    It reads who the token belongs to, three times, and changes nothing. The token itself is never shown.

    For example:

      asana-jobs doctor
      ASANA_BASE_URL=http://127.0.0.1:8123/api/1.0 asana-jobs doctor
    """
    from asana_jobs.cli.examination import examine  # noqa: PLC0415  # not needed to print a help page
    from asana_jobs.cli.running import run_async  # noqa: PLC0415  # the same

    return run_async(lambda: examine(output, budget))
