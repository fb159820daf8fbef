"""The ``asana-jobs`` program; ``python -m asana_jobs`` is the same."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> int:
    """Run the command line with the arguments of the process, and return its exit status."""
    if find_spec("cyclopts") is None or find_spec("rich") is None:
        sys.stderr.write(
            "asana-jobs: the command line needs two more packages: pip install 'asana-jobs[cli]'\n"
        )
        return 2
    try:
        from asana_jobs.cli.program import run  # once it is known to be importable

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        return 130  # before or after the command, which has its own way to stop


if __name__ == "__main__":
    sys.exit(main())
