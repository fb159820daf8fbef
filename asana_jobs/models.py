"""Jobs, what they make, and the templates it is made from, as Asana describes them: frozen values, without any I/O.

Every field but ``gid`` may be missing from an answer, because ``opt_fields`` can leave it out and because the
OpenAPI document marks nothing as required; a missing field is ``None``. Common to most values are ``gid``,
``resource_type`` (what it is, such as ``project``), ``resource_subtype`` (of which sort, such as ``default_project``),
``name``, ``created_by``, and the aware date-times ``created_at`` and ``completed_at``. Sources: the schemas of Asana's
OpenAPI document that each value names, and the reference page of jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self, cast

import attrs

from asana_jobs.errors import JobFailedError, NoResultError


__all__ = [
    "DateVariableCompact",
    "DatesRollupProgress",
    "GraphExportCompact",
    "Job",
    "JobResult",
    "JobStatus",
    "OrganizationExport",
    "PortfolioCompact",
    "ProjectCompact",
    "ProjectTemplate",
    "ProjectTemplateCompact",
    "ResourceExportCompact",
    "TaskCompact",
    "TaskTemplate",
    "TaskTemplateCompact",
    "TeamCompact",
    "TemplateRole",
    "UserCompact",
    "WorkspaceCompact",
]


class JobStatus(StrEnum):
    """The states of a job. A state Asana adds later arrives as a plain string. Source: ``JobCompact.status``."""

    NOT_STARTED = "not_started"
    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class _Value:
    # Weak references may point to all of them. Were the slot for those among their own, CPython 3.11 would not let
    # what `decode` drafts become one of them.
    __slots__ = ("__weakref__",)


@attrs.frozen(kw_only=True)
class JobResult(_Value):
    """Anything that a job makes: `ProjectCompact`, `TaskCompact`, ... One slot of a `Job` holds it.

    A class, and no union of them: what mypy takes for common to jobs or operations of several kinds is a class.
    Source: the slots of ``JobCompact``.
    """

    gid: str
    resource_type: str | None = None


@attrs.frozen(kw_only=True)
class _Named(_Value):
    gid: str
    resource_type: str | None = None
    name: str | None = None


@attrs.frozen(kw_only=True)
class UserCompact(_Named):
    """A user; ``new_task.created_by`` names one without its name. Source: ``UserCompact``, ``TaskCompact.created_by``."""


@attrs.frozen(kw_only=True)
class WorkspaceCompact(_Named):
    """A workspace or organization. Source: ``WorkspaceCompact``."""


@attrs.frozen(kw_only=True)
class ProjectCompact(JobResult):
    """The project a job makes. Provisional until the job has succeeded. Source: ``ProjectCompact``."""

    name: str | None = None
    resource_subtype: str | None = None


@attrs.frozen(kw_only=True)
class TaskCompact(JobResult):
    """The task a job makes. Provisional until the job has succeeded, subtasks included. Source: ``TaskCompact``."""

    name: str | None = None
    resource_subtype: str | None = None
    created_by: UserCompact | None = None


@attrs.frozen(kw_only=True)
class PortfolioCompact(JobResult):
    """The portfolio a job makes. Provisional until the job has succeeded. Source: ``PortfolioCompact``."""

    name: str | None = None
    resource_subtype: str | None = None


@attrs.frozen(kw_only=True)
class ProjectTemplateCompact(JobResult):
    """The project template a job makes. Source: ``ProjectTemplateCompact``."""

    name: str | None = None


@attrs.frozen(kw_only=True)
class TaskTemplateCompact(JobResult):
    """A task template. No schema has it in a job today. Source: developers.asana.com, the reference page of jobs."""

    name: str | None = None


@attrs.frozen(kw_only=True)
class GraphExportCompact(JobResult):
    """A graph export. ``download_url`` is a short-lived secret, not in reprs. Source: ``GraphExportCompact``."""

    created_at: datetime | None = None
    completed_at: datetime | None = None
    download_url: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class ResourceExportCompact(JobResult):
    """A resource export. ``download_url`` is a short-lived secret, not in reprs. Source: ``ResourceExportCompact``."""

    created_at: datetime | None = None
    completed_at: datetime | None = None
    download_url: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class OrganizationExport(JobResult):
    """The export of a whole organization. ``download_url`` is a secret, and not shown in reprs.

    Asana keeps it outside its jobs, with words of its own (``state``: pending, started, finished, error). Here
    it is the result of a `Job` whose status says the same in the words of jobs.

    Attributes:
        organization: The organization that is exported.

    Source: ``OrganizationExportResponse``.
    """

    state: str | None = None
    created_at: datetime | None = None
    download_url: str | None = attrs.field(default=None, repr=False)
    organization: WorkspaceCompact | None = None


@attrs.frozen(kw_only=True)
class DatesRollupProgress(_Value):
    """``updated_tasks`` of ``total_tasks``, which may grow meanwhile. Source: ``JobCompact.dates_rollup_progress``."""

    total_tasks: int | None = None
    updated_tasks: int | None = None


if TYPE_CHECKING:
    from typing import Generic

    # Type checkers bring this module along; it need not be installed.
    from typing_extensions import TypeVar

    R = TypeVar("R", bound=JobResult, default=JobResult)
    R_co = TypeVar("R_co", bound=JobResult, covariant=True, default=JobResult)

    class Makes(Generic[R_co]):
        """Takes what is made in brackets, as in ``Job[ProjectCompact]``. Without them, that is any `JobResult`."""

else:
    from types import GenericAlias
    from typing import TypeVar

    R = TypeVar("R")
    R_co = TypeVar("R_co", covariant=True)

    class Makes:
        """Takes brackets as classes of the standard library do: they mean nothing, and instances pay nothing."""

        __slots__ = ()
        __class_getitem__ = classmethod(GenericAlias)


# Named here, since every look asks: Python 3.11 looks members up in their class by a call.
_FINISHED: Final = (JobStatus.SUCCEEDED, JobStatus.FAILED)


def _nothing() -> dict[str, object]:
    return {}  # calling ``dict[str, object]`` takes ten times as long


@attrs.frozen
class Job(_Value, Makes[R_co]):
    """One job as one answer of Asana described it.

    Type checkers know what it makes: `DuplicateProject` starts a ``Job[ProjectCompact]``. A plain ``Job``, such as
    one that is read by its gid, makes any `JobResult`.

    Attributes:
        gid: The job's gid: what is polled. The gid of the new object is in ``job.result.gid``.
        status: A `JobStatus`, the plain string of a state this version does not know, or ``None`` if the
            answer left it out. Only ``succeeded`` and ``failed`` count as finished.
        resource_type: ``job``.
        resource_subtype: The operation, such as ``duplicate_project``.
        new_task: The task it makes. This and the slots below are usually filled in the first answer already, and
            provisional until the job has succeeded.
        new_project: The project it makes.
        new_portfolio: The portfolio it makes.
        new_project_template: The project template it makes.
        new_task_template: The task template it makes.
        new_graph_export: The graph export it makes.
        new_resource_export: The resource export it makes.
        dates_rollup_progress: How far a project roll-up has come.
        organization_export: The export itself, if this stands for one (``resource_type`` ``organization_export``).
        raw: The whole answer as received, with every field this version does not know. Not compared.

    Source: ``JobCompact`` in ``JobResponse``.
    """

    gid: str
    status: JobStatus | str | None = attrs.field(default=None, kw_only=True)
    resource_type: str | None = attrs.field(default=None, kw_only=True)
    resource_subtype: str | None = attrs.field(default=None, kw_only=True)
    new_task: TaskCompact | None = attrs.field(default=None, kw_only=True)
    new_project: ProjectCompact | None = attrs.field(default=None, kw_only=True)
    new_portfolio: PortfolioCompact | None = attrs.field(default=None, kw_only=True)
    new_project_template: ProjectTemplateCompact | None = attrs.field(default=None, kw_only=True)
    new_task_template: TaskTemplateCompact | None = attrs.field(default=None, kw_only=True)
    new_graph_export: GraphExportCompact | None = attrs.field(default=None, kw_only=True)
    new_resource_export: ResourceExportCompact | None = attrs.field(default=None, kw_only=True)
    dates_rollup_progress: DatesRollupProgress | None = attrs.field(default=None, kw_only=True)
    organization_export: OrganizationExport | None = attrs.field(default=None, kw_only=True)
    raw: Mapping[str, object] = attrs.field(factory=_nothing, kw_only=True, repr=False, eq=False)

    def __repr__(self) -> str:
        return f"Job({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:
        # Most slots are empty: what is missing is left out.
        for field in attrs.fields(Job):
            if field.repr and (value := getattr(self, field.name)) is not None:
                yield field.name, value

    def _repr_html_(self) -> str:
        return html_table(
            {"job": self.gid, "status": self.status, "kind": self.resource_subtype, "makes": self.result}
        )

    @property
    def succeeded(self) -> bool:
        """Whether the job has finished and its result is complete."""
        return self.status == JobStatus.SUCCEEDED

    @property
    def failed(self) -> bool:
        """Whether the job has finished without success. Asana gives no reason."""
        return self.status == JobStatus.FAILED

    @property
    def done(self) -> bool:
        """Whether the job has finished, either way. A state we do not know counts as not finished."""
        return self.status in _FINISHED

    @property
    def result(self) -> R_co | None:
        """The object that the job makes: whichever ``new_*`` slot is filled, or ``None``. Provisional until it has succeeded."""
        for slot in RESULT_SLOTS:
            value = cast("R_co | None", getattr(self, slot))
            if value is not None:
                return value
        return None

    def expect_result(self) -> R_co:
        """Return what the job has made, complete.

        Raises:
            JobFailedError: the job failed.
            NoResultError: the job is not known to have succeeded: what ``result`` names is provisional. Or it has
                succeeded and names nothing: a roll-up makes nothing, and ``opt_fields`` may have left it out.
        """
        self.raise_for_status()
        result = self.result if self.succeeded else None
        if result is None:
            raise NoResultError(job=self)
        return result

    def raise_for_status(self) -> Self:
        """Return this job, or raise `JobFailedError` if it failed. A job that still runs is returned."""
        if self.failed:
            raise JobFailedError(job=self)
        return self

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Job:
        """Read a job from the ``data`` of an answer, or from `to_dict`.

        Raises:
            DecodeError: *data* is not a job; the message names each field and the type of its value.
        """
        from asana_jobs._client.http.decode import decode  # noqa: PLC0415  # the one arrow that points up: a shortcut

        given = cast("object", data)
        # A copy, since the job keeps what it was read from.
        return decode(Job, dict(data) if isinstance(given, Mapping) else given)

    def to_dict(self) -> dict[str, object]:
        """Return the job as JSON would hold it, fields this version does not know included."""
        return to_json(self, self.raw)


@attrs.frozen(kw_only=True)
class TeamCompact(_Named):
    """A team. Source: ``TeamCompact``."""


@attrs.frozen(kw_only=True)
class DateVariableCompact(_Value):
    """A date that a project template asks for.

    Attributes:
        gid: What `InstantiateProject` is told the date by; ``"1"`` is the project's start, ``"2"`` its end.
        name: Its name, by which `InstantiateProject` takes it as well.
        description: What it is for.

    Source: ``DateVariableCompact``.
    """

    gid: str
    name: str | None = None
    description: str | None = None


@attrs.frozen(kw_only=True)
class TemplateRole(_Named):
    """A role of a project template, for which a user is chosen.

    Attributes:
        gid: What `InstantiateProject` is told the user by.
        name: Its name, by which `InstantiateProject` takes it as well.

    Source: ``TemplateRole``.
    """


@attrs.frozen
class ProjectTemplate(_Value):
    """A project template: what `InstantiateProject` makes a project from.

    Attributes:
        gid: The template's gid.
        description: What it is for, as plain text.
        public: Whether everybody in its team sees it.
        color: Such as ``light-green``.
        owner: Whose it is, if it is anybody's.
        team: The team that it belongs to, and a new project too, unless another one is said.
        requested_dates: The dates that it asks for. Like the roles they are empty if it asks for none, or if
            ``opt_fields`` left them out.
        requested_roles: The roles for which it asks for a user.
        raw: The whole answer as received. Not compared.

    Source: ``ProjectTemplateResponse``.
    """

    gid: str
    resource_type: str | None = attrs.field(default=None, kw_only=True)
    name: str | None = attrs.field(default=None, kw_only=True)
    description: str | None = attrs.field(default=None, kw_only=True)
    public: bool | None = attrs.field(default=None, kw_only=True)
    color: str | None = attrs.field(default=None, kw_only=True)
    owner: UserCompact | None = attrs.field(default=None, kw_only=True)
    team: TeamCompact | None = attrs.field(default=None, kw_only=True)
    requested_dates: tuple[DateVariableCompact, ...] = attrs.field(default=(), kw_only=True)
    requested_roles: tuple[TemplateRole, ...] = attrs.field(default=(), kw_only=True)
    raw: Mapping[str, object] = attrs.field(factory=_nothing, kw_only=True, repr=False, eq=False)

    def to_dict(self) -> dict[str, object]:
        """Return the template as JSON would hold it, fields this version does not know included."""
        return to_json(self, self.raw)


@attrs.frozen
class TaskTemplate(_Value):
    """A task template: what `InstantiateTask` makes a task from.

    It asks for nothing: Asana computes the dates of a task from the day on which it is made, and takes its people
    from the template. So there are no requested dates or roles, unlike in a `ProjectTemplate`.

    Attributes:
        gid: The template's gid.
        project: The project that it belongs to.
        raw: The whole answer as received, with what the task will be like under ``template``. Not compared.

    Source: ``TaskTemplateResponse``.
    """

    gid: str
    resource_type: str | None = attrs.field(default=None, kw_only=True)
    name: str | None = attrs.field(default=None, kw_only=True)
    project: ProjectCompact | None = attrs.field(default=None, kw_only=True)
    created_by: UserCompact | None = attrs.field(default=None, kw_only=True)
    created_at: datetime | None = attrs.field(default=None, kw_only=True)
    raw: Mapping[str, object] = attrs.field(factory=_nothing, kw_only=True, repr=False, eq=False)

    def to_dict(self) -> dict[str, object]:
        """Return the template as JSON would hold it, fields this version does not know included."""
        return to_json(self, self.raw)


def job_rows(job: Job | None) -> dict[str, object]:
    """Return what a notebook shows of the job that a value is about."""
    return {} if job is None else {"job": job.gid, "status": job.status, "makes": job.result}


def html_table(shown: Mapping[str, object]) -> str:
    """Return a table of names and values as a notebook shows it, without what is ``None``."""
    from html import escape  # noqa: PLC0415  # for notebooks only

    rows = [
        f'<tr><th style="text-align: left">{escape(name)}</th><td>{escape(_in_words(value))}</td></tr>'
        for name, value in shown.items()
        if value is not None
    ]
    return f"<table>{''.join(rows)}</table>"


def _in_words(value: object) -> str:
    if isinstance(value, JobResult):
        name = getattr(value, "name", None)
        return f"{value.gid} ({name})" if name else value.gid
    return str(value)


#: The slots of a job, of which at most one is filled; which one depends on the operation.
RESULT_SLOTS: Final = (
    *(field.name for field in attrs.fields(Job) if field.name.startswith("new_")),
    "organization_export",
)


def has_changed(job: Job, previous: Job | None) -> bool:
    """Return whether *job* shows another status, progress or result than the *previous* one of the same gid."""
    if previous is None or job.status != previous.status:
        return True
    if job.dates_rollup_progress is not None and job.dates_rollup_progress != previous.dates_rollup_progress:
        return True
    return job.result is not None and (previous.result is None or job.result.gid != previous.result.gid)


def to_json(value: attrs.AttrsInstance, raw: Mapping[str, object]) -> dict[str, object]:
    """Lay the typed fields of *value* over *raw*, which knows more fields but may be older."""
    merged = dict(raw)
    for field in attrs.fields(type(value)):
        if field.name == "raw":
            continue
        current: object = getattr(value, field.name)
        if current is not None and current != ():
            merged[field.name] = _plain(current, raw.get(field.name))
        elif merged.get(field.name) not in (None, []):
            merged[field.name] = None if current is None else []
    return merged


def _plain(value: object, raw: object) -> object:
    if isinstance(value, tuple):
        items = cast("tuple[attrs.AttrsInstance, ...]", value)
        given = cast("list[object]", raw) if isinstance(raw, list) else []
        below = {item.get("gid"): item for item in map(_mapping, given)}
        return [_plain(item, below.get(getattr(item, "gid", None))) for item in items]
    if attrs.has(type(value)):
        return to_json(cast("attrs.AttrsInstance", value), _mapping(raw))
    if isinstance(value, datetime):
        return _timestamp(value)
    return str(value) if isinstance(value, str) else value


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def _timestamp(moment: datetime) -> str:
    """Write a date-time the way Asana does: UTC, milliseconds, a trailing Z."""
    precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    text = moment.isoformat(timespec=precision)
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text
