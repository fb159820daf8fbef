"""The commands of the program. A command's module is imported when the command is used."""

from __future__ import annotations

from typing import Final, NamedTuple


NAME: Final = "asana-jobs"
ABOUT: Final = "Start Asana jobs, watch them finish, and never start one twice."


class Command(NamedTuple):
    """One command. A tuple, because listing the commands must not wait for attrs to be imported.

    Attributes:
        name: The word that is typed.
        home: The module in `asana_jobs.cli.commands`, and the function.
        usage: The arguments, for the usage line.
        summary: The first line of the function's docstring, so that listing commands imports none of them.
        group: The heading it is listed under.
    """

    name: str
    home: str
    usage: str
    summary: str
    group: str


_LOOK = "Watch jobs"
_START = "Start jobs"
_MANY = "Start many jobs"
_TRY = "Try and check"

COMMANDS: Final = (
    Command("wait", "wait:wait", "GID...", "Wait until jobs have finished, and watch them.", _LOOK),
    Command("get", "get:get", "GID", "Look at a job once.", _LOOK),
    Command("start", "start:start", "KIND GID", "Start a job of any kind.", _START),
    Command("duplicate-task", "start:duplicate_task", "GID", "Copy a task.", _START),
    Command("duplicate-project", "start:duplicate_project", "GID --name NAME", "Copy a project.", _START),
    Command(
        "duplicate-portfolio", "start:duplicate_portfolio", "GID --name NAME", "Copy a portfolio.", _START
    ),
    Command("instantiate-task", "start:instantiate_task", "GID", "Make a task from a task template.", _START),
    Command(
        "instantiate-project",
        "start:instantiate_project",
        "GID --name NAME",
        "Make a project from a project template.",
        _START,
    ),
    Command(
        "save-project-as-template",
        "start:save_project_as_template",
        "GID --name NAME",
        "Make a template of a project.",
        _START,
    ),
    Command(
        "rollup-task", "start:rollup_task", "GID", "Bring a task's dates in line with its subtasks.", _START
    ),
    Command(
        "rollup-project",
        "start:rollup_project",
        "GID",
        "Bring the dates of a project's tasks in line.",
        _START,
    ),
    Command(
        "export",
        "export:export",
        "WHAT GID -o FILE",
        "Export to a file: start it, wait for it, download it.",
        _START,
    ),
    Command(
        "run",
        "run:run",
        "FILE",
        "Start many jobs, as many at a time as Asana allows, each of them once.",
        _MANY,
    ),
    Command("resume", "run:resume", "LEDGER", "Go on with a run that was interrupted.", _MANY),
    Command(
        "worker",
        "worker:worker",
        "--redis URL",
        "Do the work of a queue in Redis, beside other workers, until told to stop.",
        _MANY,
    ),
    Command(
        "queue",
        "queue:queue",
        "ACTION [KEY...] --redis URL",
        "Look into a queue in Redis; retry, cancel or forget its waits.",
        _MANY,
    ),
    Command("demo", "demo:demo", "", "See it work, without a token and without a network.", _TRY),
    Command("simulate", "simulate:simulate", "", "Run a local Asana to try things on, until Ctrl-C.", _TRY),
    Command("doctor", "doctor:doctor", "", "Check the token, the connection and the budget.", _TRY),
    Command("completion", "completion:completion", "[SHELL]", "Print the shell's completion script.", _TRY),
)
