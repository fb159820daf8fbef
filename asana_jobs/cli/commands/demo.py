"""``asana-jobs demo``."""

from __future__ import annotations

from asana_jobs.cli.exit_status import ExitStatus


def demo() -> ExitStatus:
    """See it work, without a token and without a network.

    A local Asana runs inside the program; everything else is as with the real one.

    For example:

      asana-jobs demo
    """
    from asana_jobs.cli.demonstration import demonstrate  # noqa: PLC0415  # not needed to print a help page
    from asana_jobs.cli.running import run_async  # noqa: PLC0415  # the same

    return run_async(demonstrate)
