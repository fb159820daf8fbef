"""What the local Asana answers: a job as most looks see it, and one with every slot that the API documents."""

from __future__ import annotations

import json
from typing import Final


#: Digits of every gid, so that all answers of a kind are equally long.
GID_LENGTH: Final = 16
_GID: Final = "1" * GID_LENGTH

#: The slot that a duplication fills.
_SMALL: Final = {
    "gid": _GID,
    "resource_type": "job",
    "resource_subtype": "duplicate_project",
    "status": "in_progress",
    "new_project": {"gid": "1205983467120034", "resource_type": "project", "name": "Q3 launch"},
}
#: The example of the reference, every slot and every field filled at once: longer than any answer of a real job.
_FULL: Final = {
    "gid": _GID,
    "resource_type": "job",
    "resource_subtype": "duplicate_task",
    "status": "in_progress",
    "new_project": {
        "gid": "1205983467120034",
        "resource_type": "project",
        "resource_subtype": "default_project",
        "name": "Stuff to buy",
    },
    "new_task": {
        "gid": "1205983467120035",
        "resource_type": "task",
        "name": "Bug Task",
        "resource_subtype": "default_task",
        "created_by": {"gid": "1205983467120036", "resource_type": "user"},
    },
    "new_portfolio": {
        "gid": "1205983467120037",
        "resource_type": "portfolio",
        "resource_subtype": "default_portfolio",
        "name": "Product launches",
    },
    "new_project_template": {
        "gid": "1205983467120038",
        "resource_type": "project_template",
        "name": "Packing list",
    },
    "new_graph_export": {
        "gid": "1205983467120039",
        "resource_type": "graph_export",
        "created_at": "2012-02-22T02:06:58.147Z",
        "download_url": "https://asana-export-us-east-1.s3.us-east-1.amazonaws.com/2563645399633793/domain_export"
        "/7588024658887731/download?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=300",
        "completed_at": "2012-02-22T02:06:58.147Z",
    },
    "new_resource_export": {
        "gid": "1205983467120040",
        "resource_type": "export_request",
        "created_at": "2012-02-22T02:06:58.147Z",
        "download_url": "https://asana-export-us-east-1.s3.us-east-1.amazonaws.com/2563645399633793/domain_export"
        "/7588024658887731/download?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=300",
        "completed_at": "2012-02-22T02:06:58.147Z",
    },
    "dates_rollup_progress": {"total_tasks": 120, "updated_tasks": 45},
}


def _body(job: dict[str, object]) -> bytes:
    return json.dumps({"data": job}, separators=(",", ":")).encode()


#: Each under the first word of its path.
PAYLOADS: Final = {"small": _body(dict(_SMALL)), "full": _body(dict(_FULL))}


def around_gid(payload: str) -> tuple[bytes, bytes]:
    """Return what comes before and after the job's gid in an answer."""
    before, after = PAYLOADS[payload].split(_GID.encode(), 1)
    return before, after


def gid_of(number: int) -> str:
    """Return a gid of the usual length."""
    return str(10 ** (GID_LENGTH - 1) + number)
