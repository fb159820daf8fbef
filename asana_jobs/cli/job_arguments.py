"""The jobs a command is about: gids and continuation tokens from the command line, or from standard input."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Self, cast

import attrs

from asana_jobs.cli.errors import UsageError, say
from asana_jobs.cli.operations_file import encoding_of, standard_input
from asana_jobs.cli.terminal import shorten
from asana_jobs.parameters import LONGEST_GID


if TYPE_CHECKING:
    from asana_jobs import Job


#: What stands over a column of gids.
_HEADERS: Final = frozenset({"gid", "gids", "job", "jobs", "job_gid", "job.gid"})
#: What stands round and between gids: commas, and what JSON and spreadsheets write.
_BETWEEN: Final = str.maketrans(dict.fromkeys(',;[]"', " "))

#: What Asana keeps outside its jobs, by its resource type.
_OUTSIDE: Final = "organization_export"


@attrs.frozen
class JobArgument:
    """One job to wait for.

    Attributes:
        gid: The job's gid.
        handle: What to wait with: the gid, the job as last seen, a continuation token, which knows when the job
            started, or an organization export, see `organization_export`.
    """

    gid: str
    handle: str | Job | Mapping[str, object]

    @classmethod
    def of(cls, gid: str, result: object) -> Self:
        """Return the argument for a job; *result*, what it makes, says whether it is an organization export."""
        outside = (
            isinstance(result, Mapping)
            and cast("Mapping[str, object]", result).get("resource_type") == _OUTSIDE
        )
        return cls(gid, organization_export(gid) if outside else gid)

    def to_argument(self) -> str:
        """Return what ``asana-jobs wait`` takes for it: its gid, if that is enough."""
        job = self.handle
        if isinstance(job, Mapping):
            return json.dumps(job, separators=(",", ":"))
        return job if isinstance(job, str) else self.gid


def organization_export(gid: str) -> Mapping[str, object]:
    """Return an organization export to wait for: Asana keeps it outside its jobs, where its gid alone says nothing."""
    return {"gid": gid, "resource_type": _OUTSIDE}


def read_job_arguments(words: Iterable[str]) -> list[JobArgument]:
    """Return the jobs that *words* name, each once, in order; ``-`` stands for what standard input holds.

    Raises:
        UsageError: a word is neither a gid nor a continuation token, or there are none.
    """
    found: dict[str, JobArgument] = {}
    for word in words:
        subjects = _from_standard_input() if word == "-" else [_from_argument(word)]
        for subject in subjects:
            found.setdefault(subject.gid, subject)
    if not found:
        raise UsageError("give at least one gid, or - to read gids from standard input")
    return list(found.values())


def _from_argument(word: str) -> JobArgument:
    if word.startswith("-"):
        raise UsageError(f"unknown option {shorten(word, 40)}")
    if word.lstrip().startswith("{"):
        return _from_token(word, "the argument")
    return JobArgument(check_gid(word), word)


def _from_standard_input() -> Iterator[JobArgument]:
    stdin = standard_input()
    if stdin.isatty():
        say("Type or paste gids, then press Ctrl-D on an empty line.\n")
    # Bytes, so that a file in another encoding is refused by line and not by a traceback.
    content = stdin.buffer.read()
    lines = content.decode(encoding_of(content), errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        if number == 1 and line.strip(' \t"').lower() in _HEADERS:
            continue
        yield from _from_line(line.strip(), f"line {number} of standard input")


def _from_line(line: str, where: str) -> Iterator[JobArgument]:
    if not line or line.startswith("#"):
        return
    if not line.startswith("{"):
        for word in line.translate(_BETWEEN).split():
            yield JobArgument(check_gid(word, where), word)
        return
    fields = _read_object(line, where)
    if "event" in fields:
        # Our own JSON lines: what `start` wrote can be piped into `wait -`. A summary names no job.
        if fields["event"] == "job":
            yield JobArgument.of(check_gid(fields.get("gid"), where), fields.get("result"))
        return
    yield _from_token(line, where)


def _from_token(text: str, where: str) -> JobArgument:
    fields = _read_object(text, where)
    if "v" in fields:
        return JobArgument(check_gid(fields.get("gid"), where), text)
    inner = fields.get("data")
    job = cast("Mapping[str, object]", inner) if isinstance(inner, Mapping) else fields
    return JobArgument.of(check_gid(job.get("gid"), where), job)


def _read_object(text: str, where: str) -> Mapping[str, object]:
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{where} is neither a gid nor whole JSON: {shorten(text, 40)!r}")
    return cast("Mapping[str, object]", found)


def check_gid(value: object, where: str = "") -> str:
    """Return *value* if it is a gid, or say where it is not one."""
    place = f"{where}: " if where else ""
    if not isinstance(value, str) or not (value.isascii() and value.isdigit()):
        apart = ": write blanks between gids" if isinstance(value, str) and "," in value else ""
        raise UsageError(
            f"{place}a gid is a string of digits such as 1203, not {shorten(repr(value), 40)}{apart}"
        )
    if len(value) > LONGEST_GID:
        raise UsageError(f"{place}a gid has at most {LONGEST_GID} digits, not {len(value)}")
    return value
