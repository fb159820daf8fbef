"""``asana-jobs completion``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter
from cyclopts.completion import ShellDetectionError

from asana_jobs.cli.complaint import UsageError, say
from asana_jobs.cli.exit_status import ExitStatus
from asana_jobs.cli.stdout import emit


Shell: TypeAlias = Literal["bash", "zsh", "fish"]


def completion(
    shell: Annotated[
        Shell | None, Parameter(help="The shell; without it, the one this runs in. Example: bash")
    ] = None,
    /,
    *,
    install: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Write it where the shell finds it, and a line into the shell's startup file. Example: --install",
        ),
    ] = False,
) -> ExitStatus:
    """Print the shell's completion script.

    For example:

      source <(asana-jobs completion bash)
      asana-jobs completion fish > ~/.config/fish/completions/asana-jobs.fish
      asana-jobs completion --install
    """
    from asana_jobs.cli.parser import make_app  # noqa: PLC0415  # the parser imports this module

    app = make_app()
    try:
        if install:
            path = app.install_completion(shell=shell)
            say(f"Installed {path}; it works in shells opened from now on.\n")
        else:
            emit(app.generate_completion(shell=shell))
    except ShellDetectionError:
        raise UsageError("which shell? Say bash, zsh or fish") from None
    return ExitStatus.SUCCEEDED
