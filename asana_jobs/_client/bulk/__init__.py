"""Many starts, each once: runs and the ledger."""
