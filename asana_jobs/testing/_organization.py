"""Organization exports: asynchronous, but not jobs.

Source: the public OpenAPI document. They have a path, a `state` field and four words of their own.
Inside the simulator they run like jobs.
"""

from typing import Any


STATES = {
    "not_started": "pending",
    "in_progress": "started",
    "succeeded": "finished",
    "failed": "error",
}


def as_organization_export(document: dict[str, Any]) -> dict[str, Any]:
    """What a read of an organization export shows, from what a read of its job would."""
    export = document["organization_export"]
    return {
        "gid": document["gid"],
        "resource_type": "organization_export",
        "created_at": export["created_at"],
        "download_url": export["download_url"],
        "state": STATES.get(document["status"], document["status"]),
        "organization": export["organization"],
    }
