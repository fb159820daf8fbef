"""``asana-jobs demo``."""

from __future__ import annotations

from asana_jobs.cli.errors import ExitStatus
from asana_jobs.cli.program import run_async


def demo() -> ExitStatus:
    """See it work, without a token and without a network.

    A local Asana runs inside the program; everything else is as with the real one.

    For example:

      asana-jobs demo
    """
    from asana_jobs.cli.demo import demonstrate

    return run_async(demonstrate)
