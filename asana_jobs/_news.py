"""What counts as a change of a job."""

from __future__ import annotations

from asana_jobs.models import Job


def is_news(job: Job, told: Job | None) -> bool:
    """Whether *job* says something that *told* did not: another state, progress, or what it makes."""
    if told is None or job.status != told.status:
        return True
    if job.dates_rollup_progress is not None and job.dates_rollup_progress != told.dates_rollup_progress:
        return True
    return job.result is not None and (told.result is None or job.result.gid != told.result.gid)
