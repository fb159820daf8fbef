"""Which jobs a command is about: gids from the command line, or from standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, cast

import attrs

from asana_jobs.cli.complaint import UsageError, say
from asana_jobs.cli.plain import shortened
from asana_jobs.subjects import LONGEST_GID


if TYPE_CHECKING:
    from asana_jobs import Job


@attrs.frozen
class Subject:
    """One job to wait for.

    Attributes:
        gid: The job's gid.
        handle: What to wait with: the gid, the job as last seen, or a continuation token, which knows when the job
            started.
    """

    gid: str
    handle: str | Job


def read_subjects(words: Iterable[str]) -> list[Subject]:
    """Return the jobs that *words* name, each once, in order; ``-`` stands for what standard input holds.

    Raises:
        UsageError: a word is neither a gid nor a continuation token, or there are none.
    """
    found: dict[str, Subject] = {}
    for word in words:
        subjects = _of_standard_input() if word == "-" else [_of_argument(word)]
        for subject in subjects:
            found.setdefault(subject.gid, subject)
    if not found:
        raise UsageError("give at least one gid, or - to read gids from standard input")
    return list(found.values())


def _of_argument(word: str) -> Subject:
    if word.startswith("-"):
        raise UsageError(f"unknown option {shortened(word, 40)}")
    if word.lstrip().startswith("{"):
        return _of_token(word, "the argument")
    return Subject(check_gid(word), word)


def _of_standard_input() -> Iterator[Subject]:
    if sys.stdin is None or sys.stdin.closed:
        raise UsageError("- was given, but there is no standard input")
    if sys.stdin.isatty():
        say("Type or paste gids, then press Ctrl-D on an empty line.\n")
    # Bytes, so that a file in another encoding is refused by line and not by a traceback.
    text = sys.stdin.buffer.read().decode("utf-8-sig", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        yield from _of_line(line.strip(), f"line {number} of standard input")


def _of_line(line: str, where: str) -> Iterator[Subject]:
    if not line or line.startswith("#"):
        return
    if not line.startswith("{"):
        for word in line.replace(",", " ").split():
            yield Subject(check_gid(word, where), word)
        return
    fields = _json_of(line, where)
    if "event" in fields:
        # Our own JSON lines: what `start` wrote can be piped into `wait -`. A summary names no job.
        if fields["event"] == "job":
            gid = check_gid(fields.get("gid"), where)
            yield Subject(gid, gid)
        return
    yield _of_token(line, where)


def _of_token(text: str, where: str) -> Subject:
    fields = _json_of(text, where)
    inner = fields.get("data")
    if isinstance(inner, Mapping):
        gid = check_gid(cast("Mapping[str, object]", inner).get("gid"), where)
        return Subject(gid, gid)
    gid = check_gid(fields.get("gid"), where)
    return Subject(gid, text if "v" in fields else gid)


def _json_of(text: str, where: str) -> Mapping[str, object]:
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{where} is neither a gid nor whole JSON: {shortened(text, 40)!r}")
    return cast("Mapping[str, object]", found)


def check_gid(value: object, where: str = "") -> str:
    """Return *value* if it is a gid, or say where it is not one."""
    place = f"{where}: " if where else ""
    if not isinstance(value, str) or not (value.isascii() and value.isdigit()):
        raise UsageError(f"{place}a gid is a string of digits such as 1203, not {shortened(repr(value), 40)}")
    if len(value) > LONGEST_GID:
        raise UsageError(f"{place}a gid has at most {LONGEST_GID} digits, not {len(value)}")
    return value
