"""Until a job has finished: when to look, who looks, and who waits."""
