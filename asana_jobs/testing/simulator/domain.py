"""The simulated Asana itself: its objects, its jobs, and its tokens with the users behind them."""

import re
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any, cast

from attrs import define, field

from asana_jobs.testing.simulator.bodies import MESSAGES, ApiError, unknown_object
from asana_jobs.testing.simulator.durations import SUCCEEDED, Duration, Lognormal
from asana_jobs.testing.simulator.jobs import ResultShown, SimulatedJob
from asana_jobs.testing.simulator.operations import (
    BY_KIND,
    DEFAULT_SUBTYPES,
    EXPORT_SLOTS,
    ORGANIZATION,
    SLOT_TYPES,
    StartsJob,
)
from asana_jobs.testing.simulator.requests import token_label
from asana_jobs.testing.simulator.templates import PROJECT_TEMPLATE, asked
from asana_jobs.testing.simulator.time import SimulatorTime


WORKSPACE = {"gid": "1199000000000001", "resource_type": "workspace", "name": "Simulated Workspace"}
_FIRST_USER = 1198000000000001
_FIRST_JOB = 1205000000000001
_FIRST_RESULT = 1206000000000001
_FIRST_ORGANIZATION_EXPORT = 1207000000000001
_DEFAULT_DURATION = Lognormal(1.5, spread=0.3)
GID = re.compile(r"[0-9]+", re.ASCII)


def _as_users(tokens: Iterable[str] | Mapping[str, str] | None) -> dict[str, str] | None:
    if tokens is None:
        return None
    if isinstance(tokens, Mapping):
        return dict(cast("Mapping[str, str]", tokens))
    if isinstance(tokens, str | bytes) or not isinstance(tokens, Iterable):
        raise ValueError("tokens must be a list of the good tokens, not one: write tokens=[token]")
    return {token: _user_name(token) for token in tokens}


def _user_name(token: str) -> str:
    # Users are shown in logs and saved to files: tokens are not.
    return f"user-{token_label(token)}"


@define
class Accounts:
    """Which tokens are good, and whose they are.

    Attributes:
        known: tokens (access and refresh) and their users' names; None when any token is good
            and every token is a user of its own.
    """

    known: dict[str, str] | None = field(converter=_as_users)
    time: SimulatorTime
    _issued: dict[str, tuple[str, float]] = field(factory=dict[str, tuple[str, float]])
    _expired: set[str] = field(factory=set[str])
    _users: dict[str, dict[str, Any]] = field(factory=dict[str, dict[str, Any]])

    def user_of(self, token: str | None) -> str:
        """Return the user a token acts as; 401 when there is no token, or a bad or expired one."""
        user = None if token is None or token in self._expired else self._lookup(token)
        if user is None:
            raise ApiError(401, MESSAGES[401])
        return user

    def _lookup(self, token: str) -> str | None:
        if token in self._issued:
            user, expiry = self._issued[token]
            return user if self.time.elapsed() < expiry else None
        return _user_name(token) if self.known is None else self.known.get(token)

    def owner(self, token: str) -> str:
        """Return the user a token belongs to, good or not."""
        return self._lookup(token) or _user_name(token)

    def expire(self, token: str) -> None:
        """Make a token bad from now on."""
        self._expired.add(token)

    def issue(self, refresh_token: str, seconds: float) -> str | None:
        """Return a new access token for the owner of a refresh token; None when that is not good."""
        user = None if refresh_token in self._expired else self._lookup(refresh_token)
        if user is None:
            return None
        token = f"simulated-access-token-{len(self._issued) + 1}"
        self._issued[token] = (user, self.time.elapsed() + seconds)
        return token

    def profile(self, user: str) -> dict[str, Any]:
        """Return the user object of a user."""
        if user not in self._users:
            number = len(self._users)
            self._users[user] = {
                "gid": str(_FIRST_USER + number),
                "resource_type": "user",
                "name": f"Simulated User {number + 1}",
                "email": f"user{number + 1}@example.com",
                "workspaces": [dict(WORKSPACE)],
            }
        return self._users[user]


