"""Options that several commands share, and how their values are read: durations, dates, pairs, JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import attrs
from cyclopts import Parameter

import asana_jobs
from asana_jobs.cli.errors import UsageError, checking_arguments
from asana_jobs.parameters import INCLUDE_WORDS


if TYPE_CHECKING:
    from cyclopts import Token

    from asana_jobs import RateLimits
    from asana_jobs.operations import Operation


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


def parse_duration(text: str) -> float:
    """Return the seconds of ``90``, ``1.5s``, ``5m``, ``1h30m`` or ``2d``."""
    squeezed = text.replace(" ", "").lower()
    if _NUMBER.fullmatch(squeezed):
        return float(squeezed)
    if _DURATION.fullmatch(squeezed):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(squeezed))
    raise ValueError(f"expected a time such as 90, 30s, 5m or 1h30m, not {text!r}")


def duration_option(_: Any, tokens: Sequence[Token]) -> float:
    """Read an option's value, for cyclopts."""
    return parse_duration(tokens[0].value)


#: What stands for an option's value on a help page, and how it is read. What an option is for, docstrings say.
FILE: Final = Parameter(metavar="FILE")
FLAG: Final = Parameter(negative="", show_default=False)
NUMBER: Final = Parameter(metavar="N")
TIME: Final = Parameter(converter=duration_option, metavar="TIME")

OutputFormat: TypeAlias = Literal["auto", "table", "json", "jsonl"]

Output: TypeAlias = Annotated[
    OutputFormat,
    Parameter(
        help="How results are written: auto is a live view on a terminal and jsonl elsewhere, table is for people, "
        "json is one document at the end, jsonl is one event per line as it happens. Example: --output jsonl"
    ),
]

Timeout: TypeAlias = Annotated[
    float | None,
    Parameter(
        converter=duration_option,
        metavar="TIME",
        help="Stop waiting after this time; the jobs go on. 0 looks once. Without it, wait until all have "
        "finished. Example: --timeout 5m",
    ),
]


@Parameter(name="*")
@attrs.frozen
class BudgetOptions:
    """Options that say how much of what Asana allows the token this command may use.

    Attributes:
        requests_per_minute: Asana's limit for the token: 150 on free domains, 1500 on paid ones. Without it, it is
            found out. Example: --requests-per-minute 1500
        share: Part of the limit to use, when others use the same token. Example: --share 0.25
    """

    requests_per_minute: Annotated[float | None, NUMBER] = None
    share: Annotated[float, Parameter(metavar="PART", show_default=False)] = 1.0

    def limits(self) -> RateLimits:
        """Return the limits for a client."""
        with checking_arguments():
            return asana_jobs.RateLimits(requests_per_minute=self.requests_per_minute, share=self.share)


#: The default of every command: all that Asana allows.
DEFAULT_BUDGET = BudgetOptions()


@Parameter(name="*")
@attrs.frozen
class RunOptions:
    """Options of a bulk run.

    Attributes:
        retry_unknown: Start again what may or may not have been started before: look in Asana first, or there may be
            two. Example: --retry-unknown
        retry_failed: Start again, once, what had failed before; what a failed job has made is not removed.
            Example: --retry-failed
        accept_unknown: Leave alone, for good, what may or may not have been started before. Example: --accept-unknown
        timeout: Stop waiting for a job this long after its start; it goes on, and resume finds it. Without it, wait
            until each has finished. Example: --timeout 1h
        allow_network_file_system: Use a ledger on a network file system, which is safe only while one machine uses it.
            Example: --allow-network-file-system
    """

    retry_unknown: Annotated[bool, FLAG] = False
    retry_failed: Annotated[bool, FLAG] = False
    accept_unknown: Annotated[bool, FLAG] = False
    timeout: Annotated[float | None, TIME] = None
    allow_network_file_system: Annotated[bool, FLAG] = False
    output: Output = "auto"
    budget: BudgetOptions = DEFAULT_BUDGET

    def check(self) -> None:
        """Raise `UsageError` for options that contradict each other."""
        if self.retry_unknown and self.accept_unknown:
            raise UsageError("give --retry-unknown or --accept-unknown, not both")


#: The default: repeat nothing, settle nothing.
DEFAULT_RUN = RunOptions()


_NAME: Final = Parameter(help='The name of what is made. Example: --name "Q3 launch"')
Name: TypeAlias = Annotated[str, _NAME]
OptionalName: TypeAlias = Annotated[str | None, _NAME]


def _include(example: str, *kinds: str) -> Parameter:
    """Return the option of what is copied along, with the words of each of *kinds*."""
    words = [", ".join(INCLUDE_WORDS[kind]) for kind in kinds]
    if len(kinds) > 1:
        words = [f"for {kind.replace('_', '-')} {listed}" for kind, listed in zip(kinds, words, strict=True)]
    return Parameter(
        metavar="WORDS",
        help=f"What is copied along, separated by commas: {'; '.join(words)}. Example: --include {example}",
    )


