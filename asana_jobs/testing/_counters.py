"""Numbers computed from what was recorded."""

from collections import defaultdict, deque
from collections.abc import Iterable

from asana_jobs.testing._jobs import SimulatedJob
from asana_jobs.testing._requests import RequestRecord


_WINDOW = 60.0


def busiest_minute(records: Iterable[RequestRecord]) -> int:
    """Most requests of one token in any 60 seconds, rejected ones included."""
    windows: dict[str, deque[tuple[float, int]]] = defaultdict(deque)
    sums: dict[str, int] = defaultdict(int)
    busiest = 0
    for record in records:
        if record.token is None:
            continue
        window = windows[record.token]
        window.append((record.time, record.cost))
        sums[record.token] += record.cost
        while window[0][0] <= record.time - _WINDOW:
            sums[record.token] -= window.popleft()[1]
        busiest = max(busiest, sums[record.token])
    return busiest


def peak_running(jobs: Iterable[SimulatedJob]) -> int:
    """Most jobs of one user that ran at one time."""
    events: dict[str | None, list[tuple[float, int]]] = defaultdict(list)
    for job in jobs:
        # At one moment ends come before starts: a place given back may be taken at once.
        events[job.creator] += [(job.created, 1), (job.ended, -1)]
    peak = 0
    for changes in events.values():
        running = 0
        for _, change in sorted(changes):
            running += change
            peak = max(peak, running)
    return peak
