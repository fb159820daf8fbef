"""Changes of Asana's API: those that a client asks for or puts off, and those that an answer announces.

Source: developers.asana.com, "Deprecations". In live traffic (September 2026) one ``Asana-Change`` had five notices joined
by ``, ``; the page says that the header may be repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, cast

import attrs

from asana_jobs.errors import one_line
from asana_jobs.parameters import check_many


ASANA_CHANGE: Final = "asana-change"
#: Names that are told of; Asana had some thirty changes in ten years.
MOST_CHANGES: Final = 100
#: Characters that are kept of a name and of what informs about it.
_LONGEST: Final = 200
_NAME: Final = re.compile(r"[\w.-]{1,100}", re.ASCII)


@attrs.frozen
class ApiChange:
    """One notice of an answer.

    Attributes:
        name: The name of the change.
        info: Where Asana describes it.
        affected: Whether the request would have been answered differently.
    """

    name: str
    info: str = ""
    affected: bool = False


def change_headers(enable: object, disable: object) -> dict[str, str]:
    """Return the headers that ask for some changes of the API and put off others.

    Args:
        enable: The names of changes to have now.
        disable: The names of changes to have later.

    Raises:
        ValueError: one of them is no list of names, or a name is in both.
    """
    on, off = _names("enable", enable), _names("disable", disable)
    if both := [name for name in on if name in off]:
        raise ValueError(f"{both[0]!r} is in enable and in disable: give it to one of them")
    chosen = {"Asana-Enable": ",".join(on), "Asana-Disable": ",".join(off)}
    return {header: names for header, names in chosen.items() if names}


def _names(argument: str, value: object) -> list[str]:
    names: list[str] = []
    given = check_many(
        value,
        f"{argument} must be a list of names of changes",
        write=f"{argument}=[{{}}]",
        name="'teamless_projects'",
    )
    for name in given:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"{argument} must hold names of changes such as 'teamless_projects', not {name!r:.60}"
            )
        names.append(name)
    return list(dict.fromkeys(names))


def read_changes(headers: Mapping[str, str]) -> Iterator[ApiChange]:
    """Go through the notices of an answer; one that makes no sense is left out.

    Args:
        headers: Those of the answer, in which ``asana-change`` may be there several times.
    """
    get_all = getattr(headers, "getall", None)
    values = cast("list[str]", get_all(ASANA_CHANGE)) if get_all else [headers[ASANA_CHANGE]]
    for notice in ",".join(values).split(","):
        parts = (part.partition("=") for part in notice.split(";"))
        fields = {key.strip().lower(): value.strip() for key, _, value in parts}
        if name := one_line(fields.get("name", ""))[:_LONGEST]:
            yield ApiChange(
                name,
                one_line(fields.get("info", ""))[:_LONGEST],
                fields.get("affected", "").lower() == "true",
            )
