"""The ``asana-jobs`` program; ``python -m asana_jobs`` is the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line with *arguments*, or those of the process, and return its exit status."""
    _open_closed_streams()
    if find_spec("cyclopts") is None or find_spec("rich") is None:
        sys.stderr.write(
            "asana-jobs: the command line needs two more packages: pip install 'asana-jobs[cli]'\n"
        )
        return 2
    try:
        from asana_jobs.cli.program import run  # once it is known to be importable

        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return 130  # before or after the command, which has its own way to stop


def _open_closed_streams() -> None:
    """Let what is written to a closed stream (``>&-``) go nowhere: it changes nothing about how a command ends.

    Left closed, the first files and sockets would get the streams' numbers, and what is written to those.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)  # noqa: FBT003  # its argument has no name
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # for good


if __name__ == "__main__":
    sys.exit(main())
