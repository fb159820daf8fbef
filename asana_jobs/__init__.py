"""Start Asana jobs, watch any number of them, and never start one twice."""

__version__ = "0.1.0"
