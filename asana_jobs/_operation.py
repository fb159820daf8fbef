"""What every operation knows: its method, its path, its body, and itself as JSON."""

from __future__ import annotations

from typing import ClassVar

import attrs

from asana_jobs._operation_arguments import subject_gid
from asana_jobs.models import Makes, R_co
from asana_jobs.parameters import Json, to_json


@attrs.frozen
class Operation(Makes[R_co]):
    """What all operations have in common. ``gid`` is the subject: what is copied, instantiated or exported.

    Type checkers know what each makes: `DuplicateProject` is an ``Operation[ProjectCompact]``.
    """

    kind: ClassVar[str]
    method: ClassVar[str] = "POST"
    route: ClassVar[str]
    #: Whether a second POST while the first job runs gives the same job back (Asana forum, thread 1069047).
    same_job_while_running: ClassVar[bool] = False

    gid: str = attrs.field(converter=subject_gid)

    @property
    def path(self) -> str:
        """The path below the base URL."""
        return self.route.format(gid=self.gid)

    @property
    def body(self) -> dict[str, Json] | None:
        """What goes into the ``data`` envelope, or ``None`` for a call without a body."""
        fields = attrs.asdict(self, recurse=False)
        fields.pop("gid")
        if "include" in fields:
            fields["include"] = ",".join(fields["include"]) or None
        return {name: to_json(value) for name, value in fields.items() if value not in (None, ())}

    def to_dict(self) -> dict[str, Json]:
        """Return the operation as JSON: ``kind``, ``gid`` and the arguments that were given."""
        fields = attrs.asdict(self, recurse=False)
        given = {name: to_json(value) for name, value in fields.items() if value not in (None, ())}
        return {"kind": self.kind, **given}
