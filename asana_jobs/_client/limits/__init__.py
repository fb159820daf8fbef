"""When a request may go: the budget of one token."""
