"""What a wait is about, for those who have to know before there is a client: gids and continuation tokens."""

from asana_jobs._client.waiting.job_reference import JobLike, Subject, read_subject
from asana_jobs.parameters import LONGEST_GID


__all__ = ["LONGEST_GID", "JobLike", "Subject", "read_subject"]
