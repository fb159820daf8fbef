"""Options of the commands that start many jobs on a ledger."""

from __future__ import annotations

from typing import Annotated

import attrs
from cyclopts import Parameter

from asana_jobs.cli.commands.options import ALL_OF_IT, Budget, Output
from asana_jobs.cli.complaint import UsageError
from asana_jobs.cli.spans import span_option


@Parameter(name="*")
@attrs.frozen
class Handling:
    """How a bulk run goes."""

    retry_unknown: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Start again what may or may not have been started before: look in Asana first, or there may be "
            "two. Example: --retry-unknown",
        ),
    ] = False
    retry_failed: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Start again, once, what had failed before; what a failed job has made is not removed. Example: "
            "--retry-failed",
        ),
    ] = False
    accept_unknown: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Leave alone, for good, what may or may not have been started before. Example: --accept-unknown",
        ),
    ] = False
    timeout: Annotated[
        float | None,
        Parameter(
            converter=span_option,
            metavar="TIME",
            help="Stop waiting for a job this long after its start; it goes on, and resume finds it. Without it, "
            "wait until each has finished. Example: --timeout 1h",
        ),
    ] = None
    allow_network_file_system: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Use a ledger on a network file system, which is safe only while one machine uses it. Example: "
            "--allow-network-file-system",
        ),
    ] = False
    output: Output = "auto"
    budget: Budget = ALL_OF_IT

    def check(self) -> None:
        """Raise `UsageError` for options that contradict each other."""
        if self.retry_unknown and self.accept_unknown:
            raise UsageError("give --retry-unknown or --accept-unknown, not both")


#: The default: repeat nothing, settle nothing.
AS_IT_COMES = Handling()
