"""``asana-jobs rollup-task`` and ``rollup-project``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from asana_jobs.cli.commands.operation_options import NOT_AT_ALL, Following, make_operation
from asana_jobs.cli.exit_status import ExitStatus


def rollup_task(
    gid: Annotated[str, Parameter(help="The task. Example: 1203")],
    /,
    *,
    following: Following = NOT_AT_ALL,
) -> ExitStatus:
    """Bring a task's dates in line with its subtasks.

    For example:

      asana-jobs rollup-task 1203 --wait
    """
    from asana_jobs.cli.starting import start_job  # noqa: PLC0415  # not needed to print a help page

    return start_job(make_operation("rollup_task", gid), following)


def rollup_project(
    gid: Annotated[str, Parameter(help="The project. Example: 1203")],
    /,
    *,
    following: Following = NOT_AT_ALL,
) -> ExitStatus:
    """Bring the dates of a project's tasks in line.

    For example:

      asana-jobs rollup-project 1203 --wait
    """
    from asana_jobs.cli.starting import start_job  # noqa: PLC0415  # not needed to print a help page

    return start_job(make_operation("rollup_project", gid), following)
