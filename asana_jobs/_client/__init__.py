"""Everything behind `AsanaClient`, one folder a concern; a folder imports only folders below it."""
