"""References to jobs, for those who have to read them before there is a client: gids and continuation tokens."""

from asana_jobs._client.waiting.job_reference import JobLike, read_subject
from asana_jobs._client.waiting.job_reference import JobReference as Subject
from asana_jobs.parameters import LONGEST_GID


__all__ = ["LONGEST_GID", "JobLike", "Subject", "read_subject"]
