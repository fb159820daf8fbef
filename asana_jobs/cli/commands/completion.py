"""``asana-jobs completion``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from asana_jobs.cli.errors import ExitStatus, UsageError, say
from asana_jobs.cli.terminal import emit


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
            help="Write it where the shell finds it, and a line into the startup file of bash and zsh. "
            "Example: --install",
        ),
    ] = False,
) -> ExitStatus:
    """Print the shell's completion script.

    After an update of asana-jobs, print or install it again.

    For example:

      asana-jobs completion --install
      source <(asana-jobs completion bash)
      asana-jobs completion fish > ~/.config/fish/completions/asana-jobs.fish
    """
    from asana_jobs.cli.completion_script import (
        completion_script,
        install_completion,
    )

    chosen = shell or _shell_around()
    if install:
        path = install_completion(chosen)
        say(f"Installed {path}; it works in shells opened from now on.\n")
    else:
        emit(completion_script(chosen))
    return ExitStatus.SUCCEEDED


def _shell_around() -> Shell:
    from cyclopts.completion import ShellDetectionError, detect_shell

    try:
        found = detect_shell()
    except ShellDetectionError:
        raise UsageError("which shell? Say bash, zsh or fish") from None
    if found == "powershell":
        raise UsageError("there is no completion for PowerShell: say bash, zsh or fish")
    return found