@define
class Domain:
    """The objects and jobs of the simulated Asana.

    Attributes:
        strict: whether only what was added exists.
        creator_only: whether a job can be read by nobody but the user who started it.
        durations: how long jobs take, by kind; "default" for kinds not named.
        speed: by how much everything is faster than its duration says.
        export_lines: lines in an export file.
        results_named: how many result objects were given a gid.
        link: makes a download link for a finished export; None while there is no place to download from.
    """

    time: SimulatorTime
    accounts: Accounts
    seed: int = 0
    strict: bool = False
    creator_only: bool = False
    durations: Mapping[str, Duration] = field(factory=dict[str, Duration])
    speed: float = 1.0
    result_shown: ResultShown = "at_once"
    export_lines: int = 100
    objects: dict[str, dict[str, Any]] = field(factory=dict[str, dict[str, Any]])
    link: Callable[[SimulatedJob], str] | None = None
    organization_exports: dict[str, SimulatedJob] = field(factory=dict[str, SimulatedJob])
    jobs: dict[str, SimulatedJob] = field(factory=dict[str, SimulatedJob])
    started: list[SimulatedJob] = field(factory=list[SimulatedJob])
    results_named: int = 0
    _unfinished: dict[str, list[SimulatedJob]] = field(factory=dict[str, list[SimulatedJob]])

    def add_object(self, resource_type: str, gid: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Make an object exist."""
        known: dict[str, Any] = {
            "gid": gid,
            "resource_type": resource_type,
            "name": f"{_words(resource_type)} {gid}",
        }
        if resource_type in DEFAULT_SUBTYPES:
            known["resource_subtype"] = DEFAULT_SUBTYPES[resource_type]
        if resource_type == PROJECT_TEMPLATE:
            # Only its dates' gids are given to `add_object`.
            dates = asked({f"Date {date}": date for date in fields.get("dates", ())})
            known |= {"requested_dates": dates, "requested_roles": []}
        self.objects[gid] = {**known, **fields}
        return self.objects[gid]

    def find_object(
        self, resource_types: Iterable[str], gid: str, name: str, status: int = 404
    ) -> dict[str, Any]:
        """Return the object with this gid; `name` and `status` are for the error when there is none."""
        types = tuple(resource_types)
        known = self.objects.get(gid)
        if known is not None and known["resource_type"] in types:
            return known
        if self.strict:
            raise unknown_object(name, gid, status)
        return {"gid": gid, "resource_type": types[0], "name": f"{_words(types[0])} {gid}"}

    def new_result(self, slot: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return a new object for a job's slot."""
        self.results_named += 1
        resource_type = SLOT_TYPES[slot]
        result = {"gid": str(_FIRST_RESULT + self.results_named - 1), "resource_type": resource_type}
        if resource_type in DEFAULT_SUBTYPES:
            result["resource_subtype"] = DEFAULT_SUBTYPES[resource_type]
        if slot not in EXPORT_SLOTS:
            result["name"] = f"New {_words(resource_type)}"
        return {**result, **fields}

    def draw(self, kind: str, gid: str) -> Any:
        """Return the states of a new job. Each job has a random stream of its own: order does not matter."""
        duration = self.durations.get(kind) or self.durations.get("default", _DEFAULT_DURATION)
        return duration.draw(Random(f"{self.seed}/{kind}/{gid}"), self.speed)  # noqa: S311 - no secrets

    def new_job(
        self, operation: StartsJob, gid: str, user: str | None, subject: str | None, result: dict[str, Any]
    ) -> SimulatedJob:
        """Return a job that begins now; the domain does not know it yet."""
        return SimulatedJob(
            gid=gid,
            kind=operation.kind,
            subtype=operation.subtype,
            schedule=self.draw(operation.kind, gid),
            time=self.time,
            creator=user,
            created=self.time.elapsed(),
            slot=operation.slot,
            result=result,
            result_shown=self.result_shown,
            subject=subject,
            lines=self.export_lines,
            link=self.link_to,
        )

    def add_job(self, job: SimulatedJob) -> SimulatedJob:
        """Make a job exist."""
        self.jobs[job.gid] = job
        return job

    def start_job(
        self, operation: StartsJob, user: str, subject: str, result: dict[str, Any]
    ) -> SimulatedJob:
        """Start a job, as the POST of an operation does."""
        gid = str(_FIRST_JOB + len(self.started))
        while gid in self.jobs:
            gid = str(int(gid) + 1)
        job = self.new_job(operation, gid, user, subject, result)
        self.note_started(job)
        return self.add_job(job)

    def note_started(self, job: SimulatedJob) -> None:
        """Put a job on the list of those that a POST started."""
        self.started.append(job)
        self._unfinished.setdefault(job.creator or "", []).append(job)

    def find_job(self, gid: str, user: str) -> SimulatedJob:
        """Return the job with this gid, as this user may see it; it comes into being unless strict."""
        job = self.jobs.get(gid)
        if job is None and not self.strict:
            operation = BY_KIND["duplicate_project"]
            result = self.new_result("new_project", {})
            job = self.add_job(self.new_job(operation, gid, None, None, result))
        if job is None or job.hidden_until > self.time.elapsed():
            raise unknown_object("job_gid", gid)
        self._check_creator(job, user, "job")
        return job

    def _check_creator(self, job: SimulatedJob, user: str, name: str) -> None:
        if self.creator_only and job.creator is not None and job.creator != user:
            raise ApiError(403, f"You do not have access to this {name}.")

    def new_organization_export(
        self, organization: str, user: str | None, gid: str | None = None
    ) -> SimulatedJob:
        """Make an organization export exist, as the POST does; the organization need not."""
        chosen = gid or str(_FIRST_ORGANIZATION_EXPORT + len(self.organization_exports))
        known = self.objects.get(organization, {"name": f"Organization {organization}"})
        compact = {"gid": organization, "resource_type": "workspace", "name": known["name"]}
        result = {"gid": chosen, "organization": compact}
        export = self.new_job(ORGANIZATION, chosen, user, organization, result)
        export.result_shown = "at_once"
        self.organization_exports[chosen] = export
        return export

    def find_organization_export(self, gid: str, user: str) -> SimulatedJob:
        """Return the organization export with this gid; it comes into being unless strict."""
        export = self.organization_exports.get(gid)
        if export is None and not self.strict:
            export = self.new_organization_export(str(WORKSPACE["gid"]), None, gid)
        if export is None:
            raise unknown_object("organization_export_gid", gid)
        self._check_creator(export, user, "organization_export")
        return export

    def link_to(self, export: SimulatedJob) -> str | None:
        """Return a new download link for a finished export."""
        return None if self.link is None else self.link(export)

    def find_export(self, gid: str) -> SimulatedJob | None:
        """Return the finished export, of a job or of an organization, whose result has this gid."""
        exports = [job for job in self.jobs.values() if job.slot in EXPORT_SLOTS]
        for export in [*exports, *self.organization_exports.values()]:
            if export.result.get("gid") == gid and export.status == SUCCEEDED:
                return export
        return None

    def running(self, user: str) -> list[SimulatedJob]:
        """Return the jobs a user started that have not ended."""
        # Ended jobs are dropped for good, so that a long bulk run costs no more than the cap.
        unfinished = [job for job in self._unfinished.get(user, ()) if not job.done]
        self._unfinished[user] = unfinished
        return unfinished


def _words(resource_type: str) -> str:
    return resource_type.replace("_", " ").capitalize()


def checked_gid(gid: str) -> str:
    """Return the gid, if it is one: a string of digits."""
    given: object = gid
    if not isinstance(given, str) or not GID.fullmatch(given):
        raise ValueError(f"A gid is a string of digits, not {gid!r}")
    return gid