IncludeInTask: TypeAlias = Annotated[str | None, _include("notes,subtasks", "duplicate_task")]
IncludeInProject: TypeAlias = Annotated[
    str | None, _include("members,task_notes,task_dates", "duplicate_project")
]
IncludeInPortfolio: TypeAlias = Annotated[str | None, _include("members,rules", "duplicate_portfolio")]
IncludeInAny: TypeAlias = Annotated[str | None, _include("members,task_notes,task_dates", *INCLUDE_WORDS)]
Team: TypeAlias = Annotated[
    str | None, Parameter(metavar="GID", help="The team it will belong to. Example: --team 1207")
]
Workspace: TypeAlias = Annotated[
    str | None,
    Parameter(metavar="GID", help="The workspace, where there are no teams. Example: --workspace 1208"),
]
StartOn: TypeAlias = Annotated[
    str | None,
    Parameter(
        metavar="DATE", help="Shift dates so that the first is this day. Example: --start-on 2027-01-04"
    ),
]
DueOn: TypeAlias = Annotated[
    str | None,
    Parameter(metavar="DATE", help="Shift dates so that the last is this day. Example: --due-on 2027-03-31"),
]
SkipWeekends: TypeAlias = Annotated[
    bool | None,
    Parameter(
        help="Whether shifted dates skip weekends (they do not). Example: --start-on 2027-01-04 --skip-weekends"
    ),
]
Public: TypeAlias = Annotated[
    bool | None, Parameter(help="Whether everybody in the organization sees it. Example: --public")
]
PublicTemplate: TypeAlias = Annotated[
    bool, Parameter(help="Whether everybody in the organization sees the template. Example: --public")
]
Privacy: TypeAlias = Annotated[
    str | None,
    Parameter(
        name="--privacy-setting",
        metavar="WORD",
        help="public_to_workspace, private_to_team or private. Example: --privacy-setting private",
    ),
]
Strict: TypeAlias = Annotated[
    bool | None,
    Parameter(
        name="--strict",
        negative="--no-strict",
        help="Refuse if a date of the template is missing, instead of taking a default. Example: --strict",
    ),
]
Dates: TypeAlias = Annotated[
    tuple[str, ...],
    Parameter(
        name="--date",
        metavar="NAME=DATE",
        negative="",
        show_default=False,
        help="A date that the template asks for, by its name or gid: asana-jobs template lists them. Repeat it for more. "
        'Example: --date "Launch=2027-01-04"',
    ),
]
Roles: TypeAlias = Annotated[
    tuple[str, ...],
    Parameter(
        name="--role",
        metavar="NAME=USER",
        negative="",
        show_default=False,
        help="Who takes a role of the template, which is given by its name or gid: me, an e-mail address or a gid. Repeat "
        "it for more. Example: --role Designer=me",
    ),
]
Parameters: TypeAlias = Annotated[
    str | None,
    Parameter(
        metavar="JSON",
        help="What a resource export holds, as Asana's reference describes export_request_parameters. "
        """Example: --parameters '[{"resource_type": "task"}]'""",
    ),
]


@Parameter(name="*")
@attrs.frozen
class StartOptions:
    """Options of what happens once the job was started.

    Attributes:
        wait: Wait until the job has finished. Example: --wait --timeout 5m
    """

    wait: Annotated[bool, FLAG] = False
    timeout: Timeout = None
    output: Output = "auto"
    budget: BudgetOptions = DEFAULT_BUDGET


#: The default of every command: do not wait.
DEFAULT_START = StartOptions()


def make_operation(
    kind: str,
    gid: str,
    *,
    start_on: str | None = None,
    due_on: str | None = None,
    skip_weekends: bool | None = None,
    date: Iterable[str] = (),
    role: Iterable[str] = (),
    parameters: str | None = None,
    **others: object,
) -> Operation:
    """Return the operation that options describe; an option that was not given is left out."""
    if dates := _given(should_skip_weekends=skip_weekends, start_on=start_on, due_on=due_on):
        dates.setdefault("should_skip_weekends", False)
        if (start_on is None) == (due_on is None):
            raise UsageError("give one of --start-on and --due-on")
    arguments = _given(
        kind=kind.replace("-", "_"),
        gid=gid,
        schedule_dates=dates,
        requested_dates=_pairs("--date", "Launch=2027-01-04", date),
        requested_roles=_pairs("--role", "Designer=me", role),
        parameters=_read_parameters(parameters),
        **others,
    )
    _check_options(arguments)
    with checking_arguments():
        return asana_jobs.operations.operation_from_dict(arguments)


def _check_options(arguments: Mapping[str, object]) -> None:
    """Say in the words of the command line which option a kind does not take, or needs."""
    kind = str(arguments["kind"])
    command, fields = kind.replace("_", "-"), attrs.fields_dict(asana_jobs.operations.OPERATIONS[kind])
    takes = ", ".join(_option(name) for name in fields if name != "gid")
    if foreign := [_option(name) for name in arguments if name not in {"kind", *fields}]:
        raise UsageError(f"{command} takes no {foreign[0]}{takes and f'; it takes {takes}'}")
    needed = [name for name, field in fields.items() if field.default is attrs.NOTHING]
    if missing := [_option(name) for name in needed if name not in arguments]:
        raise UsageError(f"{command} needs {' and '.join(missing)}")


def _option(name: str) -> str:
    """Return the option that gives an argument of an operation."""
    others = {"is_strict": "--strict", "requested_dates": "--date", "requested_roles": "--role"}
    others |= {"schedule_dates": "--start-on or --due-on", "public": "--public or --no-public"}
    return others.get(name) or f"--{name.replace('_', '-')}"


def _given(**arguments: object) -> dict[str, object]:
    return {name: value for name, value in arguments.items() if value not in (None, {})}


def _pairs(option: str, example: str, words: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        # No value has an equals sign, while a name may have one.
        name, _, value = word.rpartition("=")
        if not (name.strip() and value.strip()):
            raise UsageError(
                f'{option} takes a name or gid and what it is: write {option} "{example}", not {word!r:.80}'
            )
        if name in found:
            raise UsageError(f"{option} gives {name!r:.80} twice: {found[name]} and {value}")
        found[name] = value
    return found


def _read_parameters(text: str | None) -> object:
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--parameters is not JSON: {error}") from None
