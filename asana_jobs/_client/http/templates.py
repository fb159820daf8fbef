"""Templates, read once by their gid: what they ask for, before anything is made from them."""

from __future__ import annotations

from functools import partial
from typing import Final, TypeVar

from asana_jobs._client.http.api_session import ApiSession
from asana_jobs._client.http.decode import decode
from asana_jobs._client.http.protocol import (
    Fields,
    Request,
    Response,
    check_fields,
    read_data,
    read_job,
)
from asana_jobs._client.limits.gate import FOREGROUND
from asana_jobs.errors import DecodeError
from asana_jobs.models import ProjectTemplate, TaskTemplate
from asana_jobs.operations import InstantiateProject, Operation


#: Where Asana keeps each kind of template.
COLLECTIONS: Final[dict[type, str]] = {ProjectTemplate: "project_templates", TaskTemplate: "task_templates"}
#: What has to be known of a template to find the gids of names; no more, since a token may be allowed no more.
NAMES: Final = "requested_dates.name,requested_roles.name"

T = TypeVar("T", ProjectTemplate, TaskTemplate)


async def find_template(session: ApiSession, kind: type[T], gid: str, opt_fields: Fields | None = None) -> T:
    """Read the template *gid*, which is a *kind*; see `AsanaClient.project_template`.

    Raises:
        ValueError: an argument is wrong; nothing was sent.
        APIError: Asana refused it.
        TransportError: no usable answer.
        DecodeError: JSON that is no template.
    """
    request = read_job(
        gid,
        check_fields(opt_fields),
        collection=COLLECTIONS[kind],
        timeout=session.timeout,
        what="template gid",
    )
    return await session.call(request, FOREGROUND, partial(_read, session, kind))


def _read(session: ApiSession, kind: type[T], request: Request, response: Response) -> T:
    data = read_data(request, response, session.clock.now)
    try:
        template = decode(kind, data)
    except DecodeError as error:
        error.gid = request.gid
        raise
    if template.gid != request.gid:
        raise session.refuse_stray(request, template.gid, "template")
    return template


async def with_gids(session: ApiSession, operation: Operation) -> Operation:
    """Return *operation* with its dates and roles by gid; its template is read if it has any by name.

    Raises:
        ValueError: a name is none of the template's.
        AsanaJobsError: the template cannot be read, see `find_template`; nothing was started.
    """
    if not isinstance(operation, InstantiateProject) or not operation.names:
        return operation
    return operation.by_gid(await find_template(session, ProjectTemplate, operation.gid, NAMES))
