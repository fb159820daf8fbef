"""What a wait is about, for those who have to know before there is a client: gids and continuation tokens."""

from asana_jobs._gids import LONGEST_GID
from asana_jobs._subjects import JobLike, Subject, read_subject


__all__ = ["LONGEST_GID", "JobLike", "Subject", "read_subject"]
