"""The program: it finds the command, runs it, and turns whatever happens into an exit status.

A signal stops a command in order, a second Ctrl-C leaves at once. Neither the parser nor asyncio is loaded to list the
commands or to print a help page.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import asana_jobs
from asana_jobs.cli.catalog import COMMANDS, NAME
from asana_jobs.cli.errors import ExitStatus, UsageError, complain, lost_output, message_of, say, status_of
from asana_jobs.cli.help import listing
from asana_jobs.cli.terminal import emit


if TYPE_CHECKING:
    from cyclopts import CycloptsError


#: What lists the commands.
_LISTING: tuple[list[str], ...] = ([], ["--help"], ["-h"])
#: Set it to see where an unexpected error comes from.
_TRACEBACK_VARIABLE = "ASANA_JOBS_TRACEBACK"
#: The end of the terminal; Windows has no signal for it.
_HANGUP: frozenset[signal.Signals] = frozenset([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])


def run(arguments: Sequence[str]) -> int:
    """Run the program with *arguments* and return its exit status."""
    _accept_any_text()
    try:
        status = _dispatch(list(arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:
        say("\n")
        return ExitStatus.LEFT
    except Exception as error:  # noqa: BLE001  # a person gets a line, not a traceback
        return _report_error(error, arguments)
    return status


def _dispatch(arguments: list[str]) -> int:
    if arguments in _LISTING:
        emit(listing())
        return ExitStatus.SUCCEEDED
    from asana_jobs.cli.parser import make_app

    status: object = make_app()(arguments, exit_on_error=False, print_error=False)
    return status if isinstance(status, int) else ExitStatus.SUCCEEDED


def _report_error(error: Exception, arguments: Sequence[str]) -> ExitStatus:
    from cyclopts import CycloptsError

    if os.environ.get(_TRACEBACK_VARIABLE, "").strip() not in {"", "0"}:
        traceback.print_exception(error)
    if isinstance(error, UsageError | CycloptsError):
        complain(_what_is_wrong(error), _advice(error, arguments))
        return ExitStatus.USAGE
    if isinstance(error, asana_jobs.AsanaJobsError):
        complain(message_of(error), error.advice)
        return status_of(error)
    if isinstance(error, OSError):
        return lost_output(error)
    complain(
        f"this is a bug: {type(error).__name__}: {error}",
        f"run it again with {_TRACEBACK_VARIABLE}=1 and report what it prints",
    )
    return ExitStatus.BUG


def _what_is_wrong(error: UsageError | CycloptsError) -> str:
    from cyclopts.exceptions import MissingArgumentError, UnusedCliTokensError

    if isinstance(error, UnusedCliTokensError):
        return f"there is nothing that {' '.join(error.unused_tokens or ())!r:.80} could be for"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name, given = error.argument.name, bool(error.argument.tokens or error.keyword)
        said = f"{name} needs a value" if given else f"{' '.join(error.command_chain or ())} needs {name}"
        _, meant, instead = str(error).partition(" Did you mean ")
        return f"{said}: did you mean {instead}" if meant else said
    return str(error)


def _advice(error: UsageError | CycloptsError, arguments: Sequence[str]) -> str:
    """Return what to type instead of *arguments*."""
    from cyclopts.exceptions import RepeatArgumentError, UnusedCliTokensError

    command, *others = *arguments, ""
    what = command.removeprefix("export-")
    if what != command and what in {"graph", "resource", "organization"}:
        gid = next((word for word in others if word.isdigit()), "GID")
        return f"{NAME} export {what} {gid} -o FILE, or {NAME} start {command} {gid} to start it only"
    if isinstance(error, RepeatArgumentError) and "--include" in str(error):
        return "give all words at once, separated by commas: --include notes,members"
    if command == "start" and isinstance(error, UsageError):
        # The page of the kind's own command lists what it takes.
        command = next((word for word in others if word in {each.name for each in COMMANDS}), command)
    known = [each for each in COMMANDS if each.name == command]
    see = " ".join(["see", NAME, *(each.name for each in known), "--help"])
    if isinstance(error, UnusedCliTokensError):
        return f'put quotes round a value with blanks, such as "Q3 launch"; {see}'
    if isinstance(error, UsageError) or error.argument is None or not known:
        return see
    if error.argument.index is not None:
        return f"write {NAME} {command} {known[0].usage}; {see}"
    return f"write {_example(command, error.argument.name)}; {see}"


def _example(command: str, option: str) -> str:
    """Return the option of a command as its help page shows it."""
    from asana_jobs.cli.parser import make_app

    arguments = make_app()[command].assemble_argument_collection(parse_docstring=True)
    helps = [str(argument.parameter.help) for argument in arguments if argument.name == option]
    return " ".join("".join(helps).partition("Example:")[2].split())


def _accept_any_text() -> None:
    """Write what a stream's encoding lacks as a replacement, instead of failing over a project's name."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def run_async(main: Callable[[], Coroutine[Any, Any, ExitStatus]]) -> ExitStatus:
    """Run *main* to its end and return its exit status.

    The first Ctrl-C, SIGTERM or SIGHUP cancels it. A command that can say how to go on catches that and returns
    `ExitStatus.INTERRUPTED`; the others end here.
    """
    import asyncio

    received: list[signal.Signals] = []

    async def stoppable() -> ExitStatus:
        with _stopping(received):
            return await main()

    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:
        if not received:
            raise
        return ExitStatus.LEFT


def _stop_signals() -> list[signal.Signals]:
    """Return what ends a command: SIGHUP, the end of a terminal, only if nobody, such as nohup, has it ignored."""
    heard = [number for number in _HANGUP if signal.getsignal(number) is not signal.SIG_IGN]
    return [signal.SIGINT, signal.SIGTERM, *heard]


@contextmanager
def _stopping(received: list[signal.Signals]) -> Generator[None, None, None]:
    import asyncio

    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def stop(number: int, _: FrameType | None) -> None:
        # A terminal or a service that ends sends several signals in a row: only a person is impatient, or who repeats.
        impatient = (
            bool(received) and (number == signal.SIGINT or number in received) and number not in _HANGUP
        )
        received.append(signal.Signals(number))
        if impatient or task is None:
            say("\n")
            os._exit(ExitStatus.LEFT)
        if len(received) == 1:
            loop.call_soon_threadsafe(task.cancel)

    before = {number: signal.signal(number, stop) for number in _stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            # The rest of such a row must not end what is ending in order.
            over = bool(received) and number != signal.SIGINT
            signal.signal(number, signal.SIG_IGN if over else handler)
