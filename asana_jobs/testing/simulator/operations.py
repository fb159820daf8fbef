"""The eleven calls that start a job, as a table: path, body, and the slot the result goes to.

Sources: the public OpenAPI document (Asana/openapi, June 2026) and its October 2026 state for the
two rollups. `resource_subtype` values are evidenced for `duplicate_task`, `duplicate_project` and
the two exports only; the others are plausible names nobody should rely on.
"""

import re

from attrs import Factory, define, field


_GID_IN_PATH = re.compile(r"{(\w+)_gid}")


@define
class StartsJob:
    """One call that starts a job.

    Attributes:
        kind: the name `durations` and `add_job(kind=...)` use.
        path: below the API's root, with one `{..._gid}` or none.
        schema: name of the schema of `data` in the body; None when the call takes no body.
        slot: the job's field that holds the result; None when there is none.
        subtype: the job's `resource_subtype`.
        body_required: the document's own flag.
        include: the words of `include` that the document lists.
        subject: resource type of the object in the path; None for the exports.
    """

    kind: str
    operation_id: str
    path: str
    schema: str | None = None
    slot: str | None = None
    subtype: str = Factory(lambda self: self.kind, takes_self=True)
    body_required: bool = False
    output_options: bool = True
    include: tuple[str, ...] = ()
    subject: str | None = field(init=False)
    _pattern: re.Pattern[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        found = _GID_IN_PATH.search(self.path)
        self.subject = None if found is None else found[1]
        self._pattern = re.compile(_GID_IN_PATH.sub("([^/]*)", self.path))

    @property
    def subject_parameter(self) -> str | None:
        """Name of the path parameter, such as ``project_gid``."""
        return None if self.subject is None else f"{self.subject}_gid"

    def gid_in(self, path: str) -> str | None:
        """Return the gid in a path to this call ("" when it holds none); None for other paths."""
        match = self._pattern.fullmatch(path)
        return None if match is None else "".join(match.groups())


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


OPERATIONS: tuple[StartsJob, ...] = (
    StartsJob(
        "duplicate_task",
        "duplicateTask",
        "/tasks/{task_gid}/duplicate",
        schema="TaskDuplicateRequest",
        slot="new_task",
        body_required=True,
        include=_words(
            "assignee attachments dates dependencies followers notes parent projects subtasks tags"
        ),
    ),
    StartsJob(
        "duplicate_project",
        "duplicateProject",
        "/projects/{project_gid}/duplicate",
        schema="ProjectDuplicateRequest",
        slot="new_project",
        include=_words(
            "allocations forms members notes permissions task_assignee task_attachments task_dates task_dependencies "
            "task_followers task_notes task_projects task_subtasks task_tags task_templates task_type_default"
        ),
    ),
    StartsJob(
        "duplicate_portfolio",
        "duplicatePortfolio",
        "/portfolios/{portfolio_gid}/duplicate",
        schema="PortfolioDuplicateRequest",
        slot="new_portfolio",
        include=_words("description members permissions templates rules child_projects child_portfolios"),
    ),
    StartsJob(
        "save_project_as_template",
        "projectSaveAsTemplate",
        "/projects/{project_gid}/saveAsTemplate",
        schema="ProjectSaveAsTemplateRequest",
        slot="new_project_template",
        body_required=True,
    ),
    StartsJob(
        "instantiate_project",
        "instantiateProject",
        "/project_templates/{project_template_gid}/instantiateProject",
        schema="ProjectTemplateInstantiateProjectRequest",
        slot="new_project",
    ),
    StartsJob(
        "instantiate_task",
        "instantiateTask",
        "/task_templates/{task_template_gid}/instantiateTask",
        schema="TaskTemplateInstantiateTaskRequest",
        slot="new_task",
    ),
    StartsJob("rollup_task", "rollupTask", "/tasks/{task_gid}/rollup"),
    StartsJob("rollup_project", "rollupProject", "/projects/{project_gid}/rollup"),
    StartsJob(
        "export_graph",
        "createGraphExport",
        "/exports/graph",
        schema="GraphExportRequest",
        slot="new_graph_export",
        subtype="graph_export_request",
        body_required=True,
        output_options=False,
    ),
    StartsJob(
        "export_resource",
        "createResourceExport",
        "/exports/resource",
        schema="ResourceExportRequest",
        slot="new_resource_export",
        subtype="export_request",
        body_required=True,
        output_options=False,
    ),
)
ORGANIZATION_EXPORT = "organization_export"
# Not a job to the outside, but it runs like one.
ORGANIZATION = StartsJob(
    ORGANIZATION_EXPORT,
    "createOrganizationExport",
    "/organization_exports",
    schema="OrganizationExportRequest",
    slot=ORGANIZATION_EXPORT,
    body_required=True,
)
BY_KIND = {operation.kind: operation for operation in OPERATIONS}
KINDS = (*BY_KIND, ORGANIZATION_EXPORT)

# The resource_type a result of each slot carries; a resource export calls itself export_request.
SLOT_TYPES = {
    "new_task": "task",
    "new_project": "project",
    "new_portfolio": "portfolio",
    "new_project_template": "project_template",
    "new_task_template": "task_template",
    "new_graph_export": "graph_export",
    "new_resource_export": "export_request",
    ORGANIZATION_EXPORT: "organization_export",
}
# Subtypes of results, where the documents name some (the last two since October 2026).
DEFAULT_SUBTYPES = {"task": "default_task", "project": "default_project", "portfolio": "default_portfolio"}
EXPORT_SLOTS = frozenset({"new_graph_export", "new_resource_export", ORGANIZATION_EXPORT})
