"""A token that is easy to find, and the ways in which an error may show what its frames held."""

import io
import pickle
import traceback

from rich.console import Console
from rich.traceback import Traceback


PART = "d15t1nct"
#: As long as those of OAuth: some tracebacks show the beginning of what is long.
TOKEN = f"1/eyJ0eXAiOiJKV1Qi.{PART * 20}"


def shown(error: BaseException) -> str:
    """An error as Python, rich and a pickle show it, with the locals of each frame."""
    console = Console(file=io.StringIO(), width=300)
    rich = Traceback.from_exception(
        type(error), error, error.__traceback__, show_locals=True, locals_max_length=1000
    )
    console.print(rich)
    assert isinstance(console.file, io.StringIO)
    plain = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join([*plain.format(), console.file.getvalue(), repr(error), repr(pickle.dumps(error))])
