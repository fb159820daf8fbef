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


#: Each command's name, module, usage and summary, under its heading. The function is named as the command is.
_GROUPS: Final = {
    "Watch jobs": (
        ("wait", "wait", "GID...", "Wait until jobs have finished, and watch them."),
        ("get", "get", "GID", "Look at a job once."),
    ),
    "Start jobs": (
        ("start", "start", "KIND GID", "Start a job of any kind."),
        ("duplicate-task", "start", "GID", "Copy a task."),
        ("duplicate-project", "start", "GID --name NAME", "Copy a project."),
        ("duplicate-portfolio", "start", "GID --name NAME", "Copy a portfolio."),
        ("instantiate-task", "start", "GID", "Make a task from a task template."),
        ("instantiate-project", "start", "GID --name NAME", "Make a project from a project template."),
        ("template", "template", "GID", "Show what a template asks for: its dates and roles."),
        ("save-project-as-template", "start", "GID --name NAME", "Make a template of a project."),
        ("rollup-task", "start", "GID", "Bring a task's dates in line with its subtasks."),
        ("rollup-project", "start", "GID", "Bring the dates of a project's tasks in line."),
        ("export", "export", "WHAT GID -o FILE", "Export to a file: start it, wait for it, download it."),
    ),
    "Start many jobs": (
        ("run", "run", "FILE", "Start many jobs, as many at a time as Asana allows, each of them once."),
        ("resume", "run", "LEDGER", "Go on with a run that was interrupted."),
        (
            "worker",
            "worker",
            "--redis URL",
            "Do the work of a queue in Redis, beside other workers, until told to stop.",
        ),
        (
            "queue",
            "queue",
            "ACTION [KEY...] --redis URL",
            "Look into a queue in Redis; retry, cancel or forget its waits.",
        ),
    ),
    "Work for assistants": (
        ("mcp", "mcp", "", "Serve assistants: tools that start jobs once and wait for them, on stdio."),
    ),
    "Try and check": (
        ("demo", "demo", "", "See it work, without a token and without a network."),
        ("simulate", "simulate", "", "Run a local Asana to try things on, until Ctrl-C."),
        ("doctor", "doctor", "", "Check the token, the connection and the budget."),
        ("help", "help", "[TOPIC]", "Print a page of the manual, or list them."),
        ("completion", "completion", "[SHELL]", "Print the shell's completion script."),
    ),
}

COMMANDS: Final = tuple(
    Command(name, f"{module}:{name.replace('-', '_')}", usage, summary, group)
    for group, commands in _GROUPS.items()
    for name, module, usage, summary in commands
)
