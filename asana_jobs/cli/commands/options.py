"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import attrs
from cyclopts import Parameter

from asana_jobs.cli.complaint import checking_arguments
from asana_jobs.cli.spans import span_option


if TYPE_CHECKING:
    from asana_jobs import RateLimits

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
        converter=span_option,
        metavar="TIME",
        help="Stop waiting after this time; the jobs go on. 0 looks once. Without it, wait until all have "
        "finished. Example: --timeout 5m",
    ),
]


@Parameter(name="*")
@attrs.frozen
class Budget:
    """How much of what Asana allows the token this command may use."""

    requests_per_minute: Annotated[
        float | None,
        Parameter(
            metavar="N",
            help="Asana's limit for the token: 150 on free domains, 1500 on paid ones. Without it, it is found "
            "out. Example: --requests-per-minute 1500",
        ),
    ] = None
    share: Annotated[
        float,
        Parameter(
            metavar="PART",
            show_default=False,
            help="Part of the limit to use, when others use the same token. Example: --share 0.25",
        ),
    ] = 1.0

    def limits(self) -> RateLimits:
        """Return the limits for a client."""
        from asana_jobs import RateLimits  # noqa: PLC0415  # not needed to print a help page

        with checking_arguments():
            return RateLimits(requests_per_minute=self.requests_per_minute, share=self.share)


#: The default of every command: all that Asana allows.
ALL_OF_IT = Budget()
