"""``asana-jobs help``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from asana_jobs.cli import manual
from asana_jobs.cli.catalog import COMMANDS, NAME
from asana_jobs.cli.errors import ExitStatus, UsageError
from asana_jobs.cli.help import page_width, paragraphs, section
from asana_jobs.cli.terminal import emit, is_terminal


if TYPE_CHECKING:
    from collections.abc import Iterable


def help(topic: Annotated[str | None, Parameter(name="TOPIC")] = None, /) -> ExitStatus:  # noqa: A001  # it is called as the command is
    """Print a page of the manual, or list them.

    The pages are in the package and need no network. On a terminal they are set in type, elsewhere they are Markdown.

    For example:

      asana-jobs help
      asana-jobs help waiting
      asana-jobs help troubleshooting

    Args:
        topic: The page; without it, they are listed. Example: troubleshooting
    """
    commands = [command.name for command in COMMANDS]
    if topic is None:
        emit("\n".join(_listing()) + "\n")
    elif topic in manual.TOPICS:
        _print(manual.read(topic))
    elif topic in commands:
        from asana_jobs.cli.parser import make_app

        make_app()([topic, "--help"])
    else:
        meant = manual.nearest(topic, [*manual.TOPICS, *commands])
        raise UsageError(
            f"there is no page {topic!r}{f': did you mean {meant}?' if meant else '.'} "
            f"There are {', '.join(manual.TOPICS)}, and each command"
        )
    return ExitStatus.SUCCEEDED


def _listing() -> Iterable[str]:
    width = page_width()
    for heading, topics in manual.contents().items():
        yield from [*section(heading, topics, width), ""]
    yield from paragraphs(
        f"Print one: {NAME} help TOPIC. A command's name prints the options of that.", width
    )


def _print(page: str) -> None:
    import sys

    if not is_terminal(sys.stdout):
        emit(f"{page}\n")
        return
    from rich.markdown import Markdown

    from asana_jobs.cli.terminal import make_console

    console = make_console(sys.stdout)
    with console.capture() as captured:
        console.print(Markdown(page, code_theme="ansi_dark"), width=page_width())
    emit(captured.get())
