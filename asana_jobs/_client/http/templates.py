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
    read_template,
)
from asana_jobs._client.limits.gate import FOREGROUND
from asana_jobs.models import ProjectTemplate, TaskTemplate


#: Where Asana keeps each kind of template.
COLLECTIONS: Final[dict[type, str]] = {ProjectTemplate: "project_templates", TaskTemplate: "task_templates"}

T = TypeVar("T", ProjectTemplate, TaskTemplate)


async def find_template(session: ApiSession, kind: type[T], gid: str, opt_fields: Fields | None = None) -> T:
    """Read a template.

    Args:
        session: What reads it.
        kind: `ProjectTemplate` or `TaskTemplate`.
        gid: Its gid.
        opt_fields: The fields to ask for; the gid always comes.

    Raises:
        ValueError: an argument is wrong; nothing was sent.
        APIError: Asana refused it.
        TransportError: no usable answer.
        DecodeError: JSON that is no template.
    """
    request = read_template(
        gid, check_fields(opt_fields), collection=COLLECTIONS[kind], timeout=session.timeout
    )
    return await session.call(request, FOREGROUND, partial(_read, session, kind))


def _read(session: ApiSession, kind: type[T], request: Request, response: Response) -> T:
    template = decode(kind, read_data(request, response, session.clock.now))
    if template.gid != request.gid:
        raise session.refuse_stray(request, template.gid, "template")
    return template
