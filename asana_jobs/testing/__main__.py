"""`python -m asana_jobs.testing` is `asana-jobs simulate`: a local Asana in a terminal, until Ctrl-C."""

import sys
from importlib.util import find_spec


#: What is said where the packages of the command line are missing; the simulator itself needs none of them.
_WITHOUT_THEM = """  or run the simulator from Python: python -c 'import asyncio; from asana_jobs.testing import serve; \
asyncio.run(serve(port=8123))'
"""


def main() -> int:
    """Run a simulator as the command line says, and return the exit status."""
    from asana_jobs.__main__ import main as run  # noqa: PLC0415  # it is no part of the test kit

    status = run(["simulate", *sys.argv[1:]])
    if find_spec("cyclopts") is None or find_spec("rich") is None:
        sys.stderr.write(_WITHOUT_THEM)
    return status


if __name__ == "__main__":
    sys.exit(main())
