"""``asana-jobs mcp``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path  # cyclopts reads it at run time
from typing import TYPE_CHECKING, Annotated, Final

import asana_jobs
from asana_jobs.cli.errors import ExitStatus, UsageError, say
from asana_jobs.cli.options import DEFAULT_BUDGET, FILE, TIME, BudgetOptions
from asana_jobs.cli.program import run_async


if TYPE_CHECKING:
    from asana_jobs import AsanaClient

#: Seconds of unbroken trouble after which a start says so: less than a call lasts, so that its reason is heard.
_PATIENCE: Final = 20.0


def mcp(
    *,
    ledger: Annotated[Path | None, FILE] = None,
    longest_call: Annotated[float, TIME] = 50.0,
    budget: BudgetOptions = DEFAULT_BUDGET,
) -> ExitStatus:
    """Serve assistants: tools that start jobs once and wait for them, on stdio.

    It speaks the Model Context Protocol on standard input and output, and ends when its client closes them.

    The token is read from the environment; without one it starts all the same, and each tool says what to set.

    In the configuration of an assistant's program, where the token can be given as "env":

      {"mcpServers": {"asana-jobs": {"command": "asana-jobs", "args": ["mcp"]}}}

    For example:

      asana-jobs mcp --ledger assistant.ledger

    Args:
        ledger: The file that remembers what was started, so that nothing is started twice; it is made if need be.
            Without it, one in your data folder (XDG_DATA_HOME). Example: --ledger assistant.ledger
        longest_call: When a call answers at the latest, finished or not: less than what the assistant's program waits
            for. Example: --longest-call 25s
    """
    import logging
    import sys
    from contextlib import asynccontextmanager

    try:
        from asana_jobs.mcp import serve
    except ImportError as error:
        raise UsageError(str(error)) from error
    from asana_jobs.cli.learned import learning_client

    if not longest_call > 0:
        raise UsageError("--longest-call is a time above 0")
    if sys.stdin is not None and sys.stdin.isatty():
        say("This is for an assistant's program, which speaks to it by standard input. Ctrl-C ends it.\n")
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    budget.limits()  # wrong ones are said here, and not to an assistant
    poll = asana_jobs.PollPolicy(give_up_after=_PATIENCE)

    @asynccontextmanager
    async def client() -> AsyncGenerator[AsanaClient]:
        try:
            async with learning_client(budget, poll=poll) as opened:
                yield opened
        except UsageError as error:
            raise ValueError(str(error)) from None

    async def work() -> ExitStatus:
        await serve(client, ledger=ledger, longest_call=longest_call)
        return ExitStatus.SUCCEEDED

    return run_async(work)
