"""Which report a bulk run's ``--output`` asks for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from asana_jobs.cli.bulk_report import BulkReport, OutcomeDocument, OutcomeLines
from asana_jobs.cli.terminal import is_terminal


if TYPE_CHECKING:
    from asana_jobs.cli.commands.options import OutputFormat


def make_bulk_report(output: OutputFormat) -> BulkReport:
    """Return the report that ``--output`` asks for."""
    if output == "json":
        return OutcomeDocument()
    if output == "jsonl" or (output == "auto" and not sys.stdout.isatty()):
        return OutcomeLines()
    from asana_jobs.cli.bulk_table import OutcomeTable  # noqa: PLC0415  # rich is not needed for JSON

    return OutcomeTable(whole=output == "table" or not is_terminal(sys.stdout))
