"""Jobs a test describes: what `add_job` understands."""

import re
from collections.abc import Mapping
from random import Random
from typing import Any, cast

from asana_jobs.testing._domain import Domain
from asana_jobs.testing._durations import DurationLike, as_duration
from asana_jobs.testing._jobs import ResultShown, SimulatedJob
from asana_jobs.testing._operations import BY_KIND, OPERATIONS, SLOT_TYPES, StartsJob


_GID = re.compile(r"[0-9]+", re.ASCII)


def checked_gid(gid: str) -> str:
    """The gid, if it is one: a string of digits."""
    given: object = gid
    if not isinstance(given, str) or not _GID.fullmatch(given):
        raise ValueError(f"A gid is a string of digits, not {gid!r}")
    return gid


def described_job(
    domain: Domain,
    gid: str,
    states: DurationLike | None,
    *,
    kind: str | None,
    token: str | None,
    result_shown: ResultShown | None,
    lines: int | None,
    fields: Mapping[str, Any],
) -> SimulatedJob:
    """A job made from the arguments of `add_job`."""
    slots = [name for name in fields if name in SLOT_TYPES and isinstance(fields[name], Mapping)]
    slot = slots[0] if slots else None
    operation = _operation(kind, slot)
    schedule = (
        domain.draw(operation.kind, gid)
        if states is None
        else as_duration(states).draw(Random(f"{domain.seed}/{gid}"), domain.speed)  # noqa: S311 - no secrets
    )
    # A slot given as None is shown as null, and leaves the job without a result.
    filled = slot or (None if operation.slot in fields else operation.slot)
    given = cast("Mapping[str, Any]", fields[slot] if slot else {})
    return SimulatedJob(
        gid=checked_gid(gid),
        kind=operation.kind,
        subtype=operation.subtype,
        schedule=schedule,
        time=domain.time,
        creator=None if token is None else domain.accounts.owner(token),
        created=domain.time.elapsed(),
        slot=filled,
        result=domain.new_result(filled, given) if filled else {},
        result_shown=result_shown or domain.result_shown,
        extra={name: value for name, value in fields.items() if name != slot},
        lines=domain.export_lines if lines is None else lines,
        link=domain.link_to,
    )


def _operation(kind: str | None, slot: str | None) -> StartsJob:
    if kind is not None:
        if kind not in BY_KIND:
            raise ValueError(f"Unknown kind of job {kind!r}; kinds are {', '.join(BY_KIND)}")
        return BY_KIND[kind]
    if slot is None:
        return BY_KIND["duplicate_project"]
    return next((known for known in OPERATIONS if known.slot == slot), BY_KIND["instantiate_task"])
