"""The gids of dates and roles that operations of a run give by name: each template is read once.

With a ledger it remembers what a name stood for when it was first used. So a run that goes on later starts nothing
twice because somebody has renamed a date meanwhile, and needs no template that is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import attrs

from asana_jobs._client.http.api_session import ApiSession
from asana_jobs._client.http.protocol import transient
from asana_jobs._client.http.templates import NAMES, find_template
from asana_jobs._client.waiting.trouble import copy_exception
from asana_jobs.errors import AsanaJobsError, ClientClosedError
from asana_jobs.models import ProjectTemplate
from asana_jobs.operations import InstantiateProject, Operation
from asana_jobs.parameters import Asked, RequestedDate, RequestedRole, normal_name
from asana_jobs.policies import PollPolicy


if TYPE_CHECKING:
    from asana_jobs._client.bulk.ledger import Ledger


#: What templates ask for by name, in the words of both a template and an operation.
_ASKED: Final = ("requested_dates", "requested_roles")


@attrs.define(eq=False)
class TemplateNames:
    """What the names of dates and roles stand for, in one run.

    Attributes:
        session: What reads templates.
        policy: How long unbroken trouble may last before a template counts as unreadable.
        ledger: What remembers the names, if anything.
    """

    session: ApiSession
    policy: PollPolicy
    ledger: Ledger | None = None

    _read_before: dict[str, ProjectTemplate | AsanaJobsError] = attrs.field(
        factory=dict[str, "ProjectTemplate | AsanaJobsError"], init=False
    )
    _remembered: dict[str, ProjectTemplate] = attrs.field(factory=dict[str, ProjectTemplate], init=False)

    async def by_gid(self, operation: Operation) -> Operation:
        """Return *operation* with its dates and roles by gid.

        Raises:
            ValueError: a name is none of the template's.
            LedgerError: the ledger cannot be written.
            AsanaJobsError: the template cannot be read. No later operation of the run asks for it again.
        """
        if not isinstance(operation, InstantiateProject) or not operation.names:
            return operation
        gid = operation.gid
        if self.ledger is None:
            return operation.by_gid(await self._template(gid))
        remembered = self._remembered.get(gid) or await self.ledger.template_names(gid)
        if not _has_all(remembered, operation):
            template = _over(remembered, await self._template(gid))
            operation.by_gid(template)  # it raises what is wrong
            remembered = await self.ledger.template_names(gid, _only(template, operation))
        self._remembered[gid] = remembered
        return operation.by_gid(remembered)

    async def _template(self, gid: str) -> ProjectTemplate:
        known = self._read_before.get(gid)
        if known is None:
            try:
                known = await self._read(gid)
            except ClientClosedError:
                raise
            except AsanaJobsError as error:
                known = error
            self._read_before[gid] = known
        if isinstance(known, AsanaJobsError):
            raise copy_exception(known)
        return known

    async def _read(self, gid: str) -> ProjectTemplate:
        session, policy = self.session, self.policy
        began = session.clock.monotonic()

        def again(error: BaseException) -> bool:
            patience = session.contact.patience(error, policy.first_contact, policy.give_up_after)
            left = began + min(policy.give_up_after, patience) - session.clock.monotonic()
            return transient(error) and left > 0

        return await session.outlasting(again)(find_template, session, ProjectTemplate, gid, NAMES)


def _has_all(template: ProjectTemplate, given: InstantiateProject) -> bool:
    return all(_names(getattr(given, asked)) <= _names(getattr(template, asked)) for asked in _ASKED)


def _names(asked: Iterable[Asked | RequestedDate | RequestedRole]) -> set[str]:
    return {normal_name(one.name) for one in asked if one.name}


def _only(template: ProjectTemplate, given: InstantiateProject) -> ProjectTemplate:
    """Return of *template* the dates and roles that are *given* by name."""
    used: dict[str, Any] = {}
    for asked in _ASKED:
        names = _names(getattr(given, asked))
        used[asked] = tuple(one for one in getattr(template, asked) if _names([one]) & names)
    return ProjectTemplate(template.gid, **used)


def _over(remembered: ProjectTemplate, read: ProjectTemplate) -> ProjectTemplate:
    """Return the template as it was *read*, but with the gids that are *remembered*."""
    both: dict[str, Any] = {}
    for asked in _ASKED:
        names = _names(getattr(remembered, asked))
        new = (one for one in getattr(read, asked) if _names([one]) - names)
        both[asked] = (*getattr(remembered, asked), *new)
    return attrs.evolve(read, **both)
