"""The eleven starting calls by name: each makes its operation and starts it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Never

from asana_jobs.models import (
    GraphExportCompact,
    Job,
    OrganizationExport,
    PortfolioCompact,
    ProjectCompact,
    ProjectTemplateCompact,
    R,
    ResourceExportCompact,
    TaskCompact,
)
from asana_jobs.operations import (
    DuplicatePortfolio,
    DuplicateProject,
    DuplicateTask,
    ExportGraph,
    ExportOrganization,
    ExportParameters,
    ExportResource,
    InstantiateProject,
    InstantiateTask,
    Operation,
    PortfolioInclude,
    ProjectInclude,
    RequestedDates,
    RequestedRoles,
    RollupProject,
    RollupTask,
    SaveProjectAsTemplate,
    ScheduleDates,
    TaskInclude,
)


class JobStartingCalls(ABC):
    """The calls that answer with a job. Wrong arguments are a `ValueError` before any request.

    Each sends one POST and returns the `Job` as Asana answered it: usually ``in_progress``, with what it makes
    already named in ``job.result`` and provisional until the job has succeeded.

    Each raises:
        OutcomeUnknownError: the answer was lost; the job may be running. It is never sent twice.
        APIError: Asana refused it; nothing was started.
        ConnectError: no connection could be made; nothing was started.
    """

    @abstractmethod
    async def start(self, operation: Operation[R]) -> Job[R]:
        """Start the job of *operation* and return it as the POST answered it."""

    async def duplicate_task(
        self, gid: str, *, name: str | None = None, include: TaskInclude | None = None
    ) -> Job[TaskCompact]:
        """Copy a task. See `DuplicateTask` for the words of *include*."""
        return await self.start(DuplicateTask(gid, name=name, include=include))

    async def duplicate_project(
        self,
        gid: str,
        *,
        name: str,
        include: ProjectInclude | None = None,
        schedule_dates: ScheduleDates | Mapping[str, Any] | None = None,
        team: str | None = None,
    ) -> Job[ProjectCompact]:
        """Copy a project. See `DuplicateProject` for the words of *include* and for *schedule_dates*."""
        return await self.start(
            DuplicateProject(gid, name=name, include=include, schedule_dates=schedule_dates, team=team)
        )

    async def duplicate_portfolio(
        self, gid: str, *, name: str, include: PortfolioInclude | None = None
    ) -> Job[PortfolioCompact]:
        """Copy a portfolio. See `DuplicatePortfolio` for the words of *include*."""
        return await self.start(DuplicatePortfolio(gid, name=name, include=include))

    async def save_project_as_template(
        self, gid: str, *, name: str, public: bool, team: str | None = None, workspace: str | None = None
    ) -> Job[ProjectTemplateCompact]:
        """Make a template of a project, in a *team* (organizations) or a *workspace*. See `SaveProjectAsTemplate`."""
        return await self.start(
            SaveProjectAsTemplate(gid, name=name, public=public, team=team, workspace=workspace)
        )

    async def instantiate_project(
        self,
        gid: str,
        *,
        name: str,
        team: str | None = None,
        public: bool | None = None,
        privacy_setting: str | None = None,
        is_strict: bool | None = None,
        requested_dates: RequestedDates | None = None,
        requested_roles: RequestedRoles | None = None,
    ) -> Job[ProjectCompact]:
        """Make a project from a project template. See `InstantiateProject` for its dates and roles."""
        return await self.start(
            InstantiateProject(
                gid,
                name=name,
                team=team,
                public=public,
                privacy_setting=privacy_setting,
                is_strict=is_strict,
                requested_dates=requested_dates,
                requested_roles=requested_roles,
            )
        )

    async def instantiate_task(self, gid: str, *, name: str | None = None) -> Job[TaskCompact]:
        """Make a task from a task template. See `InstantiateTask`."""
        return await self.start(InstantiateTask(gid, name=name))

    async def rollup_task(self, gid: str) -> Job[Never]:
        """Bring a task's dates in line with its subtasks. See `RollupTask`."""
        return await self.start(RollupTask(gid))

    async def rollup_project(self, gid: str) -> Job[Never]:
        """Bring the dates of a project's tasks in line. See `RollupProject`: ``dates_rollup_progress``."""
        return await self.start(RollupProject(gid))

    async def export_graph(self, gid: str) -> Job[GraphExportCompact]:
        """Export what hangs below a goal, project, portfolio or team. The same job comes back while one runs.

        See `ExportGraph`.
        """
        return await self.start(ExportGraph(gid))

    async def export_resource(
        self, gid: str, *, parameters: Iterable[ExportParameters | Mapping[str, Any]]
    ) -> Job[ResourceExportCompact]:
        """Export tasks, teams or messages of a workspace. See `ExportResource` for its *parameters*.

        Raises:
            ExportBusyError: one is running in this workspace, whoever started it.
        """
        return await self.start(ExportResource(gid, parameters=parameters))

    async def export_organization(self, gid: str) -> Job[OrganizationExport]:
        """Export a whole organization. Asana keeps it outside its jobs; wait for it and download it like one.

        See `ExportOrganization`.
        """
        return await self.start(ExportOrganization(gid))
