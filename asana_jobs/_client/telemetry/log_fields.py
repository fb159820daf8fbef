"""The fields of log records beside their text: ``extra`` whose names begin with ``asana_``, so that none collides.

Whatever a server says, a record of the library is one line, see `OneLine`.
"""

from __future__ import annotations

import logging
from typing import Protocol

from asana_jobs.errors import one_line


class OneLine(logging.Filter):
    """Escapes what a record quotes, statuses and other libraries' errors too, so that no answer forges a line of a log."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Escape the values of *record*, and let it pass."""
        if isinstance(record.args, tuple):
            record.args = tuple(map(_escaped, record.args))
        for name, value in vars(record).items():
            if name.startswith("asana_"):
                setattr(record, name, _escaped(value))
        return True


def _escaped(value: object) -> object:
    """Return *value*, or its text in one line if it is a text or an error that has more."""
    if not isinstance(value, str | BaseException) or str(value).isprintable():
        return value
    return one_line(str(value))


logging.getLogger("asana_jobs").addFilter(OneLine())


class Addressed(Protocol):
    """A request, or an error about one: whatever names a request."""

    @property
    def method(self) -> str:
        """The method."""
        ...

    @property
    def path(self) -> str:
        """The path below the base URL."""
        ...

    @property
    def gid(self) -> str | None:
        """The gid of the job or object it is about."""
        ...


def about_request(
    request: Addressed,
    *,
    status_code: int | None = None,
    retry_after: float | None = None,
    error: BaseException | None = None,
) -> dict[str, object]:
    """Return the fields of a record about a request; ``retry_after`` is in seconds."""
    fields: dict[str, object] = {
        "asana_method": request.method,
        "asana_path": request.path,
        "asana_gid": request.gid,
        "asana_status_code": status_code,
        "asana_retry_after": retry_after,
    }
    return {**_given(fields), **_about_error(error)}


def about_job(
    gid: str, status: str | None = None, *, kind: str | None = None, error: BaseException | None = None
) -> dict[str, object]:
    """Return the fields of a record about a job; ``status`` is the job's."""
    return {**_given({"asana_gid": gid, "asana_status": status, "asana_kind": kind}), **_about_error(error)}


def about_row(key: str, error: BaseException | None = None) -> dict[str, object]:
    """Return the fields of a record about a row of a ledger."""
    return {"asana_key": key, **_about_error(error)}


def _given(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _about_error(error: BaseException | None) -> dict[str, object]:
    return {} if error is None else {"asana_error": type(error).__name__}
