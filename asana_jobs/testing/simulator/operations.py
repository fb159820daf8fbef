"""The eleven calls that start a job, as a table: path, body, and the slot the result goes to.

Sources: the public OpenAPI document (Asana/openapi, June 2026) and its October 2026 state for the
two rollups. `resource_subtype` values are evidenced for `duplicate_task`, `duplicate_project` and
the two exports only; the others are plausible names nobody should rely on.
"""

from attrs import frozen


@frozen
class StartsJob:
    """One call that starts a job.

    Attributes:
        kind: the name `durations` and `add_job(kind=...)` use.
        path: below the API's root, with one `{..._gid}` or none.
        schema: name of the schema of `data` in the body; None when the call takes no body.
        slot: the job's field that holds the result; None when there is none.
        subtype: the job's `resource_subtype`.
        subject: resource type of the object in the path; None for the exports.
        body_required: the document's own flag.
        include: the words of `include` that the document lists.
    """

    kind: str
    operation_id: str
    path: str
    schema: str | None
    slot: str | None
    subtype: str
    subject: str | None = None
    body_required: bool = False
    output_options: bool = True
    include: tuple[str, ...] = ()

    @property
    def subject_parameter(self) -> str | None:
        """Name of the path parameter, such as ``project_gid``."""
        return None if self.subject is None else f"{self.subject}_gid"

    def gid_in(self, parts: list[str]) -> str | None:
        """Return the gid in the parts of a path to this call ("" when it holds none); None for other paths."""
        pattern = self.path.split("/")[1:]
        if len(pattern) != len(parts):
            return None
        gid = ""
        for expected, part in zip(pattern, parts, strict=True):
            if expected.startswith("{"):
                gid = part
            elif expected != part:
                return None
        return gid


OPERATIONS: tuple[StartsJob, ...] = (
    StartsJob(
        kind="duplicate_task",
        operation_id="duplicateTask",
        path="/tasks/{task_gid}/duplicate",
        schema="TaskDuplicateRequest",
        slot="new_task",
        subtype="duplicate_task",
        subject="task",
        body_required=True,
        include=(
            "assignee",
            "attachments",
            "dates",
            "dependencies",
            "followers",
            "notes",
            "parent",
            "projects",
            "subtasks",
            "tags",
        ),
    ),
    StartsJob(
        kind="duplicate_project",
        operation_id="duplicateProject",
        path="/projects/{project_gid}/duplicate",
        schema="ProjectDuplicateRequest",
        slot="new_project",
        subtype="duplicate_project",
        subject="project",
        include=(
            "allocations",
            "forms",
            "members",
            "notes",
            "permissions",
            "task_assignee",
            "task_attachments",
            "task_dates",
            "task_dependencies",
            "task_followers",
            "task_notes",
            "task_projects",
            "task_subtasks",
            "task_tags",
            "task_templates",
            "task_type_default",
        ),
    ),
    StartsJob(
        kind="duplicate_portfolio",
        operation_id="duplicatePortfolio",
        path="/portfolios/{portfolio_gid}/duplicate",
        schema="PortfolioDuplicateRequest",
        slot="new_portfolio",
        subtype="duplicate_portfolio",
        subject="portfolio",
        include=(
            "description",
            "members",
            "permissions",
            "templates",
            "rules",
            "child_projects",
            "child_portfolios",
        ),
    ),
    StartsJob(
        kind="save_project_as_template",
        operation_id="projectSaveAsTemplate",
        path="/projects/{project_gid}/saveAsTemplate",
        schema="ProjectSaveAsTemplateRequest",
        slot="new_project_template",
        subtype="save_project_as_template",
        subject="project",
        body_required=True,
    ),
    StartsJob(
        kind="instantiate_project",
        operation_id="instantiateProject",
        path="/project_templates/{project_template_gid}/instantiateProject",
        schema="ProjectTemplateInstantiateProjectRequest",
        slot="new_project",
        subtype="instantiate_project",
        subject="project_template",
    ),
    StartsJob(
        kind="instantiate_task",
        operation_id="instantiateTask",
        path="/task_templates/{task_template_gid}/instantiateTask",
        schema="TaskTemplateInstantiateTaskRequest",
        slot="new_task",
        subtype="instantiate_task",
        subject="task_template",
    ),
    StartsJob(
        kind="rollup_task",
        operation_id="rollupTask",
        path="/tasks/{task_gid}/rollup",
        schema=None,
        slot=None,
        subtype="rollup_task",
        subject="task",
    ),
    StartsJob(
        kind="rollup_project",
        operation_id="rollupProject",
        path="/projects/{project_gid}/rollup",
        schema=None,
        slot=None,
        subtype="rollup_project",
        subject="project",
    ),
    StartsJob(
        kind="export_graph",
        operation_id="createGraphExport",
        path="/exports/graph",
        schema="GraphExportRequest",
        slot="new_graph_export",
        subtype="graph_export_request",
        body_required=True,
        output_options=False,
    ),
    StartsJob(
        kind="export_resource",
        operation_id="createResourceExport",
        path="/exports/resource",
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
    kind=ORGANIZATION_EXPORT,
    operation_id="createOrganizationExport",
    path="/organization_exports",
    schema="OrganizationExportRequest",
    slot=ORGANIZATION_EXPORT,
    subtype=ORGANIZATION_EXPORT,
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
DEFAULT_SUBTYPES = {
    "task": "default_task",
    "project": "default_project",
    "portfolio": "default_portfolio",
}
EXPORT_SLOTS = frozenset({"new_graph_export", "new_resource_export", ORGANIZATION_EXPORT})
