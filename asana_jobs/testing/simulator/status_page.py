"""The status page at `/`: live numbers for a person with a browser."""

from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from asana_jobs.testing.simulator.simulator import AsanaSimulator


_SHOWN = 20
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0;width:100%}td,th{text-align:left;padding:.2rem .8rem .2rem 0;"
    "border-bottom:1px solid #ddd}code{background:#f3f3f3;padding:.1rem .3rem}caption{text-align:left;"
    "font-weight:600;padding-bottom:.3rem}"
)


def status_page(simulator: "AsanaSimulator") -> str:
    """Return the page as HTML; it reloads itself every second."""
    numbers = [
        ("Requests", len(simulator.requests)),
        ("Rejected by a limit", simulator.rejected),
        ("Most reads in flight", simulator.peak_reads_in_flight),
        ("Most writes in flight", simulator.peak_writes_in_flight),
        ("Jobs started", len(simulator.started)),
        ("Most jobs running", simulator.peak_jobs_running),
        ("Busiest minute of a token", simulator.busiest_minute),
        *sorted(Counter(f"Jobs {job.status}" for job in simulator.jobs.values()).items()),
    ]
    jobs = [
        (job.gid, job.kind, job.status, f"{job.age:.1f} s", job.looks)
        for job in list(simulator.jobs.values())[: -_SHOWN - 1 : -1]
    ]
    requests = [
        (f"{record.time:.3f}", record.method, record.path, record.status or "-", record.started or "")
        for record in simulator.requests[: -_SHOWN - 1 : -1]
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="1">'
        f"<title>Asana simulator</title><style>{_STYLE}</style></head><body><h1>Asana simulator</h1>"
        f"<p>API: <code>{escape(simulator.base_url)}</code>, described at "
        '<a href="/openapi.json">/openapi.json</a>.</p>'
        + _table("Numbers", (), numbers)
        + _table("Newest jobs", ("gid", "kind", "status", "age", "looks"), jobs)
        + _table("Newest requests", ("loop time", "method", "path", "status", "started"), requests)
        + "</body></html>\n"
    )


def _table(caption: str, names: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table>"
