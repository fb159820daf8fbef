"""What an assistant is told: jobs, rows of the ledger and errors, in words that cannot be taken for anything else.

Names were typed by anybody who may write in Asana. They stand in fields of their own, in one line, with what cannot be
seen escaped, and are cut: enough to recognize a project, too little and too plain to pass for instructions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
from pydantic import ValidationError

from asana_jobs.errors import (
    AsanaJobsError,
    DownloadError,
    LedgerBusyError,
    LedgerError,
    OutcomeUnknownError,
    TokenError,
    one_line,
)


if TYPE_CHECKING:
    from asana_jobs import Job

#: What a tool answers: an object of JSON.
Answer = dict[str, Any]

#: Characters of a name that are shown.
_LONGEST_NAME: Final = 120
#: Letters of an alphabet in which whole sentences hide, that no font shows.
_HIDDEN: Final = range(0xE0100, 0xE01F0)
#: Their messages say what to do in each case, which their class does not know.
_SELF_EXPLAINING: Final = (LedgerError, DownloadError)


def plain(text: str, longest: int = _LONGEST_NAME) -> str:
    """Return a text that comes from Asana as data: one line, nothing hidden in it, not too long."""
    shown = one_line(text[: longest + 1])
    shown = "".join(rf"\U{ord(letter):08x}" if ord(letter) in _HIDDEN else letter for letter in shown)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def about_job(job: Job) -> Answer:
    """Return what an assistant has to know of a job, without what is not there."""
    made = job.result
    found: dict[str, object] = {
        "job": job.gid,
        "kind": job.resource_subtype and plain(job.resource_subtype),
        "status": None if job.status is None else plain(job.status),
        "done": job.done,
        "makes": made and about_result(made),
        "dates_rollup_progress": job.dates_rollup_progress and attrs.asdict(job.dates_rollup_progress),
        "next": next_step(job),
    }
    return {name: value for name, value in found.items() if value is not None}


def where_it_stands(job: Job | None) -> str:
    """Return how far a job has come, in half a line."""
    return "not seen yet" if job is None else f"job {job.gid} is {plain(str(job.status))}"


def about_result(made: Any) -> Answer:
    """Return what an assistant has to know of the thing that a job makes."""
    name = getattr(made, "name", None)
    found = {"gid": made.gid, "type": made.resource_type, "name": plain(name) if name else None}
    return {name: value for name, value in found.items() if value is not None}


def next_step(job: Job) -> str | None:
    """Return what to do about a job, if there is something."""
    if not job.done:
        return f"It has not finished: call wait_for_job with job {job.gid}."
    if job.failed:
        return (
            "Asana gives no reason. Look in Asana at what is there, which may be half made; to start it again, use "
            "another key."
        )
    if job.new_graph_export or job.new_resource_export or job.organization_export:
        return f"Call download_export with job {job.gid} to have its file."
    return None


def explain(error: BaseException) -> str | None:
    """Return an error in one line that ends in what to do, or ``None`` for one that nobody has thought of."""
    if isinstance(error, ValidationError):
        wrong = "; ".join(_problem(problem) for problem in error.errors())
        return f"{one_line(wrong)}. Correct that and call again; nothing was sent."
    if isinstance(error, AsanaJobsError):
        return _explain(error)
    if isinstance(error, ValueError):
        return f"{one_line(str(error))}. Nothing was sent."
    if isinstance(error, OSError):
        place, why = error.filename or "the folder of the ledger", error.strerror or type(error).__name__
        return one_line(
            f"{place}: {why}. Start the server with --ledger FILE, or XDG_DATA_HOME, in a place you may write to."
        )
    return None


def _explain(error: AsanaJobsError) -> str:
    if isinstance(error, OutcomeUnknownError) and error.operation is not None:
        return (
            f"{error.operation.kind} of {error.operation.gid} may or may not have been started, and is not repeated: "
            f"its answer was lost. Ask the person you work for: {error.check}. Then call resolve_unknown with this key."
        )
    if isinstance(error, TokenError):
        return (
            f"{_message(error)} {error.advice} It belongs in the environment of this server: in the env of its entry in "
            f"your configuration. Then restart the server. Nothing was sent."
        )
    if isinstance(error, LedgerBusyError):
        return f"{_message(error)} Call again in a few seconds with the same arguments."
    return _message(error) if isinstance(error, _SELF_EXPLAINING) else f"{_message(error)} {error.advice}"


def _message(error: AsanaJobsError) -> str:
    text = str(error).removesuffix(error.advice).rstrip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _problem(problem: Any) -> str:
    """Return one thing that is wrong with the arguments, without repeating what was given."""
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}"
