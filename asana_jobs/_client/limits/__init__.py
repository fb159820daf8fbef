"""The budget of one token: when a request may go, and how many jobs may run."""
