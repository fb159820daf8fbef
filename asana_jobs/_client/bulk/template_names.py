"""The gids of dates and roles that operations of a run give by name: each template is read once.

With a ledger it remembers what a name stood for when it was first used. So a run that goes on later starts nothing
twice because somebody has renamed a date meanwhile, and needs no template that is gone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from asana_jobs._client.http.api_session import ApiSession
from asana_jobs._client.http.protocol import transient
from asana_jobs._client.http.retrying import retrying
from asana_jobs._client.http.templates import NAMES, find_template, named
from asana_jobs._client.waiting.trouble import copy_exception
from asana_jobs.errors import AsanaJobsError, ClientClosedError, RequestError
from asana_jobs.models import DateVariableCompact, ProjectTemplate, TemplateRole
from asana_jobs.operations import InstantiateProject, Operation
from asana_jobs.parameters import normal_name
from asana_jobs.policies import PollPolicy


if TYPE_CHECKING:
    from asana_jobs._client.bulk.ledger import Ledger


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
        if (given := named(operation)) is None:
            return operation
        if self.ledger is None:
            return given.by_gid(await self._template(given.gid))
        remembered = self._remembered.get(given.gid) or await self.ledger.template_names(given.gid)
        if not _has_all(remembered, given):
            found = given.by_gid(_over(remembered, await self._template(given.gid)))
            remembered = await self.ledger.template_names(given.gid, _names_in(given, found))
        self._remembered[given.gid] = remembered
        return given.by_gid(remembered)

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
            patience = session.contact.patience(
                error if isinstance(error, AsanaJobsError) else None,
                policy.first_contact,
                policy.give_up_after,
            )
            left = began + min(policy.give_up_after, patience) - session.clock.monotonic()
            return transient(error) and left > 0

        def tell(error: BaseException) -> None:
            if isinstance(error, RequestError):
                session.note_repetition(error, error)

        engine = retrying(
            session.retry,
            attempts=sys.maxsize,  # a run outlives an outage: time is limited, not the repetitions
            again=again,
            tell=tell,
            sleep=session.sleep,
            random=session.clock.random,
        )
        return await engine(find_template, session, ProjectTemplate, gid, NAMES)


def _has_all(template: ProjectTemplate, operation: InstantiateProject) -> bool:
    dates, roles = _names(template.requested_dates), _names(template.requested_roles)
    return all(one.name is None or one.name in dates for one in operation.requested_dates) and all(
        one.name is None or one.name in roles for one in operation.requested_roles
    )


def _names(asked: Sequence[DateVariableCompact | TemplateRole]) -> set[str]:
    return {normal_name(one.name) for one in asked if one.name}


def _names_in(given: InstantiateProject, found: InstantiateProject) -> ProjectTemplate:
    """Return the names that were *given*, with the gids that were *found*, as a template."""
    dates = zip(given.requested_dates, found.requested_dates, strict=True)
    roles = zip(given.requested_roles, found.requested_roles, strict=True)
    return ProjectTemplate(
        given.gid,
        requested_dates=tuple(
            DateVariableCompact(gid=new.gid, name=old.name) for old, new in dates if old.name and new.gid
        ),
        requested_roles=tuple(
            TemplateRole(gid=new.gid, name=old.name) for old, new in roles if old.name and new.gid
        ),
    )


def _over(remembered: ProjectTemplate, read: ProjectTemplate) -> ProjectTemplate:
    """Return the template as it was *read*, but with the gids that are *remembered*."""
    dates, roles = _names(remembered.requested_dates), _names(remembered.requested_roles)
    new_dates = (one for one in read.requested_dates if one.name and normal_name(one.name) not in dates)
    new_roles = (one for one in read.requested_roles if one.name and normal_name(one.name) not in roles)
    return attrs.evolve(
        read,
        requested_dates=(*remembered.requested_dates, *new_dates),
        requested_roles=(*remembered.requested_roles, *new_roles),
    )
